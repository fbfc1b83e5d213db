"""Algorithms 1 and 2 on the real network, and the linearisation that predicts them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compare import assert_agree

from llm_bridge.experiment import BridgeRun, BridgeSettings, choose_prompts, prepare, run_bridge
from llm_bridge.gradients import logit_features
from llm_bridge.measures import measure_geometry
from llm_bridge.models import load_model
from llm_bridge.policies import AnswerBatch, answer_logits
from llm_bridge.training import train
from simulator.random import uniform_order
from theory.cosines import cosine_statistics
from theory.errors import InputError
from theory.rules import GRPO, REINFORCE, get_rule

SMALL = BridgeSettings(prompts=("5*7", "57+32", "2+7"), steps=6, seed=4)


@pytest.fixture(scope="module", params=["reinforce", "grpo"])
def small_run(request: pytest.FixtureRequest) -> BridgeRun:
    """Six steps at the theorem's step size."""
    return run_bridge(BridgeSettings(**{**SMALL.__dict__, "rule": request.param}))


def test_the_theorems_step_is_taken_and_its_guarantee_holds(small_run: BridgeRun) -> None:
    rule = get_rule(small_run.settings.rule)
    assert rule.step_size is not None
    assert small_run.model.eta == rule.step_size(small_run.geometry.x_max_sq)
    bound = small_run.model.step_bound
    assert bound is not None
    assert (small_run.model.step_gain >= bound).all()
    assert (bound > 0).all()


def test_without_curvature_the_gain_is_two_or_eight_thirds_of_the_guarantee(small_run: BridgeRun) -> None:
    ratio = small_run.model.step_gain / small_run.model.step_bound
    assert_agree(ratio, np.full(6, {"reinforce": 2.0, "grpo": 8 / 3}[small_run.settings.rule]), 0.02)


def test_the_linearisation_predicts_the_model_at_the_theorems_step(small_run: BridgeRun) -> None:
    moved = np.abs(small_run.model.J[-1] - small_run.model.J[0]).max()
    error = np.abs(small_run.model.J - small_run.surrogate.J).max()
    assert moved > 0
    assert error < 0.02 * moved
    assert_agree(small_run.surrogate.J[0], small_run.model.J[0], 1e-9, "start")
    assert_agree(small_run.surrogate.grad_sq[0], small_run.model.grad_sq[0], 1e-7, "gradient norms at the start")


def test_model_and_linearisation_see_the_same_prompts_in_the_same_order(small_run: BridgeRun) -> None:
    assert (small_run.model.order == small_run.surrogate.order).all()
    assert (small_run.model.order == uniform_order(3, 6, 4)).all()


def test_every_step_is_measured(small_run: BridgeRun) -> None:
    record = small_run.model
    assert record.t.tolist() == list(range(7))
    assert record.J.shape == record.q.shape == record.grad_sq.shape == (7, 3)
    assert record.extra["cosines"].shape == (7, 3)
    assert_agree(record.J + record.q, np.ones((7, 3)), 1e-15)
    drawn = record.J[np.arange(1, 7), record.order] - record.J[np.arange(6), record.order]
    assert_agree(record.step_gain, drawn, 1e-9, "gain")


def test_one_step_moves_the_adapter_by_eta_weight_gradient() -> None:
    loaded, _, batch = prepare(SMALL)
    before = torch.nn.utils.parameters_to_vector(loaded.parameters.values()).detach().clone()
    logits, features = logit_features(loaded, batch)
    record = train(loaded, batch, GRPO, 1e-3, 1, x_max_sq=1.0, seed=4)
    moved = (torch.nn.utils.parameters_to_vector(loaded.parameters.values()).detach() - before).numpy()
    i = int(record.order[0])
    pi = torch.softmax(logits[i], dim=0).numpy()
    a = int(batch.correct[i])
    p, q = record.J[0, i], record.q[0, i]
    h = -p * pi
    h[a] = p * q
    expected = 1e-3 * GRPO.weight(p, q) * (features[i].numpy().T @ h)
    assert_agree(moved, expected, 0.0, "step", atol=1e-9 * np.linalg.norm(expected))


def test_training_is_reproducible_bit_for_bit() -> None:
    first, second = (run_bridge(BridgeSettings(prompts=("5*7", "2+7"), steps=2, eta_scale=50.0)) for _ in range(2))
    assert (first.model.J == second.model.J).all()


def test_training_leaves_the_base_model_alone() -> None:
    loaded, _, batch = prepare(BridgeSettings(prompts=("5*7", "2+7")))
    frozen = {k: v.detach().clone() for k, v in loaded.model.named_parameters() if not v.requires_grad}
    train(loaded, batch, REINFORCE, 1e-3, 2, x_max_sq=1.0)
    for name, value in loaded.model.named_parameters():
        if name in frozen:
            assert torch.equal(value, frozen[name]), name


def test_the_geometry_is_that_of_the_features() -> None:
    loaded, _, batch = prepare(SMALL)
    geometry = measure_geometry(loaded, batch)
    _, features = logit_features(loaded, batch)
    x = features.numpy()
    assert_agree(geometry.x_max_sq, max(np.linalg.norm(m, 2) ** 2 for m in x), 1e-9)
    centred = x - x.mean(axis=1, keepdims=True)
    assert_agree(geometry.x_max_sq_centred, max(np.linalg.norm(m, 2) ** 2 for m in centred), 1e-9)
    gram = geometry.surrogate.features.reshape(57, -1)
    flat = x.reshape(57, -1)
    assert_agree(gram @ gram.T, flat @ flat.T, 0.0, "Gram", atol=1e-9 * geometry.x_max_sq)
    assert 0 < geometry.orthogonality_defect <= 1


def test_prompts_are_chosen_from_hard_to_easy() -> None:
    loaded = load_model("tiny")
    prompts = choose_prompts(loaded, 5, 0.03, 0.9)
    batch = AnswerBatch.of(prompts, loaded.tokenizer)
    with torch.no_grad():
        pi = torch.softmax(answer_logits(loaded.model, batch), dim=1)
    p = pi[torch.arange(5), batch.correct].tolist()
    assert p == sorted(p)
    assert p[0] < 0.05
    assert p[-1] > 0.85


def test_statistics_of_cosines() -> None:
    statistics = cosine_statistics(np.array([0.05, -0.05, 0.5, np.nan]))
    assert statistics["cosine_mean"] == pytest.approx(0.5 / 3)
    assert statistics["cosine_small_share"] == pytest.approx(2 / 3)
    assert statistics["cosine_positive_share"] == pytest.approx(2 / 3)
    assert set(cosine_statistics(np.array([])).values()) == {None}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"rule": "power:0.25"}, "eta is None"),
        ({"eta_scale": 0.0}, "eta-scale is 0.0"),
        ({"eta": -1.0}, "eta is -1.0"),
        ({"steps": 0}, "steps is 0"),
        ({"model": "no/such/model"}, "no/such/model"),
        ({"prompts": ("3+",)}, r"3\+"),
        ({"rule": "adam"}, "adam"),
    ],
)
def test_unusable_settings_are_refused(fields: dict, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        run_bridge(BridgeSettings(**{"prompts": ("5*7", "2+7"), "steps": 1, **fields}))
    assert "\n" not in str(caught.value)
