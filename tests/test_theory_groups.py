"""Sampled groups: w_G against exact fractions, trainers' conventions and Monte Carlo; wrong versions are refuted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from compare import assert_agree

from simulator.checks import build_context, trajectory_check
from theory.advantages import PRESETS, Convention
from theory.claim import Claim
from theory.claims import load_registry
from theory.errors import InputError
from theory.exact import as_balls, as_floats, precision
from theory.groups import Group, group_rule, group_weight, pair_of_advantages
from theory.instances import Instance
from theory.policy import evaluate
from theory.search import property_check, search

REGISTRY = load_registry()
IDS = [claim.id for claim in REGISTRY if claim.id.startswith("X-GROUP")]
# Batches have no expectation of their own for one prompt.
CONVENTIONS = [name for name in PRESETS if PRESETS[name].scale != "batch"]
X = np.array([[[1.0, 0.5], [-0.25, 1.0], [0.75, -1.0]]])
THETA = np.array([0.5, -1.25])


def _instance(group: int) -> Instance:
    return Instance(X, np.array([0]), THETA, np.ones(2), np.ones(2), group=group)


def test_the_registry_holds_the_claims_about_groups() -> None:
    assert set(IDS) == {"X-GROUP"} | {
        f"X-GROUP-{part}" for part in ("DDOF1", "EPS", "MEAN", "BASELINE", "BOUND", "JENSEN", "LIMIT", "MONOTONE")
    }


# E[sqrt(khat (1 - khat))] / V by hand: G = 2 and 3 give sqrt(G - 1) for every p; at p = 1/2 the rest is a fraction
# plus a fraction of sqrt 3 (G = 4: 8 of 16 draws have k = 1 or 3, std sqrt(3)/4, and 6 have k = 2, std 1/2).
@pytest.mark.parametrize(
    ("size", "p", "whole", "root", "under"),
    [
        (2, Fraction(1, 2), Fraction(1), Fraction(0), 3),
        (2, Fraction(1, 1024), Fraction(1), Fraction(0), 3),
        (3, Fraction(1, 2), Fraction(0), Fraction(1), 2),
        (3, Fraction(1, 8), Fraction(0), Fraction(1), 2),
        (4, Fraction(1, 2), Fraction(3, 4), Fraction(1, 2), 3),
        (4, Fraction(1, 4), Fraction(9, 16), Fraction(5, 8), 3),
    ],
)
def test_the_weight_has_its_golden_values(size: int, p: Fraction, whole: Any, root: Any, under: int) -> None:
    assert_agree(group_weight(float(p), float(1 - p), size), float(whole) + float(root) * under**0.5, 1e-15)


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_the_pair_of_advantages_is_what_the_conventions_compute(name: str, size: int) -> None:
    for right in range(size + 1):
        rewards = np.array([[1.0] * right + [0.0] * (size - right)])
        table = PRESETS[name](rewards)[0]
        for unit in (1.0, as_balls(1.0)[()]):
            good, bad = (float(a) for a in pair_of_advantages(right, size, PRESETS[name], unit))
            assert_agree(table, np.where(rewards[0] == 1, good, bad), 1e-14, f"{name}, k = {right}", atol=1e-15)


def _sampled_update(convention: Convention, size: int, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error of the update over groups sampled with a fixed seed, advantages by the trainers' code."""
    state = evaluate(X, np.array([0]), THETA)
    policy = state.policy[0]
    draws = np.random.default_rng(7).choice(3, size=(groups, size), p=policy)
    scores = X[0] - policy @ X[0]
    updates = (convention((draws == 0).astype(float))[:, :, None] * scores[draws]).mean(axis=1)
    return updates.mean(axis=0), updates.std(axis=0) / groups**0.5


@pytest.mark.parametrize("name", CONVENTIONS)
@pytest.mark.parametrize("size", [2, 4, 8])
def test_sampling_agrees_with_the_formula(name: str, size: int) -> None:
    """Within 4.5 standard errors: 80,000 groups, fixed seed."""
    mean, error = _sampled_update(PRESETS[name], size, 80_000)
    state = evaluate(X, np.array([0]), THETA)
    exact = group_weight(state.p, state.q, size, PRESETS[name])[0] * state.gradient[0]
    assert (np.abs(mean - exact) < 4.5 * error).all()
    # Fine enough to tell a weight that is 15 percent off (30 without std) from the right one.
    off = exact * (1.3 if PRESETS[name].scale == "none" else 1.15)
    assert (np.abs(mean - off) > 4.5 * error).any()


@pytest.mark.parametrize("name", CONVENTIONS)
def test_enumeration_in_balls_agrees_with_the_formula(name: str) -> None:
    with precision(256):
        group = Group(_instance(4).exact())
        difference = as_floats(group.expected_update(PRESETS[name]) - group.weighted_gradient(PRESETS[name]))
    assert np.abs(difference).max() < 1e-60


def test_ddof_and_eps_change_the_weight_as_they_should() -> None:
    for size in (2, 5, 9):
        plain = group_weight(0.2, 0.8, size)
        unbiased = Convention("mean", "group", 1, 0.0, "zero")
        assert_agree(group_weight(0.2, 0.8, size, unbiased), plain * ((size - 1) / size) ** 0.5, 1e-14)
        assert group_weight(0.2, 0.8, size, PRESETS["grpo_zero"]) < plain
        assert_agree(group_weight(0.2, 0.8, size, PRESETS["grpo_zero"]), plain, 1e-3)


def test_the_weight_is_that_of_grpo_for_large_groups_and_of_no_more_than_the_root_for_hard_prompts() -> None:
    assert_agree(group_weight(0.5, 0.5, 200), 2.0, 0.006)
    assert_agree(group_weight(1e-300, 1.0, 10), 3.0, 1e-15)


def test_large_groups_are_enumerated_only_as_far_as_is_cheap() -> None:
    assert [Group(_instance(size)).enumerated for size in (2, 4, 5, 9)] == [2, 4, 5, 5]


def test_unusable_groups_are_refused() -> None:
    with pytest.raises(InputError, match="G is 1"):
        group_rule(1)
    with pytest.raises(InputError, match="batch"):
        group_weight(0.5, 0.5, 4, PRESETS["trl_batch"])


def _scaled(claim_id: str, factor: float, link: int = 0) -> Claim:
    claim = REGISTRY[claim_id]
    right = claim.links[link].right
    changed = replace(claim.links[link], right=lambda group: right(group) * factor)
    return replace(claim, relation=changed.relation, left=changed.left, right=changed.right, chain=(), proof=None)


MUTANTS: dict[str, Callable[[], Claim]] = {
    "0.99 of the ceiling": lambda: _scaled("X-GROUP-BOUND", 0.99, 1),
    "1.01 of the floor": lambda: _scaled("X-GROUP-BOUND", 1.01, 0),
    "0.99 of Jensen": lambda: _scaled("X-GROUP-JENSEN", 0.99),
    "1.02 of the lower limit": lambda: _scaled("X-GROUP-LIMIT", 1.02, 0),
    "0.99 of the next weight": lambda: _scaled("X-GROUP-MONOTONE", 0.99),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_tightened_bounds_are_refuted(name: str) -> None:
    found = search(MUTANTS[name](), build_context, examples=150, evaluations=150, seed=1, shrink=False)
    assert found.counterexample is not None


def _other(claim_id: str, preset: str) -> Claim:
    """The claim of one convention with the weight of another: a dropped ddof, eps or mean."""
    claim = REGISTRY[claim_id]
    right = claim.links[0].left
    wrong = PRESETS[preset]
    return replace(
        claim, relation="==", left=right, right=lambda group: group.weighted_gradient(wrong), chain=(), proof=None
    )


@pytest.mark.parametrize(
    ("claim_id", "preset"),
    [
        ("X-GROUP", "trl"),
        ("X-GROUP", "grpo_zero"),
        ("X-GROUP-DDOF1", "paper"),
        ("X-GROUP-DDOF1", "verl"),
        ("X-GROUP-EPS", "trl"),
        ("X-GROUP-MEAN", "rloo"),
        ("X-GROUP-BASELINE", "dr_grpo"),
    ],
)
def test_the_weight_of_another_convention_is_refuted(claim_id: str, preset: str) -> None:
    mutant = _other(claim_id, preset)
    assert property_check(mutant, build_context, 40, seed=2, shrink=False).counterexample is not None


@pytest.mark.parametrize("claim_id", ["X-GROUP", "X-GROUP-BOUND"])
def test_trajectories_see_every_group_size(claim_id: str) -> None:
    result = trajectory_check(REGISTRY[claim_id])
    assert (result.vacuous, result.dismissed, result.undecided) == (0, 0, 0)
    assert result.counterexample is None
