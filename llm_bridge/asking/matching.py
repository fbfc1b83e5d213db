r"""When a completion is right: the numeric rule of GSM8K, and ``\boxed{}`` with mathematical equality for MATH.

Numbers. The value of a text is the first number after its last ``####``, or, where there is none, its last number. A
number has an optional sign, digits with or without commas between groups of three, an optional decimal part and an
optional exponent of at most two digits, or is a fraction ``a/b`` of two such integers. A minus counts as a sign only
where no digit, letter or closing bracket stands before it (``10-5`` holds 10 and 5). Units, ``$`` and ``%`` are not
read: ``$1,234.50``, ``1234.5 dollars`` and ``1234.50`` are one value. Values are compared exactly, as fractions.
"""

from __future__ import annotations

import re
import threading
from fractions import Fraction
from typing import Any

__all__ = ["boxed", "equal_answers", "first_number_of", "number_of"]

_INTEGER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)"
_NUMBER = re.compile(
    rf"(?:(?<![0-9A-Za-z)\]}}])[-+\u2212](?=[$.0-9]))?\$?(?:{_INTEGER}/{_INTEGER}(?![.,]?[0-9])"
    rf"|{_INTEGER}(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{{1,2}}(?![0-9]))?|\.[0-9]+)"
)
_MARK = "####"
# Longer strings of digits are no answers, and turning them into a number takes quadratic time.
_LONGEST = 300
_SECONDS = 5


def number_of(text: str) -> Fraction | None:
    """The number that a text gives as its answer, or None; see the module for the rule."""
    _, mark, after = text.rpartition(_MARK)
    found = _NUMBER.findall(after if mark else text)
    return _value(found[0 if mark else -1]) if found else None


def first_number_of(text: str) -> Fraction | None:
    """The first number of a text, or None: the answer where a reply was begun with "3 + 5 = ", whatever follows it."""
    found = _NUMBER.search(text)
    return _value(found[0]) if found else None


def _value(word: str) -> Fraction | None:
    plain = word.translate({ord("\u2212"): "-", ord("$"): None, ord(","): None})
    if len(plain) > _LONGEST:
        return None
    try:
        return Fraction(plain)
    except ZeroDivisionError:
        return None


def boxed(text: str) -> str | None:
    r"""Content of the last ``\boxed{...}`` or ``\fbox{...}``, braces balanced, or None.

    The older form ``\boxed 7`` gives what stands before the next blank or dollar sign.
    """
    start = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if start < 0:
        return None
    rest = text[start:].partition("box")[2].removeprefix("ed")
    body = rest.lstrip()
    if not body.startswith("{"):
        words = re.split(r"[\s$]", body, maxsplit=1)
        return words[0] or None if rest[:1].isspace() else None
    depth = 0
    for match in re.finditer(r"\\.|[{}]", body, flags=re.DOTALL):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return body[1 : match.start()].strip()
    return None


def equal_answers(text: str, target: str) -> bool:
    r"""Whether a completion's final answer equals ``target`` (LaTeX without ``\boxed``) mathematically.

    What math-verify cannot parse is equal only if it is the same text. Each parse and each comparison may take five
    seconds; math-verify keeps that time by a signal, so in other threads than the main one there is no limit.

    Args:
        text: a completion; its last ``\boxed{}`` counts, or, where it has none, what math-verify finds.
        target: the right answer.
    """
    answer = boxed(text)
    if answer is not None and "".join(answer.split()) == "".join(target.split()):
        return True
    from math_verify import parse, verify

    seconds: Any = _SECONDS if threading.current_thread() is threading.main_thread() else None
    right = parse(f"\\boxed{{{target}}}", parsing_timeout=seconds)
    found = parse(text if answer is None else f"\\boxed{{{answer}}}", parsing_timeout=seconds)
    return bool(right and found and verify(right, found, timeout_seconds=seconds))
