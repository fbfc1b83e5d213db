"""What numbers measured on a model depend on besides its settings: the machine and the versions of the packages."""

from __future__ import annotations

import os
from typing import Any

import torch

from simulator.environment import package_versions, processor_name

__all__ = ["MODEL_PACKAGES", "provenance"]

# What a model's numbers may depend on.
MODEL_PACKAGES = ("whynorm", "torch", "transformers", "peft", "tokenizers", "safetensors", "gguf", "numpy", "scipy")


def provenance(command: str = "") -> dict[str, Any]:
    """Machine, versions and command, as plain data; nothing that names a person or a place on disk."""
    return {
        "command": command,
        "machine": {
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": package_versions(MODEL_PACKAGES),
    }
