"""JAX: ``lax.scan`` over steps, ``vmap`` over replicas, float64, one jitted program; prompts from ``jax.random``.

The number of threads is that of the cores the process may use when jax is first imported (see
``benchmarks.engines``). The drawn prompts' rows are gathered until they exceed 2^24 doubles, which bounds the memory;
beyond that, all rows are multiplied, by coefficients of zero where a prompt was not drawn. Nothing else was tried.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.peers import LARGEST, Case, Result

__all__ = ["prepare"]

_GATHERED = 1 << 24


def _replica(case: Case, gather: bool) -> Any:
    """One replica: from its order to what it leaves."""
    jnp, layout, eta = jax.numpy, case.layout, case.scaled_eta
    n, wrong, d = layout.differences.shape
    flat, factors, rows = layout.differences.reshape(n * wrong, d), jnp.asarray(layout.factors), jnp.asarray(case.rows)
    start = jnp.asarray(case.start)

    def evaluate(state: Any) -> Any:
        margins = state if layout.space == "gram" else jnp.asarray(flat) @ state
        e = jnp.exp(jnp.clip(margins, -LARGEST, LARGEST)).reshape(n, wrong)
        odds = e.sum(1)
        p = 1 / (1 + odds)
        lengths = (jnp.einsum("irj,ij->ir", factors, e * p[:, None]) ** 2).sum(1)
        return e, p, odds * p, p * p * lengths

    def step(carry: Any, i: Any) -> Any:
        state, sum_p, sum_g = carry
        e, p, q, g = evaluate(state)
        scale = -eta * (p[i] * q[i]) ** -0.5 * p[i] * p[i]
        if gather:
            move = (scale * e[i]) @ rows[i]
        else:
            move = (scale * jnp.where(jnp.arange(n)[:, None] == i, e, 0.0)).reshape(-1) @ rows.reshape(n * wrong, -1)
        return (state + move, sum_p + p, sum_g + g), None

    def run(order: Any) -> Any:
        (state, sum_p, sum_g), _ = jax.lax.scan(step, (start, jnp.zeros(n), jnp.zeros(n)), order)
        _, p, _, g = evaluate(state)
        return p, g, sum_p + p, sum_g + g

    return run


def prepare(case: Case, steps: int, replicas: int, threads: int, variant: str = "") -> Callable[[], Result]:
    """See :mod:`benchmarks.peers`."""
    jax.config.update("jax_enable_x64", True)
    n = case.problem.n
    one = _replica(case, case.rows[0].size * replicas <= _GATHERED)

    def program(key: Any) -> Any:
        order = jax.random.randint(key, (replicas, steps), 0, n)
        return jax.vmap(one)(order), order

    compiled = jax.jit(program)
    key = jax.random.key(0)

    def run() -> Result:
        values, order = jax.block_until_ready(compiled(key))
        return Result(*(np.asarray(x) for x in values), lambda replica: np.asarray(order[replica]))

    return run
