"""What numbers measured on a model depend on besides its settings: the machine and the versions of the packages."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

__all__ = ["package_versions", "provenance"]

_PACKAGES = ("whynorm", "torch", "transformers", "peft", "tokenizers", "safetensors", "gguf", "numpy", "scipy")


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that a model's numbers may depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def provenance(command: str = "") -> dict[str, Any]:
    """Machine, versions and command, as plain data; nothing that names a person or a place on disk."""
    cpu = Path("/proc/cpuinfo")
    names = (
        [line.split(":")[1].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")]
        if (cpu.exists())
        else []
    )
    return {
        "command": command,
        "machine": {
            "processor": names[0] if names else platform.processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": package_versions(),
    }
