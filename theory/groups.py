r"""Sampled groups: what the update expects when the success probability is estimated from G outputs.

Of G outputs drawn from the policy, k are right, ``k ~ Binomial(G, p)``. With advantages ``A_g`` by any published
convention (``theory.advantages``), the update is ``(1/G) sum_g A_g grad log pi(o_g)``, where
``grad log pi(o) = x_o - E_pi x``. Its expectation is a multiple of the gradient (claim ``X-GROUP``):

    E[update] = w_G(p) grad J,    w_G(p) = E[ khat (1 - khat) / (std_k + eps) ] / V,    khat = k / G,  V = p q.

``Group`` holds the left-hand side, by enumerating all ``K^G`` draws; :func:`group_weight` is the right-hand side.
"""

from __future__ import annotations

from functools import cached_property
from itertools import combinations_with_replacement, product
from math import comb, factorial, prod
from typing import Any

import numpy as np

from theory.advantages import PRESETS, Convention
from theory.errors import expected
from theory.exact import as_balls, is_exact
from theory.points import Point
from theory.policy import Array, PolicyState
from theory.rules import Rule

__all__ = ["Group", "group_rule", "group_weight", "pair_of_advantages"]

# Draws that are enumerated at most: 4^4.
DRAWS = 256


def _divisor(right: int, size: int, convention: Convention, unit: Any) -> Any:
    """Standard deviation (plus eps) of ``right`` ones among ``size`` binary rewards; 1 without scaling."""
    if convention.scale == "batch":
        raise expected("scale", "batch", "none or group", "a batch has no expectation of its own for one prompt")
    if convention.scale == "none":
        return unit
    spread = unit * (right * (size - right)) / (size * (size - convention.ddof))
    return spread**0.5 + convention.eps


def pair_of_advantages(right: int, size: int, convention: Convention, unit: Any = 1.0) -> tuple[Any, Any]:
    """Advantage of a right and of a wrong output in a group with ``right`` right ones.

    The same numbers as ``theory.advantages`` (which cannot run on balls), for binary rewards: ``(r - b) / (s + eps)``.

    Args:
        right: k, from 0 to ``size``.
        size: G, at least 2 (1 will do without baseline and scale).
        convention: with scale ``none`` or ``group``.
        unit: the number 1 in the arithmetic that is wanted: a float or a ball.
    """
    wrong = size - right
    if convention.baseline == "none":
        vanishes = convention.scale == "group" and not 0 < right < size and convention.zero_variance == "zero"
        return 0 * unit if vanishes else unit / _divisor(right, size, convention, unit), 0 * unit
    if not 0 < right < size:
        # All rewards equal the mean: zero by definition, or 0 / eps. A mean of the others leaves 0 too.
        return 0 * unit, 0 * unit
    over = unit * (size - 1 if convention.baseline == "leave_one_out" else size)
    divisor = _divisor(right, size, convention, unit)
    return wrong / over / divisor, -right / over / divisor


def group_weight(p: Any, q: Any, size: int, convention: Convention = PRESETS["paper"]) -> Any:
    r"""``w_G(p)`` with ``E[update] = w_G(p) grad J``, for floats and balls of any shape.

    ``w_G = sum_{k=1}^{G-1} C(G, k) p^{k-1} q^{G-k-1} A_k`` with ``A_k`` the expected length of the update along the
    gap, ``khat (1 - khat) / (std_k + eps)`` with the group mean as baseline. Without baseline
    ``w_G = sum_{k=1}^G C(G, k) p^{k-1} q^{G-k} khat A_right``, 1 if nothing is scaled. A sum of positive terms: no
    digits are lost, and nothing is divided by V.

    Args:
        p: success probability.
        q: failure probability.
        size: G, at least 2 (1 will do without baseline and scale).
        convention: with scale ``none`` or ``group``.
    """
    # One number in the arithmetic of p: the lengths do not depend on p.
    unit = np.ravel(p)[0] * 0 + 1
    total = 0 * p
    if convention.baseline == "none":
        for k in range(1, size + 1):
            length = pair_of_advantages(k, size, convention, unit)[0] * k / size
            total = total + comb(size, k) * p ** (k - 1) * q ** (size - k) * length
        return total
    for k in range(1, size):
        # k A_right / G (or as well -(G - k) A_wrong / G) is the length along the gap.
        length = pair_of_advantages(k, size, convention, unit)[0] * k / size
        total = total + comb(size, k) * p ** (k - 1) * q ** (size - k - 1) * length
    return total


def group_rule(size: int, convention: Convention = PRESETS["paper"]) -> Rule:
    """The rule that moves by the expectation of the sampled update: ``weight = w_G``.

    Raises:
        InputError: a group of fewer than 2 outputs, which has no standard deviation.
    """
    if size < 2:
        raise expected("group size G", size, "at least 2", "sample more outputs per prompt")

    def weight(p: Any, q: Any) -> Any:
        return group_weight(p, q, size, convention)

    return Rule(f"group:{size}", weight, rf"w_{{{size}}}(p)", "whynorm, X-GROUP")


class Group(Point):
    """A point at which groups of ``size`` outputs are sampled. All of it is in balls, also on a float instance.

    Attributes:
        size: G of the instance.
        enumerated: the largest G' <= G with ``K^G' <= 256`` draws (at least 2).
    """

    def __init__(self, instance: Any) -> None:
        """Take the arrays and the group size."""
        super().__init__(instance)
        self.size = int(instance.group)
        outputs = self.features.shape[1]
        self.enumerated = max([size for size in range(2, self.size + 1) if outputs**size <= DRAWS], default=2)

    @cached_property
    def exact_state(self) -> PolicyState:
        """The policy in balls."""
        features, theta = self.features, self.instance.theta
        if not is_exact(features):
            features, theta = as_balls(features), as_balls(theta)
        return self.state_at(theta, features)

    @property
    def variance(self) -> Array:
        """``V_i = p_i q_i`` in balls, shape ``(n,)``."""
        return self.exact_state.variance

    def weight(self, convention: Convention = PRESETS["paper"], *, size: int | None = None) -> Array:
        """``w_G(p_i)`` by the binomial formula, ``(n,)``; G is that of the instance if not given."""
        state = self.exact_state
        return np.asarray(group_weight(state.p, state.q, self.size if size is None else size, convention))

    @cached_property
    def _draws(self) -> Array:
        """``E[ #(output j in the group) ; k of the group are right ]``, ``(n, G' + 1, K)``, over all ``K^G'`` draws."""
        policy, size = self.exact_state.policy, self.enumerated
        table = as_balls(np.zeros((len(policy), size + 1, policy.shape[1])))
        for i, rewards in enumerate(self.rewards):
            for draw in product(range(policy.shape[1]), repeat=size):
                chance = np.prod(policy[i, list(draw)])
                for output in draw:
                    table[i, rewards[list(draw)].sum(), output] += chance
        return table

    def expected_update(self, convention: Convention) -> Array:
        """``E[(1/G') sum_g A_g (x_{o_g} - E_pi x)]`` from its definition, ``(n, d)``, with ``G' = enumerated``."""
        state, size = self.exact_state, self.enumerated
        unit = as_balls(1.0)[()]
        pairs = [pair_of_advantages(k, size, convention, unit) for k in range(size + 1)]
        updates = []
        for i, is_right in enumerate(state.is_right):
            score = state.features[i] - (state.policy[i] @ state.features[i])[None, :]
            weights = sum(np.where(is_right, *pair) * row for pair, row in zip(pairs, self._draws[i], strict=True))
            updates.append((weights / size) @ score)
        return np.array(updates, dtype=object)

    def failure_odds_after(self, convention: Convention, eta: Any) -> Array:
        """``E[q' / p']`` after one sampled step ``theta + eta (1/G') sum_g A_g (x_{o_g} - E_pi x)``, ``(n,)`` balls.

        Over all multisets of ``G' = enumerated`` outputs, each with its multinomial probability.
        """
        state, size = self.exact_state, self.enumerated
        theta = self.instance.theta if is_exact(self.instance.theta) else as_balls(self.instance.theta)
        draws = list(combinations_with_replacement(range(state.policy.shape[1]), size))
        counts = np.array([[draw.count(j) for j in range(state.policy.shape[1])] for draw in draws])
        orders = [factorial(size) // prod(factorial(int(c)) for c in row) for row in counts]
        unit, means = as_balls(1.0)[()], []
        for x, pi, answer, is_right in zip(state.features, state.policy, self.answers, state.is_right, strict=True):
            pairs = [pair_of_advantages(int(k), size, convention, unit) for k in counts[:, is_right].sum(axis=1)]
            weights = np.array([np.where(is_right, *pair) for pair in pairs], dtype=object) * counts / size
            after = theta + eta * (weights @ (x - (pi @ x)[None, :]))
            logits = after @ x.T
            weights = np.exp(logits - logits[:, [answer]])
            odds = weights[:, ~is_right].sum(axis=1) / weights[:, is_right].sum(axis=1)
            chances = np.array([np.prod(pi[list(draw)]) for draw in draws], dtype=object) * orders
            means.append(np.sum(chances * odds))
        return np.array(means, dtype=object)

    def weighted_gradient(self, convention: Convention) -> Array:
        """``w_G'(p_i) grad J_i``, ``(n, d)``: what :meth:`expected_update` must equal."""
        return self.weight(convention, size=self.enumerated)[:, None] * self.exact_state.gradient
