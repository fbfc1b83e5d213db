"""Problem families: named recipes for problems, each saying which assumptions it satisfies (``simulator.recipes``)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from simulator.closed_forms import shared_skill_bound
from simulator.difficulty import success_targets
from simulator.problems import Floats, Problem
from simulator.random import FEATURE_STREAM, generator
from simulator.recipes import FAMILIES, Family, Layout
from theory.errors import expected

__all__ = ["FAMILIES", "Family", "family_strength", "make_problem", "shared_skill_bound", "success_targets"]


def make_problem(
    name: str,
    n: int,
    outputs: int,
    d: int | None = None,
    *,
    p0: npt.ArrayLike = 0.2,
    seed: int = 0,
    strength: float | None = None,
) -> Problem:
    """A problem of a family, started where prompt i succeeds with probability ``p0[i]``.

    At the start all wrong outputs of a prompt are equally likely, unless the family says otherwise (``drifting``).

    Args:
        name: of the family.
        n: number of prompts.
        outputs: K.
        d: number of features; the family's default if None.
        p0: success probabilities in (0, 1), a number or ``(n,)``.
        seed: of the features.
        strength: rho of the family; its default if None.

    Raises:
        InputError: unknown family, a size out of range, p0 not in (0, 1), or no theta0 reaches p0.
    """
    if name not in FAMILIES:
        raise expected("problem family", name, f"one of {', '.join(FAMILIES)}", "pick one, or use --problem FILE.npz")
    family = FAMILIES[name]
    for label, value, least in (("n", n, 1), ("K", outputs, family.least_outputs)):
        if value < least:
            raise expected(label, value, f"at least {least}", "raise it")
    if d is not None and d < 1:
        raise expected("d", d, "at least 1", "raise --d")
    rho = family_strength(family, strength)
    rng = generator(seed, stream=FEATURE_STREAM)
    layout = Layout(n, outputs, family.default_d(n, outputs) if d is None else d, rho, rng)
    features = family.features(layout)
    start = _start(p0, n)
    if not ((start > 0) & (start < 1)).all():
        raise expected("p0", np.asarray(p0).tolist(), "probabilities strictly between 0 and 1", "e.g. 0.2")
    wrong = np.zeros((n, outputs)) if family.wrong_start is None else family.wrong_start(layout)
    return Problem(features, layout.answers, _theta_for(features, layout.answers, start, wrong), name=name)


def family_strength(family: Family, strength: float | None) -> float:
    """The strength rho that a family is made with: the given one, its default, or 0 if it has none.

    Raises:
        InputError: the family has no strength, or it is out of range.
    """
    if strength is None:
        return family.default_strength or 0.0
    if family.default_strength is None:
        having = [name for name, other in FAMILIES.items() if other.default_strength is not None]
        raise expected("strength", strength, f"nothing for {family.name}", f"only {', '.join(having)} have one")
    if not family.least_strength <= strength < family.most_strength:
        wanted = f"from {family.least_strength:g} to below {family.most_strength:g} for {family.name}"
        raise expected("strength", strength, wanted, f"e.g. {family.default_strength:g}")
    return float(strength)


def _start(p0: npt.ArrayLike, n: int) -> Floats:
    try:
        return np.broadcast_to(np.asarray(p0, dtype=np.float64), (n,))
    except (TypeError, ValueError):
        raise expected("p0", p0, f"a probability, or {n} of them, one per prompt", "e.g. 0.2") from None


def _theta_for(features: Floats, answers: npt.NDArray[np.int64], p0: Floats, wrong: Floats) -> Floats:
    """Least-norm theta at which the right output has log-odds ``log(p0 / (1 - p0))``.

    Args:
        features: ``(n, K, d)``.
        answers: ``(n,)``.
        p0: ``(n,)``.
        wrong: logits of the wrong outputs, ``(n, K)``; what it holds for the right ones is not looked at.
    """
    n, outputs, d = features.shape
    rows, logits = np.arange(n), wrong.copy()
    logits[rows, answers] = -np.inf
    right = np.log(p0) - np.log1p(-p0) + np.log(np.sum(np.exp(logits), axis=1))
    logits[rows, answers] = right
    theta, *_ = np.linalg.lstsq(features.reshape(-1, d), logits.ravel(), rcond=None)
    error = float(np.abs(features.reshape(-1, d) @ theta - logits.ravel()).max())
    if error > 1e-6 * max(1.0, float(np.abs(logits).max())):
        raise expected("d", d, f"at least n K = {n * outputs} so that some theta0 has the asked p0", "raise --d")
    return np.asarray(theta, dtype=np.float64)
