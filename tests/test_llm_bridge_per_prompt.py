"""Per-prompt gradients from one backward pass: against autograd, one prompt at a time."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from compare import assert_agree
from random_rollouts import perturbed, random_rollouts

import llm_bridge.sampled.per_prompt as per_prompt
from llm_bridge.models import LoadedModel, full_precision
from llm_bridge.sampled.group_loss import group_loss, score_rollouts, sequence_log_probs
from llm_bridge.sampled.per_prompt import PerPromptGradients
from llm_bridge.sampled.reading import Reading
from llm_bridge.sampled.rollouts import Rollouts
from theory.errors import InputError

N, GROUP = 3, 4


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return perturbed()


@pytest.fixture(scope="module")
def rollouts(loaded: LoadedModel) -> Rollouts:
    return random_rollouts(loaded.model.config.vocab_size, N, GROUP)


@pytest.fixture(scope="module")
def advantages() -> torch.Tensor:
    return torch.randn(N, GROUP, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def one_by_one(loaded: LoadedModel, rollouts: Rollouts, advantages: torch.Tensor) -> torch.Tensor:
    """Each prompt's share of the gradient of the loss, ``(N, d)``, by a backward pass of its own."""
    rows = []
    for i in range(N):
        loss = group_loss(sequence_log_probs(loaded.model, rollouts.prompt(i), 1.0), advantages[i : i + 1]) / N
        parts = torch.autograd.grad(loss, list(loaded.parameters.values()))
        rows.append(torch.cat([part.reshape(-1) for part in parts]))
    return torch.stack(rows)


def backward(
    loaded: LoadedModel,
    rollouts: Rollouts,
    advantages: torch.Tensor,
    groups: Any = N,
    reading: Reading | None = None,
    **more: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Per-prompt gradients, and what is in ``.grad``."""
    loaded.model.zero_grad(set_to_none=True)
    with PerPromptGradients(loaded.model, groups, **more) as parts:
        group_loss(score_rollouts(loaded.model, rollouts, 1.0, reading=reading).log_probs, advantages).backward()
    return parts.gradients(), torch.cat([value.grad.reshape(-1) for value in loaded.parameters.values()])


def check(actual: tuple[torch.Tensor, torch.Tensor], desired: torch.Tensor, tolerance: float) -> None:
    for ours, theirs in zip((*actual[0], actual[1]), (*desired, desired.sum(dim=0)), strict=True):
        assert_agree(ours, theirs, rtol=0, atol=tolerance * float(theirs.abs().max()))


@pytest.mark.parametrize("reading", get_args(Reading))
def test_parts_are_the_gradients_of_the_prompts(
    loaded: LoadedModel, rollouts: Rollouts, advantages: torch.Tensor, reading: Reading
) -> None:
    desired = one_by_one(loaded, rollouts, advantages)
    assert desired.shape == (N, loaded.n_trainable)
    check(backward(loaded, rollouts, advantages, reading=reading), desired, 1e-12)


def test_long_and_short_products_are_the_same(
    loaded: LoadedModel, rollouts: Rollouts, advantages: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    desired = one_by_one(loaded, rollouts, advantages)
    for short in (0, 10**6):
        monkeypatch.setattr(per_prompt, "_SHORT", short)
        check(backward(loaded, rollouts, advantages), desired, 1e-12)


def test_large_parts_are_laid_side_by_side_one_by_one(
    loaded: LoadedModel, rollouts: Rollouts, advantages: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    little = backward(loaded, rollouts, advantages)[0]
    monkeypatch.setattr(per_prompt, "_LITTLE", 0)
    assert torch.equal(backward(loaded, rollouts, advantages)[0], little)


def test_a_model_that_is_converted_later_keeps_its_digits(rollouts: Rollouts, advantages: torch.Tensor) -> None:
    model = perturbed("float32")
    parts = PerPromptGradients(model.model, N)
    model.model.double()
    with full_precision(), parts:
        group_loss(score_rollouts(model.model, rollouts, 1.0).log_probs, advantages).backward()
    assert parts.gradients().dtype == torch.float64
    total = torch.cat([value.grad.reshape(-1) for value in model.parameters.values()])
    check((parts.gradients(), total), parts.gradients(), 1e-12)


def test_rows_in_any_order(loaded: LoadedModel, rollouts: Rollouts, advantages: torch.Tensor) -> None:
    # Trainers shuffle the rows of a batch, so that a prompt's completions do not stand together.
    order = torch.randperm(N * GROUP, generator=torch.Generator().manual_seed(1))
    names = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
    shuffled = replace(rollouts, group=1, **{name: getattr(rollouts, name)[order] for name in names})
    mixed = advantages.reshape(-1)[order][:, None]
    check(backward(loaded, shuffled, mixed, order // GROUP, n=N), one_by_one(loaded, rollouts, advantages), 1e-12)


def test_backward_passes_add_up_until_reset(loaded: LoadedModel, rollouts: Rollouts, advantages: torch.Tensor) -> None:
    desired = one_by_one(loaded, rollouts, advantages)
    with PerPromptGradients(loaded.model, torch.zeros(GROUP, dtype=torch.long), n=N) as parts:
        for i in range(N):
            parts.set_rows(torch.full((GROUP,), i))
            scores = score_rollouts(loaded.model, rollouts.prompt(i), 1.0, reading="rows")
            (group_loss(scores.log_probs, advantages[i : i + 1]) / N).backward()
    check((parts.gradients(), desired.sum(dim=0)), desired, 1e-12)
    parts.reset()
    assert float(parts.gradients().abs().max()) == 0


def test_groups_of_some_prompts_scaled(loaded: LoadedModel, rollouts: Rollouts, advantages: torch.Tensor) -> None:
    desired = one_by_one(loaded, rollouts, advantages)
    parts = PerPromptGradients(loaded.model, N + 1)
    for prompts in ([3, 0, 2], [1, 2, 3]):
        parts.set_groups(prompts, -2.0)
        with parts:
            group_loss(sequence_log_probs(loaded.model, rollouts, 1.0), advantages).backward()
    found = parts.gradients()
    wanted = torch.stack([desired[1], desired[0], desired[2] + desired[1], desired[0] + desired[2]])
    assert_agree(found, -2 * wanted, rtol=0, atol=1e-12 * float(wanted.abs().max()))
    # What was handed out is not taken back.
    parts.reset()
    assert float(found.abs().max()) > 0
    parts.set_groups(range(N + 1))
    assert float(parts.gradients().abs().max()) == 0


def test_the_optimizers_gradient_keeps_its_bits(
    loaded: LoadedModel, rollouts: Rollouts, advantages: torch.Tensor
) -> None:
    loaded.model.zero_grad(set_to_none=True)
    group_loss(sequence_log_probs(loaded.model, rollouts, 1.0), advantages).backward()
    plain = torch.cat([value.grad.reshape(-1) for value in loaded.parameters.values()])
    _, kept = backward(loaded, rollouts, advantages)
    assert torch.equal(kept, plain)


def test_checkpointed_layers_of_load_model(loaded: LoadedModel, rollouts: Rollouts, advantages: torch.Tensor) -> None:
    model = perturbed(checkpointing=True)
    passes: list[int] = []
    model.model.get_base_model().base_model.layers[0].mlp.register_forward_pre_hook(lambda *_: passes.append(1))
    sequence_log_probs(model.model, rollouts, 1.0)
    passes.clear()
    check(backward(model, rollouts, advantages), one_by_one(loaded, rollouts, advantages), 1e-12)
    # Prompts are not shared then, as keys and values would have to be kept.
    assert len(passes) == 2


@pytest.mark.parametrize(("dtype", "reentrant"), [("float64", False), ("float32", False), ("float32", True)])
def test_gradient_checkpointing(
    loaded: LoadedModel, rollouts: Rollouts, advantages: torch.Tensor, dtype: str, reentrant: bool
) -> None:
    desired = one_by_one(loaded, rollouts, advantages)
    model = perturbed(dtype)
    options: dict[str, Any] = {"use_reentrant": reentrant}
    if dtype == "float64":
        # What is computed again in the backward pass must be computed as precisely as before.
        options["context_fn"] = lambda: (nullcontext(), full_precision())
    base = model.model.get_base_model()
    base.activation_checkpointing_enable(options)
    model.model.train()
    sequence_log_probs(model.model, rollouts, 1.0)
    recomputed = []
    base.base_model.layers[0].mlp.register_forward_pre_hook(lambda *_: recomputed.append(1))
    check(backward(model, rollouts, advantages), desired, 1e-12 if dtype == "float64" else 1e-4)
    assert len(recomputed) == 2


def test_bfloat16_under_autocast_is_close(rollouts: Rollouts, advantages: torch.Tensor) -> None:
    model = perturbed("float32")
    desired = one_by_one(model, rollouts, advantages)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = backward(model, rollouts, advantages)
    assert actual[0].dtype == torch.float32
    for ours, theirs in zip(actual[0], desired, strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) < 0.05


def test_layers_get_their_own_forward_back(loaded: LoadedModel) -> None:
    layers = [module for module in loaded.model.modules() if isinstance(module, torch.nn.Linear)]
    with PerPromptGradients(loaded.model, 2):
        assert any("forward" in vars(layer) for layer in layers)
    assert not any("forward" in vars(layer) for layer in layers)


def test_what_cannot_be_split_is_refused(loaded: LoadedModel, rollouts: Rollouts, advantages: torch.Tensor) -> None:
    with pytest.raises(InputError, match="number of prompts is 0"):
        PerPromptGradients(loaded.model, 0)
    with pytest.raises(InputError, match="a multiple of 5 rows"):
        backward(loaded, rollouts, advantages, 5)
    with pytest.raises(InputError, match="7 rows"):
        backward(loaded, rollouts, advantages, torch.zeros(7, dtype=torch.long), reading="rows", n=N)
    for prompts in ([], [0, 0], [3], [-1]):
        with pytest.raises(InputError, match="different numbers from 0 to 2"):
            PerPromptGradients(loaded.model, N).set_groups(prompts)
    with pytest.raises(InputError, match="one number from 0 to 2"):
        PerPromptGradients(loaded.model, torch.tensor([0, 3]), n=N)
    base = loaded.model.get_base_model()
    with pytest.raises(InputError, match="trainable parameters is 0"):
        PerPromptGradients(torch.nn.Linear(2, 2).requires_grad_(False), 2)
    norm = base.base_model.norm.weight
    norm.requires_grad_(True)
    try:
        with pytest.raises(InputError, match=r"norm\.weight"):
            PerPromptGradients(loaded.model, 2)
    finally:
        norm.requires_grad_(False)


def test_second_derivatives_pass_through(loaded: LoadedModel) -> None:
    ids = torch.tensor([[5, 6, 7], [8, 9, 2]])

    def curvature() -> torch.Tensor:
        with full_precision():
            loss = torch.log_softmax(loaded.model(ids, use_cache=False).logits, dim=-1)[:, :, 3].sum()
        values = list(loaded.parameters.values())
        slopes = torch.autograd.grad(loss, values, create_graph=True)
        second = torch.autograd.grad(sum((slope**2).sum() for slope in slopes), values)
        return torch.cat([part.reshape(-1) for part in second])

    desired = curvature()
    with PerPromptGradients(loaded.model, 2):
        actual = curvature()
    assert_agree(actual, desired, rtol=0, atol=1e-12 * float(desired.abs().max()))
