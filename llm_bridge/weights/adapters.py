"""Put a saved LoRA adapter into a model: one of `whynorm bridge train`'s checkpoints, or one in peft's format.

The files hold A and B; the model is W + (alpha / r) B A. What else it takes to read them, ``adapter_config`` compares.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from llm_bridge.models import LoadedModel
from llm_bridge.weights.adapter_config import check_adapter
from theory.errors import expected

__all__ = ["load_adapter"]

# Ours, and peft's.
_FILES = ("adapter.safetensors", "adapter_model.safetensors")


def load_adapter(loaded: LoadedModel, place: Path) -> LoadedModel:
    """Replace the model's trainable parameters by those of a file, or of a folder that holds ``adapter.safetensors``
    or peft's ``adapter_model.safetensors``; in place.

    Returns:
        The same model, without the seed of an adapter that it has no more.

    Raises:
        InputError: there is no such file, it cannot be read, it does not fit the model's adapter, or it was trained
            on another model, on other layers or with another rank or scale, as far as that is known.
    """
    files = [place] if place.is_file() else [place / name for name in _FILES if (place / name).is_file()]
    if not files:
        raise expected("adapter", str(place), f"a folder with {' or '.join(_FILES)}", "give a checkpoint's folder")
    check_adapter(loaded, files[0].parent)
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
    with torch.no_grad():
        for name, parameter in loaded.parameters.items():
            parameter.copy_(found[name])
    return replace(loaded, lora_seed=None)


def _full_name(name: str) -> str:
    """peft leaves the adapter's name out of what it saves."""
    return re.sub(r"(\.lora_[AB])\.weight$", r"\1.default.weight", name)
