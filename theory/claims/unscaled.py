r"""X-UNSCALED: Theorem 3.4 without Assumption 5, that is with ``R1`` and ``R2`` at least 1 but otherwise free.

The one-step inequality fails then: a prompt may lose when another one is drawn. But what it loses is of second order,
because Assumption 4 holds again after the step; added up, it is too little to harm the sum and the rate with K = 2
outputs, in the first 50 000 000 f^2 steps (300 000 f^2 with several right outputs), and where for each prompt l at
most 2 000 000 f others i (2500 f) share features with it and ever have ``5 sqrt(V_i) < V_l``; the rest take nothing.
Whether it can with more of them, longer runs and K > 2 is open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from theory.assumptions import BOUNDED_STD, INTERACTION, UNIQUE_ANSWER
from theory.claim import Claim, Link
from theory.claims._runs import gain, running_max, running_min, steps_column
from theory.claims._unscaled_proofs import step_proof
from theory.claims._unscaled_sums import (
    FEW_OTHERS,
    FEW_STEPS,
    MOST_OTHERS,
    MOST_STEPS,
    descent_proof,
    min_proof,
    sum_proof,
)
from theory.exact import maximum
from theory.policy import Array
from theory.rules import GRPO

__all__ = ["CLAIMS"]


def _factor(constants: Any) -> Any:
    """``max(1, 5M/8)``, the least f that Theorem 3.4 allows: R1 = R2 = 1."""
    return max(1.0, 5 * constants.M / 8)


def _step_size(constants: Any) -> Any:
    return 1 / (2 * _factor(constants) * constants.x_max_sq)


def _has_pairs(run: Any) -> bool:
    return bool(run.features.shape[1] == 2)


def _paired(run: Any, side: Array) -> Array:
    """The side where a claim about K = 2 outputs speaks; else nothing."""
    return side if _has_pairs(run) else side[:0]


def _covered(run: Any, side: Array) -> Array:
    """The rows T = 1, 2, ... of a side where the claim speaks: all with K = 2 or few other prompts, else the first.

    Runs of prompts that interact have one right output each. No more than n - 1 others take something from a prompt.
    """
    factor = float(_factor(run.constants))
    if _has_pairs(run) or run.n - 1 <= MOST_OTHERS * factor:
        return side
    return side[: int(MOST_STEPS * factor**2)]


def _scale(run: Any) -> Any:
    return run.n * _factor(run.constants) * run.x_max_sq


def _descent(run: Any) -> Array:
    return np.asarray(3 * run.grad_sq[:-1] / (16 * _scale(run) * run.std_bound[:-1]))


def _room(run: Any) -> Array:
    """``2 n f (1 - p0) X_max^2 8/3`` for every T, ``(T, n)``."""
    return np.asarray(16 * _scale(run) * run.q[0] / 3 + 0 * run.grad_sq[:-1])


def _sum_bound(run: Any) -> Array:
    return _room(run) * running_max(run.std_bound[:-1])


def _min_bound(run: Any) -> Array:
    return _room(run) * run.std_bound[:-1].cumsum(axis=0) / steps_column(run) ** 2


def _drawn(run: Any, side: Callable[[Any, Array], Array]) -> Array:
    """A side for the drawn prompts, from each state and the gains ``[state, drawn, observed]`` of its n steps."""
    own = np.arange(run.n)
    parts = [side(level, change[:, own, own]) for level, change in zip(run.levels, run.drawn_gain, strict=False)]
    return np.concatenate([np.ravel(part) for part in parts])


def _others(run: Any, side: Callable[..., Array]) -> Array:
    """A side for all pairs of a drawn prompt i and another one l: of V_i, V_l, the gain of i and that of l."""
    drawn, observed = np.nonzero(~np.eye(run.n, dtype=bool))
    parts = [
        side(level.variance[:, drawn], level.variance[:, observed], change[:, drawn, drawn], change[:, drawn, observed])
        for level, change in zip(run.levels, run.drawn_gain, strict=False)
    ]
    return np.concatenate([np.ravel(part) for part in parts])


def _own_bound(run: Any) -> Array:
    scale = 40 * _factor(run.constants) * run.x_max_sq
    return _drawn(run, lambda level, _: 17 * level.grad_sq / (scale * level.variance**0.5))


def _other_gain(run: Any) -> Array:
    return _others(run, lambda v_i, v_l, own, other: other)


def _least(run: Any, taken: Callable[..., Array], power: int = 1) -> Array:
    """Minus what another prompt can lose: what ``taken`` gives of V_i, V_l and the gain of i, over ``f^power``."""
    factor = _factor(run.constants) ** power
    return _others(run, lambda v_i, v_l, own, other: -taken(v_i, v_l, own) / factor)


def _from_start(v_i: Array, v_l: Array, own: Array) -> Array:
    std = v_i**0.5
    return np.asarray(own * maximum(v_l - 5 * std, 0 * v_l) / (6 * std))


_SETTING = r"\eta = \frac{1}{2fX_{\max}^2}, \quad f = \max(1,\tfrac{5M}8): \quad "
_WHERE = (
    rf"\quad\text{{ for }} K = 2, \ N \le {MOST_OTHERS}f \text{{ or }} T \le {MOST_STEPS}f^2 "
    rf"\text{{ (several right outputs: }} {FEW_OTHERS}f, {FEW_STEPS}f^2\text{{)}}, "
    r"\quad N = \max_l \#\{i \ne l: X_iX_l^\top \ne 0, \ 5\sqrt{V_i} < V_l \text{ at a visited } \theta\}"
)
_GRADIENT = r"\mathbb E\|\nabla J_l(\theta_t)\|^2"
_REMARK = "The same proof holds for every f = max(R1, 5M/8) R2 with R1, R2 at least 1, whatever they say of the run."
_MANY = f"{_REMARK} So R1 = N / {MOST_OTHERS} or more is enough for any number of prompts with one right output each."


def _claim(part: str, **fields: Any) -> Claim:
    return Claim(
        id=f"X-UNSCALED-{part}", source="whynorm", scope="interacting", rule=GRPO, step_size=_step_size, **fields
    )


_STEP = _claim(
    "STEP",
    place="App. E.2 without Assumption 5",
    title="GRPO with interaction: what a step gives and takes",
    statement=(
        _SETTING
        + r"\Delta_i \ge \frac{17\,\|\nabla J_i\|^2}{40fX_{\max}^2\sqrt{V_i}}, \quad "
        + r"\Delta_l \ge -\tfrac{3}{100f}V_l\,\Delta_i, \quad "
        + r"\Delta_l \ge -\tfrac1{6f}\max(0,\tfrac{V_l}{\sqrt{V_i}}-5)\,\Delta_i, "
        + r"\quad \Delta_l \ge 0 \text{ if } K = 2, "
        + r"\quad \Delta_l \ge -\tfrac1{60f}V_i\,\Delta_i \text{ if one output is right}, "
        + r"\quad \Delta_l \ge -\tfrac1{39f^2}V_l V_i^{3/2}, "
        + r"\quad \Delta_l \ge -\tfrac1{72f^2}V_i^{5/2} \text{ if one output is right}, "
        + r"\quad i \text{ drawn}, l \ne i, \Delta = J(\theta_{t+1}) - J(\theta_t)"
    ),
    chain=(
        Link("the drawn prompt", ">=", lambda run: _drawn(run, lambda _, own: own), _own_bound),
        Link(
            "another prompt, from both ends of the step",
            ">=",
            _other_gain,
            lambda run: _least(run, lambda v_i, v_l, own: 3 * v_l * own / 100),
        ),
        Link("another prompt, from the start", ">=", _other_gain, lambda run: _least(run, _from_start)),
        Link(
            "another prompt, one right output",
            ">=",
            _other_gain,
            lambda run: _least(run, lambda v_i, v_l, own: v_i * own / 60),
        ),
        Link(
            "another prompt, K = 2",
            ">=",
            lambda run: _paired(run, _other_gain(run)),
            lambda run: _paired(run, 0 * _other_gain(run)),
        ),
        Link(
            "another prompt, whatever the drawn one gains",
            ">=",
            _other_gain,
            lambda run: _least(run, lambda v_i, v_l, own: v_l * v_i**1.5 / 39, power=2),
        ),
        Link(
            "another prompt, one right output, whatever the drawn one gains",
            ">=",
            _other_gain,
            lambda run: _least(run, lambda v_i, v_l, own: v_i**2.5 / 72, power=2),
        ),
    ),
    assumptions=(UNIQUE_ANSWER, INTERACTION),
    proof=step_proof,
    remark=_REMARK,
)
_RUNS = (
    _claim(
        "DESCENT",
        place="Theorem 3.4 without Assumption 5",
        title="GRPO with interaction and two outputs, one step",
        statement=(
            _SETTING
            + r"\mathbb E[J_l(\theta_{t+1})] - \mathbb E[J_l(\theta_t)] \ge "
            + rf"\frac{{3\,{_GRADIENT}}}{{16nfX_{{\max}}^2C_{{l,t}}}} \quad\text{{ for }} K = 2"
        ),
        relation=">=",
        left=lambda run: _paired(run, gain(run)),
        right=lambda run: _paired(run, _descent(run)),
        assumptions=(UNIQUE_ANSWER, BOUNDED_STD, INTERACTION),
        proof=descent_proof,
        remark=(
            f"{_REMARK} So it holds for any K where 5 sqrt(V_i) >= V_l for all i, l (X-UNSCALED-STEP). "
            "False for K = 3: theory/counterexamples/P-T34-DESCENT-FIXED.A5.json."
        ),
    ),
    _claim(
        "SUM",
        place="Theorem 3.4 without Assumption 5",
        title="GRPO with interaction, cumulative bound, two outputs, few prompts or few steps",
        statement=(
            _SETTING
            + rf"\sum_{{t<T}}{_GRADIENT} \le 2nf(1-\pi^*_{{\theta_0}}(l))X_{{\max}}^2\cdot\tfrac83\max_{{t<T}}C_{{l,t}}"
            + _WHERE
        ),
        relation="<=",
        left=lambda run: _covered(run, run.grad_sq[:-1].cumsum(axis=0)),
        right=lambda run: _covered(run, _sum_bound(run)),
        assumptions=(UNIQUE_ANSWER, BOUNDED_STD, INTERACTION),
        proof=sum_proof,
        remark=_MANY,
    ),
    _claim(
        "MIN",
        place="Theorem 3.4 without Assumption 5",
        title="GRPO with interaction, rate, two outputs, few prompts or few steps",
        statement=(
            _SETTING
            + rf"\min_{{t<T}}{_GRADIENT} \le \frac{{2nf(1-\pi^*_{{\theta_0}}(l))X_{{\max}}^2}}{{T}}"
            + rf"\cdot\frac{{8}}{{3T}}\sum_{{t<T}}C_{{l,t}}{_WHERE}"
        ),
        relation="<=",
        left=lambda run: _covered(run, running_min(run.grad_sq[:-1])),
        right=lambda run: _covered(run, _min_bound(run)),
        assumptions=(UNIQUE_ANSWER, BOUNDED_STD, INTERACTION),
        proof=min_proof,
        remark=_MANY,
    ),
)
CLAIMS = (_STEP, *_RUNS)
