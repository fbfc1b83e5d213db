"""Tests of llm_bridge.models, the packaged weights, and the script that rebuilds them."""

from __future__ import annotations

import json
import random
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.utils import logging as hf_logging

from llm_bridge import pretrain_tiny
from llm_bridge.models import TINY_FOLDER, LoraSettings, full_precision, load_model
from llm_bridge.policies import AnswerBatch, answer_logits
from llm_bridge.tasks import KINDS, arithmetic_prompts, prompts_from_names
from theory.errors import InputError


def assert_same_parameters(first: Any, second: Any) -> None:
    left, right = dict(first.model.named_parameters()), dict(second.model.named_parameters())
    assert list(left) == list(right)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_packaged_files_are_small_and_plain() -> None:
    names = {path.name for path in TINY_FOLDER.iterdir() if path.is_file()}
    assert names == {*pretrain_tiny.FILES, "__init__.py"}
    assert sum((TINY_FOLDER / name).stat().st_size for name in names) <= 3_000_000
    weights = load_file(TINY_FOLDER / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_only_lora_parameters_are_trainable_and_their_order_is_fixed() -> None:
    loaded = load_model()
    trainable = loaded.parameters
    assert list(trainable) == list(loaded.parameters)
    assert all(".lora_A." in name or ".lora_B." in name for name in trainable)
    # 3 layers with 7 linear maps: 4 of 96x96 in attention and 3 between 96 and 224, an A and a B each, rank 8.
    assert len(trainable) == 42
    assert loaded.n_trainable == 3 * 8 * (4 * (96 + 96) + 3 * (96 + 224))
    assert not loaded.model.training
    assert {value.dtype for value in loaded.model.parameters()} == {torch.float64}


def test_rank_and_target_modules_are_obeyed() -> None:
    loaded = load_model(lora=LoraSettings(r=2, alpha=4, target_modules=("q_proj",)))
    assert [tuple(value.shape) for value in loaded.parameters.values()] == [(2, 96), (96, 2)] * 3
    assert all("q_proj" in name for name in loaded.parameters)


def test_b_is_zero_so_the_adapted_model_starts_as_the_base() -> None:
    loaded = load_model()
    assert all(not value.any() for name, value in loaded.parameters.items() if ".lora_B." in name)
    assert all(value.any() for name, value in loaded.parameters.items() if ".lora_A." in name)
    batch = AnswerBatch.of(prompts_from_names(["3+5", "17+26"]), loaded.tokenizer)
    with torch.no_grad():
        adapted = answer_logits(loaded.model, batch)
        with loaded.model.disable_adapter():
            assert torch.equal(adapted, answer_logits(loaded.model, batch))


def test_loading_is_a_function_of_its_arguments() -> None:
    first = load_model()
    torch.rand(7)
    assert_same_parameters(first, load_model())
    other = load_model(lora=LoraSettings(seed=1))
    name = next(iter(first.parameters))
    assert not torch.equal(first.parameters[name], other.parameters[name])


def test_the_start_is_the_same_in_every_dtype() -> None:
    exact, single, half = (load_model(dtype=dtype) for dtype in ("float64", "float32", "bfloat16"))
    for name, value in exact.parameters.items():
        assert torch.equal(value.float(), single.parameters[name])
        torch.testing.assert_close(value.float(), half.parameters[name].float(), rtol=1e-2, atol=0)
    batch = AnswerBatch.of(prompts_from_names(["3+5", "9*9"]), exact.tokenizer)
    with torch.no_grad():
        reference = answer_logits(exact.model, batch)
        torch.testing.assert_close(answer_logits(single.model, batch), reference, rtol=0, atol=1e-4)
        torch.testing.assert_close(answer_logits(half.model, batch), reference, rtol=0, atol=1.0)


def test_loading_leaves_global_state_alone(capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(5)
    random.seed(5)
    before = torch.get_rng_state(), random.getstate(), str(np.random.get_state(legacy=False))  # noqa: NPY002
    settings = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled(), torch.get_default_dtype()
    load_model(lora=LoraSettings(seed=11))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert str(np.random.get_state(legacy=False)) == before[2]  # noqa: NPY002
    assert (hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled(), torch.get_default_dtype()) == settings
    assert capfd.readouterr() == ("", "")


def test_no_connection_is_attempted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("tried to open a connection")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    load_model()
    with pytest.raises(InputError):
        load_model("Qwen/Qwen2.5-0.5B")


def test_a_local_folder_loads_like_the_packaged_model(tmp_path: Path) -> None:
    shutil.copytree(TINY_FOLDER, tmp_path / "copy")
    assert_same_parameters(load_model(str(tmp_path / "copy")), load_model())


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-0.5B", "", "no such\nmodel", "a" * 5000, "nul\0byte"])
def test_unknown_name_is_refused_and_named(name: str) -> None:
    with pytest.raises(InputError, match="local folder with a") as caught:
        load_model(name)
    assert "\n" not in str(caught.value)
    assert repr(name)[:40] in str(caught.value)


def broken(folder: Path, how: str) -> None:
    if how == "no weights":
        (folder / "model.safetensors").unlink()
    elif how == "cut weights":
        (folder / "model.safetensors").write_bytes((TINY_FOLDER / "model.safetensors").read_bytes()[:5000])
    elif how == "a layer missing":
        weights = load_file(folder / "model.safetensors")
        del weights["model.layers.1.mlp.up_proj.weight"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    elif how == "not JSON":
        (folder / "config.json").write_text("{")
    elif how == "unknown architecture":
        (folder / "config.json").write_text(json.dumps({"model_type": "abacus"}))


@pytest.mark.parametrize("how", ["no weights", "cut weights", "a layer missing", "not JSON", "unknown architecture"])
def test_a_broken_folder_is_refused_on_one_line(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(TINY_FOLDER, folder)
    broken(folder, how)
    with pytest.raises(InputError, match="model is '") as caught:
        load_model(str(folder))
    assert "\n" not in str(caught.value)


def test_other_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match=r"'float16'.*bfloat16"):
        load_model(dtype="float16")
    with pytest.raises(InputError, match="no_such_layer"):
        load_model(lora=LoraSettings(target_modules=("no_such_layer",)))
    for wrong in ({"r": 0}, {"r": 1.5}, {"alpha": 0}, {"alpha": float("nan")}, {"seed": -1}):
        with pytest.raises(InputError, match=re.escape(repr(next(iter(wrong.values()))))):
            LoraSettings(**wrong)


def test_full_precision_keeps_float64_and_changes_nothing_else() -> None:
    exact, single = torch.tensor([1 / 3], dtype=torch.float64), torch.tensor([1 / 3])
    with full_precision():
        assert exact.float() is exact
        for cast in (exact.to(torch.float32), exact.to(dtype=torch.float32), exact.to("cpu", torch.float32)):
            assert torch.equal(cast, exact)
            assert cast.dtype == torch.float64
        assert torch.nn.functional.softmax(exact, dim=-1, dtype=torch.float32).dtype == torch.float64
        assert single.to(torch.float64).dtype == torch.float64
        assert single.bfloat16().float().dtype == torch.float32
        assert torch.zeros(1, dtype=torch.float32).dtype == torch.float32
    assert exact.float().dtype == torch.float32


def test_prompts_span_easy_to_hard() -> None:
    loaded = load_model(dtype="float32")
    p = {
        kind: pretrain_tiny.difficulty(loaded.model, loaded.tokenizer, arithmetic_prompts(kind, limit=100))
        for kind in KINDS
    }
    everything = sorted(value for values in p.values() for value in values)
    assert everything[0] < 0.01
    assert everything[-1] > 0.95
    # No gap in between: every tenth of the range has prompts.
    assert all(any(low / 10 <= value < (low + 1) / 10 for value in everything) for low in range(10))
    medians = {kind: float(np.median(values)) for kind, values in p.items()}
    assert medians["sum"] > 0.9
    assert medians["two_digit_sum"] < 0.6


def test_pretraining_writes_a_loadable_model_and_does_not_overwrite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrain_tiny, "_TABLE_LIMIT", 20)
    out = tmp_path / "deep" / "model"
    arguments = ["--out", str(out), "--steps", "2", "--seed", "3"]
    assert pretrain_tiny.main(arguments) == 0
    assert "loss" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == set(pretrain_tiny.FILES)
    assert list(out.parent.iterdir()) == [out]
    first = (out / "model.safetensors").read_bytes()
    assert load_model(str(out)).n_trainable == load_model().n_trainable
    assert pretrain_tiny.main(arguments) == 2
    assert "--force" in capsys.readouterr().err
    torch.rand(3)
    model, _ = pretrain_tiny.pretrain(seed=3, steps=2)
    assert len(first) == (TINY_FOLDER / "model.safetensors").stat().st_size
    again = dict(model.named_parameters())
    assert all(torch.equal(value, again[name]) for name, value in load_file(out / "model.safetensors").items())
    assert pretrain_tiny.main([*arguments[:-1], "4", "--force"]) == 0
    assert (out / "model.safetensors").read_bytes() != first


@pytest.mark.parametrize("extra", [["--steps", "0"], ["--seed", "-1"]])
def test_pretraining_refuses_bad_arguments(tmp_path: Path, extra: list[str]) -> None:
    assert pretrain_tiny.main(["--out", str(tmp_path / "model"), *extra]) == 2
    assert not (tmp_path / "model").exists()


def test_pretraining_refuses_a_file_as_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    assert pretrain_tiny.main(["--out", str(tmp_path / "file"), "--force"]) == 2
    assert (tmp_path / "file").read_text() == "kept"


def test_packaged_tokenizer_is_the_one_the_script_builds() -> None:
    text = "23+48=71<eos>"
    built, packaged = pretrain_tiny.build_tokenizer(), load_model(dtype="float32").tokenizer
    assert built(text)["input_ids"] == packaged(text)["input_ids"]
    assert len(built(text)["input_ids"]) == 9
    assert packaged.decode(packaged(text)["input_ids"], skip_special_tokens=True) == "23+48=71"
    assert len(packaged) == len(built) == 17
