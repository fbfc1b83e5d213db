"""What a saved adapter was trained with, held against what the loaded model would do with its numbers.

Shapes do not show it: A and B fit a model with another alpha, or with other weights of the same sizes. What is known
lies beside them: in peft's ``adapter_config.json``, or in the ``run.json`` of the run that a checkpoint belongs to.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key

from llm_bridge.models import LoadedModel
from llm_bridge.weights.same_model import same_model
from theory.errors import InputError, expected

__all__ = ["check_adapter"]

CONFIG = "adapter_config.json"
# Each of these makes more of an adapter than W + s B A, or acts on other tensors than the layers' own.
_NOT_PLAIN = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "modules_to_save",
    "layer_replication",
    "target_parameters",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
)
# With these the adapter belongs to a base whose weights were changed when training began.
_CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


def check_adapter(loaded: LoadedModel, folder: Path) -> None:
    """Refuse an adapter that the loaded model would misread, as far as the files beside it tell.

    Compared are the base model, the layers, and of each layer rank and scale: ``alpha / r``, or ``alpha / sqrt(r)``
    with ``use_rslora``, where ``rank_pattern`` and ``alpha_pattern`` give layers values of their own.

    Args:
        loaded: the model that is to get the adapter.
        folder: of the adapter's file.

    Raises:
        InputError: something differs, the adapter is not plain LoRA, or a file that should tell is damaged.
    """
    config = _told(folder)
    base = config.get("base_model_name_or_path")
    if base and not same_model(str(base), loaded.name):
        remedy = f"load that one; if it is the same by another name, say so in its {CONFIG}"
        raise expected("model", loaded.name, f"{base}, as the adapter was trained on", remedy)
    _check_plain(config)
    try:
        _check_layers(loaded, config)
    except InputError:
        raise
    except (TypeError, ValueError, AttributeError, re.error) as error:
        told = f"settings that peft can read ({' '.join(str(error).split())[:120]})"
        raise expected("adapter", str(folder / CONFIG), told, "save it anew") from None


def _told(folder: Path) -> dict[str, Any]:
    """What is known, by peft's names."""
    run = _read(folder.parent.parent / "run.json").get("identity")
    names = {
        "model": "base_model_name_or_path",
        "lora_r": "r",
        "lora_alpha": "lora_alpha",
        "lora_target_modules": "target_modules",
    }
    ours = {names[key]: value for key, value in run.items() if key in names} if isinstance(run, dict) else {}
    return {**ours, **_read(folder / CONFIG)}


def _read(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise expected("adapter", str(path), "a readable JSON object", "save the adapter anew") from None
    return content


def _check_plain(config: Mapping[str, Any]) -> None:
    """Refuse what is no plain LoRA adapter."""
    found = {name: config[name] for name in _NOT_PLAIN if config.get(name)}
    if config.get("bias") not in (None, "none"):
        found["bias"] = config["bias"]
    if config.get("peft_type") not in (None, "LORA"):
        found["peft_type"] = config["peft_type"]
    if str(config.get("init_lora_weights")).startswith(_CHANGED_BASE):
        found["init_lora_weights"] = config["init_lora_weights"]
    if found:
        name, value = next(iter(found.items()))
        told = f"{name}={value!r}"[:80]
        raise expected("adapter", told, "a plain LoRA adapter, W + s B A and nothing else", "train one without")


def _check_layers(loaded: LoadedModel, config: Mapping[str, Any]) -> None:
    """Refuse other layers than the model's, and other ranks and scales in them."""
    active = loaded.model.active_adapter
    modules = dict(loaded.model.base_model.model.named_modules())
    own = {name: module for name, module in modules.items() if active in getattr(module, "lora_A", {})}
    targets = config.get("target_modules")
    if targets is not None and targets != "all-linear":
        _check_targets(config, {name for name in modules if ".lora_" not in name and "base_layer" not in name}, own)
    ranks = {name: _of_layer(config, "rank_pattern", "r", name) for name in own}
    alphas = {name: _of_layer(config, "alpha_pattern", "lora_alpha", name) for name in own}
    for name, layer in own.items():
        rank, alpha, own_rank = ranks[name], alphas[name], layer.r[active]
        if rank is not None and rank != own_rank:
            raise _differs("lora-r", own_rank, rank, name, len(set(ranks.values())) > 1)
        if alpha is None:
            continue
        scale = alpha / math.sqrt(own_rank) if config.get("use_rslora") else alpha / own_rank
        # 1e-9: what follows from a root is given to twelve digits below.
        if not math.isclose(scale, layer.scaling[active], rel_tol=1e-9):
            several = len(set(alphas.values())) > 1
            raise _differs("lora-alpha", layer.scaling[active] * own_rank, scale * own_rank, name, several)


def _check_targets(config: Mapping[str, Any], modules: set[str], own: Mapping[str, Any]) -> None:
    """Refuse an adapter on other layers, by peft's own reading of its settings."""
    names = ("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern")
    reader = LoraConfig(**{name: config[name] for name in names if config.get(name) is not None})
    wanted = {name for name in modules if check_target_module_exists(reader, name)}
    if wanted != set(own):
        several = sorted(wanted ^ set(own))
        with_or_without = "one with" if several[0] in wanted else "one without"
        told = f"{with_or_without} {several[0]} ({len(several)} layers differ), as the adapter was trained on"
        remedy = "load the model with LoraSettings(target_modules=...), or train another adapter"
        raise expected("LoRA target_modules", f"on {len(own)} layers", told, remedy)


def _of_layer(config: Mapping[str, Any], pattern: str, plain: str, layer: str) -> float | None:
    """A layer's own value by the pattern, or else that of all layers; None where neither is known."""
    own = config.get(pattern) or {}
    value = own.get(get_pattern_key(list(own), layer), config.get(plain))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{plain} is {value!r}")
    return value


def _differs(option: str, own: float, wanted: float, layer: str, several: bool) -> InputError:
    own = int(own) if float(own).is_integer() else own
    if several:
        told = f"{wanted:.12g} for {layer}, as the adapter was trained with; other layers have others"
        return expected(option, own, told, "train one with the same for all layers")
    return expected(option, own, f"{wanted:.12g}, as the adapter was trained with", "give that one")
