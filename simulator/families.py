"""Problem families: named recipes for problems, each saying which assumptions it satisfies.

A new family is one function with the ``@_family`` decorator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulator.problems import Floats, Problem
from simulator.random import FEATURE_STREAM, generator
from theory.errors import expected
from theory.exact import spectral_norm_sq
from theory.policy import PolicyState, logistic

__all__ = ["FAMILIES", "Family", "make_problem", "shared_skill_bound", "success_targets"]

Features = Callable[[int, int, int, np.random.Generator], Floats]


@dataclass(frozen=True)
class Family:
    """A recipe for features ``(n, K, d)``.

    Attributes:
        name: what a user types.
        summary: one line; which assumptions hold.
        features: from n, K, d and a generator.
        default_d: smallest natural d, from n and K.
        skill: strength rho of a direction that all prompts share, 0 for none; it takes the last coordinate, on which
            each right output has the feature rho and each wrong one 0.
    """

    name: str
    summary: str
    features: Features
    default_d: Callable[[int, int], int]
    skill: float = 0.0


FAMILIES: dict[str, Family] = {}


def _family(
    name: str, summary: str, default_d: Callable[[int, int], int], skill: float = 0.0
) -> Callable[[Features], Features]:
    def register(features: Features) -> Features:
        FAMILIES[name] = Family(name, summary, features, default_d, skill)
        return features

    return register


def _blocks(n: int, outputs: int, d: int, draw: Callable[[int], Floats]) -> Floats:
    """Give each prompt d // n coordinates of its own, so that ``X_i X_j^T = 0`` exactly."""
    width = d // n
    if width < outputs:
        raise expected("d", d, f"at least n K = {n * outputs} for orthogonal prompts", "raise --d or lower --n, --k")
    features = np.zeros((n, outputs, d))
    for i in range(n):
        features[i, :, i * width : (i + 1) * width] = draw(width)
    return features


@_family(
    "orthogonal", "Gaussian features on the prompt's own coordinates; Assumption 2 holds exactly", lambda n, k: n * k
)
def _orthogonal(n: int, outputs: int, d: int, rng: np.random.Generator) -> Floats:
    return _blocks(n, outputs, d, lambda width: rng.standard_normal((outputs, width)) / np.sqrt(width))


@_family(
    "shared-skill",
    "as orthogonal, plus a direction that helps every prompt; Assumption 4 holds with the M of shared_skill_bound",
    lambda n, k: n * k + 1,
    skill=0.5,
)
def _shared_skill(n: int, outputs: int, d: int, rng: np.random.Generator) -> Floats:
    features = np.zeros((n, outputs, d))
    features[:, :, :-1] = _orthogonal(n, outputs, d - 1, rng)
    return features


@_family("tabular", "one free logit per output (X_max = 1); Assumption 2 holds exactly", lambda n, k: n * k)
def _tabular(n: int, outputs: int, d: int, rng: np.random.Generator) -> Floats:
    return _blocks(n, outputs, d, lambda width: np.eye(outputs, width))


@_family("gaussian", "Gaussian features shared by all prompts; Assumption 2 fails", lambda n, k: n * k)
def _gaussian(n: int, outputs: int, d: int, rng: np.random.Generator) -> Floats:
    return rng.standard_normal((n, outputs, d)) / np.sqrt(d)


def shared_skill_bound(problem: Problem, state: PolicyState) -> float:
    r"""The least M of Assumption 4 at one state of a ``shared-skill`` problem, in closed form.

    There ``grad J_i . grad J_j = V_i V_j rho^2`` and ``||X_i grad J_j||^2 = V_j^2 rho^4``, hence
    ``M = max_{i != j} (V_j / V_i) rho^2 / ||X_i||^2``: at most 1 for prompts of equal variance, and it grows with R2^2.

    Args:
        problem: of the family, n >= 2.
        state: the policy of its prompts.
    """
    sizes = np.array([float(spectral_norm_sq(x)) for x in problem.features])
    ratio = state.variance[None, :] / state.variance[:, None] / sizes[:, None]
    others = ~np.eye(problem.n, dtype=bool)
    return float(ratio[others].max()) * FAMILIES["shared-skill"].skill ** 2


def success_targets(n: int, low: float, high: float) -> Floats:
    """n success probabilities from ``low`` to ``high``, evenly spaced in log-odds.

    Raises:
        InputError: not 0 < low <= high < 1.
    """
    if not 0 < low <= high < 1:
        raise expected("p0", f"{low}:{high}", "0 < LOW <= HIGH < 1", "e.g. 0.2 or 0.05:0.9")
    ends = [np.log(p) - np.log1p(-p) for p in (low, high)]
    return logistic(np.linspace(ends[0], ends[1], n))[0]


def make_problem(
    name: str, n: int, outputs: int, d: int | None = None, *, p0: npt.ArrayLike = 0.2, seed: int = 0
) -> Problem:
    """A problem of a family, started where prompt i succeeds with probability ``p0[i]``.

    At the start all wrong outputs of a prompt are equally likely.

    Args:
        name: of the family.
        n: number of prompts.
        outputs: K.
        d: number of features; the family's default if None.
        p0: success probabilities in (0, 1), a number or ``(n,)``.
        seed: of the features.

    Raises:
        InputError: unknown family, a size out of range, p0 not in (0, 1), or no theta0 reaches p0.
    """
    if name not in FAMILIES:
        raise expected("problem family", name, f"one of {', '.join(FAMILIES)}", "pick one, or use --problem FILE.npz")
    for label, value, least in (("n", n, 1), ("K", outputs, 2)):
        if value < least:
            raise expected(label, value, f"at least {least}", "raise it")
    if d is not None and d < 1:
        raise expected("d", d, "at least 1", "raise --d")
    family = FAMILIES[name]
    rng = generator(seed, stream=FEATURE_STREAM)
    features = family.features(n, outputs, family.default_d(n, outputs) if d is None else d, rng)
    answers = rng.integers(0, outputs, size=n)
    if family.skill:
        features[np.arange(n), answers, -1] = family.skill
    start = _start(p0, n)
    if not ((start > 0) & (start < 1)).all():
        raise expected("p0", np.asarray(p0).tolist(), "probabilities strictly between 0 and 1", "e.g. 0.2")
    theta0 = _theta_for(features, answers, start)
    return Problem(features, answers, theta0, name=name)


def _start(p0: npt.ArrayLike, n: int) -> Floats:
    try:
        return np.broadcast_to(np.asarray(p0, dtype=np.float64), (n,))
    except (TypeError, ValueError):
        raise expected("p0", p0, f"a probability, or {n} of them, one per prompt", "e.g. 0.2") from None


def _theta_for(features: Floats, answers: npt.NDArray[np.int64], p0: Floats) -> Floats:
    """Least-norm theta at which the right output has log-odds ``log(p0 / (1 - p0))`` and the wrong ones tie."""
    n, outputs, d = features.shape
    logits = np.zeros((n, outputs))
    logits[np.arange(n), answers] = np.log(p0) - np.log1p(-p0) + np.log(outputs - 1)
    theta, *_ = np.linalg.lstsq(features.reshape(-1, d), logits.ravel(), rcond=None)
    error = float(np.abs(features.reshape(-1, d) @ theta - logits.ravel()).max())
    if error > 1e-6 * max(1.0, float(np.abs(logits).max())):
        raise expected("d", d, f"at least n K = {n * outputs} so that some theta0 has the asked p0", "raise --d")
    return np.asarray(theta, dtype=np.float64)
