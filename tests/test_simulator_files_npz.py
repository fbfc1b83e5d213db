"""Arrays from files: damaged, forged and pickled ones are refused in one line, and no others."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.files import read_npz, write_npz
from simulator.problems import Problem, load_problem
from theory.errors import InputError

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
