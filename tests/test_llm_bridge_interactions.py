"""Table 3, M, R1, R2 and X_max of the real network, against its gradients one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compare import assert_agree
from tiny_case import case

from llm_bridge.gradients import log_odds_gradients, logit_features
from llm_bridge.measurement.feature_sizes import feature_sizes, place_of
from llm_bridge.measurement.gram import AnswerGram, answer_gram
from llm_bridge.measurement.interaction_measures import interaction_measures
from llm_bridge.measurement.interactions import gradient_gram, interactions, pair_arrays, projections, sampled_cosines
from llm_bridge.models import load_model
from llm_bridge.policies import log_odds, p_and_q
from theory.cosines import cosine_statistics, gradient_cosines


@pytest.fixture(scope="module")
def measured() -> AnswerGram:
    return case()[2]


@pytest.fixture(scope="module")
def gradients() -> np.ndarray:
    """``grad J_i`` from one backward pass a prompt."""
    loaded, batch, _ = case()
    logits, gap = log_odds_gradients(loaded, batch)
    p, q = p_and_q(log_odds(logits, batch.correct))
    return ((p * q)[:, None] * gap).numpy()


def test_the_gram_matrix_gives_the_gradients(measured: AnswerGram, gradients: np.ndarray) -> None:
    exact = gradients @ gradients.T
    assert_agree(gradient_gram(measured), exact, 0.0, "gradients", atol=1e-10 * np.abs(exact).max())
    loaded, batch, _ = case()
    x = logit_features(loaded, batch)[1].numpy()
    images = np.einsum("ikd,jd->ijk", x, gradients)
    sizes = np.array([np.linalg.norm(rows, 2) ** 2 for rows in x])
    assert_agree(projections(measured), np.sum(images**2, axis=2) / sizes[:, None], 1e-8)


def test_measures_are_those_of_the_gradients_and_m_is_below_its_bound(
    measured: AnswerGram, gradients: np.ndarray
) -> None:
    found = interactions(measured, resamples=50)
    assert list(found) == ["all", "A", "B"]
    state = measured.odds
    bound = interaction_measures(torch.from_numpy(gradients), torch.from_numpy(np.sqrt(state.p * state.q)))
    for key in ("cosine_mean", "cosine_std", "cosine_positive_share", "no_m_share", "r1", "r2"):
        assert found["all"][key] == pytest.approx(bound[key], rel=1e-8), key
    assert 0 < found["all"]["m"] <= bound["m"]
    low, high = found["all"]["intervals"]["cosine_mean"]
    assert low < found["all"]["cosine_mean"] < high
    cosines, least = pair_arrays(measured)
    upper = np.triu_indices(4, k=1)
    assert_agree(cosines[upper], gradient_cosines(gradients), 1e-8)
    assert ((cosines[upper] < 0) == np.isinf(least[upper])).all()


def test_parts_are_those_of_the_columns(measured: AnswerGram, gradients: np.ndarray) -> None:
    loaded = case()[0]
    found, start = interactions(measured, resamples=1), 0
    columns = {"A": [], "B": []}
    for name, parameter in loaded.parameters.items():
        columns["A" if "lora_A" in name else "B"].extend(range(start, start + parameter.numel()))
        start += parameter.numel()
    for part, chosen in columns.items():
        exact = cosine_statistics(gradient_cosines(gradients[:, chosen]))
        assert found[part]["cosine_mean"] == pytest.approx(exact["cosine_mean"], rel=1e-7)


def test_at_the_start_a_has_nothing_to_say() -> None:
    batch = case()[1]
    found = interactions(answer_gram(load_model("tiny"), batch), resamples=20)
    assert found["A"]["zero_gradients"] == 4
    assert found["A"]["cosine_mean"] is None
    assert found["B"]["cosine_mean"] == found["all"]["cosine_mean"]


def test_large_groups_show_the_exact_cosines_and_halves_correct_small_ones(measured: AnswerGram) -> None:
    large = sampled_cosines(measured, 200_000, trials=2)
    assert large["error_raw"] < 0.02
    assert large["reliability"] == pytest.approx(1, abs=0.02)
    assert large["undefined_share"] == 0
    small = sampled_cosines(measured, 256, trials=300)
    for name in ("raw", "corrected"):
        assert small[name].keys() == small["exact"].keys()
    # Raw cosines are too small by about the reliability; corrected ones are nearer in the mean of their squares' root.
    assert 0.5 < small["reliability"] < 0.999
    assert small["error_raw"] > large["error_raw"]
    assert sampled_cosines(measured, 4, trials=5)["undefined_share"] > 0.3


def test_x_max_and_what_it_is_made_of(measured: AnswerGram) -> None:
    loaded, batch, _ = case()
    x = logit_features(loaded, batch)[1].numpy()
    found = feature_sizes(measured)
    for kind, rows in (("raw", x), ("centred", x - x.mean(axis=1, keepdims=True))):
        exact = [np.linalg.norm(each, 2) ** 2 for each in rows]
        told = found[kind]
        assert_agree(told["x_sq"], exact, 1e-9, kind)
        assert (told["x_max_sq"], told["prompt"]) == (pytest.approx(max(exact)), int(np.argmax(exact)))
        for kind_of_place, shares in told["shares"].items():
            assert sum(shares.values()) == pytest.approx(1), kind_of_place
            assert all(share >= -1e-12 for share in shares.values())
        # The share of B is that of its columns in the top direction.
        worst = rows[told["prompt"]]
        left = np.linalg.svd(worst, full_matrices=False)[0][:, 0]
        columns = np.concatenate(
            [np.full(value.numel(), "lora_B" in name) for name, value in loaded.parameters.items()]
        )
        image = left @ worst
        assert told["shares"]["part"]["B"] == pytest.approx(np.sum(image[columns] ** 2) / np.sum(image**2), rel=1e-8)


def test_names_of_places() -> None:
    name = "base_model.model.model.layers.12.mlp.up_proj.lora_B.default.weight"
    assert place_of(name) == {"layer": "12", "module": "up_proj", "part": "B"}
    assert place_of("lm_head.weight") == {"layer": "-", "module": "lm_head", "part": "other"}
