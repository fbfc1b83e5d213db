"""Exact GRPO on the real model, at the theorem's step and at 100 times it, each with its linearisation beside it.

    python -m benchmarks.smollm2_exact [--steps N] [--out benchmarks/results/smollm2-exact]

Runs `whynorm bridge run` on smollm2 with the talk's LoRA settings (rank 16, alpha 32): about five minutes and two
minutes on one core. Each run leaves its records, geometry.json, summary.json and curves.png; run.json
says on what machine, with what versions and weights, and how far the linear picture carries.
"""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.engines import machine
from llm_bridge.provenance import MODEL_PACKAGES
from llm_bridge.weights.origins import weights_origin
from simulator.environment import package_versions
from simulator.files import write_json
from simulator.records import Record
from whynorm.cli import main as whynorm

__all__ = ["RUNS", "command", "describe", "horizon"]

PROMPTS = "9+9 3+5 1+8 2*5"
# Name of the run: multiple of the theorem's step, number of steps.
RUNS = {"theorem": (1, 8), "times100": (100, 36)}
# How far a prediction may be off before the linear picture counts as broken.
_OFF = 0.03


def command(name: str, out: Path, most: int | None = None) -> list[str]:
    """The arguments of `whynorm` for one of the runs, of at most so many steps."""
    scale, steps = RUNS[name]
    if most is not None:
        steps = min(steps, most)
    chosen = ["bridge", "run", "--model", "smollm2", "--preset", "talk", "--prompts", PROMPTS, "--rule", "grpo"]
    return [*chosen, "--steps", str(steps), "--eta-scale", str(scale), "--seed", "0", "--out", str(out / name)]


def horizon(model: Record, linear: Record) -> dict[str, Any]:
    """How far the linearisation carries: the errors, and the last step before one is above 0.03 (None: never)."""
    error = np.abs(model.J - linear.J).max(axis=1)
    broken = np.flatnonzero(error > _OFF)
    return {
        "largest_move": float(np.abs(model.J - model.J[0]).max()),
        "largest_error": float(error.max()),
        "last_step_within_0.03": int(broken[0]) - 1 if broken.size else None,
    }


def describe(out: Path, seconds: dict[str, float], most: int | None = None) -> dict[str, Any]:
    """What run.json says about runs that lie under ``out``."""
    told = {}
    for name in RUNS:
        model, linear = Record.load(out / name), Record.load(out / name / "linearised")
        quoted = shlex.join(["whynorm", *command(name, out, most)])
        told[name] = {"command": quoted, "processor_seconds": seconds[name], **horizon(model, linear)}
    return {
        "machine": machine(),
        "versions": package_versions(MODEL_PACKAGES),
        "weights": weights_origin("smollm2"),
        "runs": told,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both, and say in run.json what came out; the exit code of a run that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/smollm2-exact"))
    parser.add_argument("--steps", type=int, help="of each run at most, for a look at whether all of it works")
    options = parser.parse_args(arguments)
    out: Path = options.out
    seconds = {}
    for name in RUNS:
        start = time.process_time()
        code = whynorm(command(name, out, options.steps))
        if code != 0:
            return code
        seconds[name] = round(time.process_time() - start, 1)
    write_json(out / "run.json", describe(out, seconds, options.steps))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
