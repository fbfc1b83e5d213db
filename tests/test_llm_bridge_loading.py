"""Tests of devices, gradient checkpointing, memory errors and presets."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest
import torch
from perturbing import perturb

from llm_bridge import recomputation
from llm_bridge.gradients import log_odds_gradients, logit_features
from llm_bridge.memory import clear_memory_errors
from llm_bridge.models import load_model
from llm_bridge.policies import AnswerBatch, answer_logits
from llm_bridge.presets import PRESETS, Printed, get_preset
from llm_bridge.recomputation import checkpoint_layers, is_checkpointed
from llm_bridge.tasks import prompts_from_names
from theory.errors import InputError

PROMPTS = prompts_from_names(["3+5", "6*7"])


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_checkpointing_changes_no_value_and_no_gradient(dtype: str) -> None:
    plain, checkpointed = (perturb(load_model(dtype=dtype, checkpointing=each), 0.05, seed=4) for each in (False, True))
    assert (plain.checkpointing, checkpointed.checkpointing) == (False, True)
    assert (is_checkpointed(plain.model), is_checkpointed(checkpointed.model)) == (False, True)
    assert list(plain.parameters) == list(checkpointed.parameters)
    assert not checkpointed.model.training
    results = []
    for loaded in (plain, checkpointed):
        batch = AnswerBatch.of(PROMPTS, loaded.tokenizer)
        logits = answer_logits(loaded.model, batch)
        results.append((logits, torch.autograd.grad(logits[:, 3].sum(), list(loaded.parameters.values()))))
    # The same operations on the same numbers: on the CPU there is not even rounding.
    assert torch.equal(results[0][0], results[1][0])
    assert any(gradient.any() for gradient in results[0][1])
    for one, other in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6 if dtype != "float64" else 1e-12, atol=0)


def test_checkpointed_layers_are_really_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = recomputation.checkpoint
    monkeypatch.setattr(recomputation, "checkpoint", lambda *args, **kwargs: calls.append(1) or real(*args, **kwargs))
    loaded = load_model(checkpointing=True)
    layer = loaded.model.base_model.model.model.layers[0].mlp
    runs = []
    layer.register_forward_pre_hook(lambda *_: runs.append(1))
    batch = AnswerBatch.of(PROMPTS, loaded.tokenizer)
    with torch.no_grad():
        answer_logits(loaded.model, batch)
    assert (len(calls), len(runs)) == (0, 1)
    answer_logits(loaded.model, batch).sum().backward()
    assert (len(calls), len(runs)) == (3, 3)


def test_exact_mode_works_on_a_checkpointed_model() -> None:
    plain, checkpointed = perturb(load_model(), 0.05, seed=4), perturb(load_model(checkpointing=True), 0.05, seed=4)
    batch = AnswerBatch.of(PROMPTS[:1], plain.tokenizer)
    for measure in (log_odds_gradients, logit_features):
        for one, other in zip(measure(plain, batch), measure(checkpointed, batch), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_generation_of_a_checkpointed_model_uses_its_cache() -> None:
    plain, checkpointed = load_model(), load_model(checkpointing=True)
    ids = torch.tensor([plain.tokenizer("17+26=")["input_ids"]])
    texts = []
    for loaded in (plain, checkpointed):
        out = loaded.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=4)
        texts.append(out.tolist())
    assert texts[0] == texts[1]


def test_a_model_without_such_layers_says_so() -> None:
    with pytest.raises(InputError, match="checkpointing is True"):
        checkpoint_layers(torch.nn.Linear(2, 2))


def test_the_device_is_where_the_parameters_are() -> None:
    assert load_model(device="cpu").device == torch.device("cpu")
    for name in ("cuda:99", "abacus", "", "cpu:x"):
        with pytest.raises(InputError, match=f"device is '{name}'.*use for example cpu") as caught:
            load_model(device=name)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_a_gpu_gives_what_the_cpu_gives(dtype: str) -> None:
    here, there = perturb(load_model(dtype=dtype), 0.05, seed=4), load_model(dtype=dtype, device="cuda")
    with torch.no_grad():
        for name, value in there.parameters.items():
            value.copy_(here.parameters[name])
    tolerance = {"float64": 1e-9, "float32": 1e-3, "bfloat16": 1.0}[dtype]
    results = [
        log_odds_gradients(each, AnswerBatch.of(PROMPTS, each.tokenizer, device=each.device)) for each in (here, there)
    ]
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ..."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        MemoryError(),
        MemoryError("Unable to allocate 8 TiB"),
    ],
)
def test_out_of_memory_becomes_one_line_that_says_what_to_do(error: BaseException) -> None:
    with (
        pytest.raises(InputError, match=r"memory is .*enough for this run.*checkpointing, bfloat16") as caught,
        clear_memory_errors(),
    ):
        raise error
    assert "\n" not in str(caught.value)


def test_a_real_failure_to_allocate_is_recognised() -> None:
    with pytest.raises(InputError, match="memory is "), clear_memory_errors("a tensor"):
        torch.empty(2**50, dtype=torch.float64)


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="something else"), clear_memory_errors():
        raise RuntimeError("something else")


def test_presets_hold_what_the_sources_print() -> None:
    paper, talk = get_preset("paper"), get_preset("talk")
    assert paper.model.value == talk.model.value == "Qwen/Qwen2.5-Math-1.5B"
    assert [(each.lora.value.r, each.lora.value.alpha) for each in (paper, talk)] == [(64, 128), (16, 32)]
    assert paper.lora.value.target_modules == "all-linear"
    assert (paper.group.value, talk.group.value) == (None, 8)
    assert (paper.easy.value, paper.hard.value) == (4695, 1909)
    assert {"learning_rate", "batch", "optimizer", "temperature"} <= set(paper.unprinted) & set(talk.unprinted)
    assert "group" in paper.unprinted


def test_every_setting_has_a_place() -> None:
    for preset in PRESETS.values():
        settings = dict(preset.printed())
        assert set(settings) == {field.name for field in fields(preset)} - {"name"}
        for name, setting in settings.items():
            assert isinstance(setting, Printed)
            # What is not printed is None, and what is None says so.
            assert (setting.value is None) == setting.place.startswith("not printed"), name
        with pytest.raises(FrozenInstanceError):
            preset.name = "other"  # type: ignore[misc]


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(InputError, match="preset is 'book'; expected one of paper, talk"):
        get_preset("book")
