"""X-GRPO-LATE: C at the step's end, after the prompt's own step; false with a larger constant than what that leaves."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.checks import build_context
from simulator.dropped import without
from simulator.families import make_problem
from theory.assumptions import SCALE
from theory.certificates import digest
from theory.checker import CertificateError, check
from theory.claim import Claim
from theory.claims import load_registry
from theory.hypotheses import basis
from theory.instances import Instance
from theory.judge import Counterexample, failed_assumptions, recheck
from theory.known import kept_instance
from theory.rules import GRPO

REGISTRY = load_registry()
LATE, INTERACTING = (REGISTRY[f"X-GRPO-LATE{part}"] for part in ("", "-INTERACTING"))


@given(st.floats(-30, 30), st.integers(2, 6), st.integers(0, 10**6))
def test_a_prompt_s_own_step_leaves_three_quarters_of_its_deviation(log_odds: float, outputs: int, seed: int) -> None:
    problem = make_problem("gaussian", 1, outputs, d=outputs, p0=1 / (1 + np.exp(-log_odds)), seed=seed)
    eta = float(GRPO.step_size(problem.x_max_sq))  # type: ignore[misc]
    before = problem.at(problem.theta0)
    std = np.sqrt(before.p * before.q)
    after = problem.at(problem.theta0 + eta * before.gradient[0] / std[0])
    assert np.sqrt(after.p * after.q) >= np.exp(-std / 2) * std * (1 - 1e-9)


def test_it_has_the_index_that_is_printed_and_the_repaired_form_another() -> None:
    for claim, printed in ((LATE, "P-T32-DESCENT"), (INTERACTING, "P-T34-DESCENT")):
        run = build_context(claim, _pair())
        side, repaired = np.asarray(claim.right(run)), np.asarray(REGISTRY[f"{printed}-FIXED"].right(run))
        np.testing.assert_array_equal(side, -np.asarray(REGISTRY[printed].right(run)))
        assert (side < repaired).any()


def _pair() -> Instance:
    problem = make_problem("orthogonal", 2, 3, p0=[0.2, 0.7], seed=1)
    return Instance(problem.features, problem.answers, problem.theta0, np.ones(problem.d), np.zeros(problem.d), 4)


def test_a_constant_above_one_half_is_refuted() -> None:
    """Of a slow prompt near its threshold C hardly changes, and its gain is 1/2 ||grad||^2 / (n X^2 C)."""
    features = np.array([[[0.1], [-0.1]], [[0.0], [0.0]]])
    features = np.concatenate([features, np.array([[[0.0], [0.0]], [[1.0], [-1.0]]])], axis=2)
    slow = Instance(features, np.array([0, 0]), np.zeros(2), np.ones(2), np.zeros(2), 3)
    more = replace(LATE, right=lambda run: LATE.right(run) * 2.7, proof=None)
    assert recheck(LATE, build_context, slow) is True
    assert isinstance(recheck(more, build_context, slow), Counterexample)


def test_without_assumption_5_another_prompt_may_lose() -> None:
    kept, drop = kept_instance("X-GRPO-LATE-INTERACTING.A5"), without(INTERACTING, SCALE)[0]
    assert kept is not None
    assert failed_assumptions(drop.claim, drop.build(drop.claim, kept)) == ()
    assert isinstance(recheck(drop.claim, drop.build, kept), Counterexample)
    assert basis(INTERACTING, REGISTRY).assumptions == {"A3", "A4", "A5"}


@pytest.mark.parametrize("claim", [LATE, INTERACTING], ids=lambda claim: claim.id)
def test_the_checker_rejects_a_proof_that_c_falls_less(claim: Claim) -> None:
    assert claim.proof is not None
    text = json.dumps(claim.proof().to_json())
    check(json.loads(text))
    for true, false in (('"4/3"', '"5/4"'), ("17*G/(40", "17*G/(36"), ("c/160", "c/80")):
        changed = json.loads(text.replace(true, false))
        assert true in text
        # The digest is made to fit: the mathematics must be what is rejected.
        with pytest.raises(CertificateError, match="does not hold"):
            check({**changed, "sha256": digest(changed)})
