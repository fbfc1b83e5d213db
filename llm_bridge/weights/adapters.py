"""Put a saved LoRA adapter into a model: one of `whynorm bridge train`'s checkpoints, or one in peft's format.

The files hold A and B; the model is W + (alpha / r) B A. Alpha lies beside them: in peft's ``adapter_config.json``, or
in the ``run.json`` of the run that the checkpoint belongs to.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from llm_bridge.models import LoadedModel
from theory.errors import expected

__all__ = ["load_adapter"]

# Ours, and peft's.
_FILES = ("adapter.safetensors", "adapter_model.safetensors")


def load_adapter(loaded: LoadedModel, place: Path) -> None:
    """Replace the model's trainable parameters by those of a file, or of a folder that holds ``adapter.safetensors``
    or peft's ``adapter_model.safetensors``.

    Raises:
        InputError: there is no such file, it cannot be read, it does not fit the model's adapter, or it was trained
            with another alpha, as far as that is known.
    """
    files = [place] if place.is_file() else [place / name for name in _FILES if (place / name).is_file()]
    if not files:
        raise expected("adapter", str(place), f"a folder with {' or '.join(_FILES)}", "give a checkpoint's folder")
    try:
        found = {_full_name(name): value for name, value in load_file(files[0]).items()}
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise expected("adapter", str(files[0]), f"a readable safetensors file ({reason})", "save it anew") from None
    wanted = {name: tuple(value.shape) for name, value in loaded.parameters.items()}
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    if shapes != wanted:
        differing = sorted(name for name in wanted.keys() | shapes.keys() if wanted.get(name) != shapes.get(name))
        told = f"{shapes.get(differing[0])} for {differing[0]}, and {len(differing) - 1} more"
        asked = f"the shapes of this model's adapter, {wanted.get(differing[0])} there"
        raise expected("adapter", told, asked, "use the model and LoRA settings it was trained with")
    _check_alpha(loaded, files[0].parent)
    with torch.no_grad():
        for name, parameter in loaded.parameters.items():
            parameter.copy_(found[name])


def _check_alpha(loaded: LoadedModel, folder: Path) -> None:
    """Refuse another alpha than the model's: shapes do not show it, and B A would have the wrong scale."""
    own = loaded.model.peft_config[loaded.model.active_adapter]
    config = _read(folder / "adapter_config.json")
    run = _read(folder.parent.parent / "run.json").get("identity")
    saved = {**(run if isinstance(run, dict) else {}), **config}.get("lora_alpha")
    if not isinstance(saved, (int, float)):
        return
    # With peft's use_rslora the scale is alpha / sqrt(r) in place of alpha / r.
    alpha = saved * own.r**0.5 if config.get("use_rslora") else saved
    if alpha != own.lora_alpha:
        raise expected("lora-alpha", own.lora_alpha, f"{alpha:g}, as the adapter was trained with", "give that alpha")


def _read(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _full_name(name: str) -> str:
    """peft leaves the adapter's name out of what it saves."""
    return re.sub(r"(\.lora_[AB])\.weight$", r"\1.default.weight", name)
