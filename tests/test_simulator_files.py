"""Files: written whole or not at all, like any other file, and read without trusting them."""

from __future__ import annotations

import errno
import io
import json
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.files import atomic, prepare_directory, read_npz, write_json, write_npz, write_text
from simulator.problems import Problem, load_problem
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


ARRAYS = {"features": np.linspace(-1, 1, 24).reshape(2, 3, 4), "answers": np.array([0, 2]), "theta0": np.zeros(4)}


def _archive(compressed: bool) -> bytes:
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **ARRAYS)  # type: ignore[operator]
    return buffer.getvalue()


STORED, DEFLATED = _archive(False), _archive(True)


def _load_or_refuse(path: Path, data: bytes) -> Problem | None:
    """The problem, or None where it is refused properly: one line that names the file."""
    path.write_bytes(data)
    try:
        return load_problem(path)
    except InputError as error:
        if len(str(error).splitlines()) != 1:
            raise
        return None


@given(data=st.sampled_from([STORED, DEFLATED]), place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_a_damaged_byte_never_changes_a_problem_in_silence(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, place: float, flip: int
) -> None:
    damaged = bytearray(data)
    damaged[int(place * len(data))] ^= flip
    problem = _load_or_refuse(tmp_path_factory.getbasetemp() / "damaged.npz", bytes(damaged))
    if problem is not None:
        assert all((getattr(problem, name) == ARRAYS[name]).all() for name in ARRAYS)


@pytest.mark.parametrize("data", [STORED, DEFLATED], ids=["stored", "deflated"])
def test_every_truncation_is_refused(tmp_path: Path, data: bytes) -> None:
    assert _load_or_refuse(tmp_path / "a.npz", data) is not None
    assert all(_load_or_refuse(tmp_path / "a.npz", data[:length]) is None for length in range(0, len(data), 9))


def _npy(header: str, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x02\x00" + len(header).to_bytes(4, "little") + header.encode() + body


def _zip(features: bytes) -> bytes:
    """The archive with another member in place of the features, its checksums right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(STORED)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, features if name == "features.npy" else old.read(name))
    return buffer.getvalue()


SHAPE = "{{'descr': '<f8', 'fortran_order': False, 'shape': ({},)}}"
FORGED: dict[str, bytes] = {
    "text": b"features = 1\n",
    "empty": b"",
    "only the magic of a zip": b"PK\x03\x04",
    "a single array": _npy(SHAPE.format(1), bytes(8)),
    "a member that is no array": _zip(b"just text"),
    "a header that is not Python": _zip(_npy("{'descr': (((")),
    "a header far too long": _zip(_npy(SHAPE.format(1) + " " * 20_000, bytes(8))),
    "a shape that no memory holds": _zip(_npy(SHAPE.format(10**18), bytes(8))),
    "a shape beyond 64 bits": _zip(_npy(SHAPE.format(10**30), bytes(8))),
    "a negative shape": _zip(_npy(SHAPE.format(-1), bytes(8))),
    "less data than the shape says": _zip(_npy(SHAPE.format(9), bytes(8))),
}


@pytest.mark.parametrize("data", FORGED.values(), ids=FORGED.keys())
def test_forged_archives_are_refused_in_one_line(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"^file is '.*a\.npz'; expected a readable \.npz of plain arrays \(.+\);"):
        read_npz(path)
    assert _load_or_refuse(path, data) is None


class _Payload:
    """Unpickling this creates a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("name", ["features", "order", "unused"])
def test_pickled_objects_are_refused_and_not_run(tmp_path: Path, name: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / "a.npz"
    payload = np.empty(1, dtype=object)
    payload[0] = _Payload(marker)
    np.savez(path, **(ARRAYS | {name: payload}))
    with pytest.raises(InputError, match="Object arrays cannot be loaded"):
        load_problem(path)
    assert not marker.exists()
    with np.load(path, allow_pickle=True) as archive:
        archive[name]
    assert marker.exists(), "the payload would not have run anyway, so this test shows nothing"


def test_arrays_come_back_bit_by_bit(tmp_path: Path) -> None:
    arrays = {"a": np.array([1e-320, -0.0, np.nan, np.inf]), "b": np.zeros((0, 3)), "c": np.array(5)}
    write_npz(tmp_path / "a.npz", **arrays)
    again = read_npz(tmp_path / "a.npz")
    assert again.keys() == arrays.keys()
    assert all((again[k].dtype, again[k].tobytes()) == (a.dtype, a.tobytes()) for k, a in arrays.items())


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
