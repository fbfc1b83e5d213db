"""Gradients on the real network: against finite differences, against the numpy reference, against each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import RULES
from compare import assert_agree
from perturbing import perturb

from llm_bridge.gradients import log_odds_gradients, logit_features, surrogate_loss
from llm_bridge.models import LoadedModel, load_model
from llm_bridge.policies import AnswerBatch, answer_logits, log_odds, p_and_q
from llm_bridge.tasks import prompts_from_names
from theory.policy import evaluate
from theory.rules import Rule

NAMES = ["5*7", "57+32", "2+7"]


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    """The packaged model with a perturbed adapter, so that gradients of A do not vanish."""
    return perturb(load_model("tiny"))


@pytest.fixture(scope="module")
def batch(loaded: LoadedModel) -> AnswerBatch:
    return AnswerBatch.of(prompts_from_names(NAMES), loaded.tokenizer)


@pytest.fixture(scope="module")
def features(loaded: LoadedModel, batch: AnswerBatch) -> tuple[np.ndarray, np.ndarray]:
    logits, x = logit_features(loaded, batch)
    return logits.numpy(), x.numpy()


def test_features_have_one_row_per_answer(loaded: LoadedModel, features: tuple[np.ndarray, np.ndarray]) -> None:
    assert features[1].shape == (3, 19, loaded.n_trainable)
    assert np.isfinite(features[1]).all()


def test_features_match_central_differences_of_the_logits(
    loaded: LoadedModel, batch: AnswerBatch, features: tuple[np.ndarray, np.ndarray]
) -> None:
    direction = torch.randn(loaded.n_trainable, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    h = 1e-5
    vector = torch.nn.utils.parameters_to_vector(loaded.parameters.values()).detach()
    ends = []
    for sign in (1, -1):
        torch.nn.utils.vector_to_parameters(vector + sign * h * direction, loaded.parameters.values())
        with torch.no_grad():
            ends.append(answer_logits(loaded.model, batch).numpy())
    torch.nn.utils.vector_to_parameters(vector, loaded.parameters.values())
    slope = features[1] @ direction.numpy()
    assert_agree((ends[0] - ends[1]) / (2 * h), slope, 0.0, "slope", atol=1e-5 * np.abs(slope).max())


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_autograd_of_the_surrogate_loss_is_the_rules_direction(
    rule: Rule, loaded: LoadedModel, batch: AnswerBatch, features: tuple[np.ndarray, np.ndarray]
) -> None:
    """To first order a network is a log-linear policy: the numpy reference on its features gives its own update."""
    logits, x = features
    for i in range(len(NAMES)):
        single = batch.prompt(i)
        loaded.model.zero_grad(set_to_none=True)
        surrogate_loss(answer_logits(loaded.model, single)[0], single.correct[0], rule).backward()
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in loaded.parameters.values()]
        ours = -torch.cat([g.reshape(-1) for g in grads]).numpy()
        # A policy with these features and logits: one more feature carries the logits.
        extended = np.concatenate([x[i], logits[i][:, None]], axis=1)[None]
        theta = np.zeros(extended.shape[2])
        theta[-1] = 1.0
        state = evaluate(extended, batch.correct[i : i + 1].numpy(), theta)
        reference = np.ravel(rule.weight(state.p, state.q) * state.gradient[0])[:-1]
        assert_agree(ours, reference, 0.0, rule.name, atol=1e-9 * np.linalg.norm(reference))


def test_gradients_of_the_log_odds_are_those_of_the_features(
    loaded: LoadedModel, batch: AnswerBatch, features: tuple[np.ndarray, np.ndarray]
) -> None:
    logits, gap = log_odds_gradients(loaded, batch)
    assert_agree(logits.numpy(), features[0], 1e-12, "logits")
    p, q = p_and_q(log_odds(logits, batch.correct))
    wrong = torch.softmax(logits, dim=1) / q[:, None]
    rows = torch.arange(3)
    wrong[rows, batch.correct] = 0.0
    expected = features[1][rows, batch.correct] - np.einsum("nk,nkd->nd", wrong.numpy(), features[1])
    assert_agree(gap.numpy(), expected, 0.0, "gap", atol=1e-9 * np.abs(expected).max())
    assert_agree((p + q).numpy(), np.ones(3), 1e-15)


def test_at_the_start_only_b_has_a_gradient() -> None:
    """LoRA starts with B = 0, so that A has no effect yet and all its gradients vanish."""
    fresh = load_model("tiny")
    single = AnswerBatch.of(prompts_from_names(["2+7"]), fresh.tokenizer)
    answer_logits(fresh.model, single)[0, 3].backward()
    for name, parameter in fresh.parameters.items():
        assert parameter.grad is not None
        assert (parameter.grad.abs().max() == 0) == ("lora_A" in name), name
