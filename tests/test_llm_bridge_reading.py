"""Ways to read completions: the same hidden states and gradients whichever is taken, and none where it would not do."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from compare import assert_agree
from random_rollouts import as_rollouts, perturbed, random_rollouts
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import llm_bridge.sampled.packing as packing
import llm_bridge.sampled.reading as reading
from llm_bridge.models import full_precision
from llm_bridge.sampled.batches import Batch
from llm_bridge.sampled.group_loss import sequence_log_probs
from llm_bridge.sampled.packing import takes_packed
from llm_bridge.sampled.reading import Reading, hidden_states

_SIZES: dict[str, Any] = {
    "vocab_size": 24,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
    "bos_token_id": 1,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


def small(kind: str, attention: str = "sdpa", **more: Any) -> Any:
    """A float64 model of this kind with random weights, large enough for attention and positions to matter."""
    names = {"gpt2": {"n_positions": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 24}}
    config: PreTrainedConfig = CONFIG_MAPPING[kind](**{**names.get(kind, _SIZES), **more})
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation=attention).double().eval()
    with torch.no_grad():
        for value in model.parameters():
            value += 0.3 * torch.randn(value.shape)
    return model.requires_grad_(False)


def batch(vocabulary: int = 24, **more: Any) -> Batch:
    return Batch.of(random_rollouts(vocabulary, **more))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize(
    ("kind", "more"),
    [("llama", {"num_key_value_heads": 2}), ("qwen3", {"num_key_value_heads": 1}), ("gpt2", {}), ("gpt_neox", {})],
)
def test_every_way_finds_the_same_hidden_states(kind: str, more: dict[str, Any], attention: str) -> None:
    model = small(kind, attention, **more)
    with full_precision():
        assert takes_packed(model)
        for rows in (batch(), batch(extra=3, same_length=True), batch(n=1, group=3, longest=1), batch(group=1)):
            alone = hidden_states(model, rows, "rows")
            for way in get_args(Reading):
                found = hidden_states(model, rows, way)
                assert_agree(found, alone, rtol=0, atol=1e-12 * float(alone.abs().max()))


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("mistral", {"sliding_window": 4, "num_key_value_heads": 2}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1, "num_key_value_heads": 4}),
        ("bloom", {"n_layer": 2, "n_head": 4}),
    ],
)
def test_models_with_windows_or_without_positions_do_without(kind: str, more: dict[str, Any]) -> None:
    model, rows = small(kind, "eager", **more), batch()
    with full_precision():
        assert not takes_packed(model)
        packed, alone = hidden_states(model, rows, "packed"), hidden_states(model, rows, "rows")
        assert torch.equal(packed, alone)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_a_model_that_does_not_heed_the_mask_is_found_out(monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    model = small("llama")
    # One dimension much larger than all others, as many models have: half precision is coarse beside it.
    model.model.embed_tokens.weight[:, 0] = 60.0
    model = model.to(getattr(torch, dtype))
    assert takes_packed(model)
    packing._TRIED.clear()
    inner = model.model.forward

    def deaf(input_ids: Any, attention_mask: Any = None, position_ids: Any = None, **more: Any) -> Any:
        mask = None if attention_mask is not None and attention_mask.ndim == 4 else attention_mask
        return inner(input_ids=input_ids, attention_mask=mask, position_ids=position_ids, **more)

    monkeypatch.setattr(model.model, "forward", deaf)
    assert not takes_packed(model)


def test_other_implementations_of_attention_do_without() -> None:
    model = small("llama")
    assert takes_packed(model)
    model.config._attn_implementation = "flash_attention_2"
    assert not takes_packed(model)


def test_a_completion_does_not_see_those_beside_it() -> None:
    model = small("llama")
    prompt, first = [5, 6, 7], [8, 9, 10, 1]
    rows = [Batch.of(as_rollouts([prompt], [first, second])) for second in ([11, 12, 13, 1], [2, 3, 4, 1])]
    one, other = (hidden_states(model, each, "packed") for each in rows)
    assert torch.equal(one[:5], other[:5])
    assert not torch.equal(one[5:], other[5:])


def test_trying_leaves_the_mode_of_every_module() -> None:
    model = small("llama")
    model.model.layers[1].train()
    before = [module.training for module in model.modules()]
    assert takes_packed(model)
    assert [module.training for module in model.modules()] == before


def test_packed_rows_are_computed_again_where_layers_are_checkpointed() -> None:
    plain, checkpointed = perturbed(), perturbed(checkpointing=True)
    rollouts = random_rollouts(plain.model.config.vocab_size)
    passes: list[int] = []
    layer = checkpointed.model.get_base_model().base_model.layers[0]
    sequence_log_probs(checkpointed.model, rollouts, 1.0)
    layer.mlp.register_forward_pre_hook(lambda *_: passes.append(1))
    slopes = []
    for loaded in (plain, checkpointed):
        total = sequence_log_probs(loaded.model, rollouts, 1.0).sum()
        parts = torch.autograd.grad(total, list(loaded.parameters.values()))
        slopes.append(torch.cat([each.reshape(-1) for each in parts]))
    assert_agree(slopes[1], slopes[0], rtol=0, atol=1e-12 * float(slopes[0].abs().max()))
    assert len(passes) == 2


def chosen(model: Any, **more: Any) -> Reading:
    return reading._cheapest(model, batch(**more))


def test_eager_attention_keeps_its_masks_small() -> None:
    sdpa, eager = (small("llama", attention).config for attention in ("sdpa", "eager"))
    assert reading._room_for_masks(sdpa) == 8 / 4 * reading._room_for_masks(eager)


def test_the_way_with_the_least_work_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small("llama")
    # Nothing to share, nothing to save.
    assert chosen(model, group=1) == "rows"
    assert chosen(model, group=8) == "packed"
    # Attention over many long completions costs more than a pass for the prompts.
    monkeypatch.setitem(reading._PASS_WORTH, "cpu", 0.0)
    assert chosen(model, n=1, group=64, longest=40, same_length=True) == "prompts"
    monkeypatch.setitem(reading._PASS_WORTH, "cpu", 1e30)
    assert chosen(model, n=1, group=64, longest=40, same_length=True) == "rows"
    with monkeypatch.context() as recomputed:
        recomputed.setitem(reading._PASS_WORTH, "cpu", 0.0)
        recomputed.setattr(reading, "recomputes_activations", lambda model: True)
        assert chosen(model, n=1, group=64, longest=40, same_length=True) == "rows"
    monkeypatch.setattr(reading, "_LARGEST_MASK", 100)
    assert chosen(model, group=8) == "rows"
    monkeypatch.undo()
    monkeypatch.setattr(reading, "takes_packed", lambda model: False)
    assert chosen(model, group=8) == "rows"
