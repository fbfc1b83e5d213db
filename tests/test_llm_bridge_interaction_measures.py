"""Interaction of prompts from their gradients: against hand-made cases and against the bandit's own constants."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compare import assert_agree
from hypothesis import given
from hypothesis import strategies as st

from llm_bridge.measurement.interaction_measures import gram_measures, gram_of, interaction_measures
from simulator.interacting import node_states
from theory.errors import InputError
from theory.exact import spectral_norm_sq
from theory.interaction import measure_constants

ROOT_HALF = 0.5**0.5


def test_three_prompts_by_hand() -> None:
    """Prompts along (2, 0), (1, 1), (-1, 0) and one whose group had equal rewards."""
    gradients = torch.tensor([[2.0, 0.0], [1.0, 1.0], [-1.0, 0.0], [0.0, 0.0]])
    found = interaction_measures(gradients, torch.tensor([0.5, 0.25, 0.125, 0.0]))
    cosines = np.array([ROOT_HALF, -1.0, -ROOT_HALF])
    assert found["cosine_mean"] == pytest.approx(cosines.mean())
    assert found["cosine_std"] == pytest.approx(cosines.std(ddof=0))
    assert (found["cosine_positive_share"], found["cosine_small_share"]) == (1 / 3, 0.0)
    # Only the first pair has an M: the larger of ||g_j||^2 = 4 and ||g_i||^2 = 2 over the inner product 2.
    assert (found["m"], found["m_median"]) == (2.0, 2.0)
    assert found["no_m_share"] == pytest.approx(2 / 3)
    assert (found["r1"], found["r2"]) == (2.0, 4.0)
    assert (found["pairs"], found["zero_gradients"]) == (3.0, 1.0)


def test_the_rules_weights_are_divided_out() -> None:
    rows = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.5, 0.1]], dtype=torch.float64)
    weights = torch.tensor([4.0, 0.5, 2.0], dtype=torch.float64)
    weighted = interaction_measures(rows * weights[:, None], weights=weights)
    plain = interaction_measures(rows)
    assert weighted.keys() == plain.keys()
    for key, value in plain.items():
        assert weighted[key] == (None if value is None else pytest.approx(value, rel=1e-14)), key


def test_nothing_to_measure_is_none_and_not_a_number_that_looks_like_one() -> None:
    alone = interaction_measures(torch.tensor([[3.0, 4.0]]), torch.tensor([0.5]))
    assert (alone["m"], alone["no_m_share"], alone["cosine_mean"]) == (None, None, None)
    assert (alone["r1"], alone["r2"], alone["pairs"]) == (1.0, 1.0, 0.0)
    nothing = interaction_measures(torch.zeros(3, 5))
    assert (nothing["r1"], nothing["zero_gradients"], nothing["pairs"]) == (None, 3.0, 0.0)


@given(seed=st.integers(0, 2**32 - 1), n=st.integers(2, 5))
def test_with_features_m_is_the_bandits_and_without_them_at_least_that(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((n, 4, 6)) + rng.uniform(0, 3) * rng.standard_normal(6)
    states = node_states(features, np.zeros(n, dtype=int), rng.standard_normal((1, 6)))
    x_sq = np.array([float(spectral_norm_sq(x)) for x in features])
    constants = measure_constants(states, x_sq, x_sq.max())
    gradients, variance = states.gradient[0], states.variance[0]
    projections = variance**2 * states.projection_sq[0] / x_sq[:, None]
    found = gram_measures(gradients @ gradients.T, np.sqrt(variance), projections)
    if np.isfinite(constants.M):
        assert found["no_m_share"] == 0
        assert max(1, found["m"]) == pytest.approx(constants.M, rel=1e-6)  # type: ignore[type-var]
    else:
        assert found["no_m_share"] > 0  # type: ignore[operator]
    assert found["r1"] == pytest.approx(constants.R1, rel=1e-6)
    assert found["r2"] == pytest.approx(constants.R2, rel=1e-6)
    bound = interaction_measures(torch.as_tensor(gradients))
    assert bound["no_m_share"] == found["no_m_share"]
    if found["m"] is not None:
        assert bound["m"] >= found["m"] * (1 - 1e-12)  # type: ignore[operator]


def test_half_precision_rows_are_summed_in_float64() -> None:
    rows = torch.ones(2, 5000, dtype=torch.bfloat16)
    assert_agree(gram_of(rows), np.full((2, 2), 5000.0), 0)


@pytest.mark.parametrize(
    ("gradients", "std"),
    [
        (torch.zeros(3), None),
        (torch.zeros(0, 3), None),
        (torch.tensor([[float("nan")], [1.0]]), None),
        (torch.ones(2, 2), torch.ones(3)),
    ],
)
def test_bad_input(gradients: torch.Tensor, std: torch.Tensor | None) -> None:
    with pytest.raises(InputError):
        interaction_measures(gradients, std)
