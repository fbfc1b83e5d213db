"""Checkpoints of a sampled run: a folder each, written under another name and renamed when it is whole.

    step-00000040/adapter.safetensors     the trainable parameters
                  optimizer.safetensors   the optimizer's tensors
                  random-0.safetensors    global random states of process 0, and so on
                  state.json              step, counters, the optimizer's numbers, SHA-256 of each file above

Nothing is pickled.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from llm_bridge.models import LoadedModel
from llm_bridge.sampled.distributed import ALONE, Processes
from llm_bridge.sampled.random_states import random_states, restore_random_states
from simulator.files import write_json
from theory.errors import expected

__all__ = ["load_checkpoint", "newest_checkpoint", "optimizer_tensors", "save_checkpoint"]

_PREFIX = "step-"
_REMEDY = "remove that folder to go on from an older checkpoint, or start anew in another directory"


def save_checkpoint(
    root: Path,
    step: int,
    loaded: LoadedModel,
    optimizer: torch.optim.Optimizer,
    counters: Mapping[str, int],
    *,
    keep: int,
    processes: Processes = ALONE,
) -> None:
    """Write the state after ``step`` updates, and remove all but the newest ``keep`` checkpoints.

    Every process calls it; each writes its own random states, the first one everything else.

    Args:
        root: folder of the run's checkpoints.
        step: number of updates made.
        loaded: the model; its adapter is saved.
        optimizer: its state is saved.
        counters: further integers of the run.
        keep: how many checkpoints stay, at least 1.
        processes: of the run.
    """
    unfinished = root / f".unfinished-{step:08d}"
    if processes.first:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
    processes.wait()
    save_file(random_states(), unfinished / f"random-{processes.rank}.safetensors")
    processes.wait()
    if processes.first:
        adapter = {name: value.detach().cpu().contiguous() for name, value in loaded.parameters.items()}
        save_file(adapter, unfinished / "adapter.safetensors")
        tensors, numbers = optimizer_tensors(optimizer)
        save_file(tensors, unfinished / "optimizer.safetensors")
        hashes = {path.name: _sha256(path) for path in sorted(unfinished.glob("*.safetensors"))}
        for name in hashes:
            _sync(unfinished / name)
        content = {"step": step, "counters": dict(counters), "optimizer": numbers, "sha256": hashes}
        write_json(unfinished / "state.json", content)
        final = root / f"{_PREFIX}{step:08d}"
        shutil.rmtree(final, ignore_errors=True)
        os.replace(unfinished, final)
        _sync(root)
        _prune(root, keep)
    processes.wait()


def newest_checkpoint(root: Path) -> Path | None:
    """The folder of the checkpoint with most updates; None if there is none."""
    found = sorted(root.glob(f"{_PREFIX}[0-9]*")) if root.is_dir() else []
    return found[-1] if found else None


def load_checkpoint(
    path: Path, loaded: LoadedModel, optimizer: torch.optim.Optimizer, processes: Processes = ALONE
) -> tuple[int, dict[str, int]]:
    """Restore adapter, optimizer and random states; returns the step and the counters.

    The random states of a process that the saved run did not have are left as they are.

    Raises:
        InputError: a file is missing, damaged, or does not fit the model.
    """
    try:
        content = json.loads((path / "state.json").read_text())
        hashes = content["sha256"]
        for name, digest in hashes.items():
            if _sha256(path / name) != digest:
                raise ValueError(f"{name} has changed")
        adapter = load_file(path / "adapter.safetensors")
        tensors = load_file(path / "optimizer.safetensors")
        step, counters = int(content["step"]), {key: int(value) for key, value in content["counters"].items()}
        own = f"random-{processes.rank}.safetensors"
        states = load_file(path / own) if own in hashes else None
        parameters = loaded.parameters
        if {name: value.shape for name, value in adapter.items()} != {n: v.shape for n, v in parameters.items()}:
            raise ValueError("its adapter is of another shape")
        optimizer.load_state_dict(_optimizer_state(tensors, content["optimizer"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:120]
        raise expected(
            "checkpoint", str(path), f"one that is whole ({type(error).__name__}: {reason})", _REMEDY
        ) from None
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(adapter[name])
    if states is not None:
        restore_random_states(states)
    return step, counters


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    """The tensors of an optimizer's state by ``INDEX.NAME``, and the numbers of its parameter groups."""
    state = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    for index, values in state["state"].items():
        for name, value in values.items():
            if value is not None:
                tensors[f"{index}.{name}"] = torch.as_tensor(value).detach().cpu().contiguous()
    return tensors, state["param_groups"]


def _optimizer_state(tensors: Mapping[str, torch.Tensor], groups: list[dict[str, Any]]) -> dict[str, Any]:
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    return {"state": state, "param_groups": groups}


def _prune(root: Path, keep: int) -> None:
    """Remove all but the newest checkpoints, and what crashed runs left unfinished."""
    for path in [*sorted(root.glob(f"{_PREFIX}[0-9]*"))[:-keep], *root.glob(".unfinished-*")]:
        shutil.rmtree(path, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
