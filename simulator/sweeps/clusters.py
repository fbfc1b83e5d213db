"""Executors beyond one machine: a Dask cluster, and Slurm through submitit. Extras, imported when they are asked for.

Either may run a task twice, or report a death for a task that was done: what counts is the file, see ``perform``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from simulator.sweeps.executors import Executor, LocalExecutor, Message, Outcome
from simulator.sweeps.perform import perform
from theory.errors import InputError, expected

__all__ = ["DaskExecutor", "SubmititExecutor", "choose_executor"]

# Slurm's queue is shared with others, and asking it for news costs them something too.
_JOBS_AT_A_TIME = 64
_PATIENCE_SECONDS = 60.0


def choose_executor(on: str, workers: int, directory: Path, settings: Mapping[str, str]) -> Callable[[], Executor]:
    """What makes the executor that ``on`` names: ``local``, ``dask:ADDRESS``, ``slurm`` or ``slurm:local``.

    Args:
        on: as said; ``slurm:local`` has submitit start processes here, to try things out.
        workers: number of local processes.
        directory: of the sweep; submitit's logs go to ``jobs/`` below.
        settings: submitit's parameters by name, such as ``timeout_min`` and ``slurm_partition``.

    Raises:
        InputError: no such executor, its extra is not installed, or settings for one that takes none.
    """
    kind, _, place = on.partition(":")
    if settings and kind != "slurm":
        raise expected("on", on, "slurm, where --slurm is given", "add --on slurm, or remove --slurm")
    if on == "local":
        return lambda: LocalExecutor(workers)
    if kind == "dask" and place:
        _require("distributed", "dask")
        return lambda: DaskExecutor(place)
    if on in ("slurm", "slurm:local"):
        _require("submitit", "slurm")
        return lambda: SubmititExecutor(directory / "jobs", place or "slurm", settings)
    raise expected("on", on, "local, dask:ADDRESS, slurm or slurm:local", "e.g. dask:tcp://10.0.0.5:8786")


def _require(module: str, extra: str) -> None:
    try:
        import_module(module)
    except ImportError:
        raise expected("missing package", module, f"the extra {extra}", f"run pip install 'whynorm[{extra}]'") from None


class DaskExecutor:
    """Tasks as futures of a Dask cluster, whose workers must see the results directory.

    Args:
        address: of the scheduler.

    Raises:
        InputError: no scheduler answers there.
    """

    def __init__(self, address: str) -> None:
        """Connect."""
        import distributed

        self._distributed = distributed
        try:
            self._client = distributed.Client(address, timeout=5)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:100]
            raise expected(
                "on", f"dask:{address}", f"the address of a Dask scheduler ({reason})", "start one"
            ) from None
        self._tasks: dict[Any, str] = {}
        self._attempts = 0

    @property
    def slots(self) -> int:
        """Twice the threads of the cluster, so that no worker waits for this process."""
        return max(2 * sum(self._client.nthreads().values()), 2)

    def submit(self, message: Message) -> None:
        """See :class:`simulator.sweeps.executors.Executor`."""
        # A key of its own: Dask would answer a second attempt with the failure of the first.
        self._attempts += 1
        key = f"{message['task']}-{self._attempts}"
        self._tasks[self._client.submit(perform, message, key=key, pure=False)] = message["task"]

    def wait(self) -> list[Outcome]:
        """See :class:`simulator.sweeps.executors.Executor`.

        Raises:
            InputError: the scheduler is gone, or there have been no workers for a minute.
        """
        last_seen = time.monotonic()
        while True:
            try:
                ready = self._distributed.wait(list(self._tasks), timeout=2, return_when="FIRST_COMPLETED").done
                return [self._outcome(future) for future in ready]
            except (TimeoutError, self._distributed.TimeoutError):
                if self._client.status != "running":
                    raise InputError("the Dask scheduler is gone; `whynorm sweep resume` goes on from there") from None
                if self._client.nthreads():
                    last_seen = time.monotonic()
            if time.monotonic() - last_seen > _PATIENCE_SECONDS:
                raise InputError("the Dask cluster has no workers left; start some, then `whynorm sweep resume`")

    def _outcome(self, future: Any) -> Outcome:
        task = self._tasks.pop(future)
        if future.status == "finished":
            return Outcome(**future.result())
        if future.status == "cancelled":
            raise InputError("the Dask scheduler dropped the tasks; `whynorm sweep resume` goes on from there")
        return Outcome(task, error=" ".join(f"{type(future.exception()).__name__}: {future.exception()}".split())[:300])

    def close(self) -> None:
        """Cancel what still runs and disconnect; the cluster stays."""
        self._client.cancel(list(self._tasks), force=True)
        self._client.close()


class SubmititExecutor:
    """Tasks as Slurm jobs, one each: let ``pack`` in the specification make them long enough to be worth a job.

    Args:
        folder: for submitit's scripts and logs; every node must see it.
        cluster: ``slurm``, or ``local`` for processes of this machine.
        settings: submitit's parameters; numbers may be given as strings.

    Raises:
        InputError: no Slurm here, or a parameter that submitit refuses.
    """

    slots = _JOBS_AT_A_TIME

    def __init__(self, folder: Path, cluster: str, settings: Mapping[str, str]) -> None:
        """Prepare submitit; submit nothing yet."""
        import submitit

        try:
            self._executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
            self._executor.update_parameters(**{key: _number(value) for key, value in settings.items()})
        except Exception as error:
            # submitit raises RuntimeError, NameError, TypeError, AssertionError for what a person may get wrong.
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"submitit cannot use {cluster}: {reason}; correct --on or --slurm") from None
        self._longest_pause = 5.0
        if cluster == "local":
            self.slots, self._longest_pause = 2, 0.2
        self._jobs: dict[Any, str] = {}

    def submit(self, message: Message) -> None:
        """See :class:`simulator.sweeps.executors.Executor`."""
        self._jobs[self._executor.submit(perform, message)] = message["task"]

    def wait(self) -> list[Outcome]:
        """See :class:`simulator.sweeps.executors.Executor`."""
        pause = 0.02
        while True:
            ready = [job for job in self._jobs if job.done()]
            if ready:
                return [self._outcome(job) for job in ready]
            time.sleep(pause)
            pause = min(1.5 * pause, self._longest_pause)

    def _outcome(self, job: Any) -> Outcome:
        task = self._jobs.pop(job)
        try:
            return Outcome(**job.result())
        except Exception as error:
            # A job that was killed, or ran into its time limit: submitit says so with its log, of which the end tells.
            return Outcome(task, error=f"job {job.job_id}: {' '.join(str(error).split())[-200:]}")

    def close(self) -> None:
        """Cancel the jobs that have not ended."""
        for job in self._jobs:
            job.cancel(check=False)


def _number(value: str) -> Any:
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            pass
    return value
