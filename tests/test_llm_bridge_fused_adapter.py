"""LoRA layers as one node each: against peft's own passes, prompt by prompt and in all."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from compare import assert_agree
from peft import LoraConfig
from random_rollouts import as_rollouts, perturbed, random_rollouts

from llm_bridge.models import LoadedModel, LoraSettings
from llm_bridge.sampled.adapter_layers import adapter_layers
from llm_bridge.sampled.fused_adapter import fused_adapter
from llm_bridge.sampled.group_gradients import sum_of_gradients
from llm_bridge.sampled.group_loss import group_loss, sequence_log_probs
from llm_bridge.sampled.merging import merged_adapter
from llm_bridge.sampled.per_prompt import PerPromptGradients
from llm_bridge.sampled.rollouts import Rollouts

N, GROUP = 3, 4


def vocabulary(loaded: LoadedModel) -> int:
    return int(loaded.model.config.vocab_size)


def unequal(loaded: LoadedModel) -> Rollouts:
    """Padding on both sides: prompts of 1 to 6 tokens, completions too."""
    return random_rollouts(vocabulary(loaded), N, GROUP)


def unpadded(loaded: LoadedModel) -> Rollouts:
    """Prompts of one length, so that no mask is needed; completions of unequal lengths."""
    drawn = torch.Generator().manual_seed(3)
    rows = torch.randint(2, vocabulary(loaded), (N + N * GROUP, 5), generator=drawn).tolist()
    return as_rollouts(rows[:N], [row[: 1 + k % 5] for k, row in enumerate(rows[N:])])


def advantages() -> torch.Tensor:
    return torch.randn(N, GROUP, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def one_by_one(loaded: LoadedModel, rollouts: Rollouts) -> torch.Tensor:
    """Each prompt's gradient through peft's own layers, ``(N, d)``, by a backward pass of its own."""
    rows = []
    for i in range(N):
        loss = group_loss(sequence_log_probs(loaded.model, rollouts.prompt(i), 1.0), advantages()[i : i + 1])
        parts = torch.autograd.grad(loss, list(loaded.parameters.values()), allow_unused=True, materialize_grads=True)
        rows.append(-torch.cat([part.reshape(-1) for part in parts]))
    return torch.stack(rows)


def fused(loaded: LoadedModel, rollouts: Rollouts) -> tuple[torch.Tensor, torch.Tensor]:
    """The prompts' gradients of one pass over all of them, and their sum as the optimizer gets it."""
    recorder = PerPromptGradients(loaded.model, N)
    recorder.set_groups(range(N), -N)
    total = sum_of_gradients(loaded, rollouts, advantages().numpy(), 1.0, recorder)
    return recorder.gradients(), total


def check(actual: tuple[torch.Tensor, torch.Tensor], desired: torch.Tensor, tolerance: float) -> None:
    for ours, theirs in zip((*actual[0], actual[1]), (*desired, desired.sum(dim=0)), strict=True):
        assert_agree(ours, theirs, rtol=0, atol=tolerance * float(theirs.abs().max()))


@pytest.mark.parametrize("drawn", [unequal, unpadded])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-4)])
def test_one_pass_over_all_prompts_is_a_pass_for_each(
    drawn: Callable[[LoadedModel], Rollouts], checkpointing: bool, dtype: str, tolerance: float
) -> None:
    loaded = perturbed()
    desired = one_by_one(loaded, drawn(loaded))
    model = perturbed(dtype, checkpointing=checkpointing)
    check(fused(model, drawn(model)), desired, tolerance)


def test_checkpointing_of_transformers() -> None:
    loaded = perturbed("float32")
    desired = one_by_one(loaded, unequal(loaded))
    loaded.model.get_base_model().activation_checkpointing_enable({"use_reentrant": False})
    loaded.model.train()
    check(fused(loaded, unequal(loaded)), desired, 1e-4)


def test_half_precision_is_close() -> None:
    loaded, half = perturbed("float32"), perturbed("bfloat16")
    desired = one_by_one(loaded, unequal(loaded))
    for ours, theirs in zip(fused(half, unequal(half))[0], desired, strict=True):
        assert ours.dtype == torch.float32
        assert float((ours - theirs).norm() / theirs.norm()) < 0.05


@pytest.mark.parametrize("targets", [("q_proj", "down_proj"), ("v_proj",)])
def test_some_layers_without_an_adapter(targets: tuple[str, ...]) -> None:
    loaded = perturbed(lora=LoraSettings(r=2, target_modules=targets))
    assert len(adapter_layers(loaded.model).plain()) == 3 * len(targets)
    check(fused(loaded, unequal(loaded)), one_by_one(loaded, unequal(loaded)), 1e-12)


@pytest.mark.parametrize("parts", [("lora_A", "lora_B"), ("lora_A",), ("lora_B",)])
def test_frozen_layers(parts: tuple[str, ...]) -> None:
    loaded = perturbed()
    for name, value in loaded.parameters.items():
        if "layers.1." in name and any(part in name for part in parts):
            value.requires_grad_(False)
    assert len(adapter_layers(loaded.model).plain()) == 21
    assert len(loaded.parameters) == 42 - 7 * len(parts)
    check(fused(loaded, unequal(loaded)), one_by_one(loaded, unequal(loaded)), 1e-12)


def test_a_layer_used_twice_and_one_not_used() -> None:
    loaded = perturbed()
    layers = loaded.model.get_base_model().base_model.layers
    # The second layer's projection runs once more, for the third's, which then has no gradient.
    layers[2].mlp.gate_proj.forward = lambda x: layers[1].mlp.gate_proj(x)
    desired = one_by_one(loaded, unequal(loaded))
    names = [name for name, value in loaded.parameters.items() for _ in range(value.numel())]
    dead = torch.tensor(["layers.2.mlp.gate_proj" in name for name in names])
    assert float(desired[:, dead].abs().max()) == 0 < float(desired[:, ~dead].abs().max())
    check(fused(loaded, unequal(loaded)), desired, 1e-12)


def test_a_layer_at_two_places() -> None:
    loaded = perturbed()
    layers = loaded.model.get_base_model().base_model.layers
    layers[2].mlp.gate_proj = layers[1].mlp.gate_proj
    rollouts = unequal(loaded)
    check(fused(loaded, rollouts), one_by_one(loaded, rollouts), 1e-12)

    def log_probs() -> torch.Tensor:
        return sequence_log_probs(loaded.model, rollouts, 1.0).detach()

    wanted = log_probs()
    with merged_adapter(loaded.model) as merged:
        assert merged
        assert_agree(log_probs(), wanted, 1e-11)
    assert_agree(log_probs(), wanted, 0)


@pytest.mark.parametrize("kind", ["hook", "forward", "dropout", "dora", "second adapter"])
def test_layers_that_are_more_keep_their_own_passes(kind: str) -> None:
    loaded = perturbed()
    model = loaded.model
    layer = model.get_base_model().base_model.layers[1].self_attn.q_proj
    called: list[int] = []
    if kind == "hook":
        layer.base_layer.register_forward_hook(lambda *_: called.append(1))
    elif kind == "forward":
        own = layer.lora_A["default"].forward
        layer.lora_A["default"].forward = lambda x: called.append(1) or own(x)
    elif kind == "dropout":
        layer.lora_dropout["default"] = torch.nn.Dropout(0.5)
        layer.train()
    elif kind == "dora":
        layer.lora_variant["default"] = object()
    else:
        model.add_adapter("second", LoraConfig(r=2, target_modules=["q_proj"]))
    plain = layer.forward.__func__
    with fused_adapter(model):
        assert layer.forward.__func__ is plain
        others = [place.layer for place in adapter_layers(model).plain() if place.layer is not layer]
        assert others
        assert all("forward" in vars(other) for other in others)
    assert not any("forward" in vars(other) for other in others)
    if called or kind in ("hook", "forward"):
        total = sum_of_gradients(loaded, unequal(loaded), advantages().numpy(), 1.0)
        assert called
        assert_agree(total, one_by_one(loaded, unequal(loaded)).sum(dim=0), 1e-10, atol=1e-12)


def test_layers_with_hooks_are_recorded_too() -> None:
    loaded = perturbed()
    desired = one_by_one(loaded, unequal(loaded))
    seen: list[int] = []
    for layer in loaded.model.get_base_model().base_model.layers[:2]:
        layer.mlp.up_proj.base_layer.register_forward_hook(lambda *_: seen.append(1))
    check(fused(loaded, unequal(loaded)), desired, 1e-12)
    assert len(seen) == 2


def test_autocast_keeps_the_layers_own_passes() -> None:
    loaded = perturbed("float32")
    with torch.autocast("cpu", dtype=torch.bfloat16), fused_adapter(loaded.model):
        assert not any("forward" in vars(place.layer) for place in adapter_layers(loaded.model).plain())


def test_second_derivatives_are_refused_and_errors_leave_no_trace() -> None:
    loaded = perturbed("float32")
    ids = torch.tensor([[5, 6, 7]])
    values = list(loaded.parameters.values())
    with fused_adapter(loaded.model):
        slopes = torch.autograd.grad(loaded.model(ids).logits.sum(), values, create_graph=True)
        squares = torch.stack([(slope**2).sum() for slope in slopes])
        with pytest.raises(RuntimeError, match="once_differentiable"):
            squares.sum().backward()
    with pytest.raises(ValueError, match="specify exactly one"), fused_adapter(loaded.model):
        loaded.model(input_ids=None)
    assert not any("forward" in vars(place.layer) for place in adapter_layers(loaded.model).plain())


def test_the_gradient_does_not_depend_on_recording() -> None:
    loaded = perturbed("float32")
    recorded = fused(loaded, unequal(loaded))[1]
    alone = sum_of_gradients(loaded, unequal(loaded), advantages().numpy(), 1.0)
    assert torch.equal(recorded, alone)


def test_a_model_is_walked_once_and_forgotten_with_it() -> None:
    loaded: Any = perturbed("float32")
    found = adapter_layers(loaded.model)
    assert adapter_layers(loaded.model) is found
    assert [id(value) for value in found.trainable] == [id(value) for value in loaded.parameters.values()]
    assert found.size == loaded.model.num_parameters()
    norm = loaded.model.get_base_model().base_model.norm.weight
    norm.requires_grad_(True)
    assert any(value is norm for value in found.trainable)
    there = weakref.ref(loaded.model)
    del loaded, found, norm
    gc.collect()
    assert there() is None
