"""Who executes tasks. An executor takes tasks and gives outcomes; what is done is for the store alone to say.

Every executor has the same three methods, so that the coordinator does not know whether workers are processes of this
machine or of a cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, Protocol, Self

__all__ = ["Executor", "LocalExecutor", "Message", "Outcome"]

Message = dict[str, Any]

_WORKER = "simulator.sweeps.worker"


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a task ended.

    Attributes:
        task: its id.
        seconds: that it took.
        error: why it failed, or nothing.
        fatal: repeating it cannot help, nor can other tasks go on.
    """

    task: str
    seconds: float = 0.0
    error: str = ""
    fatal: bool = False


class Executor(Protocol):
    """What the coordinator asks of an executor."""

    @property
    def slots(self) -> int:
        """How many tasks to hand over at a time."""
        raise NotImplementedError

    def submit(self, message: Message) -> None:
        """Start a task: the argument of :func:`simulator.sweeps.perform.perform`."""

    def wait(self) -> list[Outcome]:
        """Outcomes since the last call; waits for at least one of the tasks that were submitted."""

    def close(self) -> None:
        """Stop everything that still runs."""


class LocalExecutor:
    """Processes of this machine, one task each at a time; one that dies is replaced.

    Args:
        workers: number of processes.
    """

    def __init__(self, workers: int) -> None:
        """Start nothing yet."""
        self.slots = workers
        self._selector = selectors.DefaultSelector()
        self._idle: list[_Worker] = []
        self._busy: dict[_Worker, str] = {}

    def __enter__(self) -> Self:
        """Use as a context: processes end with it."""
        return self

    def __exit__(self, *error: object) -> None:
        """See :meth:`close`."""
        self.close()

    def submit(self, message: Message) -> None:
        """Hand a task to an idle worker, or to a new one."""
        while self._idle:
            worker = self._idle.pop()
            if worker.send(message):
                self._busy[worker] = message["task"]
                return
            # It died while it waited; no task is to blame.
            self._end(worker)
        worker = self._start()
        # If this one is dead already, wait() finds out.
        worker.send(message)
        self._busy[worker] = message["task"]

    def wait(self) -> list[Outcome]:
        """See :class:`Executor`."""
        outcomes: list[Outcome] = []
        while self._busy and not outcomes:
            for key, _ in self._selector.select():
                worker: _Worker = key.data
                outcome = worker.receive()
                task = self._busy.pop(worker, None)
                if outcome is not None:
                    self._idle.append(worker)
                    outcomes.append(outcome)
                    continue
                self._end(worker)
                if task is not None:
                    outcomes.append(Outcome(task, error=f"its worker died (exit code {worker.code})"))
        return outcomes

    def close(self) -> None:
        """End all workers; a file that is being written stays absent."""
        for worker in [*self._idle, *self._busy]:
            self._end(worker)
        self._busy = {}

    def _start(self) -> _Worker:
        worker = _Worker()
        self._selector.register(worker, selectors.EVENT_READ, worker)
        return worker

    def _end(self, worker: _Worker) -> None:
        if worker in self._idle:
            self._idle.remove(worker)
        self._selector.unregister(worker)
        worker.end()


class _Worker:
    """A worker process, and the pipes to it."""

    def __init__(self) -> None:
        """Start it. Linear algebra keeps to one thread, as there is a process per core."""
        paths = os.pathsep.join(path for path in sys.path if path)
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        # -P: a file of the working directory cannot stand in for a module.
        command = [sys.executable, "-P", "-m", _WORKER]
        environment = {**os.environ, **threads, "PYTHONPATH": paths}
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env=environment, **pipes)
        self.code: int | None = None

    def fileno(self) -> int:
        """For the selector."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def send(self, message: Message) -> bool:
        """Whether the message could be handed over."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(f"{json.dumps(message)}\n")
            self._process.stdin.flush()
        except OSError:
            return False
        return True

    def receive(self) -> Outcome | None:
        """The outcome of the task at hand, or None if the process is gone."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return Outcome(**json.loads(line)) if line.endswith("\n") else None

    def end(self) -> None:
        """Kill the process, if it lives, and close the pipes."""
        self._process.kill()
        self.code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
