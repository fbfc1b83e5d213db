"""Files: written whole or not at all, like any other file, and read without trusting them."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.files import atomic, prepare_directory, write_json, write_npz, write_text
from theory.errors import InputError


@pytest.fixture(params=[0o022, 0o077, 0o027, 0o000], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    try:
        yield request.param
    finally:
        os.umask(before)


def test_permissions_follow_the_umask(tmp_path: Path, umask: int) -> None:
    write_text(tmp_path / "a.txt", "x")
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o666 & ~umask
    assert os.umask(umask) == umask


class _Interrupt(BaseException):
    """Like KeyboardInterrupt: no Exception."""


@pytest.mark.parametrize("error", [RuntimeError, OSError, _Interrupt, KeyboardInterrupt])
@pytest.mark.parametrize("existing", [None, b"old content"])
def test_a_failed_write_leaves_everything_as_it_was(
    tmp_path: Path, error: type[BaseException], existing: bytes | None
) -> None:
    target = tmp_path / "a.bin"
    if existing is not None:
        target.write_bytes(existing)

    def fail() -> None:
        with atomic(target) as handle:
            handle.write(b"half of the new conte")
            handle.flush()
            raise error

    with pytest.raises(error):
        fail()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == (
        {} if existing is None else {"a.bin": existing}
    )


def test_the_target_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    with atomic(target) as handle:
        handle.write(b"new")
        handle.flush()
        assert target.read_bytes() == b"old"
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


def test_all_content_is_on_disk_before_the_name_is_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[int | str, bool]] = []

    def record(descriptor: int) -> None:
        about = os.fstat(descriptor)
        what = "directory" if stat.S_ISDIR(about.st_mode) else about.st_size
        synced.append((what, (tmp_path / "a").exists()))

    monkeypatch.setattr(os, "fsync", record)
    write_text(tmp_path / "a", "12345")
    assert synced == [(5, False), ("directory", True)]


def test_a_relative_name_is_written_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_text(Path("a.txt"), "käse")
    assert (tmp_path / "a.txt").read_bytes() == "käse".encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_refuses_what_is_not_json_and_writes_nothing(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"a": [1.0, value]})
    assert list(tmp_path.iterdir()) == []


@given(number=st.floats(allow_nan=False, allow_infinity=False), text=st.text())
def test_json_keeps_numbers_and_text(tmp_path_factory: pytest.TempPathFactory, number: float, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "a.json"
    write_json(path, {"number": number, "text": text})
    again = json.loads(path.read_text(encoding="ascii"))
    assert again == {"number": number, "text": text}


UNWRITABLE: dict[str, Callable[[Path], Path]] = {
    "below a file": lambda d: d / "file" / "out.json",
    "in no directory": lambda d: d / "absent" / "out.json",
    "a directory": lambda d: d / "directory",
    "a name too long": lambda d: d / ("x" * 300),
}


@pytest.mark.parametrize("place", UNWRITABLE.values(), ids=UNWRITABLE.keys())
@pytest.mark.parametrize("write", [lambda path: write_json(path, {}), lambda path: write_npz(path, a=np.zeros(2))])
def test_an_unwritable_target_is_bad_input(tmp_path: Path, place: Callable[[Path], Path], write: Any) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "directory").mkdir()
    with pytest.raises(InputError, match=r"^output file is '.*; expected a writable place \(.+\); choose another$"):
        write(place(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["directory", "file"]
    assert list((tmp_path / "directory").iterdir()) == []


@pytest.mark.parametrize("name", ["file", "file/below", "file/far/below"])
def test_an_unwritable_directory_is_bad_input(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"^output directory is '.*'; expected a writable directory \(.+\);"):
        prepare_directory(tmp_path / name)


def test_a_directory_is_made_with_its_parents_and_left_empty(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    assert prepare_directory(path) == path
    assert prepare_directory(path) == path
    assert list(path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_room_is_bad_input_and_leaves_the_old_file(code: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")

    def fail() -> None:
        with atomic(path) as handle:
            handle.write(b"new")
            raise OSError(code, os.strerror(code))

    with pytest.raises(InputError, match="expected a writable place"):
        fail()
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_other_errors_of_the_writer_are_not_passed_off_as_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError), atomic(tmp_path / "file"):
        raise ConnectionError
    assert not list(tmp_path.iterdir())


def test_threads_that_write_at_once_leave_the_umask_alone(tmp_path: Path, umask: int) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: write_text(tmp_path / str(i), "x"), range(200)))
    assert os.umask(umask) == umask
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o666 & ~umask}
