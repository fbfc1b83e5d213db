"""The manifest: an index of the result files in SQLite, owned by one coordinator. Losing it loses nothing.

It remembers what the files cannot say (which tasks failed, how long the others took) and the digest of every file that
was verified, so that a file's bytes need only be hashed the next time.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from theory.errors import InputError, expected

__all__ = ["Entry", "Manifest"]

NAME = "manifest.sqlite"
# Codes that speak of the place, not of the file: no permission, in use, no memory, read-only, I/O, full, no directory.
_NOT_ITS_FAULT = (
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
)


@dataclass(frozen=True)
class Entry:
    """What is known of a task.

    Attributes:
        task: its id.
        state: ``done`` or ``failed``.
        runs: number of runs.
        bytes: size of its file.
        digest: SHA-256 of its file.
        seconds: that it took, 0 if not known.
        error: why it failed.
    """

    task: str
    state: str
    runs: int
    bytes: int = 0
    digest: str = ""
    seconds: float = 0.0
    error: str = ""


_COLUMNS = ", ".join(field.name for field in fields(Entry))
_CREATE = f"CREATE TABLE IF NOT EXISTS tasks ({_COLUMNS}, PRIMARY KEY (task)) WITHOUT ROWID"


class Manifest:
    """The index below a directory, open for writing; only for the holder of the directory's lock.

    Args:
        directory: of the sweep.
        say: told if the file is damaged and made anew.
    """

    def __init__(self, directory: Path, say: Callable[[str], None] = lambda line: None) -> None:
        """Open it; a damaged one is moved aside and started anew.

        Raises:
            InputError: it cannot be opened for another reason, such as a full disk.
        """
        self._path = path = directory / NAME
        try:
            self._database = _open(path)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NOT_ITS_FAULT:
                raise _unwritable(path, error) from None
            _move_aside(path)
            say(f"the manifest was damaged ({error}): kept as damaged/{NAME}, and made anew from the result files")
            self._database = _open(path)

    def entries(self) -> dict[str, Entry]:
        """All entries by task."""
        return _entries(self._database)

    def put(self, entries: Iterable[Entry]) -> None:
        """Add or replace entries, in one transaction.

        Raises:
            InputError: there is no room left, or the like.
        """
        marks = ", ".join("?" * len(fields(Entry)))
        try:
            with self._database:
                self._database.executemany(f"REPLACE INTO tasks VALUES ({marks})", map(astuple, entries))
        except sqlite3.OperationalError as error:
            raise _unwritable(self._path, error) from None

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @staticmethod
    def peek(directory: Path) -> dict[str, Entry]:
        """Entries for somebody who only looks, whether or not a coordinator is at work; none if they cannot be read."""
        path = directory / NAME
        # Opening a pipe would wait for somebody to write into it.
        if not path.is_file():
            return {}
        for options in ("mode=ro", "mode=ro&immutable=1"):
            with contextlib.suppress(sqlite3.Error, ValueError, TypeError):
                database = sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True)
                with contextlib.closing(database):
                    return _entries(database)
        return {}


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path)
    try:
        # What a power cut may take from the log is found again in the result files.
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(_CREATE)
        if database.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise sqlite3.DatabaseError("its pages do not fit together")
        _entries(database)
        return database
    except BaseException as error:
        database.close()
        if isinstance(error, (ValueError, TypeError)):
            raise sqlite3.DatabaseError(str(error)) from None
        raise


def _entries(database: sqlite3.Connection) -> dict[str, Entry]:
    rows = database.execute(f"SELECT {_COLUMNS} FROM tasks")
    found = {}
    for row in rows:
        entry = Entry(*row)
        numbers = (entry.runs, entry.bytes, entry.seconds)
        if not all(isinstance(number, (int, float)) for number in numbers) or not isinstance(entry.digest, str):
            raise ValueError("an entry is not what was written")
        found[entry.task] = entry
    return found


def _unwritable(path: Path, error: sqlite3.Error) -> InputError:
    return expected("manifest", str(path), f"a writable place ({error})", "make room; what is done is kept")


def _move_aside(path: Path) -> None:
    folder = path.parent / "damaged"
    folder.mkdir(exist_ok=True)
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}{suffix}", folder / f"{path.name}{suffix}")
