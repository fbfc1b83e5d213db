"""E-CONSISTENT: do the figures that the sources give for one and the same quantity agree? Decided in exact arithmetic.

Two figures of one quantity agree if some number is meant by both (``theory.reported``). Beside these stand figures that
exclude each other by an inequality or by what an assumption asks for; each is a check with its exact numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations
from math import comb
from typing import Any

from theory.reported import FIGURES, Figure, figures_of

__all__ = ["Check", "checks", "conflicts"]

# Rows of Table 3.
_STEPS = ("0", "260", "500")


@dataclass(frozen=True)
class Check:
    """Figures held against each other.

    Attributes:
        title: what is compared.
        figures: the printed figures, at least one.
        agree: whether they can all be true.
        reason: the exact numbers that decide.
    """

    title: str
    figures: tuple[Figure, ...]
    agree: bool
    reason: str

    @property
    def between_sources(self) -> bool:
        """Whether paper and talk are compared here, which may speak of different runs: their LoRA settings differ."""
        return len({figure.source for figure in self.figures}) > 1

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        places = [
            {"source": each.source, "place": each.place, "printed": each.printed, "quotation": each.quotation}
            for each in self.figures
        ]
        return {
            "title": self.title,
            "agree": self.agree,
            "between_sources": self.between_sources,
            "reason": self.reason,
            "figures": places,
        }


def checks() -> list[Check]:
    """All of them: quantities that are given more than once, then what follows from an inequality or an assumption."""
    return [*_repeated(), *(check() for check in _DERIVED)]


def conflicts() -> list[Check]:
    """Those whose figures cannot all be true."""
    return [check for check in checks() if not check.agree]


def _repeated() -> list[Check]:
    found = []
    for quantity in dict.fromkeys(figure.quantity for figure in FIGURES):
        given = figures_of(quantity)
        if len(given) < 2:
            continue
        apart = [(a, b) for a, b in combinations(given, 2) if not a.agrees(b)]
        told = "; ".join(f"{_said(a)} against {_said(b)}" for a, b in apart)
        found.append(Check(quantity, given, not apart, told or "one value fits all of them"))
    return found


def _said(figure: Figure) -> str:
    word = {"over": "over ", "under": "below ", "about": "about "}.get(figure.words, "")
    return f"{word}{figure.printed} ({figure.source}, {figure.place})"


def _one(quantity: str) -> Figure:
    return figures_of(quantity)[0]


def _ends(figure: Figure) -> tuple[Fraction, Fraction]:
    numbers = figure.numbers
    assert numbers is not None
    return numbers


def _talk_cosines() -> Check:
    """Jensen: ``(E |cos|)^2 <= E cos^2 = mean^2 + std^2``. The talk names no step: one that fits is enough."""
    talk = figures_of("mean of the |cosine| of Fig. 1")[1]
    least = _ends(talk)[0] ** 2
    rows = {step: (_one(f"mean cosine, step {step}"), _one(f"std of cosines, step {step}")) for step in _STEPS}
    most = {step: _ends(mean)[1] ** 2 + _ends(std)[1] ** 2 for step, (mean, std) in rows.items()}
    fits = [step for step in _STEPS if least <= most[step]]
    told = ", ".join(f"{float(most[step]):.6f} at step {step}" for step in _STEPS)
    reason = f"(E|cos|)^2 <= mean^2 + std^2 asks of {float(least):.6f} to be at most {told}: "
    reason += f"so it can be of step {' or '.join(fits)}" if fits else "so it is of none of these steps"
    figures = (talk, *(figure for row in rows.values() for figure in row))
    return Check("the talk's mean |cosine| of gradients against Table 3, any step", figures, bool(fits), reason)


def _pairs() -> Check:
    figure = _one("pairs of gradients")
    return Check(
        "pairs of 100 prompts", (figure,), Fraction(figure.printed) == comb(100, 2), f"C(100, 2) = {comb(100, 2)}"
    )


def _assumption_4(step: str) -> Check:
    """Assumption 4 asks for inner products that are not negative; can the printed row do without negative ones?

    For x in [0, 1], ``x^2 <= x``, and ``x^2 <= 1.1 x - 0.1`` from 0.1 on while ``x^2 <= 0.1 x`` below: so without
    negative cosines ``std^2 + mean^2 = E x^2 <= min(mean, 1.1 mean - 0.1 P(x >= 0.1))``.
    """
    names = ("mean cosine", "std of cosines", "share of cosine > 0", "share of |cosine| < 0.1", "M")
    mean, std, positive, small, bound = (_one(f"{name}, step {step}") for name in names)
    most_mean, far, pairs = _ends(mean)[1], 1 - _ends(small)[1], comb(100, 2)
    most = min(most_mean, Fraction(11, 10) * most_mean - Fraction(1, 10) * far)
    needed = _ends(std)[0] ** 2 + max(_ends(mean)[0], Fraction(0)) ** 2
    least = pairs - int(_ends(positive)[1] * pairs)
    reason = f"without negative cosines E cos^2 is at most {float(most):.5f}, and mean and std make it at least "
    reason += f"{float(needed):.5f}"
    if needed <= most:
        reason += f"; so it can hold, but only if at least {least} of {pairs} cosines are exactly 0"
    else:
        reason += f": some of the at least {least} pairs without cosine > 0 are negative, and have no M"
    title = f"Assumption 4 with a finite M for all pairs, step {step}"
    return Check(title, (mean, std, positive, small, bound), needed <= most, reason)


_DERIVED: tuple[Callable[[], Check], ...] = (
    _pairs,
    *(lambda step=step: _assumption_4(step) for step in _STEPS),
    _talk_cosines,
)
