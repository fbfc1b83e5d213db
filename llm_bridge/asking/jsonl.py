"""JSON lines: read with the line named that cannot be used, and appended so that a kill loses one line at most."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from theory.errors import expected

__all__ = ["append_line", "drop_torn_line", "read_lines"]


def read_lines(path: Path, keys: Mapping[str, type | tuple[type, ...]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and content of every line that is not blank.

    Args:
        path: the file, UTF-8.
        keys: what every line must hold, with the types allowed.

    Raises:
        InputError: the file cannot be read, holds no line, or a line is no JSON object with these keys.
    """
    count = 0
    try:
        handle = path.open(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        # A null byte in a name is a ValueError.
        reason = getattr(error, "strerror", None) or str(error)
        raise expected("file", str(path), f"a readable file ({reason})", "check its name") from None
    with handle:
        try:
            for number, line in enumerate(handle, start=1):
                if line.strip():
                    count += 1
                    yield number, _object(path, number, line, keys)
        except UnicodeDecodeError as error:
            raise expected("file", str(path), f"UTF-8 text ({error.reason})", "convert it") from None
    if count == 0:
        raise expected("file", str(path), "at least one line of JSON", "it is empty; choose another")


def _object(path: Path, number: int, line: str, keys: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    place = f"line {number} of {path}"
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", type(error).__name__)
        raise expected(place, line.strip()[:60], f"JSON ({reason})", "correct that line") from None
    if not isinstance(content, dict):
        raise expected(place, content, "a JSON object", "write {...} with the keys of the schema")
    for key, types in keys.items():
        if key not in content:
            raise expected(place, sorted(content), f"an object with the key {key!r}", "add it, or take another task")
        if not isinstance(content[key], types) or isinstance(content[key], bool):
            raise expected(f"{key} in {place}", content[key], _named(types), "correct that line")
    return content


def _named(types: type | tuple[type, ...]) -> str:
    words = {str: "a string", list: "a list", int: "an integer", float: "a number", dict: "an object"}
    return " or ".join(words[each] for each in (types if isinstance(types, tuple) else (types,)))


def append_line(path: Path, content: Mapping[str, Any]) -> None:
    """Append one object as a line and flush it to disk; NaN and infinity are refused, as they are not JSON."""
    line = json.dumps(content, allow_nan=False) + "\n"
    try:
        with path.open("ab") as handle:
            handle.write(line.encode())
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        raise expected("output file", str(path), f"a writable place ({error.strerror})", "choose another") from None


def drop_torn_line(path: Path) -> None:
    """Cut off an unfinished last line, which is what a writer that was killed in the middle of one leaves."""
    if not path.exists():
        return
    with path.open("r+b") as handle:
        content = handle.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            handle.truncate(whole)
