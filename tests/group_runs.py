"""Short sampled runs of the packaged model, for tests of training and of the folders that hold it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from llm_bridge.asking.questions import get_task
from llm_bridge.models import LoadedModel, LoraSettings, load_model
from llm_bridge.sampled.group_settings import GroupSettings
from llm_bridge.sampled.group_training import GroupRun, train_groups
from llm_bridge.sampled.observers import Interaction
from llm_bridge.sampled.run_folder import RunFolder

__all__ = ["SETTINGS", "TASK", "finished_run", "fresh", "settings", "timeless", "vector"]

SETTINGS = GroupSettings(rule="paper:4", steps=3, eta=0.05, batch=4, temperature=1.3, max_new_tokens=4, seed=2)
TASK = get_task("arithmetic:product,limit=12")


def fresh(**lora: int) -> LoadedModel:
    return load_model("tiny", dtype="float32", lora=LoraSettings(**lora))


def vector(loaded: LoadedModel) -> torch.Tensor:
    return torch.cat([value.detach().reshape(-1) for value in loaded.parameters.values()])


def settings(**changes: object) -> GroupSettings:
    return GroupSettings(**{**SETTINGS.__dict__, **changes})  # type: ignore[arg-type]


def timeless(rows: Sequence[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if name != "step_time"} for row in rows]


def finished_run(path: Path) -> tuple[Path, GroupRun, torch.Tensor]:
    """Three steps with everything on: folder, rows, adapter at the end."""
    loaded = fresh()
    run = train_groups(
        loaded,
        TASK,
        settings(eval_every=2),
        observers=[Interaction(SETTINGS.sampled_rule)],
        held_out=get_task("arithmetic:sum,limit=6"),
        folder=RunFolder(path, every=1, keep=2),
    )
    return path, run, vector(loaded)
