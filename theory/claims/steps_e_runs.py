"""Appendix E.2, display by display: runs of GRPO where prompts interact, eqs. (32) and (33)."""

from __future__ import annotations

from functools import partial
from typing import Any

from theory.claims import _relaxed_proofs as proofs
from theory.claims._runs import gain
from theory.claims.relaxed import appendix_factor, grpo_factor
from theory.claims.steps_e_grpo import display
from theory.policy import Array

__all__ = ["CLAIMS"]


def _per_prompt(run: Any) -> Array:
    return run.grad_sq[:-1]


def _whole(run: Any) -> Array:
    """``E ||grad J(theta_t)||^2`` of the mean objective, as a column."""
    return run.total_grad_sq[:-1][:, None]


def _bound(run: Any, factor: Any, squares: Any) -> Array:
    return 3 * squares(run) / (16 * run.n * factor(run.constants) * run.x_max_sq * run.std_bound[:-1])


_claim = partial(display, scope="interacting")
_A = r"\max(R_1R_2,\tfrac M2)"
_R = r"\max(R_1,\tfrac{5M}8)R_2"


def _statement_32(factor: str, objective: str) -> str:
    square = rf"\mathbb E\|\nabla {objective}(\theta_{{t-1}})\|^2"
    return (
        r"\mathbb E[J_l(\theta_t)] - \mathbb E[J_l(\theta_{t-1})] \ge "
        rf"\frac{{3}}{{16n{factor}X_{{\max}}^2C_{{l,t-1}}}}\,{square}"
    )


def _statement_33(factor: str, objective: str) -> str:
    square = rf"\mathbb E\|\nabla {objective}(\theta_{{t-1}})\|^2"
    return (
        r"\mathbb E[J_l(\theta_T)] - J_l(\theta_0) \ge \sum_{t=0}^{T-1}"
        rf"\frac{{3}}{{16n{factor}X_{{\max}}^2C_{{l,t}}}}\,{square}"
    )


_TWO_SLIPS = (
    "Printed with the gradient of J, the mean over all prompts, in place of J_l's, and with max(R1 R2, M/2), which is "
    "smaller than what (29) has, max(R1, 5M/8) R2."
)
_REPAIRED = "With the gradient of J_l and the constant of (29)."
_INDEX = "The sum over t = 0..T-1 has the gradient at theta_{t-1}, an index of -1 at t = 0; read as theta_t."

CLAIMS = (
    _claim(
        "32",
        "GRPO with interaction, expected gain, as printed",
        _statement_32(_A, "J"),
        relation=">=",
        left=gain,
        right=lambda run: _bound(run, appendix_factor, _whole),
        fixed_by="P-STEP-32-FIXED",
        remark=_TWO_SLIPS,
    ),
    _claim(
        "32-FIXED",
        "GRPO with interaction, expected gain, repaired",
        _statement_32(_R, "J_l"),
        relation=">=",
        left=gain,
        right=lambda run: _bound(run, grpo_factor, _per_prompt),
        proof=proofs.proof_32,
        remark=_REPAIRED,
    ),
    _claim(
        "33",
        "GRPO with interaction, the gains summed, as printed",
        _statement_33(_A, "J"),
        relation=">=",
        left=lambda run: run.gain.cumsum(axis=0),
        right=lambda run: _bound(run, appendix_factor, _whole).cumsum(axis=0),
        fixed_by="P-STEP-33-FIXED",
        remark=f"{_TWO_SLIPS} {_INDEX}",
    ),
    _claim(
        "33-FIXED",
        "GRPO with interaction, the gains summed, repaired",
        _statement_33(_R, "J_l"),
        relation=">=",
        left=lambda run: run.gain.cumsum(axis=0),
        right=lambda run: _bound(run, grpo_factor, _per_prompt).cumsum(axis=0),
        proof=proofs.proof_33,
        remark=f"{_REPAIRED} {_INDEX}",
    ),
)
