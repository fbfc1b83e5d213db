r"""X-GROUP: the expected update of a sampled group of G outputs is ``w_G(p) grad J``, and how large ``w_G`` is.

``w_G(p) = E sqrt(khat (1 - khat)) / V`` with ``k ~ Binomial(G, p)``, ``khat = k / G``. All sides are evaluated in
balls of at least 128 bits, because several of the bounds are attained.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flint

from theory.advantages import PRESETS
from theory.assumptions import UNIQUE_ANSWER
from theory.claim import Claim, Link
from theory.claims import _group_proofs as proofs
from theory.exact import as_balls, precision
from theory.groups import Group
from theory.policy import Array

__all__ = ["CLAIMS"]


def _precise(side: Callable[[Group], Array]) -> Callable[[Group], Array]:
    """The side, evaluated with at least 128 bits."""

    def evaluated(group: Group) -> Array:
        with precision(max(flint.ctx.prec, 128)):
            return side(group)

    return evaluated


def _root(numerator: int, denominator: int = 1) -> Any:
    """``sqrt(numerator / denominator)`` as a ball."""
    return (as_balls(float(numerator))[()] / denominator) ** 0.5


def _equation(preset: str, multiple: Callable[[Group], Array] | None = None) -> Link:
    """The definition of the expected update against ``w_G grad J``, or against a simple multiple of grad J."""
    convention = PRESETS[preset]
    right = multiple or (lambda group: group.weighted_gradient(convention))
    return Link(preset, "==", _precise(lambda group: group.expected_update(convention)), _precise(right))


def _jensen(group: Group) -> Array:
    return _root(group.size - 1, group.size) / group.variance**0.5


def _lower(group: Group) -> Array:
    g, v = group.size, group.variance
    return _jensen(group) * (1 - 1 / (2 * g * v) + as_balls(2.0 * g - 3)[()] / (g * (g - 1)))


def _unbiased(group: Group, more: int) -> Array:
    """``sqrt(G / (G - 1)) w_G``, that is ``E[std with ddof = 1] / V``, for G + more outputs."""
    size = group.size + more
    return _root(size, size - 1) * group.weight(size=size)


def _floor(group: Group) -> Array:
    return as_balls(2.0 * (group.size - 1))[()] / group.size + 0 * group.variance


def _ceiling(group: Group) -> Array:
    return _root(group.size - 1) + 0 * group.variance


def _claim(part: str, proof: Callable[[str], Any], *links: Link, **fields: Any) -> Claim:
    name = f"X-GROUP-{part}" if part else "X-GROUP"
    sides: dict[str, Any] = {"chain": links}
    if len(links) == 1:
        sides = {"relation": links[0].relation, "left": links[0].left, "right": links[0].right}
    return Claim(
        id=name,
        source="whynorm",
        place="sampled groups",
        scope="group",
        assumptions=(UNIQUE_ANSWER,),
        proof=partial(proof, name),
        **sides,
        **fields,
    )


_EXPECTED = r"\mathbb E\Big[\tfrac1G\sum_{g}A_g\nabla\log\pi(o_g)\Big]"
_WEIGHT = _precise(lambda group: group.weight())

_EQUATIONS = (
    _claim(
        "",
        partial(proofs.expectation, preset="paper"),
        _equation("paper"),
        title="expected update of a group, divided by its std",
        statement=(
            rf"{_EXPECTED} = w_G(p)\,\nabla J, \quad "
            r"w_G(p) = \frac{\mathbb E\sqrt{\hat k(1-\hat k)}}{V}, \quad G\hat k\sim\mathrm{Bin}(G,p)"
        ),
        remark="Left: all K^G draws, advantages and grad log pi by definition. A group without variance gives 0.",
    ),
    _claim(
        "DDOF1",
        partial(proofs.expectation, preset="trl"),
        _equation("trl"),
        _equation("verl"),
        _equation("openrlhf"),
        title="the same with std over G - 1, plus eps, as trainers have it",
        statement=(
            rf"{_EXPECTED} = w\,\nabla J, \quad w = \frac1V\,\mathbb E\frac{{\hat k(1-\hat k)}}"
            r"{\sqrt{\hat k(1-\hat k)\,G/(G-1)}+\varepsilon}"
        ),
        remark="TRL (eps = 1e-4), verl (1e-6) and OpenRLHF (1e-9). With eps = 0, w = sqrt((G - 1) / G) w_G.",
    ),
    _claim(
        "EPS",
        partial(proofs.expectation, preset="grpo_zero"),
        _equation("grpo_zero"),
        title="the same with std over G, plus eps",
        statement=(
            rf"{_EXPECTED} = w\,\nabla J, \quad w = \frac1V\,\mathbb E\frac{{\hat k(1-\hat k)}}"
            r"{\sqrt{\hat k(1-\hat k)}+\varepsilon}"
        ),
        remark="GRPO-Zero has eps = 1e-4.",
    ),
    _claim(
        "MEAN",
        partial(proofs.unscaled, preset="dr_grpo"),
        _equation("dr_grpo", lambda group: group.exact_state.gradient * (group.enumerated - 1) / group.enumerated),
        title="without std: the group mean as baseline shortens the gradient",
        statement=rf"A_g = r_g-\bar r: \quad {_EXPECTED} = \frac{{G-1}}{{G}}\,\nabla J",
        remark="Dr. GRPO: an output is part of its own baseline, which costs one part in G.",
    ),
    _claim(
        "BASELINE",
        partial(proofs.unscaled, preset="rloo"),
        _equation("rloo", lambda group: group.exact_state.gradient),
        title="without std: leave-one-out is unbiased",
        statement=rf"A_g = r_g-\tfrac1{{G-1}}\sum_{{h\ne g}}r_h: \quad {_EXPECTED} = \nabla J",
        remark="RLOO, for every G from 2 on.",
    ),
)
_BOUNDS = (
    _claim(
        "BOUND",
        proofs.bound,
        Link("floor", ">=", _WEIGHT, _precise(_floor)),
        Link("ceiling", "<=", _WEIGHT, _precise(_ceiling)),
        title="a group cannot amplify by more than sqrt(G - 1)",
        statement=r"\frac{2(G-1)}{G} \le w_G(p) \le \sqrt{G-1}",
        remark="Both attained: the floor for G = 2, the ceiling for G = 2 and 3, and as p -> 0 for every G.",
    ),
    _claim(
        "JENSEN",
        proofs.jensen,
        Link("", "<=", _WEIGHT, _precise(_jensen)),
        title="a group amplifies less than the exact standard deviation",
        statement=r"w_G(p) \le \sqrt{\frac{G-1}{G}}\,\frac{1}{\sqrt V}",
        remark="Below V = 1 / G the bound sqrt(G - 1) of X-GROUP-BOUND is the smaller one.",
    ),
    _claim(
        "LIMIT",
        proofs.limit,
        Link("at least", ">=", _WEIGHT, _precise(_lower)),
        Link("at most", "<=", _WEIGHT, _precise(_jensen)),
        title="the weight of a group tends to 1 / sqrt(V), with a rate",
        statement=(
            r"\sqrt{\tfrac{G-1}{G}}\Big(1-\frac{1}{2GV}+\frac{2G-3}{G(G-1)}\Big) \le \sqrt V\,w_G(p) "
            r"\le \sqrt{\tfrac{G-1}{G}}"
        ),
        remark="The distance from 1 is O(1 / (G V)): a group sees a prompt's std once G is large against 1 / V.",
    ),
    _claim(
        "MONOTONE",
        proofs.monotone,
        Link("", "<=", _precise(partial(_unbiased, more=0)), _precise(partial(_unbiased, more=1))),
        title="the weight grows with the group",
        statement=r"\sqrt{\tfrac{G}{G-1}}\,w_G(p) \le \sqrt{\tfrac{G+1}{G}}\,w_{G+1}(p)",
        remark="Stronger than w_G <= w_{G+1}. Leave one output out and average: Jensen.",
    ),
)
CLAIMS = _EQUATIONS + _BOUNDS
