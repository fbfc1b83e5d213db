"""Appendix D, the displays that sum over a run: after (20), eqs. (23) and (24)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from theory.assumptions import BOUNDED_STD, ORTHOGONAL, UNIQUE_ANSWER
from theory.claim import Claim, Link
from theory.claims import _orthogonal_proofs as proofs
from theory.claims._runs import gain
from theory.policy import Array
from theory.rules import GRPO, REINFORCE

__all__ = ["CLAIMS"]


def _rise(run: Any) -> Array:
    """``E J_l(theta_T) - J_l(theta_0)`` for every T."""
    return run.gain.cumsum(axis=0)


def _weighted_sum(run: Any) -> Array:
    return run.grad_sq[:-1].cumsum(axis=0) / (2 * run.n * run.x_max_sq)


def _whole(run: Any) -> Array:
    """``E ||grad J(theta_t)||^2`` of the mean objective, as a column: orthogonal gradients, so no mixed terms."""
    return run.grad_sq[:-1].sum(axis=1)[:, None] / run.n**2


def _per_prompt(run: Any) -> Array:
    return run.grad_sq[:-1]


def _bound(run: Any, squares: Any) -> Array:
    return 3 * squares(run) / (16 * run.n * run.x_max_sq * run.std_bound[:-1])


_SQUARE = r"\mathbb E\|\nabla {}(\theta_{{t-1}})\|^2"
_GLOBAL, _LOCAL = _SQUARE.format("J"), _SQUARE.format("J_l")
_INDEX = "The sum over t = 0..T-1 has the gradient at theta_{t-1}, an index of -1 at t = 0; read as theta_t."
_NO_INDEX = (
    "Printed with the gradient of J, the mean over all prompts. Where prompt l's own gradient is small, its gain is "
    "too, whatever the others' gradients are."
)

_SUM = Claim(
    id="P-STEP-D2-SUM",
    source="paper",
    place="App. D.2, after eq. (20)",
    title="REINFORCE, the gains summed",
    statement=rf"\frac1{{2nX_{{\max}}^2}}\sum_{{t=0}}^{{T-1}}{_LOCAL} \le \mathbb E[J_l(\theta_T)] - J_l(\theta_0) "
    r"\le 1 - \pi^*_{\theta_0}(l)",
    scope="expectation",
    assumptions=(UNIQUE_ANSWER, ORTHOGONAL),
    rule=REINFORCE,
    step_size=REINFORCE.step_size,
    chain=(
        Link("(20) summed", "<=", _weighted_sum, _rise),
        Link("a probability is at most 1", "<=", _rise, lambda run: run.q[0] + 0 * run.gain),
    ),
    proof=proofs.proof_sum,
    misprint=True,
    remark=_INDEX,
)

_STEP = Claim(
    id="P-STEP-23",
    source="paper",
    place="App. D.3, eq. (23)",
    title="GRPO, expected gain, as printed",
    statement=r"\mathbb E[J_l(\theta_t)] - \mathbb E[J_l(\theta_{t-1})] \ge "
    rf"\frac3{{16nX_{{\max}}^2C_{{l,t-1}}}}\,{_GLOBAL}",
    scope="expectation",
    assumptions=(UNIQUE_ANSWER, ORTHOGONAL, BOUNDED_STD),
    rule=GRPO,
    step_size=GRPO.step_size,
    relation=">=",
    left=gain,
    right=lambda run: _bound(run, _whole),
    fixed_by="P-STEP-23-FIXED",
    remark=_NO_INDEX,
)
_TOTAL = replace(
    _STEP,
    id="P-STEP-24",
    place="App. D.3, eq. (24)",
    title="GRPO, the gains summed, as printed",
    statement=r"\mathbb E[J_l(\theta_T)] - J_l(\theta_0) \ge "
    rf"\sum_{{t=0}}^{{T-1}}\frac3{{16nX_{{\max}}^2C_{{l,t}}}}\,{_GLOBAL}",
    left=_rise,
    right=lambda run: _bound(run, _whole).cumsum(axis=0),
    fixed_by="P-STEP-24-FIXED",
    remark=f"{_NO_INDEX} {_INDEX}",
)

CLAIMS = (
    _SUM,
    _STEP,
    replace(
        _STEP,
        id="P-STEP-23-FIXED",
        title="GRPO, expected gain, repaired",
        statement=_STEP.statement.replace("nabla J(", "nabla J_l("),
        right=lambda run: _bound(run, _per_prompt),
        proof=proofs.proof_23,
        fixed_by=None,
        remark="With the gradient of J_l.",
    ),
    _TOTAL,
    replace(
        _TOTAL,
        id="P-STEP-24-FIXED",
        title="GRPO, the gains summed, repaired",
        statement=_TOTAL.statement.replace("nabla J(", "nabla J_l("),
        right=lambda run: _bound(run, _per_prompt).cumsum(axis=0),
        proof=proofs.proof_24,
        fixed_by=None,
        remark=f"With the gradient of J_l. {_INDEX}",
    ),
)
