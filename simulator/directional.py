r"""Step sizes that look at the state: how far may a step along the drawn prompt's own gradient go?

Along ``g = grad log(p/q)`` only the K numbers ``u_j = x_j . g`` matter. With ``d_j = u_j - u_a`` and the weights ``w``
of the wrong outputs, the log-odds after ``theta + tau g`` are ``L(tau) = L(0) - log E_w exp(tau d)``, concave in tau: J
rises up to the peak of L, where ``E_w [exp(tau d) d] = 0``, and is above its start while ``E_w exp(tau d) < 1``.

* ``directional`` bounds all that by the range R of ``u``: ``c ||g||^2 / R^2`` with the constants that
  X-DIRECTIONAL-REINFORCE and X-DIRECTIONAL-GRPO prove; ``R^2 / ||g||^2 <= 2 X_max^2``: no constant step goes further.
* ``peak`` goes to the peak of L, or until the log-odds have risen by ``RISE``, whichever comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from simulator.sampled import SampledRule
from theory.directional import output_range
from theory.errors import expected
from theory.policy import Array, PolicyState
from theory.rules import GRPO, REINFORCE, Rule

__all__ = ["RISE", "STATE_FORMS", "Along", "StepRule", "largest_linear", "step_rule"]

RISE = 1.0
# Step sizes that change with the state, which single runs can take.
STATE_FORMS = {
    "directional": "6 sqrt(3)/R^2 for reinforce, 4/R^2 for grpo, R the range of the outputs along the drawn gradient",
    "peak": f"to where J peaks along the drawn gradient, or its log-odds have risen by {RISE:g}; any exact rule",
}
# Halvings of the interval of log tau.
_HALVINGS = 48
_DOUBLINGS = 400


@dataclass(frozen=True)
class Along:
    """B prompts, each along its own gradient ``g`` of the log-odds.

    Attributes:
        u: ``x_j . g``, ``(B, K)``.
        wrong: distribution over the wrong outputs, 0 at the right one, ``(B, K)``.
        answers: ``(B,)``.
        p, q: ``(B,)``.
    """

    u: Array
    wrong: Array
    answers: Array
    p: Array
    q: Array

    @classmethod
    def of(cls, state: PolicyState) -> Along:
        """Of a bandit's state."""
        u = (state.features @ state.gap[:, :, None])[:, :, 0]
        return cls(u, state.odds.wrong, state.answers, state.p, state.q)

    @property
    def behind(self) -> Array:
        """``d_j = u_j - u_a``, ``(B, K)``."""
        return np.asarray(self.u - self.u[np.arange(len(self.u)), self.answers][:, None])

    @property
    def gap_sq(self) -> Array:
        """``||g||^2 = u_a - E_w u``, ``(B,)``."""
        return np.asarray(-np.sum(self.wrong * self.behind, axis=1))

    def step_size(self, rule: Rule, tau: Array) -> Array:
        """The step size with which the rule moves by ``tau g``: ``tau / (weight V)``, ``(B,)``."""
        return np.asarray(tau / (rule.weight(self.p, self.q) * self.p * self.q))


@dataclass(frozen=True)
class StepRule:
    """A step size that depends on the state.

    Attributes:
        name: what a user types, a key of ``STATE_FORMS``.
        sizes: from B prompts along their gradients to the step size of each, ``(B,)``.
    """

    name: str
    sizes: Callable[[Along], Array]


def step_rule(name: str, rule: Rule | SampledRule) -> StepRule:
    """The step size of that name for an exact rule.

    Raises:
        InputError: no such name, a sampled rule, or ``directional`` for a rule it is not proved for.
    """
    if name not in STATE_FORMS:
        raise expected("step rule", name, f"one of {', '.join(STATE_FORMS)}", "pick one of those")
    if isinstance(rule, SampledRule):
        raise expected("eta", name, f"a number for {rule.name}", "these steps are along exact gradients")
    if name == "peak":
        return StepRule(name, lambda along: along.step_size(rule, _farthest(along, _before_peak)))
    constant = {REINFORCE.name: 6 * 3**0.5, GRPO.name: 4.0}.get(rule.name)
    if constant is None:
        raise expected(
            "eta", name, "reinforce or grpo, for which it is proved", f"pass peak or a number for {rule.name}"
        )

    def sizes(along: Along) -> Array:
        square = output_range(along.u) ** 2
        # Where the gradient vanishes there is nothing to move along.
        return np.divide(constant * along.gap_sq, square, out=np.zeros_like(square), where=square > 0)

    return StepRule(name, sizes)


def largest_linear(along: Along) -> Array:
    """The largest tau up to which J along ``theta + tau g`` stays above its start, ``(B,)``; inf if it always does."""
    return _farthest(along, _above_start)


def _growth(along: Along, tau: Array) -> tuple[Array, Array]:
    """``E_w exp(tau d) - 1`` and ``E_w [exp(tau d) d]``, ``(B,)``."""
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = tau[:, None] * along.behind
        rise = np.sum(np.where(along.wrong > 0, along.wrong * np.expm1(scaled), 0.0), axis=1)
        slope = np.sum(np.where(along.wrong > 0, along.wrong * np.exp(scaled) * along.behind, 0.0), axis=1)
    return rise, slope


def _before_peak(along: Along, tau: Array) -> Array:
    rise, slope = _growth(along, tau)
    return (slope <= 0) & (rise >= np.expm1(-RISE))


def _above_start(along: Along, tau: Array) -> Array:
    return _growth(along, tau)[0] <= 0


def _farthest(along: Along, holds: Callable[[Along, Array], Array]) -> Array:
    """The largest tau of each prompt up to which a property holds that, once lost, does not come back."""
    moving = along.gap_sq > 0
    low = np.where(moving, RISE / np.where(moving, along.gap_sq, 1.0), 0.0)
    # ``tau ||g||^2 <= RISE`` rises by at most that, but may lie beyond the peak.
    for _ in range(_DOUBLINGS):
        good = holds(along, low) | ~moving
        low = np.where(good, low, low / 2)
        if good.all():
            break
    high, open_end = 2 * low, np.ones(len(low), dtype=bool)
    for _ in range(_DOUBLINGS):
        open_end = holds(along, high)
        high = np.where(open_end & np.isfinite(high), 2 * high, high)
        if not open_end.any():
            break
    low = np.maximum(low, np.where(open_end, low, high / 2))
    for _ in range(_HALVINGS):
        middle = np.sqrt(low) * np.sqrt(high)
        good = holds(along, middle)
        low, high = np.where(good, middle, low), np.where(good, high, middle)
    return np.where(moving, np.where(open_end, np.inf, low), 0.0)
