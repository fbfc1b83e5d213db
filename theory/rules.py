"""Update rules: one text for sympy, numpy, ball arithmetic and torch.

A rule moves theta by ``eta * weight(p, q) * grad J_i`` where ``p = J_i(theta)`` is the success probability of the
drawn prompt and ``q = 1 - p`` (always the summed probability of the wrong outputs, never ``1 - p``). Its exact form is
the plain function ``weight``, which uses operators only, so every number system runs the very same lines.

With sampled outputs a rule becomes an advantage: see ``theory.advantages``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from theory.errors import InputError, expected

__all__ = ["GRPO", "REINFORCE", "RULES", "Rule", "get_rule", "power"]


@dataclass(frozen=True)
class Rule:
    """An update rule ``theta <- theta + eta * weight(p, q) * grad J_i(theta)``.

    Attributes:
        name: what a user types.
        weight: operator-only function of ``p`` and ``q`` (scalars or arrays of any number type, both in (0, 1)).
        formula: the weight in LaTeX.
        source: where the rule comes from.
        step_size: the theorem's step size as a function of ``X_max^2``, None where no theorem of the sources speaks.
        guarantee: gain that the theorem promises the drawn prompt at that step size, as a function of
            ``||grad J||^2``, ``sqrt(V)`` and ``X_max^2``; None likewise.
    """

    name: str
    weight: Callable[[Any, Any], Any]
    formula: str
    source: str
    step_size: Callable[[Any], Any] | None = None
    guarantee: Callable[[Any, Any, Any], Any] | None = None

    def advantage(self, reward: Any, p: Any, q: Any) -> Any:
        """Exact advantage ``weight(p, q) * (reward - p)``; for GRPO this is eq. (4) of the paper.

        Args:
            reward: 0 or 1, any shape that broadcasts with ``p``.
            p: success probability.
            q: failure probability. ``reward - p`` is ``q`` for a right output and ``-p`` for a wrong one, so it is
                formed as ``reward * q - (1 - reward) * p`` and loses no digits at p -> 1.
        """
        return self.weight(p, q) * (reward * q - (1 - reward) * p)


def _reinforce_weight(p: Any, q: Any) -> Any:
    return 1


def _grpo_weight(p: Any, q: Any) -> Any:
    return (p * q) ** -0.5


def _reinforce_step(x_max_sq: Any) -> Any:
    return 1 / x_max_sq


def _reinforce_guarantee(grad_sq: Any, std: Any, x_max_sq: Any) -> Any:
    return grad_sq / (2 * x_max_sq)


def _grpo_step(x_max_sq: Any) -> Any:
    return 1 / (2 * x_max_sq)


def _grpo_guarantee(grad_sq: Any, std: Any, x_max_sq: Any) -> Any:
    return 3 * grad_sq / (16 * x_max_sq * std)


REINFORCE = Rule(
    name="reinforce",
    weight=_reinforce_weight,
    formula="1",
    source="paper, Algorithm 1, Theorem 3.1, eq. (19)",
    step_size=_reinforce_step,
    guarantee=_reinforce_guarantee,
)
GRPO = Rule(
    name="grpo",
    weight=_grpo_weight,
    formula=r"(pq)^{-1/2}",
    source="paper, Algorithm 2, Theorem 3.2, eqs. (5), (22)",
    step_size=_grpo_step,
    guarantee=_grpo_guarantee,
)


def power(alpha: Any) -> Rule:
    """The power family ``weight = (p q)^(-alpha)``: 0 is REINFORCE, 1/2 is GRPO, 1 ascends the log-odds.

    Args:
        alpha: a number in [0, 1], or a symbol.

    Raises:
        InputError: alpha is a number outside [0, 1].
    """
    if isinstance(alpha, (int, float)) and not 0 <= alpha <= 1:
        raise expected("alpha", alpha, "a number from 0 (REINFORCE) to 1 (log-odds ascent)", "choose one in that range")

    def weight(p: Any, q: Any) -> Any:
        return (p * q) ** -alpha

    return Rule(f"power:{alpha}", weight, f"(pq)^{{-{alpha}}}", "whynorm, X-POWER")


RULES: dict[str, Rule] = {rule.name: rule for rule in (REINFORCE, GRPO)}


@lru_cache(maxsize=256)
def _named_power(text: str) -> Rule:
    """One object for each name: what engines compile for a rule is kept by the rule."""
    return power(float(text))


def get_rule(name: str) -> Rule:
    """The rule called ``name``: ``reinforce``, ``grpo`` or ``power:ALPHA``.

    Raises:
        InputError: no such rule, or an ALPHA that is not a number from 0 to 1.
    """
    if name in RULES:
        return RULES[name]
    family, colon, text = name.partition(":")
    if family == "power" and colon:
        try:
            return _named_power(text)
        except InputError:
            raise
        except ValueError:
            pass
    raise expected("rule", name, f"one of {', '.join(RULES)} or power:ALPHA with ALPHA in [0, 1]", "pick one of those")
