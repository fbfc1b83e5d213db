"""Numba as one would write it first: scalar loops, ``prange`` over replicas, ``fastmath``; prompts from Philox.

LLVM's vectoriser may do with these loops what it can. Dimensions are fixed when it is compiled, as in the engine.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numba
import numpy as np

from benchmarks.peers import LARGEST, Case, Result, package_order
from simulator.engines.philox import philox_block
from simulator.random import ORDER_STREAM

__all__ = ["prepare"]


def _evaluation(n: int, wrong: int, d: int, rank: int, gram: bool) -> Any:
    @numba.njit(fastmath=True, error_model="numpy")
    def evaluate(differences: Any, factors: Any, state: Any, e: Any, p: Any, q: Any, g: Any) -> None:
        for i in range(n):
            odds = 0.0
            for j in range(wrong):
                margin = 0.0
                if gram:
                    margin = state[i * wrong + j]
                else:
                    for c in range(d):
                        margin += differences[i, j, c] * state[c]
                e[i, j] = np.exp(min(max(margin, -LARGEST), LARGEST))
                odds += e[i, j]
            p[i] = 1 / (1 + odds)
            q[i] = odds * p[i]
            length = 0.0
            for r in range(rank):
                row = 0.0
                for j in range(r, wrong):
                    row += factors[i, r, j] * e[i, j]
                length += (p[i] * row) ** 2
            g[i] = p[i] * p[i] * length

    return evaluate


@lru_cache(maxsize=8)
def _program(n: int, wrong: int, d: int, rank: int, length: int, gram: bool) -> Any:
    evaluate = _evaluation(n, wrong, d, rank, gram)
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    size = np.uint64(n)

    @numba.njit(parallel=True, fastmath=True, error_model="numpy")
    def program(differences: Any, factors: Any, rows: Any, start: Any, eta: float, steps: int, out: Any) -> None:
        for replica in numba.prange(out.shape[1]):
            state, e = start.copy(), np.empty((n, wrong))
            p, q, g, sum_p, sum_g = np.empty(n), np.empty(n), np.empty(n), np.zeros(n), np.zeros(n)
            words = (np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0))
            for t in range(steps + 1):
                evaluate(differences, factors, state, e, p, q, g)
                sum_p += p
                sum_g += g
                if t == steps:
                    break
                if t % 8 == 0:
                    words = philox_block(np.uint64(t // 8), np.uint64(0), np.uint64(replica), np.uint64(ORDER_STREAM))
                word = words[t % 8 // 2]
                i = np.int64((((word >> half) if t % 2 else (word & low)) * size) >> half)
                scale = -eta / np.sqrt(p[i] * q[i]) * p[i] * p[i]
                for j in range(wrong):
                    share = scale * e[i, j]
                    for c in range(length):
                        state[c] += share * rows[i, j, c]
            out[0, replica], out[1, replica], out[2, replica], out[3, replica] = p, g, sum_p, sum_g

    return program


def prepare(case: Case, steps: int, replicas: int, threads: int, variant: str = "") -> Callable[[], Result]:
    """See :mod:`benchmarks.peers`."""
    layout, rows, start = case.layout, case.rows, case.start
    n, wrong, d = layout.differences.shape
    program = _program(n, wrong, d, layout.factors.shape[1], layout.length, layout.space == "gram")
    numba.set_num_threads(threads)

    def run() -> Result:
        out = np.empty((4, replicas, n))
        program(layout.differences, layout.factors, rows, start, case.scaled_eta, steps, out)
        return Result(*out, package_order(n, steps))

    return run
