"""What a sweep costs beside its runs, at 100,000 tiny runs.

    python -m benchmarks.sweeps [--out benchmarks/results/sweeps.json] [--runs 100000]

Overhead is the time of the whole command with one worker, less the time of the same runs in one plain loop (on a
machine that does other things as well, the processor time of both says more); and the time with an engine that takes
none, in one process. Limits: 1 ms a run, and 2 s for the resume of a finished sweep, start of the process included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow

import simulator.sweeps.perform as perform_module
from benchmarks.commands import module_command
from simulator.files import write_json
from simulator.sweeps.coordinate import coordinate
from simulator.sweeps.execute import execute, execute_many
from simulator.sweeps.executors import Message, Outcome
from simulator.sweeps.plan import Plan, make_plan
from simulator.sweeps.spec import load_sweep
from simulator.sweeps.store import Store

SPEC = """
[run]
family = "tabular"
n = 1
k = 2
steps = 1
[grid]
rule = ["grpo", "reinforce"]
p0 = [0.1, 0.2, 0.3, 0.4, 0.5]
[repeat]
seeds = {seeds}
replicas = 10
"""
LIMITS = {"overhead_ms_per_run": 1.0, "resume_s": 2.0}


class _InProcess:
    slots = 1

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []

    def submit(self, message: Message) -> None:
        self._outcomes.append(Outcome(**perform_module.perform(message)))

    def wait(self) -> list[Outcome]:
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def close(self) -> None:
        pass


def _seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _command(*argv: object) -> float:
    """Seconds of a whole process."""
    command = [sys.executable, "-m", "whynorm", "sweep", *map(str, argv)]
    return _seconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


def _children_cpu() -> float:
    """Processor seconds of all processes that were started and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _free_engine(plan: Plan, directory: Path) -> float:
    """Seconds of a sweep whose runs take no time."""
    row = execute(plan.runs(0, 1)[0])
    store = Store(directory, plan.engine)
    with mock.patch.object(perform_module, "execute_many", lambda runs: [row] * len(runs)):
        return _seconds(lambda: coordinate(plan, store, _InProcess))


def measure(runs: int) -> dict[str, float]:
    """All figures; seconds unless the name says otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        spec, out = Path(folder) / "spec.toml", Path(folder) / "out"
        spec.write_text(SPEC.format(seeds=runs // 100))
        expand = _seconds(lambda: make_plan(load_sweep(spec)).tasks)
        plan = make_plan(load_sweep(spec))
        loop_cpu = time.process_time()
        loop = _seconds(lambda: execute_many(plan.runs(0, len(plan))))
        loop_cpu = time.process_time() - loop_cpu
        run_cpu = _children_cpu()
        run = _command("run", spec, "--out", out, "--workers", 1)
        run_cpu = _children_cpu() - run_cpu
        free = _free_engine(plan, Path(folder) / "free")
        before = _children_cpu()
        resume = min(_command("resume", spec, "--out", out) for _ in range(3))
        resume_cpu = (_children_cpu() - before) / 3
        size = sum(path.stat().st_size for path in out.rglob("*.parquet"))
        export = _command("export", spec, "--out", out, "--to", Path(folder) / "runs.parquet")
        query = _command("query", spec, "SELECT rule, p0, avg(mean_J_end) FROM runs GROUP BY ALL", "--out", out)
        (out / "manifest.sqlite").unlink()
        rebuild = _command("resume", spec, "--out", out)
        shutil.rmtree(out)
        return {
            "runs": len(plan),
            "tasks": len(plan.tasks),
            "bytes_per_run": size / len(plan),
            "expand_s": expand,
            "plain_loop_s": loop,
            "run_s": run,
            "overhead_ms_per_run": 1e3 * (run - loop) / len(plan),
            "overhead_cpu_ms_per_run": 1e3 * (run_cpu - loop_cpu) / len(plan),
            "free_engine_ms_per_run": 1e3 * free / len(plan),
            "resume_s": resume,
            "resume_cpu_s": resume_cpu,
            "resume_without_manifest_s": rebuild,
            "export_parquet_s": export,
            "query_s": query,
        }


def main() -> None:
    """Measure, print, and write if asked; exit code 1 beyond a limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--runs", type=int, default=100_000)
    arguments = parser.parse_args()
    figures = measure(arguments.runs)
    print(json.dumps(figures, indent=1))
    if arguments.out is not None:
        versions = {"python": platform.python_version(), "numpy": np.__version__, "pyarrow": pyarrow.__version__}
        machine = {**versions, "processor": platform.machine(), "cores": os.cpu_count()}
        content = {"command": module_command("sweeps"), "machine": machine, "limits": LIMITS, "figures": figures}
        write_json(arguments.out, content)
    sys.exit(any(figures[name] > limit for name, limit in LIMITS.items()))


if __name__ == "__main__":
    main()
