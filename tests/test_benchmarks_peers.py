"""Every peer of the benchmarks computes what the reference engine computes; nothing is timed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numba import njit

from benchmarks.latency import addition, chain, short_exp
from benchmarks.limits import Limits
from benchmarks.peers import PEERS, Case, load, make_case
from benchmarks.stored import stored_runs
from benchmarks.table import print_rows
from benchmarks.timing import disagreement
from benchmarks.work import bounds, work
from simulator.engines.pointers import staged

SIZES = [(4, 3, 2, "features"), (5, 4, 30, "gram"), (2, 2, 1, "features")]


# Deep, and run by CI in a process of its own: JAX warns whenever a process that holds it forks, as other tests do.
@pytest.mark.deep
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("name", [name for name in PEERS if name != "torch compiled"])
def test_a_peer_agrees_with_the_reference(name: str, sizes: tuple[int, int, int, str]) -> None:
    case, steps, replicas = make_case(*sizes), 25, 19
    try:
        module, variant = load(name)
        result = module.prepare(case, steps, replicas, 1, variant)()
    except ImportError as missing:
        pytest.skip(str(missing))
    assert result.J.shape == (replicas, case.problem.n)
    assert {tuple(result.order(r)) for r in range(replicas)} != {tuple(result.order(0))}, "all replicas draw the same"
    for replica in (0, 7, replicas - 1):
        assert disagreement(case, result, steps, replica, reference=True) < 1e-9


def test_a_wrong_run_is_noticed() -> None:
    case = make_case(4, 3, 2, "features")
    module, variant = load("numpy")
    result = module.prepare(case, 10, 3, 1, variant)()
    assert disagreement(case, result, 10, 1, reference=True) < 1e-9
    assert disagreement(case, result, 9, 1, reference=True) > 1e-6
    result.J[1, 2] *= 1 + 1e-6
    assert disagreement(case, result, 10, 1, reference=True) > 1e-7


def _gathering_off(name: str, monkeypatch: pytest.MonkeyPatch) -> Case:
    module, _ = load(name)
    monkeypatch.setattr(module, "_GATHERED", 0)
    return make_case(5, 4, 30, "gram")


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_the_way_for_large_problems_agrees_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        case = _gathering_off(name, monkeypatch)
        module, variant = load(name)
    except ImportError as missing:
        pytest.skip(str(missing))
    result = module.prepare(case, 25, 6, 1, variant)()
    assert disagreement(case, result, 25, 5, reference=True) < 1e-9


def test_the_work_is_counted_as_the_algorithm_needs_it() -> None:
    in_features, in_gram = (work(make_case(4, 3, 2, space), 16, 1) for space in ("features", "gram"))
    assert (in_features.exps, in_features.fmas) == (8, 8 * 2 + 4 * 3 + 2 * 2)
    assert (in_gram.exps, in_gram.fmas) == (8, 4 * 3 + 2 * 8)
    assert in_features.bytes == 0
    assert work(make_case(64, 64, 256, "gram"), 1024, 1).bytes > 0


def test_the_binding_limit_is_the_largest() -> None:
    limits = Limits(2, 1e9, "engine", {}, 4e9, 1e10)
    case = make_case(4, 3, 2, "features")
    bound = bounds(case, 16, 10**9, limits)
    np.testing.assert_allclose([bound.exp, bound.fma, bound.ports], [8.0, 8.0, 16.0], rtol=1e-6)
    assert bound.binding == max(bound.exp, bound.fma)
    alone = bounds(case, 1, 10**9, limits)
    assert alone.exp == pytest.approx(16.0), "one run keeps one thread busy"


def test_replicas_share_what_a_step_waits_for() -> None:
    """E of K = 4 takes two additions, one of which the chain has; more threads shorten no step."""
    limits = [Limits(threads, 1e9, "engine", {}, 4e9, 1e10, 1e-6, 1e-7) for threads in (1, 2)]
    case = make_case(4, 4, 2, "features")
    alone, many = (bounds(case, replicas, 10**9, limits[0]) for replicas in (1, 16))
    assert alone.latency == bounds(case, 1, 10**9, limits[1]).latency == pytest.approx(1100.0)
    assert (alone.name, alone.binding) == ("latency", alone.latency)
    assert many.latency == pytest.approx(1100.0 / 16)
    assert alone.ports == alone.exp + alone.fma
    chains = [bounds(make_case(4, k, 2, "features"), 1, 10**9, limits[0]).latency for k in (2, 3, 5, 9)]
    assert chains == pytest.approx([0.0, 1000.0, 1100.0, 1200.0])


def test_what_is_timed_for_the_latency_is_an_exponential() -> None:
    stage = staged(2, lambda source, target: target.store(short_exp(source.load())))
    run = njit(lambda x, out: stage(((x, 0), (out, 0))))
    for first in (-700.0, -1.0, 1e-3, 0.5, 700.0):
        x, out = np.array([first, first / 3]), np.empty(2)
        run(x, out)
        np.testing.assert_allclose(out, np.exp(x), rtol=1e-15)
    assert chain(1) > 0
    assert addition(1) > 0


def test_a_table_of_cells_that_were_measured_without_the_latency(capsys: pytest.CaptureFixture[str]) -> None:
    (cell, *_) = stored_runs(Path("benchmarks/results/engines.json"))[0]["cells"]
    rows = [{key: value for key, value in row.items() if key != "latency_ns"} for row in cell["rows"]]
    print_rows({**cell, "rows": rows})
    without = capsys.readouterr().out
    print_rows({**cell, "rows": [{**row, "latency_ns": 12.34} for row in rows]})
    assert "latency" not in without
    assert "latency 12.34" in capsys.readouterr().out


def test_the_c_peer_leaves_subnormal_numbers_alone() -> None:
    try:
        module, variant = load("c")
        module.prepare(make_case(2, 2, 1, "features"), 2, 3, 1, variant)()
    except ImportError as missing:
        pytest.skip(str(missing))
    assert np.float64(5e-324) * 1.0 > 0
