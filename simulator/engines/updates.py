"""The compiled update of a step: weights, sums of rows, and the move of the state, for all columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from simulator.engines.arrays import Shape
from simulator.engines.layout import padded_length, row_block
from simulator.engines.update_stages import advance, exact_weights, weighted_sums
from theory.rules import Rule

__all__ = ["OPTIONS", "aligned", "compile_update", "places_of", "row_stride"]

OPTIONS: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy"}


@njit(nogil=True)
def aligned(size: int) -> Any:
    """Zeros that begin a cache line: a vector that straddles two lines takes twice as long to read."""
    whole = np.zeros(size + 8)
    first = (-(whole.ctypes.data >> 3)) % 8
    return whole[first : first + size]


@njit(inline="always")
def row_stride(padded: int) -> int:
    """Distance between the sums of two replicas: not a power of two, whose multiples share a cache set."""
    return padded + 8 if padded > 64 else padded


def places_of(shape: Shape, one_drawn: bool) -> Any:
    """Compiled: where a replica's ``e_0`` of prompt i lies (the next ones follow every ``width``), and its p.

    ``size`` is the number of p in a column: with one drawn prompt only its own are kept, ``width`` of them.
    """
    width, across, n_wrong = shape.width, shape.across_prompts, shape.n_wrong

    @njit(inline="always")
    def places(i, lane, column, size):  # type: ignore[no-untyped-def]
        group, within = (i // width, i % width) if across else (0 if one_drawn else i, lane)
        return (column * size + group * width) * n_wrong + within, column * size + group * width + within

    return places


def compile_update(shape: Shape, rule: Rule | None, grouped: bool, one_drawn: bool) -> Any:
    """Compiled: move all states by the update of the b-th drawn prompt of every replica.

    Args:
        shape: dimensions and layout.
        rule: an exact rule; None for sampled ones.
        grouped: whether the rows of a prompt are read once for all replicas that drew it, block by block: pays off
            where the rows of all prompts do not fit the cache, and changes no bit of the results.
        one_drawn: see ``evaluate_prompts``.
    """
    width, across, n_wrong, _, length, _ = shape
    replicas, padded, places = 1 if across else width, padded_length(length), places_of(shape, one_drawn)
    stride, block = row_stride.py_func(padded), row_block(length)
    blocks, room = padded // block, padded if across else length * width
    one, move = weighted_sums(width, n_wrong, block, 1), advance(replicas, length, stride)
    exact = rule is not None
    weigh = exact_weights(replicas, rule or Rule("unused", lambda p, q: 1, "", ""), one_drawn)
    in_groups = _grouped_sums(width, n_wrong, padded, block, stride) if grouped else None

    # Inlined by numba itself: to pass this many arrays at every step, and count who refers to them, costs more than it.
    @njit(inline="always")
    def update(n, b, drawn, steps, p, q, eta, e, coefficients, scale, sums, state, firsts):  # type: ignore[no-untyped-def]
        columns = len(drawn)
        size, batch = len(p) // columns, len(coefficients) // (columns * n_wrong * width)
        for c in range(columns):
            mine = c * 2 * replicas
            if exact:
                at = c * size
                weigh(((drawn[c].view(np.float64), 0), (p, at), (q, at), (eta[c], 0), (scale, mine)))
            else:
                scale[mine : mine + replicas], scale[mine + replicas : mine + 2 * replicas] = eta[c], 1.0
            for lane in range(replicas):
                if exact:
                    firsts[c * replicas + lane] = places(drawn[c, lane], lane, c, size)[0]
                else:
                    firsts[c * replicas + lane] = (c * batch + b) * n_wrong * width + lane
        factors = e if exact else coefficients
        prompts = drawn.reshape(-1)
        if grouped:
            in_groups(n, prompts, firsts, factors, steps, sums)
        else:
            for run in range(columns * replicas):
                for k in range(blocks):
                    rows = (steps, (prompts[run] * blocks + k) * n_wrong * block)
                    one(((factors, firsts[run]), rows, (sums, run * stride + k * block)))
        for c in range(columns):
            move(((state, c * room), (scale, c * 2 * replicas), (sums, c * replicas * stride)))

    return update


def _grouped_sums(width: int, n_wrong: int, padded: int, block: int, stride: int) -> Any:
    """Compiled: the sums of all replicas, prompt by prompt and block by block."""
    blocks = padded // block
    one, two, six = (weighted_sums(width, n_wrong, block, together) for together in (1, 2, 6))

    @njit(**OPTIONS)
    def by_prompt(n, prompts):  # type: ignore[no-untyped-def]
        """Replicas sorted by prompt, and where each prompt's begin."""
        begins = np.zeros(n + 1, np.int64)
        for i in prompts:
            begins[i + 1] += 1
        begins = np.cumsum(begins)
        members, filled = np.empty(len(prompts), np.int64), begins.copy()
        for run, i in enumerate(prompts):
            members[filled[i]] = run
            filled[i] += 1
        return members, begins

    @njit(**OPTIONS)
    def sum_up(n, prompts, firsts, factors, steps, sums):  # type: ignore[no-untyped-def]
        members, begins = by_prompt(n, prompts)
        f = firsts[members]
        for i in range(n):
            for k in range(blocks):
                rows = (steps, (i * blocks + k) * n_wrong * block)
                o = members * stride + k * block
                m, end = begins[i], begins[i + 1]
                while m < end:
                    if end - m >= 6:
                        six(
                            (
                                (factors, f[m]), (factors, f[m + 1]), (factors, f[m + 2]),
                                (factors, f[m + 3]), (factors, f[m + 4]), (factors, f[m + 5]),
                                rows,
                                (sums, o[m]), (sums, o[m + 1]), (sums, o[m + 2]),
                                (sums, o[m + 3]), (sums, o[m + 4]), (sums, o[m + 5]),
                            )
                        )  # fmt: skip
                        m += 6
                    elif end - m >= 2:
                        two(((factors, f[m]), (factors, f[m + 1]), rows, (sums, o[m]), (sums, o[m + 1])))
                        m += 2
                    else:
                        one(((factors, f[m]), rows, (sums, o[m])))
                        m += 1

    return sum_up
