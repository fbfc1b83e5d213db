r"""X-UNSCALED: Theorem 3.4 without the ratios of Assumption 5: ``R1`` and ``R2`` are at least 1 but otherwise free.

The one-step inequality fails then: a prompt may lose when another one is drawn. But what it loses is of second order,
because Assumption 4 holds again after the step; added up, it is too little to harm the sum and the rate with K = 2
outputs; in the first 50 000 000 f^2 steps (300 000 f^2 with several right outputs); in the first 1400 f^2 / Lambda
passes over the prompts, Lambda the largest sum of |cosines| of one gradient with all; and where for each prompt l at
most 2 000 000 f others i (2500 f) share features with it and ever have ``5 sqrt(V_i) < V_l``, as the rest take nothing.
Whether it can with more of them, longer runs and K > 2 is open.
"""

from __future__ import annotations

from typing import Any

from theory.assumptions import BOUNDED_STD, INTERACTION, UNIQUE_ANSWER
from theory.claim import Claim, Link
from theory.claims._runs import gain, running_min
from theory.claims._unscaled_proofs import step_proof
from theory.claims._unscaled_sides import (
    all_losses,
    all_losses_bound,
    covered,
    descent,
    drawn,
    from_start,
    least,
    min_bound,
    other_gain,
    own_bound,
    paired,
    step_size,
    sum_bound,
)
from theory.claims._unscaled_sums import (
    FEW_OTHERS,
    FEW_STEPS,
    MOST_OTHERS,
    MOST_PASSES,
    MOST_STEPS,
    descent_proof,
    min_proof,
    sum_proof,
)
from theory.rules import GRPO

__all__ = ["CLAIMS"]


_SETTING = r"\eta = \frac{1}{2fX_{\max}^2}, \quad f = \max(1,\tfrac{5M}8): \quad "
_WHERE = (
    rf"\quad\text{{ for }} K = 2, \ N \le {MOST_OTHERS}f, \ T \le {MOST_STEPS}f^2 "
    rf"\text{{ (several right outputs: }} {FEW_OTHERS}f, {FEW_STEPS}f^2\text{{) or }} T \le {MOST_PASSES}nf^2/\Lambda, "
    r"\quad N = \max_l \#\{i \ne l: X_iX_l^\top \ne 0, \ 5\sqrt{V_i} < V_l \text{ at a visited } \theta\}, "
    r"\quad \Lambda = \max_{i, \theta \text{ visited}} \sum_j |\cos(\nabla J_i, \nabla J_j)|"
)
_GRADIENT = r"\mathbb E\|\nabla J_l(\theta_t)\|^2"
_REMARK = "The same proof holds for every f = max(R1, 5M/8) R2 with R1, R2 at least 1, whatever they say of the run."
_MANY = f"{_REMARK} So R1 = N / {MOST_OTHERS} or more is enough for any number of prompts with one right output each."


def _claim(part: str, **fields: Any) -> Claim:
    return Claim(
        id=f"X-UNSCALED-{part}", source="whynorm", scope="interacting", rule=GRPO, step_size=step_size, **fields
    )


_STEP = _claim(
    "STEP",
    place="App. E.2 with any R1, R2 of at least 1",
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
        + r"\quad \sum_{i \ne l} \max(0, -\Delta_l) \le \tfrac{\Lambda}{95f^2}V_l^3, "
        + r"\quad \Lambda = \max_i \sum_j |\cos(\nabla J_i, \nabla J_j)|, "
        + r"\quad i \text{ drawn}, l \ne i, \Delta = J(\theta_{t+1}) - J(\theta_t)"
    ),
    chain=(
        Link("the drawn prompt", ">=", lambda run: drawn(run, lambda _, own: own), own_bound),
        Link(
            "another prompt, from both ends of the step",
            ">=",
            other_gain,
            lambda run: least(run, lambda v_i, v_l, own: 3 * v_l * own / 100),
        ),
        Link("another prompt, from the start", ">=", other_gain, lambda run: least(run, from_start)),
        Link(
            "another prompt, one right output",
            ">=",
            other_gain,
            lambda run: least(run, lambda v_i, v_l, own: v_i * own / 60),
        ),
        Link(
            "another prompt, K = 2",
            ">=",
            lambda run: paired(run, other_gain(run)),
            lambda run: paired(run, 0 * other_gain(run)),
        ),
        Link(
            "another prompt, whatever the drawn one gains",
            ">=",
            other_gain,
            lambda run: least(run, lambda v_i, v_l, own: v_l * v_i**1.5 / 39, power=2),
        ),
        Link(
            "another prompt, one right output, whatever the drawn one gains",
            ">=",
            other_gain,
            lambda run: least(run, lambda v_i, v_l, own: v_i**2.5 / 72, power=2),
        ),
        Link("all other prompts together", ">=", all_losses, all_losses_bound),
    ),
    assumptions=(UNIQUE_ANSWER, INTERACTION),
    proof=step_proof,
    remark=_REMARK,
)
_RUNS = (
    _claim(
        "DESCENT",
        place="Theorem 3.4 with any R1, R2 of at least 1",
        title="GRPO with interaction and two outputs, one step",
        statement=(
            _SETTING
            + r"\mathbb E[J_l(\theta_{t+1})] - \mathbb E[J_l(\theta_t)] \ge "
            + rf"\frac{{3\,{_GRADIENT}}}{{16nfX_{{\max}}^2C_{{l,t}}}} \quad\text{{ for }} K = 2"
        ),
        relation=">=",
        left=lambda run: paired(run, gain(run)),
        right=lambda run: paired(run, descent(run)),
        assumptions=(UNIQUE_ANSWER, BOUNDED_STD, INTERACTION),
        proof=descent_proof,
        remark=(
            f"{_REMARK} So it holds for any K where 5 sqrt(V_i) >= V_l for all i, l (X-UNSCALED-STEP). "
            "False for K = 3: theory/counterexamples/P-T34-DESCENT-FIXED.A5.json."
        ),
    ),
    _claim(
        "SUM",
        place="Theorem 3.4 with any R1, R2 of at least 1",
        title="GRPO with interaction, cumulative bound, two outputs, few prompts or few steps",
        statement=(
            _SETTING
            + rf"\sum_{{t<T}}{_GRADIENT} \le 2nf(1-\pi^*_{{\theta_0}}(l))X_{{\max}}^2\cdot\tfrac83\max_{{t<T}}C_{{l,t}}"
            + _WHERE
        ),
        relation="<=",
        left=lambda run: covered(run, run.grad_sq[:-1].cumsum(axis=0)),
        right=lambda run: covered(run, sum_bound(run)),
        assumptions=(UNIQUE_ANSWER, BOUNDED_STD, INTERACTION),
        proof=sum_proof,
        remark=_MANY,
    ),
    _claim(
        "MIN",
        place="Theorem 3.4 with any R1, R2 of at least 1",
        title="GRPO with interaction, rate, two outputs, few prompts or few steps",
        statement=(
            _SETTING
            + rf"\min_{{t<T}}{_GRADIENT} \le \frac{{2nf(1-\pi^*_{{\theta_0}}(l))X_{{\max}}^2}}{{T}}"
            + rf"\cdot\frac{{8}}{{3T}}\sum_{{t<T}}C_{{l,t}}{_WHERE}"
        ),
        relation="<=",
        left=lambda run: covered(run, running_min(run.grad_sq[:-1])),
        right=lambda run: covered(run, min_bound(run)),
        assumptions=(UNIQUE_ANSWER, BOUNDED_STD, INTERACTION),
        proof=min_proof,
        remark=_MANY,
    ),
)
CLAIMS = (_STEP, *_RUNS)
