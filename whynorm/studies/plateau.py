"""Plateaus: steps of a hard prompt to p = 1/2 over p0, and how 1 - p falls from there, with fitted exponents.

One prompt of two outputs, ``X^2 = 1``; the power family at the step sizes of X-POWER, and GRPO with sampled groups, by
their expected update, at that of alpha = 1/2. How steps are counted, or enclosed, is in ``simulator.plateau``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from matplotlib.figure import Figure
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from simulator.plateau_study import Escape, Fit, Study, fits_enough, plateau_study
from whynorm.figures_plateau import escape_figure, rule_label, tail_figure
from whynorm.studies.study import STRICT

__all__ = ["Spec", "figures", "paragraph", "run", "size"]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Spec:
    """What the study runs.

    Attributes:
        alphas: members of the power family, from 0 to 1.
        groups: group sizes G.
        p0: starts; those of at most 1e-4, at least three, are fitted.
        limit: most steps that are counted one by one; beyond, two integrals enclose their number.
        horizon: length of the tail runs; their last two decades are fitted.
    """

    alphas: Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=1)]
    groups: list[Annotated[int, Field(ge=2, le=1000)]]
    p0: list[Annotated[float, Field(ge=1e-15, lt=0.5)]]
    limit: Annotated[int, Field(ge=0, le=10_000_000)]
    horizon: Annotated[int, Field(ge=300, le=10_000_000)]

    @model_validator(mode="after")
    def _fits(self) -> Spec:
        fits_enough(self.p0)
        return self


def size(spec: Spec) -> int:
    """Rules."""
    return len(spec.alphas) + len(spec.groups)


def run(spec: Spec, progress: Callable[[int], None]) -> dict[str, Any]:
    """``escapes``, ``tails`` and ``fits`` as :meth:`simulator.plateau_study.Study.to_json` has them."""
    study = plateau_study(spec.p0, spec.groups, spec.alphas, limit=spec.limit, horizon=spec.horizon, progress=progress)
    return study.to_json()


def _exponent(fit: Fit) -> str:
    return f"{rule_label(fit.rule)} {abs(fit.slope):.5g} ({abs(fit.predicted):.5g})"


def _exponents(fits: list[Fit], of: str) -> str:
    return ", ".join(_exponent(fit) for fit in fits if fit.of == of)


def _steps(escape: Escape) -> str:
    return f"{escape.counted if escape.counted is not None else (escape.low + escape.high) / 2:.4g}"


def paragraph(data: Mapping[str, Any]) -> str:
    """What the exponents are, from the fits."""
    study, spec = Study.from_json(data), data["spec"]
    fits = list(study.fits)
    counted = sum(escape.counted is not None for escape in study.escapes)
    hardest = min(spec["p0"])
    at_hardest = ", ".join(
        f"{rule_label(escape.rule)} {_steps(escape)}" for escape in study.escapes if escape.p0 == hardest
    )
    parts = [
        f"Steps of one prompt with two outputs from p0 to p = 1/2, p0 from {max(spec['p0']):g} to {hardest:g}; "
        f"{counted} of {len(study.escapes)} were counted one by one, the others are enclosed by two integrals. "
        "Fitted exponents, predicted ones (X-PLATEAU) in brackets.",
    ]
    for of, words in (
        ("escape", "Steps grow like 1/p0 to the power:"),
        ("escape, steps", "Steps grow like log(1/p0) times:"),
        ("tail", "From p = 1/2 on, 1 - p falls like 1/t to the power:"),
        ("tail, steps", "1 - p falls exponentially, each step by this many decades:"),
    ):
        if told := _exponents(fits, of):
            parts.append(f"{words} {told}.")
    widest = max(abs(fit.high - fit.low) / abs(fit.slope) for fit in fits)
    parts.append(f"Steps from p0 = {hardest:g}: {at_hardest}.")
    parts.append(f"The 95% intervals of the fits are at most {widest:.2g} of the exponent wide.")
    return " ".join(parts)


def figures(data: Mapping[str, Any]) -> dict[str, Figure]:
    """Steps against p0, and ``1 - p`` against t."""
    study = Study.from_json(data)
    return {"plateau_escape": escape_figure(study), "plateau_tail": tail_figure(study)}
