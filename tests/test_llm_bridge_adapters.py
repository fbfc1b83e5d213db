"""A saved adapter is put into the model it was trained on, as it was trained, or refused with one line."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from test_whynorm_cli import Capture, call

from llm_bridge.models import LoadedModel, LoraSettings, load_model
from llm_bridge.sampled.run_folder import save_adapter
from llm_bridge.weights.adapters import load_adapter
from llm_bridge.weights.catalogue import CATALOGUE, TINY_FOLDER, cached_folder, find_model
from llm_bridge.weights.model_files import read_model
from llm_bridge.weights.same_model import same_model
from theory.errors import InputError

# Settings that peft reads as plain LoRA of rank 8 and alpha 16 on all linear layers.
PLAIN = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}


def _trained(folder: Path, **changes: Any) -> torch.nn.Module:
    """An adapter that peft itself made of the packaged model, with numbers in it, saved as peft saves."""
    base, _ = read_model("tiny", find_model("tiny"), torch.float64)
    torch.manual_seed(0)
    with warnings.catch_warnings():
        # peft calls what transformers has deprecated.
        warnings.simplefilter("ignore", FutureWarning)
        model = get_peft_model(base, LoraConfig(**{**PLAIN, **changes}))
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value += 0.01 * torch.randn_like(value)
    model.save_pretrained(str(folder), save_embedding_layers=False)
    return model.eval()


def _edit(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _outputs(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(1, 9)[None], use_cache=False).logits


ONE_LAYER = "model.layers.0.self_attn.q_proj"
REFUSED = [
    ({"alpha_pattern": {ONE_LAYER: 32}}, rf"lora-alpha is 16; expected 32 for {ONE_LAYER}.*other layers have others"),
    ({"alpha_pattern": {"q_proj": 32}}, r"lora-alpha is 16; expected 32 for model\.layers\.0.*q_proj"),
    ({"rank_pattern": {"q_proj": 4}}, r"lora-r is 8; expected 4 for model\.layers\.0.*q_proj.*other layers"),
    ({"r": 4}, r"lora-r is 8; expected 4, as the adapter was trained with"),
    ({"lora_alpha": 32}, r"lora-alpha is 16; expected 32, as the adapter was trained with"),
    ({"use_rslora": True}, r"lora-alpha is 16; expected 45\.2548339959, as the adapter was trained with"),
    (
        {"target_modules": ["q_proj", "v_proj"]},
        r"LoRA target_modules is 'on \d+ layers'; expected one without .*, as the adapter",
    ),
    ({"target_modules": ["q_proj"], "layers_to_transform": [0]}, r"target_modules is .*expected one without model\."),
    ({"use_dora": True}, r"adapter is 'use_dora=True'; expected a plain LoRA adapter"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_peft_would_read_otherwise_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    _trained(tmp_path, **changes)
    loaded = load_model("tiny")
    before = _outputs(loaded.model)
    with pytest.raises(InputError, match=message) as caught:
        load_adapter(loaded, tmp_path)
    assert "\n" not in str(caught.value)
    assert torch.equal(_outputs(loaded.model), before)


ACCEPTED: list[tuple[dict[str, Any], LoraSettings]] = [
    ({}, LoraSettings()),
    ({"r": 4, "use_rslora": True}, LoraSettings(r=4, alpha=32)),
    ({"use_rslora": True}, LoraSettings(alpha=45.2548339959)),
    # A pattern that gives every layer what the model has.
    ({"alpha_pattern": {"[a-z_]+": 64}, "rank_pattern": {".*proj": 4}}, LoraSettings(r=4, alpha=64)),
    ({"target_modules": ["q_proj", "v_proj"]}, LoraSettings(target_modules=("v_proj", "q_proj"))),
    (
        {"target_modules": r".*layers\.\d+\.mlp\..*_proj"},
        LoraSettings(target_modules=("gate_proj", "up_proj", "down_proj")),
    ),
]


@pytest.mark.parametrize(("changes", "lora"), ACCEPTED, ids=lambda value: str(value)[:40])
def test_what_is_accepted_computes_the_same(changes: dict[str, Any], lora: LoraSettings, tmp_path: Path) -> None:
    model = _trained(tmp_path, **changes)
    loaded = load_model("tiny", lora=lora)
    load_adapter(loaded, tmp_path)
    torch.testing.assert_close(_outputs(loaded.model), _outputs(model), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"base_model_name_or_path": "org/other"},
            r"model is 'tiny'; expected org/other, as the adapter was trained on",
        ),
        ({"base_model_name_or_path": "/gone/other"}, r"expected /gone/other"),
        ({"bias": "all"}, r"bias='all'.*plain LoRA"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save=\['lm_head'\]"),
        ({"peft_type": "IA3"}, r"peft_type='IA3'"),
        ({"init_lora_weights": "pissa_niter_16"}, r"init_lora_weights='pissa_niter_16'"),
        ({"lora_alpha": "x"}, r"settings that peft can read \(lora_alpha is 'x'\)"),
        ({"rank_pattern": {"(": 4}}, r"settings that peft can read"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_settings_that_shapes_do_not_show(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    save_adapter(load_model("tiny"), tmp_path / "adapter")
    load_adapter(load_model("tiny"), tmp_path / "adapter")
    _edit(tmp_path / "adapter", **changes)
    with pytest.raises(InputError, match=message):
        load_adapter(load_model("tiny"), tmp_path / "adapter")


def test_a_damaged_description_is_not_passed_over(tmp_path: Path) -> None:
    save_adapter(load_model("tiny"), tmp_path)
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 3')
    with pytest.raises(InputError, match=r"adapter_config\.json.*readable JSON"):
        load_adapter(load_model("tiny"), tmp_path)


def test_a_checkpoint_of_another_model_is_refused(capsys: Capture, tmp_path: Path) -> None:
    loaded = load_model("tiny")
    checkpoint = tmp_path / "checkpoints" / "step-00000001"
    checkpoint.mkdir(parents=True)
    save_file({name: value.detach() for name, value in loaded.parameters.items()}, checkpoint / "adapter.safetensors")
    argv = ["--only", "gram", "--prompts", "2+7", "--json", "--adapter", checkpoint]
    for model, code in (("tiny", 0), (str(TINY_FOLDER), 0), ("org/other", 2)):
        (tmp_path / "run.json").write_text(json.dumps({"identity": {"model": model, "lora_r": 8, "lora_alpha": 16}}))
        found, _, stderr = call(capsys, "bridge", "measure", *argv)
        assert found == code, stderr
    assert stderr.startswith("whynorm: model is 'tiny'; expected org/other, as the adapter was trained on")
    assert stderr.count("\n") == 1


def test_names_of_one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHYNORM_CACHE", str(tmp_path / "cache"))
    hub = CATALOGUE["smollm2"].hub_id
    cached = cached_folder("smollm2")
    shutil.copytree(TINY_FOLDER, cached)
    (cached / "model.safetensors").write_bytes(b"others")
    (cached / "origin.json").write_text(json.dumps({"hub_id": hub}))
    copy, other = tmp_path / "copy", tmp_path / "other"
    for folder in (copy, other):
        shutil.copytree(TINY_FOLDER, folder)
    weights = other / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    snapshot = f"/home/x/.cache/huggingface/hub/models--{hub.replace('/', '--')}/snapshots/abc"
    for name in ("smollm2", hub, str(cached), snapshot, "/else/models/smollm2"):
        assert same_model(name, "smollm2")
        assert same_model("smollm2", name)
        assert not same_model(name, "org/other")
        assert not same_model(name, "tiny")
    for name in ("tiny", str(TINY_FOLDER), str(copy), "/gone/llm_bridge/tiny"):
        assert same_model(name, "tiny")
        assert not same_model(name, str(other))
    # What is not here is known by its last name only.
    assert same_model("/gone/other", str(other))
    assert same_model("/gone/models/org--name", "org/name")


def test_names_of_the_adapters_own_run(tmp_path: Path) -> None:
    """What `bridge train` leaves fits the model that it was trained on."""
    loaded: LoadedModel = load_model("tiny", lora=LoraSettings(r=2, alpha=3))
    save_adapter(loaded, tmp_path / "adapter")
    load_adapter(load_model("tiny", lora=LoraSettings(r=2, alpha=3)), tmp_path / "adapter")
