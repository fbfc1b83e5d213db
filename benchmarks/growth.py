"""How the cost of the lanes engine grows with n, K, d, T and the number of replicas.

    python -m benchmarks.growth [--quick] [--out benchmarks/results/growth.json] [--figure docs/growth.png]

One size is varied at a time around a base, on one thread, in feature space; least of many interleaved calls, each
between the same two times, so that growth is not mistaken for the machine's moods.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.commands import module_command
from benchmarks.engines import machine
from benchmarks.peers import load, make_case
from simulator.files import write_json
from whynorm.figures import legend_below, panel, save_png

__all__ = ["BASE", "SWEEPS", "Sizes", "growth_figure", "measure"]


@dataclass(frozen=True)
class Sizes:
    """What the cost depends on."""

    n: int = 8
    K: int = 8
    d: int = 8
    T: int = 256
    replicas: int = 256


BASE = Sizes()
SWEEPS = {
    "n": (2, 4, 8, 16, 32, 64, 128),
    "K": (2, 4, 8, 16, 32, 64),
    "d": (2, 4, 8, 16, 32, 64, 128),
    "T": (16, 64, 256, 1024, 4096),
    "replicas": (1, 4, 16, 64, 256, 1024, 4096),
}
_COLOURS = {"n": "#d9733a", "K": "#1a94a3", "d": "#8a63c7", "T": "#8b8f98", "replicas": "#3f7d4e"}


def measure(rounds: int) -> list[dict[str, Any]]:
    """One row for each size of each sweep; nanoseconds per replica-step."""
    chosen = [(name, replace(BASE, **{name: value})) for name, values in SWEEPS.items() for value in values]
    module, variant = load("lanes")
    runs = []
    for _, sizes in chosen:
        case = make_case(sizes.n, sizes.K, sizes.d, "features")
        runs.append(module.prepare(case, sizes.T, sizes.replicas, 1, variant))
        runs[-1]()
    best = [float("inf")] * len(runs)
    for _ in range(rounds):
        for k, run in enumerate(runs):
            start = time.perf_counter()
            run()
            best[k] = min(best[k], time.perf_counter() - start)
    return [
        {"varied": name, **asdict(sizes), "ns": seconds / sizes.T / sizes.replicas * 1e9}
        for (name, sizes), seconds in zip(chosen, best, strict=True)
    ]


def growth_figure(rows: list[dict[str, Any]]) -> Figure:
    """Nanoseconds per replica-step against each size in units of its base; slope 1 is dotted."""
    with panel("cost of a replica-step around n = K = d = 8, T = R = 256", height=3.8) as (figure, axes):
        for name, colour in _COLOURS.items():
            base = getattr(BASE, name)
            points = [(row[name] / base, row["ns"]) for row in rows if row["varied"] == name]
            axes.plot(*zip(*points, strict=True), color=colour, marker=".", label=f"{name} (1 is {base})")
        middle = next(row["ns"] for row in rows if row["varied"] == "n" and row["n"] == BASE.n)
        ends = (0.25, 16.0)
        axes.plot(ends, [middle * x for x in ends], color="#8b8f98", linestyle=":", linewidth=1, label="proportional")
        axes.set(xscale="log", yscale="log", xlabel="size / its base", ylabel="ns per replica-step")
        legend_below(figure, axes)
    return figure


def main() -> None:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    described = machine()
    rows = measure(2 if arguments.quick else 15)
    for row in rows:
        print(f"{row['varied']:>8} = {row[row['varied']]:<6} {row['ns']:10.1f} ns per replica-step")
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        write_json(arguments.out, {"command": module_command("growth"), "machine": described, "rows": rows})
    if arguments.figure is not None:
        save_png(growth_figure(rows), arguments.figure)


if __name__ == "__main__":
    main()
