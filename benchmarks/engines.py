"""The engines side by side: every peer, every case, interleaved in one run, with the limits of the machine.

    python -m benchmarks.engines [--quick] [--cases 4,4,4 64,64,1024,gram] [--replicas 1 1024] [--threads 1 2]
                                 [--peers lanes c] [--least-steps 8] [--out benchmarks/results/engines.json]

Work unit: one replica-step, the prompt drawn, J and ``||grad J||^2`` of all n prompts computed, float64, GRPO (see
``benchmarks.work`` for what is counted and for the limits). The least of many interleaved calls is reported: noise
only adds. Each number of threads has a process of its own, which may use that many cores, and BLAS, torch, XLA, numba
and OpenMP are told so before they start. Cells that ``--out`` holds already are replaced, others kept, each under the
command and the machine of its own run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.commands import module_command
from benchmarks.limits import measure
from benchmarks.peers import PEERS, Case, make_case
from benchmarks.stored import merged, stored_runs, would_lose
from benchmarks.table import print_rows
from benchmarks.timing import Budget, time_peers
from benchmarks.work import BOUNDS, bounds, cache_bytes, work
from simulator.environment import package_versions, processor_name
from simulator.files import write_json

CASES = ("4,4,4", "8,8,8", "32,16,16", "64,64,1024,gram", "64,64,1024,features")
REPLICAS = (1, 16, 1024, 16384)
FULL, QUICK = Budget(0.06, 1.5, 40.0, 64), Budget(0.02, 0.1, 3.0, 16, 3)
# The reference engine runs one replica after the other: more of them cost the same each.
_ONLY_ONE = "reference"


def parse_case(text: str) -> Case:
    """``n,K,d`` in feature space, or ``n,K,d,space``."""
    n, outputs, d, *space = text.split(",")
    return make_case(int(n), int(outputs), int(d), space[0] if space else "features")


def machine() -> dict[str, Any]:
    """What timings depend on."""
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "second_level_cache": cache_bytes(),
        "load_at_start": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "compiler": _first_line("gcc", "--version"),
        **package_versions(("numpy", "numba", "llvmlite", "jax", "torch")),
    }


def _first_line(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError):
        return "missing"


def cells(case: Case, arguments: argparse.Namespace, threads: int) -> Iterator[dict[str, Any]]:
    """Rows of one case, one for each number of replicas and peer; limits are measured anew for each number."""
    budget = QUICK if arguments.quick else FULL
    budget = replace(budget, steps=arguments.least_steps or budget.steps)
    before: dict[str, float] = {}
    for replicas in arguments.replicas:
        limits = measure(threads)
        chosen = [name for name in arguments.peers if name != _ONLY_ONE or replicas == 1]
        known = {name: ns * replicas * 1e-9 for name, ns in before.items()}
        timed = time_peers(case, chosen, replicas, threads, budget, known)
        before |= {name: one.ns for name, one in timed.items() if one.ns is not None}
        rows = [{"peer": name, **asdict(one)} for name, one in timed.items()]
        ns = {name: one.ns for name, one in timed.items()}
        for row in rows:
            row |= {"case": case.name, "replicas": replicas, "threads": threads}
            if row["ns"] is not None:
                bound = bounds(case, replicas, row["steps"], limits)
                row |= {"over_" + peer: row["ns"] / time for peer in ("c", "jax") if (time := ns.get(peer))}
                row |= {"limit": bound.name, "limit_ns": bound.binding, "over_limit": row["ns"] / bound.binding}
                row |= {f"{name}_ns": getattr(bound, name) for name in BOUNDS}
                row["over_ports"] = row["ns"] / bound.ports
        yield {"case": case.name, "replicas": replicas, "threads": threads, "limits": asdict(limits), "rows": rows}


def _child(arguments: argparse.Namespace) -> None:
    """Measure with one number of threads and write every cell as a line."""
    threads = arguments.threads[0]
    with arguments.child.open("a") as handle:
        for text in arguments.cases:
            case = parse_case(text)
            for cell in cells(case, arguments, threads):
                cell["work"] = asdict(work(case, cell["replicas"], threads))
                print_rows(cell)
                handle.write(json.dumps(cell) + "\n")
                handle.flush()


def _spawn(arguments: argparse.Namespace, threads: int, target: Path) -> None:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads)) | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "benchmarks.engines", *_same(arguments), "--threads", str(threads)]
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))[-threads:]
        subprocess.run([*command, "--child", str(target)], env=environment, check=True, preexec_fn=_pin(cores))
    else:
        subprocess.run([*command, "--child", str(target)], env=environment, check=True)


def _pin(cores: list[int]) -> Any:
    return lambda: os.sched_setaffinity(0, cores)


def _same(arguments: argparse.Namespace) -> list[str]:
    options = ["--cases", *arguments.cases, "--replicas", *map(str, arguments.replicas), "--peers", *arguments.peers]
    if arguments.least_steps is not None:
        options += ["--least-steps", str(arguments.least_steps)]
    return [*options, "--quick"] if arguments.quick else options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cases", nargs="+", default=list(CASES))
    parser.add_argument("--replicas", nargs="+", type=int, default=list(REPLICAS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--least-steps", type=int, help="T of a call at least (64): fewer where a step takes seconds")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    return parser


def _runs_before(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """What ``--out`` holds; refused before anything is measured if peers of the same cells would be lost."""
    if arguments.out is None:
        return []
    try:
        runs = stored_runs(arguments.out)
    except (OSError, ValueError) as error:
        _parser().error(str(error))
    names = {parse_case(text).name for text in arguments.cases}
    cells = {(name, r, threads) for name in names for r in arguments.replicas for threads in arguments.threads}
    if lost := would_lose(runs, cells, arguments.peers):
        _parser().error(f"{arguments.out} has {', '.join(sorted(lost))} in some of these cells: ask for them too")
    return runs


def main() -> None:
    """Measure, print, and write if asked."""
    arguments = _parser().parse_args()
    if arguments.child is not None:
        _child(arguments)
        return
    runs = _runs_before(arguments)
    described = machine()
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "cells.jsonl"
        for threads in arguments.threads:
            _spawn(arguments, threads, target)
        measured = [json.loads(line) for line in target.read_text().splitlines()]
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        threads = [str(number) for number in arguments.threads]
        command = module_command("engines", [*_same(arguments), "--threads", *threads])
        run = {"command": command, "machine": described, "cells": measured}
        write_json(arguments.out, {"runs": merged(runs, run)})


if __name__ == "__main__":
    main()
