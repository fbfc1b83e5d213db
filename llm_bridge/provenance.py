"""What numbers measured on a model depend on besides its settings: its weights, the machine and the packages."""

from __future__ import annotations

import os
from typing import Any

import torch

from llm_bridge.weights.origins import weights_origin
from simulator.environment import package_versions, processor_name

__all__ = ["MODEL_PACKAGES", "provenance"]

# What a model's numbers may depend on.
MODEL_PACKAGES = ("whynorm", "torch", "transformers", "peft", "tokenizers", "safetensors", "gguf", "numpy", "scipy")


def provenance(command: str = "", model: str | None = None) -> dict[str, Any]:
    """Machine, versions and command, as plain data; of a model that is named, also where its weights are from.

    Nothing but the command and the name of a model in a folder tells of a place on disk.
    """
    return {
        "command": command,
        "machine": {
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": package_versions(MODEL_PACKAGES),
        **({} if model is None else {"model": model, "weights": weights_origin(model)}),
    }
