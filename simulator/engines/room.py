"""The arrays that a compiled run works in, all made before its first step."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from simulator.engines.draws import make_urn

__all__ = ["BLOCK", "Room", "Sizes", "Spare", "make_room"]

# Steps whose prompts are drawn at once; a multiple of the 8 half-words of a Philox block.
BLOCK = 16


@njit(nogil=True)
def aligned(size: int) -> Any:
    """Zeros that begin a cache line: a vector that straddles two lines takes twice as long to read."""
    whole = np.zeros(size + 8)
    first = (-(whole.ctypes.data >> 3)) % 8
    return whole[first : first + size]


class Spare(NamedTuple):
    """Arrays that an update works in.

    Attributes:
        sums: of the rows, one stretch for each replica.
        scale: what they are multiplied by, see ``exact_weights``.
        firsts: where each replica's factors begin, ``(replicas,)``.
        members: replicas sorted by prompt, ``(replicas,)``; where in it those of a prompt begin, ``(n + 1,)``, and
        begins: that.
        drawn: prompts that some replica drew, ``(n,)``.
        packed: factors of the replicas that drew one prompt, ``(replicas, K - 1)``.
        counts: of sampled outputs, ``(B, K)``.
        coefficients: of sampled rules.
    """

    sums: Any
    scale: Any
    firsts: Any
    members: Any
    begins: Any
    drawn: Any
    packed: Any
    counts: Any
    coefficients: Any


@njit(nogil=True)
def make_spare(n: int, runs: int, row: int, batch: int, outputs: int, coefficients: int) -> Spare:
    """Room for so many runs, with sums of this length."""
    numbers, counts = np.zeros(2 * runs, np.int64), np.zeros((batch, outputs), np.int64)
    begins, sums, scale = np.zeros(n + 1, np.int64), aligned(runs * row), aligned(2 * runs)
    packed = aligned(runs * (outputs - 1))
    drawn = np.zeros(n, np.int64)
    return Spare(sums, scale, numbers[:runs], numbers[runs:], begins, drawn, packed, counts, aligned(coefficients))


class Room(NamedTuple):
    """Arrays that the columns of a run work in, one column after the other in each.

    Attributes:
        e: exponentials of all prompts, or of the drawn ones only.
        work: exponentials of one prompt.
        p: of all prompts; likewise ``q``, ``grad_sq`` and the sums since the last snapshot.
        drawn_p: of the drawn prompts where only theirs are kept, else p again; likewise ``drawn_q``.
        state: theta, or the margins.
        order: prompts of ``BLOCK`` steps, ``(BLOCK, B, columns, replicas)``, flat, and the same memory as floats.
        order_bits: that.
        numbers: 0..n-1 as bit patterns.
        urn: for drawing prompts.
        spare: for the update.
    """

    e: Any
    work: Any
    p: Any
    q: Any
    drawn_p: Any
    drawn_q: Any
    grad_sq: Any
    sum_p: Any
    sum_g: Any
    state: Any
    order: Any
    order_bits: Any
    numbers: Any
    urn: Any
    spare: Any


class Sizes(NamedTuple):
    """Lengths by which room is made.

    Attributes:
        width: of a vector.
        side: prompts in a vector.
        one_drawn: whether only the drawn prompt keeps its exponentials.
        replicas: in a column.
        wrong: K - 1.
        state: length of a column's state.
        stride: between the sums of two replicas.
        coefficients: of a column and drawn prompt.
    """

    width: int
    side: int
    one_drawn: int
    replicas: int
    wrong: int
    state: int
    stride: int
    coefficients: int


@njit(nogil=True)
def make_room(n: int, columns: int, batch: int, sizes: Sizes, states: Any) -> Room:
    """The arrays that some columns work in, their states at the begin of ``states``; compiled once for all shapes."""
    width, side, one_drawn, replicas, wrong, state, stride, coefficients = sizes
    groups = (n + side - 1) // side
    drawn = 1 if one_drawn else groups
    size, kept, runs = columns * groups * width, columns * drawn * width, columns * replicas
    p, q = aligned(size), aligned(size)
    drawn_p, drawn_q = (aligned(kept), aligned(kept)) if one_drawn else (p, q)
    order = np.zeros(BLOCK * batch * runs, np.int64)
    numbers, work = np.arange(n).view(np.float64), aligned(wrong * width)
    spare = make_spare(n, runs, stride, batch, wrong + 1, columns * batch * coefficients)
    return Room(
        aligned(kept * wrong), work, p, q, drawn_p, drawn_q, aligned(size), aligned(size), aligned(size),
        states[: columns * state], order, order.view(np.float64), numbers, make_urn(n, batch), spare,
    )  # fmt: skip
