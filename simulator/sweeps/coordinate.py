"""The coordinator: finds out what is done, has the rest done, and keeps the manifest.

The files alone say what is done. Killed at any moment, it finds in the next run every file that was committed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from simulator.sweeps.executors import Executor, Outcome
from simulator.sweeps.manifest import Entry, Manifest
from simulator.sweeps.pack import DamagedFileError
from simulator.sweeps.plan import Plan, Task
from simulator.sweeps.store import Store
from theory.errors import InputError

__all__ = ["Scan", "coordinate", "scan"]

# A task that kills its worker this often is given up; the others go on.
ATTEMPTS = 3


@dataclass
class Scan:
    """What lies in a sweep's directory, by task.

    Attributes:
        done: entry of every task whose file is intact.
        damaged: what is wrong with the files that are not.
        failed: error of tasks that were given up, of those that have no file.
        found: tasks whose file is intact and was unknown to the manifest.
        lost: tasks that the manifest lists and that have no file.
    """

    done: dict[str, Entry] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


def scan(plan: Plan, store: Store, known: dict[str, Entry]) -> Scan:
    """Verify every file of the plan: by its digest if the manifest has it, else by decoding it and its checksum.

    Args:
        plan: whose tasks.
        store: whose files.
        known: entries of the manifest; may be empty.
    """
    result, present = Scan(), store.tasks()
    for task in plan.tasks:
        entry = known.get(task.id)
        if task.id not in present:
            if entry is not None and entry.state == "failed":
                result.failed[task.id] = entry.error
            elif entry is not None:
                result.lost.append(task.id)
            continue
        try:
            result.done[task.id] = _verify(task, store, entry)
        except DamagedFileError as error:
            result.damaged[task.id] = str(error)
        else:
            if entry is None or entry.state != "done":
                result.found.append(task.id)
    return result


def _verify(task: Task, store: Store, entry: Entry | None, seconds: float = 0.0) -> Entry:
    digest = store.digest(task.id)
    if entry is not None and entry.state == "done" and entry.digest == digest:
        return entry
    if store.table(task.id).num_rows != task.runs:
        raise DamagedFileError("runs are missing")
    return Entry(task.id, "done", task.runs, store.path(task.id).stat().st_size, digest, seconds)


def coordinate(
    plan: Plan,
    store: Store,
    executor: Callable[[], Executor],
    *,
    say: Callable[[str], None] = lambda line: None,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, str]:
    """Have every run of the plan done that is not; returns the errors of tasks that were given up, by task.

    Args:
        plan: what to do.
        store: where.
        executor: makes the executor, if there is anything to do.
        say: told what is out of the ordinary.
        progress: called with the number of runs done.

    Raises:
        InputError: the directory cannot be written or is in use, or there is no room left; what is done is kept.
    """
    with store.locked():
        store.clear_leftovers()
        manifest = Manifest(store.directory, say)
        try:
            state = scan(plan, store, manifest.entries())
            _tell(state, plan, store, say)
            manifest.put(state.done[task] for task in state.found)
            todo = [task for task in plan.tasks if task.id not in state.done]
            done = sum(entry.runs for entry in state.done.values())
            progress(done)
            if not todo:
                return {}
            workers = executor()
            try:
                return _Work(plan, store, manifest, workers, progress, done).run(todo)
            finally:
                workers.close()
                store.clear_leftovers()
        finally:
            manifest.close()


def _tell(state: Scan, plan: Plan, store: Store, say: Callable[[str], None]) -> None:
    """Say what is out of the ordinary, and move damaged files aside."""
    for task, reason in state.damaged.items():
        say(f"damaged result file ({reason}), kept as {store.set_aside(task)}; its runs are done again")
    if state.found:
        say(f"{len(state.found)} intact result files were not in the manifest: added")
    if state.lost:
        say(f"{len(state.lost)} result files of the manifest are gone: their runs are done again")
    for engine, runs in store.other_engines().items():
        say(f"{runs} runs of another engine version ({engine}) are kept, not used")


class _Shares:
    """Tasks in as many shares of neighbours as run at a time, so that a worker meets few kinds of runs to compile."""

    def __init__(self, tasks: list[Task], slots: int) -> None:
        self.count = min(slots, len(tasks))
        ends = [len(tasks) * share // self.count for share in range(self.count + 1)]
        self._waiting = [deque(tasks[start:stop]) for start, stop in pairwise(ends)]

    @property
    def left(self) -> int:
        """How many tasks nobody has taken."""
        return sum(map(len, self._waiting))

    def take(self, share: int) -> Task:
        """The next task of a share, or where there is none the last one of the longest."""
        if self._waiting[share]:
            return self._waiting[share].popleft()
        return max(self._waiting, key=len).pop()

    def put_back(self, task: Task, share: int) -> None:
        """A task that is to be tried again, after the others."""
        self._waiting[share].append(task)


class _Work:
    """One go at a list of tasks."""

    def __init__(
        self,
        plan: Plan,
        store: Store,
        manifest: Manifest,
        executor: Executor,
        progress: Callable[[int], None],
        done: int,
    ) -> None:
        self.plan, self.store, self.manifest, self.executor = plan, store, manifest, executor
        self.progress, self.done = progress, done
        self.attempts: dict[str, int] = {}
        self.errors: dict[str, str] = {}

    def run(self, todo: list[Task]) -> dict[str, str]:
        """Until every task is done or given up."""
        known = _known_runs(self.plan, self.store, todo)
        shares = _Shares(todo, self.executor.slots)
        running: dict[str, tuple[Task, int]] = {}
        # Shares whose last task has ended, the latest last: as an executor keeps its idle workers.
        free = list(reversed(range(shares.count)))
        while shares.left or running:
            while shares.left and free:
                share = free.pop()
                task = shares.take(share)
                running[task.id] = task, share
                self.executor.submit(self._message(task, known))
            for outcome in self.executor.wait():
                task, share = running.pop(outcome.task)
                free.append(share)
                if not self._settled(task, outcome):
                    shares.put_back(task, share)
            self.progress(self.done)
        return self.errors

    def _message(self, task: Task, known: dict[str, str]) -> dict[str, Any]:
        ids = self.plan.ids[task.start : task.stop]
        return {
            "task": task.id,
            "engine": self.store.engine,
            "directory": str(self.store.directory.resolve()),
            "runs": self.plan.runs(task.start, task.stop),
            "known": {run: known[run] for run in ids if run in known},
        }

    def _settled(self, task: Task, outcome: Outcome) -> bool:
        """Whether the task needs no further attempt; what an executor says is held against the file."""
        if outcome.fatal:
            raise InputError(f"{outcome.error}; what is done is kept, `whynorm sweep resume` goes on from there")
        error = outcome.error
        try:
            if not error:
                self.manifest.put([_verify(task, self.store, None, outcome.seconds)])
                self.done += task.runs
                return True
        except DamagedFileError as damage:
            error = f"its file is not there or damaged ({damage})"
        self.attempts[task.id] = self.attempts.get(task.id, 0) + 1
        if self.attempts[task.id] < ATTEMPTS:
            return False
        self.errors[task.id] = error
        self.manifest.put([Entry(task.id, "failed", task.runs, error=error)])
        return True


def _known_runs(plan: Plan, store: Store, todo: Iterable[Task]) -> dict[str, str]:
    """Runs to do that lie in files of another specification, by run id: the task that holds them."""
    wanted = {run for task in todo for run in plan.ids[task.start : task.stop]}
    known = {}
    for other in sorted(store.tasks() - {task.id for task in plan.tasks}):
        try:
            table = store.table(other)
        except DamagedFileError:
            continue
        known.update({run: other for run in table["run_id"].to_pylist() if run in wanted})
    return known
