"""S-REINFORCE and S-GRPO: the talk's theorems, in which every prompt moves at every step with step size eta / n.

As printed they carry no factor n. The repaired forms carry it, take C from above as the paper does, keep the printed
indices, and assume orthogonal features: orthogonal gradients do not keep the other prompts' moves out of the
second-order term.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from theory.assumptions import BOUNDED_STD, GRADIENT_ORTHOGONAL, ORTHOGONAL, UNIQUE_ANSWER
from theory.claim import Claim
from theory.claims._runs import gain, mean_factor, running_max, running_min, steps_column
from theory.claims._talk_proofs import descent_certificate, sum_certificate
from theory.exact import maximum
from theory.policy import Array
from theory.rules import GRPO, REINFORCE, Rule

__all__ = ["CLAIMS"]


def _printed_bound(run: Any) -> Array:
    """``2 (1 - p0) X_max^2`` for every T."""
    return 2 * run.q[0] * run.x_max_sq + 0 * run.grad_sq[:-1]


def _coefficient(run: Any, rule: Rule) -> Any:
    """The a of ``gain >= a ||grad||^2 / X^2`` (over C for GRPO) with step size eta / n."""
    n = run.n
    return 3 / (8 * n) if rule is GRPO else (2 * n - 1) / (2 * n * n)


def _fixed_sum(run: Any, rule: Rule) -> Array:
    plain = run.q[0] * run.x_max_sq / _coefficient(run, rule) + 0 * run.grad_sq[:-1]
    return plain * running_max(run.std_bound[:-1]) if rule is GRPO else plain


def _fixed_min(run: Any, rule: Rule) -> Array:
    plain = run.q[0] * run.x_max_sq / (_coefficient(run, rule) * steps_column(run))
    return plain * run.std_bound[:-1].cumsum(axis=0) / steps_column(run) if rule is GRPO else plain


def _fixed_descent(run: Any, rule: Rule) -> Array:
    bound = _coefficient(run, rule) * run.grad_sq[:-1] / run.x_max_sq
    if rule is not GRPO:
        return bound
    return np.asarray(maximum(bound / run.std_bound[:-1], bound / run.std_bound[1:]))


def _claim(rule: Rule, part: str, **fields: Any) -> Claim:
    fixed = part.endswith("-FIXED")
    ours = (UNIQUE_ANSWER, ORTHOGONAL, BOUNDED_STD) if rule is GRPO else (UNIQUE_ANSWER, ORTHOGONAL)
    return Claim(
        id=f"S-{rule.name.upper()}-{part}",
        source="talk",
        place=f"Theorem (Convergence of {rule.name.upper()})",
        scope="joint",
        assumptions=ours if fixed else (UNIQUE_ANSWER, GRADIENT_ORTHOGONAL),
        rule=rule,
        step_size=rule.step_size,
        **fields,
    )


@dataclass(frozen=True)
class _Told:
    """How a theorem is told, and the pieces of its repaired forms, in LaTeX.

    Attributes:
        rule: of the theorem.
        repaired: the one-step factor that holds with step size eta / n.
        inverse: 1 over its constant, which the repaired sum and rate carry.
        one_step: the printed one-step constant.
        own: the printed one-step bound as a function of the run.
        mean: the printed factor C(i, T), empty for REINFORCE.
        largest, average: what takes its place in the sum and in the minimum.
        condition: the printed condition on C.
        reversed: what is wrong with that condition.
        more: what else is wrong with the printed sum.
        rate: what else is to be known of the printed rate.
        step: what is to be known of the repaired one-step bound.
    """

    rule: Rule
    repaired: str
    inverse: str
    one_step: str
    own: Callable[[Any], Array]
    mean: str = ""
    largest: str = ""
    average: str = ""
    condition: str = ""
    reversed: str = ""
    more: str = ""
    rate: str = ""
    step: str = ""

    @property
    def name(self) -> str:
        return self.rule.name.upper()

    @property
    def bound(self) -> str:
        return rf"{self.inverse}(1-\pi^*_{{\theta_0}}(i))X_{{\max}}^2"

    def printed_bound(self, run: Any) -> Array:
        return _printed_bound(run) * (mean_factor(run) if self.rule is GRPO else 1)


_PRINTED = r"2(1-\pi^*_{\theta_0}(i))X_{\max}^2"
_FEATURES = (
    "With the paper's Assumption 2 (orthogonal features) in place of the talk's (orthogonal gradients: S-ORTHO)."
)
_INDICES = "Printed over t = 1..T, and so it is here; over t = 0..T-1 it holds by the same proof."


def _descent_claims(told: _Told) -> tuple[Claim, Claim]:
    change, slope = r"J_i(\theta_t) - J_i(\theta_{t-1})", r"\|\nabla J_i(\theta_{t-1})\|^2"
    return (
        _claim(
            told.rule,
            "DESCENT",
            title=f"{told.name}, one step, as told",
            statement=rf"{change} \le -{told.one_step}\,{slope}{told.condition}",
            relation="<=",
            left=gain,
            right=lambda run: -told.own(run),
            fixed_by=f"S-{told.name}-DESCENT-FIXED",
            remark=f"Direction and sign are reversed, and the factor n is missing.{told.reversed}",
        ),
        _claim(
            told.rule,
            "DESCENT-FIXED",
            title=f"{told.name}, one step, repaired",
            statement=rf"{change} \ge {told.repaired}\,{slope}",
            relation=">=",
            left=gain,
            right=partial(_fixed_descent, rule=told.rule),
            proof=partial(descent_certificate, told.rule),
            remark=f"{_FEATURES} {told.step}",
        ),
    )


def _sum_claims(told: _Told) -> tuple[Claim, Claim]:
    left = r"\sum_{t=1}^{T}\|\nabla J_i(\theta_t)\|^2"
    return (
        _claim(
            told.rule,
            "SUM",
            title=f"{told.name}, cumulative bound, as told",
            statement=rf"{left} \le {_PRINTED}{told.mean}{told.condition}",
            relation="<=",
            left=lambda run: run.grad_sq[1:].cumsum(axis=0),
            right=told.printed_bound,
            fixed_by=f"S-{told.name}-SUM-FIXED",
            remark=f"With step size eta/n the sum grows with n, the printed bound does not.{told.reversed}{told.more}",
        ),
        _claim(
            told.rule,
            "SUM-FIXED",
            title=f"{told.name}, cumulative bound, repaired",
            statement=rf"{left} \le {told.bound}{told.largest}",
            relation="<=",
            left=lambda run: run.grad_sq[1:].cumsum(axis=0),
            right=partial(_fixed_sum, rule=told.rule),
            proof=partial(sum_certificate, told.rule, "SUM"),
            remark=f"{_FEATURES} {_INDICES}",
        ),
    )


def _min_claims(told: _Told) -> tuple[Claim, Claim]:
    left = r"\min_{t\in[T]}\|\nabla J_i(\theta_t)\|^2"
    return (
        _claim(
            told.rule,
            "MIN",
            title=f"{told.name}, rate, as told",
            statement=rf"{left} \le \frac{{{_PRINTED}}}{{T}}{told.mean}{told.condition}",
            relation="<=",
            left=lambda run: running_min(run.grad_sq[1:]),
            right=lambda run: told.printed_bound(run) / steps_column(run),
            fixed_by=f"S-{told.name}-MIN-FIXED",
            remark=(
                "With step size eta/n a prompt may stay where its gradient is large for about n steps."
                f"{told.reversed}{told.rate}"
            ),
        ),
        _claim(
            told.rule,
            "MIN-FIXED",
            title=f"{told.name}, rate, repaired",
            statement=rf"{left} \le \frac1T\cdot{told.bound}{told.average}",
            relation="<=",
            left=lambda run: running_min(run.grad_sq[1:]),
            right=partial(_fixed_min, rule=told.rule),
            proof=partial(sum_certificate, told.rule, "MIN"),
            remark=f"{_FEATURES} {_INDICES}",
        ),
    )


_THEOREMS = (
    _Told(
        rule=REINFORCE,
        repaired=r"\frac{2n-1}{2n^2X_{\max}^2}",
        inverse=r"\frac{2n^2}{2n-1}",
        one_step=r"\frac{1}{2X_{\max}^2}",
        own=lambda run: run.grad_sq[:-1] / (2 * run.x_max_sq),
        step="It is at least 1/(2n): the printed constant holds once it carries the factor n.",
    ),
    _Told(
        rule=GRPO,
        repaired=r"\frac{3}{8nX_{\max}^2\min(C_i(t-1),C_i(t))}",
        inverse=r"\frac{8n}{3}",
        one_step=r"\frac{3}{8X_{\max}^2 C_i(t)}",
        own=lambda run: 3 * run.grad_sq[:-1] / (8 * run.x_max_sq * run.std_bound[1:]),
        mean=r"\cdot\frac{8}{3T}\sum_{t=0}^{T-1} C_i(t)",
        largest=r"\cdot\max_{t<T} C_i(t)",
        average=r"\cdot\frac1T\sum_{t<T} C_i(t)",
        condition=r",\ \ C_i(t) \le \sqrt{V_i(\theta_t)}",
        reversed=" The condition on C is reversed, too: with C below sqrt(V), however small, no such bound can hold.",
        more=" With one prompt it fails too: the mean of C tends to 0 as T grows, the sum does not.",
        rate=" With C from above and one or two prompts it holds (S-GRPO-MIN-FIXED), as the printed 2 covers n.",
        step=(
            "With C(t), as printed: beside Assumption 2 only direction, sign, the direction of C and the factor n had "
            "to change. It holds with C(t-1), too. With sqrt(V(t-1)) in place of C the proof gives (20n-3)/(40n^2)."
        ),
    ),
)
CLAIMS = tuple(
    claim for told in _THEOREMS for part in (_descent_claims, _sum_claims, _min_claims) for claim in part(told)
)
