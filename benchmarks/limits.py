"""What this machine can do, measured there and then: exponentials, fused multiply-adds, bytes read from memory, and how
long operations take that wait for each other (:mod:`benchmarks.latency`).

Each is the best of many short runs of independent work on all threads at once, so a limit is what no engine that needs
these operations can beat here: exp is the fastest of numpy, glibc's vector library and the engine's own, on an array
in the first-level cache; the multiply-adds have all operands in registers.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
import timeit
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from benchmarks.latency import addition, chain
from simulator.engines.functions import exp
from simulator.engines.pointers import Pointer, staged
from simulator.engines.vectors import Lanes

__all__ = ["Limits", "best_of", "measure"]

_LONG = 2048  # doubles of an array that stays in the first-level cache together with its result
_WIDTH, _CHAINS, _ROUNDS = 16, 12, 1000
_READ = 1 << 25  # doubles: 256 MiB, for all threads together
_LIBMVEC = """
#include <math.h>
void many(const double *x, double *y, long n, long rounds) {
    for (long r = 0; r < rounds; r++) {
#pragma omp simd
        for (long i = 0; i < n; i++) y[i] = exp(x[i]);
        __asm__ volatile("" ::: "memory");
    }
}
"""


@dataclass(frozen=True)
class Limits:
    """Rates of all threads together, a second, and latencies of one.

    Attributes:
        threads: that worked.
        exps: exponentials of the fastest source.
        exp_source: that source.
        exp_rates: of every source.
        fmas: multiply-adds of doubles.
        read_bytes: bytes read from memory.
        chain_s: seconds of what a step of one replica waits for, with K = 3; 0 where it was not measured.
        addition_s: seconds of an addition that waits for another.
    """

    threads: int
    exps: float
    exp_source: str
    exp_rates: dict[str, float]
    fmas: float
    read_bytes: float
    chain_s: float = 0.0
    addition_s: float = 0.0


def best_of(call: Callable[[], Any], repeats: int) -> float:
    """Least seconds of several calls: noise only ever adds."""
    return min(timeit.repeat(call, number=1, repeat=repeats))


def _rate(work: Callable[[int], Any], amount: float, threads: int, repeats: int = 40) -> float:
    """``amount`` for each thread over the seconds that all need side by side."""
    with ThreadPoolExecutor(threads) as pool:
        call = lambda: list(pool.map(work, range(threads)))  # noqa: E731
        call()
        return threads * amount / best_of(call, repeats)


def _engine_exp() -> Any:
    body = staged(_WIDTH, lambda source, target: target.store(exp(source.load())))

    @njit(nogil=True)
    def many(x, y, rounds):  # type: ignore[no-untyped-def]
        for _ in range(rounds):
            for i in range(0, len(x), _WIDTH):
                body(((x, i), (y, i)))

    return many


def _multiply_adds() -> Any:
    def text(x: Pointer, out: Pointer) -> None:
        factor, summand = x.load(), x.vector(1).load()

        def body(_: Any, chains: list[Lanes]) -> list[Lanes]:
            return [factor.fma(chain, summand) for chain in chains]

        chains = [x.vector(2 + k).load() for k in range(_CHAINS)]
        out.store(sum(x.emitter.loop(0, _ROUNDS, 1, chains, body)[1:], start=factor))

    body = staged(8, text)

    @njit(nogil=True)
    def many(x, out, rounds):  # type: ignore[no-untyped-def]
        for _ in range(rounds):
            body(((x, 0), (out, 0)))

    return many


def _reader() -> Any:
    def text(x: Pointer, out: Pointer) -> None:
        body = lambda i, sums: [total + (x + i).vector(k).load() for k, total in enumerate(sums)]  # noqa: E731
        sums = x.emitter.loop(0, _ROUNDS * 64, 64, [x.emitter.constant(0.0)] * 8, body)
        out.store(sum(sums[1:], start=sums[0]))

    body = staged(8, text)

    @njit(nogil=True)
    def read(x, out):  # type: ignore[no-untyped-def]
        for i in range(0, len(x) - _ROUNDS * 64 + 1, _ROUNDS * 64):
            body(((x, i), (out, 0)))

    return read


def _libmvec() -> Any:
    """``many(x, y, n, rounds)`` of gcc with glibc's vector library, or None."""
    compiler = shutil.which("gcc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source, parts, library = (Path(folder) / f"exp.{ending}" for ending in ("c", "o", "so"))
        source.write_text(_LIBMVEC)
        flags = ["-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math", "-fopenmp-simd", "-fPIC"]
        # Linked apart, without -ffast-math: see benchmarks.peers.c_lanes.
        compiled = [compiler, *flags, "-c", str(source), "-o", str(parts)]
        linked = [compiler, "-shared", str(parts), "-o", str(library), "-lmvec", "-lm"]
        if any(subprocess.run(command, capture_output=True).returncode for command in (compiled, linked)):
            return None
        return ctypes.CDLL(str(library)).many


def _exp_rates(threads: int) -> dict[str, float]:
    x = np.random.default_rng(0).standard_normal(_LONG)
    outs = [np.empty_like(x) for _ in range(threads)]
    rounds = 200

    def numpy_exp(k: int) -> None:
        for _ in range(rounds):
            np.exp(x, out=outs[k])

    engine, library = _engine_exp(), _libmvec()
    sources: dict[str, Callable[[int], Any]] = {"numpy": numpy_exp, "engine": lambda k: engine(x, outs[k], rounds)}
    if library is not None:
        count = ctypes.c_long(_LONG), ctypes.c_long(rounds)
        pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (x, *outs)]
        sources["libmvec"] = lambda k: library(pointers[0], pointers[1 + k], *count)
    return {name: _rate(work, _LONG * rounds, threads) for name, work in sources.items()}


def measure(threads: int) -> Limits:
    """Measure all limits, in about five seconds."""
    rates = _exp_rates(threads)
    source = max(rates, key=rates.__getitem__)
    fma, read = _multiply_adds(), _reader()
    small, outs = np.random.default_rng(0).random(8 * (_CHAINS + 2)) * 1e-3, np.empty((threads, 64))
    fmas = _rate(lambda k: fma(small, outs[k], 100), 100 * _ROUNDS * _CHAINS * 8, threads)
    parts = np.array_split(np.ones(_READ), threads)
    unit = _ROUNDS * 64
    size = len(parts[0]) // unit * unit
    bytes_read = _rate(lambda k: read(parts[k][:size], outs[k]), size * 8, threads, repeats=8)
    return Limits(threads, rates[source], source, rates, fmas, bytes_read, chain(), addition())


if __name__ == "__main__":
    for count in (1, 2):
        print(measure(count))
