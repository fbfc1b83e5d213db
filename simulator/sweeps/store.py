"""Where results lie: ``results/ENGINE/TASK.parquet`` below the sweep's directory, and who may write there.

A file is written under another name, flushed and renamed, so that it is whole or absent. Damaged files are moved to
``damaged/``, never deleted. One coordinator at a time holds a lock that the kernel frees when its process ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from simulator.files import atomic, target_of
from simulator.locks import held
from simulator.sweeps.pack import DamagedFileError, unpack
from simulator.sweeps.runspec import ID_LENGTH
from theory.errors import expected

__all__ = ["Store"]

_RESULT = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}\.parquet")


class Store:
    """The result files of one engine below a directory.

    Args:
        directory: of the sweep; need not exist to be read.
        engine: version of the engine.
    """

    def __init__(self, directory: Path, engine: str) -> None:
        """Remember the place."""
        self.directory, self.engine = directory, engine
        self.results = directory / "results" / engine

    def path(self, task: str) -> Path:
        """File of a task."""
        return self.results / f"{task}.parquet"

    def tasks(self) -> set[str]:
        """Ids of all tasks that have a file, intact or not; none where there is no directory yet.

        Raises:
            InputError: something else is in its place, or it cannot be read.
        """
        try:
            return {name.removesuffix(".parquet") for name in _names(self.results) if name.endswith(".parquet")}
        except FileNotFoundError:
            return set()
        except OSError as error:
            wanted = f"a readable directory ({error.strerror})"
            raise expected("results directory", str(self.results), wanted, "choose another with --out") from None

    def write(self, task: str, content: bytes) -> None:
        """Commit a task's file; writing it twice is harmless, as the bytes are the same."""
        with atomic(self.path(task)) as handle:
            handle.write(content)

    def read(self, task: str) -> bytes:
        """Bytes of a task's file.

        Raises:
            DamagedFileError: it cannot be read.
        """
        try:
            # Opening a pipe would wait for somebody to write into it.
            if self.path(task).exists() and not self.path(task).is_file():
                raise DamagedFileError("it is no regular file")
            return self.path(task).read_bytes()
        except OSError as error:
            raise DamagedFileError(f"{error.strerror}") from None

    def table(self, task: str) -> pa.Table:
        """Rows of a task, verified.

        Raises:
            DamagedFileError: they are not what was written.
        """
        return unpack(self.read(task), task, self.engine)

    def digest(self, task: str) -> str:
        """SHA-256 of a file's bytes: told apart from a changed file without decoding it."""
        return hashlib.sha256(self.read(task)).hexdigest()

    def set_aside(self, task: str) -> Path:
        """Move a damaged file out of the way, under a name that is free.

        Raises:
            InputError: the directory cannot be written.
        """
        folder = self.directory / "damaged"
        try:
            folder.mkdir(exist_ok=True)
            taken = set(_names(folder))
            name = next(name for i in range(len(taken) + 1) if (name := f"{task}.{i}.parquet") not in taken)
            os.replace(self.path(task), folder / name)
        except OSError as error:
            raise expected("damaged files", str(folder), f"a writable place ({error.strerror})", "make room") from None
        return folder / name

    def other_engines(self) -> dict[str, int]:
        """Number of runs kept of every other engine version; files that cannot be read count for nothing."""
        found = {}
        for folder in sorted(self.results.parent.glob("*/")):
            if folder != self.results:
                found[folder.name] = sum(_rows(path) for path in folder.glob("*.parquet"))
        return {engine: runs for engine, runs in found.items() if runs}

    def clear_leftovers(self) -> None:
        """Remove what killed writers left behind; only for the holder of the lock.

        Whatever else lies there is somebody's: ``--out`` may well be a directory with other things in it.
        """
        with contextlib.suppress(OSError), os.scandir(self.results) as entries:
            for entry in entries:
                if _RESULT.fullmatch(target_of(entry.name) or "") and entry.is_file(follow_symlinks=False):
                    os.unlink(entry.path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Create the directory and be its only coordinator.

        Raises:
            InputError: it cannot be written, or another process is at work in it.
        """
        try:
            self.results.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            wanted = f"a writable directory ({error.strerror})"
            raise expected("results directory", str(self.directory), wanted, "choose another with --out") from None
        with held(self.directory, told="results directory"):
            yield


def _names(folder: Path) -> list[str]:
    return os.listdir(folder)


def _rows(path: Path) -> int:
    try:
        return int(pq.read_metadata(path).num_rows) if path.is_file() else 0
    except (OSError, pa.ArrowException):
        return 0
