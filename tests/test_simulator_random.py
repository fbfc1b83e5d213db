"""Random streams: one place for their numbers, no unknown coincidence, and no number that changes."""

from __future__ import annotations

import ast
import zlib
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulator import random as streams
from simulator.plateau_groups import sampled_escape
from simulator.random import ATTEMPT_STRIDE, COINCIDENCES, SAMPLE_STREAM, sample_stream, words
from simulator.sampled import MOST_RESAMPLES
from simulator.sweeps.runspec import RunSpec

ROOT = Path(__file__).resolve().parent.parent
NAMES = {name: value for name, value in vars(streams).items() if name.endswith("_STREAM")}
# Each stream's number and the first word it gives under seed 7, as they were before the numbers had a common place.
KNOWN = {
    "COMPLETION_STREAM": (0, 16086915834549238692),
    "ORDER_STREAM": (1, 15357568266549655283),
    "FEATURE_STREAM": (2, 17526762672964791168),
    "SAMPLE_STREAM": (3, 4984240537714540297),
    "DIRECTION_STREAM": (3, 4984240537714540297),
    "DIFFICULTY_STREAM": (4, 5231544007797997707),
    "VALUE_STREAM": (5, 13265366097363168720),
    "MANY_ORDERS_STREAM": (5, 13265366097363168720),
    "ESCAPE_STREAM": (11, 2913076955931622916),
    "HELD_OUT_STREAM": (63, 7499974412513507089),
    "SKETCH_STREAM": (64, 2840068277769931126),
    "RESAMPLE_STREAM": (65, 13498015479528544602),
    "ROLLOUT_STREAM": (66, 5018278140830002728),
    "PERMUTATION_STREAM": (67, 15309767008960783871),
    "START_STREAM": (68, 14313881291358453120),
    "NOISE_STREAM": (69, 17993293506123600685),
}


def test_no_number_changes() -> None:
    """Results that are stored depend on them; a new stream gets a line here, a number that was free, and its word."""
    assert NAMES.keys() == KNOWN.keys()
    assert {name: (value, int(words(7, 0, 1, stream=value)[0])) for name, value in NAMES.items()} == KNOWN
    assert (sample_stream(0), ATTEMPT_STRIDE) == (SAMPLE_STREAM, 16)
    assert int(words(7, 0, 1, stream=sample_stream(1))[0]) == 7780776735025888353


def test_no_two_streams_are_one_but_those_that_are_known() -> None:
    """An attempt more is a stream more, so every number that an attempt may take counts as the samples'."""
    taken = {name: {value} for name, value in NAMES.items()}
    taken["SAMPLE_STREAM"] = {sample_stream(attempt) for attempt in range(MOST_RESAMPLES + 1)}
    equal = {pair for pair in combinations(sorted(taken), 2) if taken[pair[0]] & taken[pair[1]]}
    assert equal == {tuple(sorted(pair)) for pair in COINCIDENCES}


def test_the_values_of_a_sweep_have_runs_of_their_own() -> None:
    """That is what keeps them apart from prompt orders of the same stream."""
    assert all(zlib.crc32(key.encode()) for key in RunSpec.__dataclass_fields__)


@pytest.mark.parametrize("package", ["theory", "simulator", "llm_bridge", "whynorm", "benchmarks"])
def test_streams_have_names_in_one_place(package: str) -> None:
    for path in sorted((ROOT / package).rglob("*.py")):
        if path == Path(streams.__file__).resolve():
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            place = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.keyword) and node.arg == "stream":
                assert not any(isinstance(part, ast.Constant) for part in ast.walk(node.value)), place
            if isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                named = {part.id for each in targets for part in ast.walk(each) if isinstance(part, ast.Name)}
                assert not any(name.endswith("_STREAM") for name in named), place


def test_who_draws_from_which_stream() -> None:
    """Values that were drawn before the numbers had names."""
    assert sampled_escape(4, 0.5, 0.01, 3, seed=5).tolist() == ESCAPED
    assert _drawn_by_measuring() == MEASURED


ESCAPED = [176.0, 98.0, 218.0]
MEASURED: dict[str, Any] = {
    "interval": (8.626282796466004, 43.71439079094004),
    "start": [-1.340892398318779, -1.303348242298316, -0.9578910496911246],
    "permutations": [0.5651, 0.7507],
    "phases": ((21.0,), 0.05),
    "held out": [0, 1, 3, 4, 5, 6, 7, 10],
    "sketch": [[15.5, 21.75], [21.75, 53.0]],
}


def _drawn_by_measuring() -> dict[str, Any]:
    torch = pytest.importorskip("torch")
    from llm_bridge.measurement.curvature import largest_eigenvalue
    from llm_bridge.measurement.fisher import fisher_against_variance
    from llm_bridge.measurement.intervals import intervals_over_prompts
    from llm_bridge.measurement.phases import find_phases
    from llm_bridge.measurement.row_stores import Sketch

    squares = np.arange(9.0) ** 2
    interval = intervals_over_prompts(lambda k: {"m": float(squares[k].mean())}, 9, resamples=2000, seed=5)["m"]
    starts: list[Any] = []

    def product(v: Any) -> Any:
        starts.append(v.tolist())
        return np.array([3.0, 2.0, 1.0]) * v

    largest_eigenvalue(product, 3, seed=5)
    numbers = np.random.default_rng(0)
    numbers.random((8, 6))
    # Of fewer than 8 prompts all orders are taken, and none is drawn.
    eight = np.random.default_rng(1)
    traces, variances = eight.random((4, 8)), eight.random((4, 8))
    table = fisher_against_variance(traces, variances, resamples=20, seed=5)["pearson"]
    t = np.arange(40.0)
    curve = np.where(t < 20, t, 20 + 0.1 * (t - 20)) + 0.3 * numbers.standard_normal(40)
    phases = find_phases(t, curve, draws=19, seed=5)
    sketch = Sketch(12, {"w": 5}, {"w": "A"}, 8, seed=5)
    held_out = sorted(sketch._kept)
    sketch.put(0, "w", torch.arange(10.0).reshape(2, 5))
    return {
        "interval": (interval.low, interval.high),
        "start": starts[0],
        "permutations": [table[name]["p"] for name in ("same", "different")],
        "phases": (phases.breaks, phases.p),
        "held out": held_out,
        "sketch": sketch.parts()["A"][:2, :2].tolist(),
    }
