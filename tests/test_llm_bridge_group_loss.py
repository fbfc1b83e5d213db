"""The sampled loss: by brute force, by finite differences, and by identities that hold exactly."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from compare import assert_agree
from random_rollouts import as_rollouts, perturbed, random_rollouts

import llm_bridge.sampled.token_scores as token_scores
from llm_bridge.models import LoadedModel, full_precision
from llm_bridge.sampled.group_loss import group_loss, score_rollouts, sequence_log_probs
from llm_bridge.sampled.reading import Reading
from llm_bridge.sampled.rollouts import Rollouts
from theory.errors import InputError

TEMPERATURE = 0.7
# How far the model's own arithmetic may be off, relative to the largest entry.
TOLERANCE = {"float64": 1e-12, "float32": 2e-5, "bfloat16": 0.05}


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return perturbed()


@pytest.fixture(scope="module")
def rollouts(loaded: LoadedModel) -> Rollouts:
    return random_rollouts(loaded.model.config.vocab_size)


def by_token(loaded: LoadedModel, rollouts: Rollouts, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities and entropies of the completions, one token at a time, without padding or cache."""
    sums, entropies = [], []
    for row in range(len(rollouts.prompt_ids)):
        prompt = rollouts.prompt_ids[row][rollouts.prompt_mask[row] == 1].tolist()
        total = entropy = torch.zeros((), dtype=torch.float64)
        for token in rollouts.completion_ids[row][rollouts.completion_mask[row] == 1].tolist():
            with full_precision():
                logits = loaded.model(torch.tensor([prompt])).logits[0, -1].double()
            chances = torch.log_softmax(logits / temperature, dim=0)
            total, entropy = total + chances[token], entropy - (chances.exp() * chances).sum()
            prompt.append(token)
        sums.append(total)
        entropies.append(entropy.detach())
    return torch.stack(sums), torch.stack(entropies)


@pytest.fixture(scope="module")
def exact(loaded: LoadedModel) -> tuple[Rollouts, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rollouts, their log-probabilities, entropies and the gradient of their loss, by brute force."""
    rollouts = random_rollouts(loaded.model.config.vocab_size, n=2, group=3, longest=4)
    log_probs, entropies = by_token(loaded, rollouts, TEMPERATURE)
    return rollouts, log_probs.detach(), entropies, gradient(loaded, group_loss(log_probs, weights(rollouts)))


def gradient(loaded: LoadedModel, loss: torch.Tensor) -> torch.Tensor:
    parts = torch.autograd.grad(loss, list(loaded.parameters.values()))
    return torch.cat([part.reshape(-1).double() for part in parts])


def weights(rollouts: Rollouts, seed: int = 5) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rollouts.n, rollouts.group, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_scores_and_gradient_are_the_sums_over_tokens(dtype: str, exact: tuple[Any, ...]) -> None:
    rollouts, log_probs, entropies, slope = exact
    loaded, tolerance = perturbed(dtype), TOLERANCE[dtype]
    for reading in get_args(Reading):
        scores = score_rollouts(loaded.model, rollouts, TEMPERATURE, entropy=True, reading=reading)
        assert scores.log_probs.dtype == torch.float64
        assert_agree(scores.log_probs.detach(), log_probs, rtol=tolerance, atol=tolerance)
        assert_agree(scores.entropy, entropies, rtol=tolerance, atol=tolerance)
        assert_agree(scores.lengths, rollouts.completion_mask.sum(dim=1), rtol=0)
        loss = group_loss(scores.log_probs, weights(rollouts))
        assert (gradient(loaded, loss) - slope).norm() < tolerance * slope.norm()


def test_loss_is_the_mean_over_prompts_and_completions_of_minus_advantage_times_log_probability() -> None:
    log_probs = torch.tensor([-1.0, -2.0, -3.0, -4.0], dtype=torch.float64, requires_grad=True)
    loss = group_loss(log_probs, torch.tensor([[1.0, -1.0], [0.5, 0.0]], requires_grad=True))
    loss.backward()
    assert loss.item() == (1 - 2 + 1.5) / 4
    assert log_probs.grad is not None
    assert log_probs.grad.tolist() == [-0.25, 0.25, -0.125, 0.0]


def test_gradient_matches_central_differences(loaded: LoadedModel, rollouts: Rollouts) -> None:
    advantages = weights(rollouts)
    analytic = gradient(loaded, group_loss(sequence_log_probs(loaded.model, rollouts, TEMPERATURE), advantages))
    start = torch.nn.utils.parameters_to_vector(loaded.parameters.values()).detach()
    for seed in range(3):
        direction = torch.randn(len(start), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        ends = []
        for sign in (1, -1):
            torch.nn.utils.vector_to_parameters(start + sign * 1e-5 * direction, loaded.parameters.values())
            with torch.no_grad():
                ends.append(group_loss(sequence_log_probs(loaded.model, rollouts, TEMPERATURE), advantages).item())
        torch.nn.utils.vector_to_parameters(start, loaded.parameters.values())
        assert_agree((ends[0] - ends[1]) / 2e-5, (analytic @ direction).item(), rtol=1e-6)


def test_padding_changes_nothing(loaded: LoadedModel, rollouts: Rollouts) -> None:
    vocabulary = loaded.model.config.vocab_size
    advantages = weights(rollouts)
    desired = sequence_log_probs(loaded.model, rollouts, TEMPERATURE)
    right = gradient(loaded, group_loss(desired, advantages))
    for pad in (0, 5):
        wide = random_rollouts(vocabulary, pad=pad, extra=7)
        actual = sequence_log_probs(loaded.model, wide, TEMPERATURE)
        assert_agree(actual.detach(), desired.detach(), rtol=1e-13)
        assert_agree(
            gradient(loaded, group_loss(actual, advantages)), right, rtol=0, atol=1e-13 * float(right.abs().max())
        )


def test_a_prompts_scores_do_not_depend_on_the_prompts_beside_it(loaded: LoadedModel, rollouts: Rollouts) -> None:
    together = sequence_log_probs(loaded.model, rollouts, TEMPERATURE).detach()
    alone = [sequence_log_probs(loaded.model, rollouts.prompt(i), TEMPERATURE).detach() for i in range(rollouts.n)]
    assert_agree(torch.cat(alone), together, rtol=1e-13)


def all_completions(loaded: LoadedModel, prompt: list[int]) -> Rollouts:
    """Every completion of at most two tokens: an end token, or any other token followed by any token."""
    end, vocabulary = loaded.tokenizer.eos_token_id, loaded.model.config.vocab_size
    pairs = [[first, second] for first in range(vocabulary) if first != end for second in range(vocabulary)]
    return as_rollouts([prompt], [[end], *pairs])


def test_score_function_identity_over_all_completions(loaded: LoadedModel) -> None:
    rollouts = all_completions(loaded, [5, 6, 7])
    log_probs = sequence_log_probs(loaded.model, rollouts, TEMPERATURE)
    chances = log_probs.detach().exp()
    assert_agree(chances.sum(), 1.0, rtol=1e-13)
    one = gradient(loaded, log_probs[0])
    log_probs = sequence_log_probs(loaded.model, rollouts, TEMPERATURE)
    assert float(gradient(loaded, (chances * log_probs).sum()).norm()) < 1e-12 * float(one.norm())


def test_expected_gradient_over_all_completions_is_the_gradient_of_the_expected_reward(loaded: LoadedModel) -> None:
    # Eq. (5): with the probabilities as weights of the completions, the sample mean is the expectation itself.
    rollouts = all_completions(loaded, [5, 6, 7])
    rewards = (torch.arange(len(rollouts.texts)) % 7 == 0).double()

    def success() -> torch.Tensor:
        return (sequence_log_probs(loaded.model, rollouts, TEMPERATURE).exp() * rewards).sum()

    p = success().detach()
    log_probs = sequence_log_probs(loaded.model, rollouts, TEMPERATURE)
    spread = (p * (1 - p)).sqrt()
    advantages = (rewards - p) / spread * log_probs.detach().exp() * len(rewards)
    actual = -gradient(loaded, group_loss(log_probs, advantages[None]))
    right = gradient(loaded, success()) / spread
    assert_agree(actual, right, rtol=0, atol=1e-12 * float(right.abs().max()))


def test_chunks_do_not_change_the_scores(
    loaded: LoadedModel, rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = score_rollouts(loaded.model, rollouts, TEMPERATURE, entropy=True)
    monkeypatch.setattr(token_scores, "_CHUNK_LOGITS", 4 * loaded.model.config.vocab_size)
    parts = score_rollouts(loaded.model, rollouts, TEMPERATURE, entropy=True)
    assert_agree(parts.log_probs.detach(), whole.log_probs.detach(), rtol=1e-14)
    assert_agree(parts.entropy, whole.entropy, rtol=1e-13)
    advantages = weights(rollouts)
    right, other = (gradient(loaded, group_loss(each.log_probs, advantages)) for each in (whole, parts))
    assert_agree(other, right, rtol=0, atol=1e-13 * float(right.abs().max()))


def test_a_model_that_scales_its_logits_is_found_out(rollouts: Rollouts) -> None:
    plain, scaled = perturbed(), perturbed()
    base = scaled.model.get_base_model()
    forward = base.forward

    def halved(*args: Any, **kwargs: Any) -> Any:
        outputs = forward(*args, **kwargs)
        outputs.logits = outputs.logits / 2
        return outputs

    base.forward = halved
    assert token_scores.frozen_head(plain.model) is not None
    assert token_scores.frozen_head(scaled.model) is None
    actual, desired = sequence_log_probs(scaled.model, rollouts, 1.0), sequence_log_probs(plain.model, rollouts, 2.0)
    assert_agree(actual.detach(), desired.detach(), rtol=1e-13)
    advantages = weights(rollouts)
    right, other = gradient(plain, group_loss(desired, advantages)), gradient(scaled, group_loss(actual, advantages))
    assert_agree(other, right, rtol=0, atol=1e-12 * float(right.abs().max()))


def test_a_trained_head_gets_its_gradient(loaded: LoadedModel, rollouts: Rollouts) -> None:
    head = loaded.model.get_base_model().get_output_embeddings()
    head.weight.requires_grad_(True)
    try:
        loss = group_loss(sequence_log_probs(loaded.model, rollouts, TEMPERATURE), weights(rollouts))
        (slope,) = torch.autograd.grad(loss, [head.weight])
    finally:
        head.weight.requires_grad_(False)
    assert float(slope.norm()) > 0


def test_finding_the_head_leaves_the_mode_of_every_module(loaded: LoadedModel) -> None:
    fresh = perturbed()
    inner = fresh.model.get_base_model().base_model.layers[1]
    inner.train()
    before = [module.training for module in fresh.model.modules()]
    assert token_scores.frozen_head(fresh.model) is not None
    assert [module.training for module in fresh.model.modules()] == before


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_temperature_must_be_positive(loaded: LoadedModel, rollouts: Rollouts, temperature: float) -> None:
    with pytest.raises(InputError, match="temperature"):
        sequence_log_probs(loaded.model, rollouts, temperature)


def test_rows_of_a_group_must_share_their_prompt(loaded: LoadedModel, rollouts: Rollouts) -> None:
    prompts = {name: getattr(rollouts, name).roll(1, dims=0) for name in ("prompt_ids", "prompt_mask")}
    shifted = replace(rollouts, **prompts)
    with pytest.raises(InputError, match="prompt_ids is 'different within a group'"):
        sequence_log_probs(loaded.model, shifted, 1.0)


@pytest.mark.parametrize(
    ("advantages", "message"),
    [
        (torch.zeros(12), "shape of advantages"),
        (torch.zeros(3, 3), "shape of advantages"),
        (torch.full((3, 4), float("nan")), "advantages is 'not finite'"),
    ],
)
def test_advantages_must_fit(advantages: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        group_loss(torch.zeros(12, dtype=torch.float64), advantages)
