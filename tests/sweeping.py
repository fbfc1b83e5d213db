"""What the tests of sweeps share: small specifications, processes to kill, and what a directory must hold."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from simulator.sweeps.coordinate import coordinate
from simulator.sweeps.executors import LocalExecutor, Outcome
from simulator.sweeps.manifest import Manifest
from simulator.sweeps.perform import perform
from simulator.sweeps.plan import Plan, make_plan
from simulator.sweeps.spec import load_sweep, parse_sweep
from simulator.sweeps.store import Store

# A finished one: its plan, its directory, and the content of its files.
Sweep = tuple[Plan, Path, dict[str, bytes]]
ROOT = Path(__file__).resolve().parent.parent

SMALL = """
pack = {pack}
[run]
family = "tabular"
n = 2
k = 2
steps = {steps}
engine = "{engine}"
[grid]
rule = ["grpo", "reinforce"]
p0 = [0.1, "0.2:0.4"]
[repeat]
seeds = {seeds}
"""


def write_spec(path: Path, *, pack: int = 2, steps: int = 20, seeds: int = 4, engine: str = "reference") -> Path:
    """A specification of ``4 * seeds`` short runs; by the slow engine, as every process has to compile the fast one."""
    path.write_text(SMALL.format(pack=pack, steps=steps, seeds=seeds, engine=engine))
    return path


def plan_of(spec: Path | dict[str, Any]) -> Plan:
    return make_plan(parse_sweep(spec, "in x") if isinstance(spec, dict) else load_sweep(spec))


def finish(plan: Plan, directory: Path, workers: int = 1, said: list[str] | None = None) -> dict[str, str]:
    """Run a sweep in this process, with workers of its own; the errors of failed tasks."""
    say = (lambda line: None) if said is None else said.append
    return coordinate(plan, Store(directory, plan.engine), lambda: LocalExecutor(workers), say=say)


def contents(directory: Path) -> dict[str, bytes]:
    """Bytes of all result files by name, whatever else lies beside them."""
    return {path.name: path.read_bytes() for path in (directory / "results").rglob("*") if path.is_file()}


def assert_whole(plan: Plan, directory: Path, desired: dict[str, bytes]) -> None:
    """Nothing lost, nothing twice, bit-identical, and the manifest says so."""
    found = contents(directory)
    assert sorted(found) == sorted(desired) == sorted(f"{task.id}.parquet" for task in plan.tasks)
    assert not [name for name in found if found[name] != desired[name]]
    store = Store(directory, plan.engine)
    ids = [run for task in plan.tasks for run in pq.read_table(store.path(task.id))["run_id"].to_pylist()]
    assert ids == plan.ids
    assert len(set(ids)) == len(ids)
    entries = Manifest.peek(directory)
    assert {task: entry.state for task, entry in entries.items()} == {task.id: "done" for task in plan.tasks}
    assert not (directory / "damaged").exists()


def start(*argv: object, **options: Any) -> subprocess.Popen[str]:
    """The command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})}
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "whynorm", "sweep", *map(str, argv)]
    return subprocess.Popen(command, env=environment, **pipes, **options)


def call(*argv: object, **options: Any) -> tuple[int, str, str]:
    """Run the command to its end: exit code, stdout, stderr."""
    process = start(*argv, **options)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def children(pid: int) -> list[int]:
    """Processes that a process started."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits to be collected does not."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for what must happen."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


class Inline:
    """An executor in this process, one task at a time; ``before`` may raise or answer in place of a worker."""

    slots = 1

    def __init__(self, before: Callable[[dict[str, Any]], Outcome | None] = lambda message: None) -> None:
        self._before, self._outcomes = before, list[Outcome]()

    def submit(self, message: dict[str, Any]) -> None:
        self._outcomes.append(self._before(message) or Outcome(**perform(message)))

    def wait(self) -> list[Outcome]:
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def close(self) -> None:
        pass


def run_inline(plan: Plan, directory: Path, executor: Any = None, said: list[str] | None = None) -> dict[str, str]:
    """Coordinate in this process; the tasks that failed."""
    say = (lambda line: None) if said is None else said.append
    return coordinate(plan, Store(directory, plan.engine), lambda: executor or Inline(), say=say)
