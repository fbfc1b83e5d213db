"""Trains, is killed with kill -9 at random moments, resumes, until the run is over; and once more undisturbed.

A process of its own, which imports what takes long once and forks a child for every life: ``python killed_training.py
KILLS SEED DIRECTORY OPTIMIZER...`` prints, for each optimizer, JSON with the number of kills and the runs that differ.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from llm_bridge.asking.questions import Question, Task, get_task
from llm_bridge.models import load_model
from llm_bridge.sampled.group_training import GroupSettings, train_groups
from llm_bridge.sampled.run_folder import RunFolder

STEPS = 5
# Loaded once; every child gets a copy by being forked.
LOADED = load_model("tiny", dtype="float32")


def noisy(completions: list[str], answer: list[str], **_: object) -> list[float]:
    """A reward that depends on the global random state."""
    return [float(text == right and random.random() < 0.7) for text, right in zip(completions, answer, strict=True)]


def train(path: Path, optimizer: str, steps: int = STEPS) -> None:
    torch.set_num_threads(1)
    questions: tuple[Question, ...] = get_task("arithmetic:sum").questions[::7]
    settings = GroupSettings(
        rule="custom:4,ddof=1,eps=1e-4,resample=1",
        steps=steps,
        eta=0.05 if optimizer == "sgd" else 1e-3,
        batch=2,
        temperature=1.3,
        max_new_tokens=4,
        optimizer=optimizer,  # type: ignore[arg-type]
        eval_every=2,
    )
    held_out = Task("held out", questions[:2], noisy)
    folder = RunFolder(path, resume=True, every=1, keep=2)
    train_groups(LOADED, Task("noisy", questions, noisy), settings, held_out=held_out, folder=folder)


def life(work: Callable[[], None]) -> int:
    """Fork a child that works, and return its process id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)


def wait_a_while(path: Path, chance: random.Random, child: int) -> bool:
    """Until a random moment: any, or soon after something has changed in the run's folder; whether the child lives.

    A child that has ended by itself must have succeeded.
    """
    end = time.monotonic() + chance.uniform(0.1, 2.0)
    eager = chance.random() < 0.7
    before = listing(path)
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert status == 0, f"a life ended with status {status}"
            return False
        if eager and listing(path) != before:
            time.sleep(chance.uniform(0, 0.005))
            return True
        time.sleep(0.001)
    return True


def listing(path: Path) -> tuple[object, ...]:
    metrics = path / "metrics.jsonl"
    names = sorted(each.name for each in (path / "checkpoints").glob("*"))
    return (metrics.stat().st_size if metrics.exists() else -1, *names)


def contents(path: Path) -> dict[str, object]:
    """All that a run leaves, but for the time its steps took."""
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        row.pop("step_time", None)
    last = max((path / "checkpoints").glob("step-*"))
    files = {name: (last / f"{name}.safetensors").read_bytes() for name in ("adapter", "optimizer", "random-0")}
    return {"rows": rows, "last": last.name, **files}


def main(optimizer: str, kills: int, seed: int, root: Path) -> None:
    chance, killed, complaints = random.Random(seed), 0, []
    whole = root / "whole"
    os.waitpid(life(lambda: train(whole, optimizer)), 0)
    wanted = contents(whole)
    runs = 0
    while killed < kills:
        path = root / f"killed{runs}"
        runs += 1
        status = -1
        while status != 0:
            child = life(lambda path=path: train(path, optimizer))  # type: ignore[misc]
            if killed < kills:
                if not wait_a_while(path, chance, child):
                    break
                os.kill(child, signal.SIGKILL)
                killed += 1
            status = os.waitpid(child, 0)[1]
        if contents(path) != wanted:
            complaints.append(path.name)
    rows = wanted["rows"]
    assert isinstance(rows, list)
    print(json.dumps({"kills": killed, "runs": runs, "differ": complaints, "steps": len(rows)}))


if __name__ == "__main__":
    for each in sys.argv[4:]:
        main(each, int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]) / each)
