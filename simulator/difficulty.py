"""Difficulty: the distribution of the success probabilities p0 that a problem's prompts start with, down to 1e-12."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulator.random import DIFFICULTY_STREAM, generator
from theory.errors import InputError, expected
from theory.policy import logistic

__all__ = ["FORMS", "PRESETS", "Difficulty", "get_difficulty", "parse_range", "success_targets"]

Floats = npt.NDArray[np.float64]

# Where the paper's two splits of GSM8K start (section 4.4).
PRESETS = {"easy": 0.45, "hard": 0.20}
# Draws of a beta distribution beyond these become these, so that no prompt starts solved or hopeless to the last digit.
LEAST, MOST = 1e-12, 1 - 1e-12
# What a user may type, each with what it does.
FORMS = {
    "P": "every prompt starts at P, e.g. 0.2",
    "LOW:HIGH": "evenly spaced in log-odds from LOW to HIGH, e.g. 0.05:0.6",
    **{name: f"the paper's {name} split, {value:g}" for name, value in PRESETS.items()},
    "beta:A,B": f"drawn from a beta distribution, kept within {LEAST:g} and 1 - {LEAST:g}",
    "loguniform:LOW,HIGH": "drawn with log p uniform from log LOW to log HIGH, e.g. loguniform:1e-12,0.5",
}


@dataclass(frozen=True)
class Difficulty:
    """A distribution of p0.

    Attributes:
        name: what a user types.
        targets: from n and a seed to n probabilities in (0, 1); the seed matters to random ones only.
    """

    name: str
    targets: Callable[[int, int], Floats]


def success_targets(n: int, low: float, high: float) -> Floats:
    """n success probabilities from ``low`` to ``high``, evenly spaced in log-odds.

    Raises:
        InputError: not 0 < low <= high < 1.
    """
    if not 0 < low <= high < 1:
        raise expected("p0", f"{low}:{high}", "0 < LOW <= HIGH < 1", "e.g. 0.2 or 0.05:0.9")
    ends = [np.log(p) - np.log1p(-p) for p in (low, high)]
    return logistic(np.linspace(ends[0], ends[1], n))[0]


def _beta(a: float, b: float) -> Callable[[int, int], Floats]:
    def targets(n: int, seed: int) -> Floats:
        return np.clip(generator(seed, stream=DIFFICULTY_STREAM).beta(a, b, size=n), LEAST, MOST)

    return targets


def _loguniform(low: float, high: float) -> Callable[[int, int], Floats]:
    def targets(n: int, seed: int) -> Floats:
        u = generator(seed, stream=DIFFICULTY_STREAM).random(n)
        # Rounding must not carry a draw past the ends.
        return np.clip(np.exp(np.log(low) + u * (np.log(high) - np.log(low))), low, high)

    return targets


def parse_range(text: str) -> tuple[float, float]:
    """``0.2`` or ``LOW:HIGH`` as a pair.

    Raises:
        InputError: not one or two numbers.
    """
    numbers = _numbers(text, ":")
    if len(numbers) not in (1, 2):
        raise expected("p0", text, "a probability or LOW:HIGH", "e.g. 0.2 or 0.05:0.9")
    return numbers[0], numbers[-1]


def _numbers(text: str, separator: str) -> list[float]:
    try:
        return [float(part) for part in text.split(separator)]
    except ValueError:
        return []


def get_difficulty(text: str) -> Difficulty:
    """The distribution that a text names, see ``FORMS``.

    Raises:
        InputError: no such form, or numbers out of range.
    """
    if text in PRESETS:
        return Difficulty(text, lambda n, seed: np.full(n, PRESETS[text]))
    kind, colon, rest = text.partition(":")
    numbers = _numbers(rest, ",")
    if colon and kind == "beta":
        if len(numbers) != 2 or not all(0 < value < 1e6 for value in numbers):
            raise expected("p0", text, "beta:A,B with 0 < A, B < 1e6", "e.g. beta:2,5")
        return Difficulty(text, _beta(*numbers))
    if colon and kind == "loguniform":
        if len(numbers) != 2 or not 0 < numbers[0] <= numbers[1] < 1:
            raise expected("p0", text, "loguniform:LOW,HIGH with 0 < LOW <= HIGH < 1", "e.g. loguniform:1e-12,0.5")
        return Difficulty(text, _loguniform(*numbers))
    if len(_numbers(text, ":")) not in (1, 2):
        raise _unknown(text)
    low, high = parse_range(text)
    success_targets(1, low, high)
    return Difficulty(text, lambda n, seed: success_targets(n, low, high))


def _unknown(text: str) -> InputError:
    return expected("p0", text, f"one of {', '.join(FORMS)}", "e.g. 0.2, 0.05:0.9 or hard")
