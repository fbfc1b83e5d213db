"""Atomic writes: a file appears whole under its name, or not at all, also after a crash of the machine."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from theory.errors import InputError, expected

__all__ = [
    "atomic",
    "check_axes",
    "number_field",
    "prepare_directory",
    "read_npz",
    "target_of",
    "text_field",
    "write_json",
    "write_npz",
    "write_text",
]

# What a write runs into where there is no room: a full disk, a quota, a limit on the size of files.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Names of files that are being written: a dot, the name to be, a dot, and what ``tempfile`` adds.
_TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}")
# The umask can only be read by setting it, and it is one for all threads.
_UMASK = threading.Lock()


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A binary file that is flushed to disk and renamed to ``path`` on success, and removed on failure.

    Raises:
        InputError: the directory does not exist or cannot be written, has no room left, or ``path`` is a directory.
    """
    try:
        handle = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)  # noqa: SIM115
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        with handle:
            yield handle  # type: ignore[misc]
            handle.flush()
            os.fsync(handle.fileno())
        # NamedTemporaryFile creates private files; results are made readable like any other file.
        with _UMASK:
            umask = os.umask(0)
            os.umask(umask)
        os.chmod(handle.name, 0o666 & ~umask)
        try:
            os.replace(handle.name, path)
        except OSError as error:
            raise _unwritable(path, error) from None
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(handle.name)
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            raise _unwritable(path, error) from None
        raise
    _sync_directory(path.parent)


def target_of(name: str) -> str | None:
    """The name that :func:`atomic` was to give a file it calls ``name`` meanwhile; None for any other file."""
    match = _TEMPORARY.fullmatch(name)
    return match and match[1]


def _sync_directory(path: Path) -> None:
    """Make a new name last; file systems that cannot do so are left as they are."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> InputError:
    return expected("output file", str(path), f"a writable place ({error.strerror})", "choose another")


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, atomically."""
    with atomic(path) as handle:
        handle.write(text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write JSON, atomically; NaN and infinity are refused, as they are not JSON."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_npz(path: Path, **arrays: Any) -> None:
    """Write arrays as ``.npz``, atomically."""
    with atomic(path) as handle:
        np.savez(handle, **arrays)


def read_npz(path: Path) -> dict[str, Any]:
    """All arrays of an ``.npz``; nothing is unpickled.

    Raises:
        InputError: the file cannot be read or is not an intact ``.npz`` of plain arrays.
    """
    try:
        with path.open("rb") as handle:
            archive = np.load(handle, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds a single array")
            with archive:
                arrays = {key: archive[key] for key in archive.files}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            raise ValueError("it holds something else than arrays")
        return arrays
    except Exception as error:
        # What zipfile, zlib and numpy raise on a damaged file has no common base, and may span several lines.
        reason = " ".join(str(error).split())[:160]
        raise expected("file", str(path), f"a readable .npz of plain arrays ({reason})", "write it anew") from None


def prepare_directory(path: Path) -> Path:
    """Create the directory if need be and check that files can be created in it, before any work is done.

    Raises:
        InputError: it cannot be created or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise expected(
            "output directory", str(path), f"a writable directory ({error.strerror})", "choose another"
        ) from None


def text_field(name: str, value: Any) -> str:
    """A string that was read from a file; TypeError if it is none."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}, not a string")
    return value


def number_field(name: str, value: Any) -> float:
    """A finite number that was read from a file; TypeError if it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(float(value)):
        raise TypeError(f"{name} is {value!r}, not a finite number")
    return float(value)


def check_axes(
    arrays: Mapping[str, Any],
    axes: Mapping[str, str],
    *,
    longer: Mapping[str, str] | None = None,
    integers: tuple[str, ...] = ("order", "t"),
) -> None:
    """Raise ValueError unless the arrays are numeric and their shapes belong together.

    Args:
        arrays: by name.
        axes: a letter for each axis of each array; equal letters stand for equal lengths. No array is empty along its
            first axis.
        longer: axes of arrays that have a last axis of more than 1 besides.
        integers: names of those that hold integers; all others hold floats.
    """
    sizes: dict[str, int] = {}
    for name, letters in axes.items():
        array, more = arrays[name], (longer or {}).get(name, "")
        if more and array.ndim == len(more) and array.shape[-1] > 1:
            letters = more
        fits = array.ndim == len(letters) and array.dtype.kind in ("iu" if name in integers else "f")
        fits = fits and len(array) > 0
        pairs = zip(letters, array.shape, strict=True) if fits else ()
        if not fits or any(sizes.setdefault(axis, size) != size for axis, size in pairs):
            raise ValueError(f"{name} has shape {array.shape} and dtype {array.dtype}")
