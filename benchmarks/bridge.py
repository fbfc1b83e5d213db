"""A training step of a language model beside TRL's GRPOTrainer: rollout and update, with and without diagnostics.

    python -m benchmarks.bridge [--model tiny] [--prompts 4] [--group 8] [--longest 32] [--rounds 5] [--steps 1]
                                [--attention sdpa] [--threads 1] [--repeats 1]
                                [--out benchmarks/results/bridge_tiny.json]

Both train the same adapter on the same model with the same prompts, group size, temperature, longest completion,
attention implementation and dtype (float32), with plain SGD and no reference model; TRL without activation
checkpointing, logging or saving. Peers take turns, and a peer's median step counts: the fastest is one that happened to
have short completions.
Completions are drawn by each peer itself, so their lengths differ a little; what is compared is tokens per second,
counting every token of every row, prompt and completion, that is not padding (TRL's num_tokens). The reward is 0 and 1
by turns along each group, so that no group is without variance: whynorm would leave it out of the update, TRL not.
Where other work shares the machine, look at the rates per second of processor time. Of several runs (``--repeats``) the
middle one by the ratio of the rates is told in full, and the ratios of the others are kept beside it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.bridge_peers import StepTime, Workload, prepare_trl, prepare_whynorm
from benchmarks.commands import module_command
from benchmarks.engines import machine
from simulator.environment import package_versions
from simulator.files import write_json

__all__ = ["PEERS", "time_steps"]

PEERS = ("whynorm", "whynorm with diagnostics", "trl", "trl with diagnostics")
_PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate")


def time_steps(work: Workload, peers: Sequence[str], rounds: int, folder: Path) -> dict[str, list[StepTime]]:
    """Steps of all peers, which take turns; those of a first turn do not count."""
    runs: dict[str, Callable[[], list[StepTime]]] = {}
    for name in peers:
        diagnostics = name.endswith("diagnostics")
        ours = name.startswith("whynorm")
        runs[name] = prepare_whynorm(work, diagnostics) if ours else prepare_trl(work, diagnostics, folder)
    times: dict[str, list[StepTime]] = {name: [] for name in peers}
    for turn in range(rounds + 1):
        for name in peers:
            taken = runs[name]()
            rate = max(step.tokens / step.seconds for step in taken)
            print(f"{turn} {name}: {rate:.0f} tokens/s", file=sys.stderr)
            times[name] += taken if turn else []
    return times


def summary(name: str, times: Sequence[StepTime]) -> dict[str, Any]:
    """A peer's median step, by the clock and by processor time."""
    middle = sorted(times, key=lambda taken: taken.tokens / taken.seconds)[len(times) // 2]
    return {
        "peer": name,
        "tokens_per_second": median(taken.tokens / taken.seconds for taken in times),
        "tokens_per_processor_second": median(taken.tokens / taken.processor for taken in times),
        "seconds": middle.seconds,
        "rollout_seconds": middle.rollout,
        "update_seconds": middle.seconds - middle.rollout,
        "tokens": middle.tokens,
        "steps": [asdict(taken) for taken in times],
    }


def compared(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Ratios of the peers that ran."""
    by_name = {row["peer"]: row for row in rows}
    found = {}
    for key in ("tokens_per_second", "tokens_per_processor_second"):
        value = {name: row[key] for name, row in by_name.items()}
        if "whynorm" in value and "trl" in value:
            found[f"speedup, {key}"] = value["whynorm"] / value["trl"]
        for name in ("whynorm", "trl"):
            if {name, f"{name} with diagnostics"} <= set(value):
                found[f"cost of diagnostics in {name}, {key}"] = value[name] / value[f"{name} with diagnostics"] - 1
    return found


def _one_run(work: Workload, options: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Rows of all peers, and their ratios."""
    with tempfile.TemporaryDirectory() as folder:
        times = time_steps(work, options.peers, options.rounds, Path(folder))
    rows = [summary(name, times[name]) for name in options.peers]
    return rows, compared(rows)


def show(work: Workload, rows: Sequence[dict[str, Any]], ratios: dict[str, float]) -> None:
    """The result for people."""
    title = f"{work.model}, {work.prompts} prompts, {work.group} completions of at most {work.longest} tokens"
    columns = ("peer", "tokens/s", "tokens/processor s", "step s", "rollout s", "update s", "tokens")
    table = Table(*columns, title=title)
    for row in rows:
        times = [f"{row[key]:.3f}" for key in ("seconds", "rollout_seconds", "update_seconds")]
        rates = [f"{row[key]:.0f}" for key in ("tokens_per_second", "tokens_per_processor_second")]
        table.add_row(row["peer"], *rates, *times, str(row["tokens"]))
    console = Console(width=120)
    console.print(table)
    for name, value in ratios.items():
        console.print(f"{name}: {value:.3f}")


def _flags(options: argparse.Namespace) -> list[str]:
    """All that was chosen, defaults too, as arguments; where it was written to is of no account."""
    flags = []
    for name, value in vars(options).items():
        if name != "out":
            flags += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bridge")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--longest", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--attention", choices=("eager", "sdpa"), default="sdpa")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    try:
        import torch
        import trl  # noqa: F401
    except ImportError as missing:
        print(f"{missing}; run pip install 'whynorm[trl]'", file=sys.stderr)
        return 2
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", message=".*checkpointing.* is deprecated", category=FutureWarning)
    work = Workload(options.model, options.prompts, options.group, options.longest, options.attention, options.steps)
    runs = [_one_run(work, options) for _ in range(options.repeats)]
    # By the first ratio, of whynorm's rate to TRL's if both ran.
    runs.sort(key=lambda run: next(iter(run[1].values()), 0.0))
    rows, ratios = runs.pop(len(runs) // 2)
    show(work, rows, ratios)
    if options.out is not None:
        content = {
            "command": module_command("bridge", _flags(options)),
            "machine": {**machine(), **package_versions(_PACKAGES), "threads": options.threads},
            "work": asdict(work),
            "rows": rows,
            "ratios": ratios,
            "other_ratios": [others for _, others in runs],
        }
        write_json(options.out, content)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
