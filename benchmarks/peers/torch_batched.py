"""Torch on the CPU, eager or compiled, all replicas at once; prompts from torch's generator.

Compiled is one step, ``torch.compile(fullgraph=True)``, which needs a C++ compiler; the loop over steps stays in
Python, as a graph of the whole run takes minutes to compile.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from benchmarks.peers import LARGEST, Case, Result

__all__ = ["prepare"]

# Doubles of rows that a step gathers at most; beyond that, coefficients of prompts not drawn are zeros.
_GATHERED = 1 << 24


def _step(case: Case, replicas: int) -> Any:
    """``(state, drawn, sum_p, sum_g) -> (state, sum_p, sum_g, p, g)``; the state is ``(R, length)``."""
    layout, eta = case.layout, case.scaled_eta
    n, wrong, d = layout.differences.shape
    differences = torch.from_numpy(layout.differences.reshape(n * wrong, d).T.copy())
    factors = torch.from_numpy(layout.factors.transpose(0, 2, 1).copy())
    rows = torch.from_numpy(case.rows)
    columns = torch.arange(replicas)
    gather = rows[0].numel() * replicas <= _GATHERED

    def step(state: Any, drawn: Any, sum_p: Any, sum_g: Any) -> Any:
        margins = state if layout.space == "gram" else state @ differences
        e = torch.exp(margins.clamp(-LARGEST, LARGEST)).view(replicas, n, wrong)
        odds = e.sum(2)
        p = 1 / (1 + odds)
        length = (torch.matmul((e * p[:, :, None]).transpose(0, 1), factors) ** 2).sum(2).T
        g = p * p * length
        right, failed = p[columns, drawn], (odds * p)[columns, drawn]
        scale = -eta * (right * failed) ** -0.5 * right * right
        shares = e[columns, drawn] * scale[:, None]
        if gather:
            moved = state + torch.bmm(shares[:, None], rows[drawn])[:, 0]
        else:
            chosen = torch.nn.functional.one_hot(drawn, n).to(e.dtype)
            moved = state + (chosen[:, :, None] * shares[:, None]).view(replicas, -1) @ rows.view(n * wrong, -1)
        return moved, sum_p + p, sum_g + g, p, g

    return step


@lru_cache(maxsize=2)
def _compiled(case: Case, replicas: int) -> Any:
    torch._dynamo.reset()
    return torch.compile(_step(case, replicas), fullgraph=True, dynamic=False)


def prepare(case: Case, steps: int, replicas: int, threads: int, variant: str = "eager") -> Callable[[], Result]:
    """See :mod:`benchmarks.peers`."""
    if variant == "compiled" and not shutil.which("g++"):
        raise ImportError("torch.compile needs g++")
    torch.set_num_threads(threads)
    step = _compiled(case, replicas) if variant == "compiled" else _step(case, replicas)
    n = case.problem.n

    def run() -> Result:
        order = torch.randint(n, (steps + 1, replicas), generator=torch.Generator().manual_seed(0))
        state = torch.from_numpy(np.repeat(case.start[None], replicas, axis=0))
        sum_p, sum_g = torch.zeros((2, replicas, n), dtype=torch.float64)
        with torch.inference_mode():
            # The move of the last call is not used: T + 1 updates are timed, where T would do.
            for t in range(steps + 1):
                state, sum_p, sum_g, p, g = step(state, order[t], sum_p, sum_g)
        return Result(*(x.numpy() for x in (p, g, sum_p, sum_g)), lambda replica: order[:steps, replica].numpy())

    return run
