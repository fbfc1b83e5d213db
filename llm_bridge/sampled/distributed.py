"""Several processes on one run: each takes a share of a step's prompts, and sums go over all of them.

``accelerate launch -m whynorm bridge train ...`` starts the processes. What they exchange are sums of tensors in which
each fills in its own share and leaves zeros elsewhere, so every process knows the whole step and moves its own copy of
the adapter by the same amount; the one with rank 0 writes all files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from theory.errors import expected

__all__ = ["ALONE", "Processes", "ended_processes", "started_processes"]


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them.

    Attributes:
        rank: of this process, from 0.
        size: how many there are.
        device: on which they exchange tensors.
    """

    rank: int = 0
    size: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def share(self, n: int) -> range:
        """Which of n prompts are this process's: every ``size``-th, so shares differ by one at most."""
        return range(self.rank, n, self.size)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, on every one of them; of one process's values alone, themselves."""
        if self.size == 1:
            return values
        from accelerate.utils import reduce

        return reduce(values.to(self.device), reduction="sum").to(values.device)

    def wait(self) -> None:
        """Go on when all processes have come here."""
        self.sum(torch.zeros(1))


ALONE = Processes()


def started_processes(device: str) -> tuple[Processes, str]:
    """The processes that a launcher has started this one with, and the device this one works on.

    ``cuda`` becomes ``cuda:LOCAL_RANK``. A process that no launcher started is alone.

    Raises:
        InputError: the package accelerate is missing, or a device with a number is asked of several processes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return ALONE, device
    try:
        from accelerate import PartialState
    except ImportError:
        raise expected(
            "number of processes", size, "1 without the package accelerate", "pip install accelerate"
        ) from None
    if ":" in device:
        raise expected("device", device, f"one without a number for {size} processes", "use cpu or cuda")
    state = PartialState(cpu=device == "cpu")
    own = device if device == "cpu" else f"{device}:{state.local_process_index}"
    return Processes(state.process_index, state.num_processes, str(state.device)), own


@contextmanager
def ended_processes(processes: Processes) -> Iterator[None]:
    """Close the connection between the processes at the end of the block, as torch asks for."""
    try:
        yield
    finally:
        if processes.size > 1:
            torch.distributed.destroy_process_group()
