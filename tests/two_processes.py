"""One run by two real processes that exchange sums by gloo, and the same run by one: ``python two_processes.py DIR``.

A process of its own, which imports what takes long once and forks; prints JSON with the exit codes.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import torch

from llm_bridge.asking.questions import get_task
from llm_bridge.models import load_model
from llm_bridge.sampled.distributed import ended_processes, started_processes
from llm_bridge.sampled.group_training import GroupSettings, train_groups
from llm_bridge.sampled.observers import Interaction
from llm_bridge.sampled.run_folder import RunFolder

# Loaded once; every child gets a copy by being forked.
LOADED = load_model("tiny")


def train(path: Path, steps: int, resume: bool) -> None:
    torch.set_num_threads(1)
    # Five prompts for two processes: shares of different sizes.
    settings = GroupSettings(
        rule="custom:4,ddof=1,eps=1e-4,resample=1",
        steps=steps,
        eta=0.05,
        batch=5,
        temperature=1.2,
        max_new_tokens=4,
        eval_every=2,
    )
    processes, _ = started_processes("cpu")
    with ended_processes(processes):
        train_groups(
            LOADED,
            get_task("arithmetic:product,limit=12"),
            settings,
            observers=[Interaction(settings.sampled_rule)],
            held_out=get_task("arithmetic:sum,limit=3"),
            folder=RunFolder(path, resume=resume, every=2),
            processes=processes,
        )


def start(path: Path, size: int, rank: int, port: int, steps: int, resume: bool) -> int:
    child = os.fork()
    if child:
        return child
    try:
        names = {"WORLD_SIZE": size, "RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port}
        os.environ.update({name: str(value) for name, value in names.items()}, MASTER_ADDR="127.0.0.1")
        train(path, steps, resume)
        os._exit(0)
    finally:
        os._exit(1)


def free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def main(root: Path) -> None:
    codes = []
    # Two processes make two steps, then go on; one makes all.
    for path, size, steps, resume in (("two", 2, 2, False), ("two", 2, 3, True), ("one", 1, 3, False)):
        port = free_port()
        children = [start(root / path, size, rank, port, steps, resume) for rank in range(size)]
        codes.append([os.waitpid(child, 0)[1] for child in children])
    print(json.dumps({"codes": codes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
