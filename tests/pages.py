"""What README.md and docs/ tell, for tests that hold their numbers to the results they come from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
_WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_NUMBER = r"[+\-−]?\d{1,3}(?:[ ,]\d{3})+(?!\d)|[+\-−]?\d+(?:\.\d+)?(?:e[+\-]?\d+)?|\b(?:" + "|".join(_WORDS) + r")\b"


@cache
def page(name: str) -> str:
    """The text of ``README`` or of a page of docs/."""
    return (ROOT / "README.md" if name == "README" else ROOT / "docs" / f"{name}.md").read_text()


@cache
def stored(name: str) -> Any:
    """A JSON file under benchmarks/results/."""
    return json.loads((RESULTS / name).read_text())


@cache
def recorded(folder: str) -> np.ndarray:
    """Success probabilities along a stored run, ``(snapshots, n)``."""
    with np.load(RESULTS / folder / "record.npz", allow_pickle=False) as record:
        return record["J"]


def section(name: str, heading: str) -> str:
    """The part of a page under a heading, up to the next one of the same depth or less."""
    depth = heading.split()[0]
    _, found, rest = page(name).partition(f"\n{heading}\n")
    assert found, f"{name} has no heading {heading!r}"
    return re.split(rf"^#{{1,{len(depth)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str, first: str) -> Iterator[list[str]]:
    """Cells of the rows below the header that starts with these cells, such as ``"claim | printed"``."""
    lines = iter(text.splitlines())
    assert any(line.startswith(f"| {first} |") for line in lines), f"no table {first!r}"
    next(lines)
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def numbers(text: str) -> list[str]:
    """All numbers of a text, as they are written; words up to twelve are numbers."""
    return re.findall(_NUMBER, text)


def close(told: str, value: float) -> bool:
    """Whether a written number is the value to the digits that it shows, of which at least two count."""
    if told in _WORDS:
        return _WORDS.index(told) == value
    mantissa, _, exponent = told.replace(",", "").replace(" ", "").replace("−", "-").partition("e")
    digits = mantissa.strip("+-")
    decimals = len(digits.partition(".")[2])
    zeros = 0 if decimals else min(len(digits) - len(digits.rstrip("0")), max(len(digits) - 2, 0))
    scale = 10.0 ** int(exponent or 0)
    return abs(float(mantissa) * scale - value) <= 0.5001 * scale * 10.0 ** (zeros - decimals)


def assert_told(told: Iterable[str], values: Iterable[float], where: str) -> None:
    """Each written number is the value beside it."""
    for written, value in zip(told, values, strict=True):
        assert close(written, float(value)), f"{where}: {written} is told of {value}"


def said(name: str, words: str) -> list[str]:
    """The numbers at the places ``#`` of words that a page says exactly once."""
    pattern = re.escape(" ".join(words.split())).replace(r"\#", f"({_NUMBER})").replace("\\ ", " ")
    found = list(re.finditer(pattern, " ".join(page(name).split())))
    assert len(found) == 1, f"{name} says {len(found)} times: {words}"
    return list(found[0].groups())


def holds(name: str, words: str, *values: float) -> None:
    """The numbers at the places ``#`` of words that a page says once are the values, in this order."""
    assert_told(said(name, words), values, f"{name}: {words}")


def pass_rates(folder: str) -> dict[str, float]:
    """Pass rate of each question of a stored split."""
    text = (RESULTS / folder / "split.jsonl").read_text()
    return {line["name"]: line["rate"] for line in map(json.loads, text.splitlines())}
