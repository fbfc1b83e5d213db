"""Clear words for what pydantic refuses, and for files that are not TOML."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from theory.errors import InputError, expected

__all__ = ["read_toml", "refusal"]

_HUGE = re.compile(r"\d[\d_]{4300}")


def refusal(error: ValidationError, known: Iterable[str], place: str, key: str = "") -> InputError:
    """The first thing wrong, as one line that names the key.

    Args:
        error: what pydantic raised.
        known: the keys that exist.
        place: where the values come from: ``in FILE`` or ``on the command line``.
        key: of the value, where a single value was validated.
    """
    first = error.errors()[0]
    path = ".".join(str(part) for part in ((key,) if key else ()) + first["loc"]) or "settings"
    if first["type"] == "unexpected_keyword_argument":
        return expected(f"key {place}", path, f"one of {', '.join(known)}", "remove or rename it")
    if first["type"] == "missing":
        return expected(f"{path} {place}", "missing", "a value", "add it")
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return InputError(f"{path} {place}: {cause}")
    message = first["msg"].removeprefix("Input should be ")
    message = f"a number {message}" if message.startswith(("greater", "less")) else message
    return expected(f"{path} {place}", first["input"], message, "correct it")


def read_toml(path: Path, name: str) -> dict[str, Any]:
    """The top-level table of a TOML file.

    Args:
        path: of the file.
        name: what the file is, for messages.

    Raises:
        InputError: no such file, or not TOML; the message says where.
    """
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise expected(name, str(path), f"a readable TOML file ({error.strerror})", "check the path") from None
    except RecursionError:
        raise InputError(f"{name} {path} is not TOML that can be read: nested too deeply; correct that") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{name} {path} is not TOML: {' '.join(str(error).split())}; correct that place") from None
    except ValueError:
        # Python reads no integer of so many digits, and tomllib hands on its word, which tells no place.
        lines = path.read_text().splitlines()
        told = [f"line {i}, {line.split('=')[0].strip()[:40]}" for i, line in enumerate(lines, 1) if _HUGE.search(line)]
        place = f" ({told[0]})" if told else ""
        raise InputError(f"{name} {path} has an integer of thousands of digits{place}; correct that place") from None
