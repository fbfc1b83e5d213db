"""Prompts and sampled outputs of a compiled run: the draws of ``simulator.schedules`` and ``simulator.sampled``."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from simulator.engines.arrays import Draws, Sampling
from simulator.engines.philox import SIDE, philox_block, prompts_of_block
from simulator.random import ATTEMPT_STRIDE, ORDER_STREAM, SAMPLE_STREAM

__all__ = ["OPTIONS", "Urn", "draw_block", "draw_prompts", "make_urn", "sample", "sample_words"]

# Without reference counts: all arrays outlive the steps, and to count who refers to them takes longer than a step.
OPTIONS: dict[str, Any] = {"nogil": True, "boundscheck": False, "error_model": "numpy", "_nrt": False}

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class Urn(NamedTuple):
    """What drawing prompts works in: nothing is allocated, or counted, where the steps of a run are taken.

    Attributes:
        left: prompts not drawn yet, ``(n,)``.
        arguments: of ``prompts_of_block``, and the same memory as floats, as compiled stages take it.
        argument_bits: that.
        drawn: prompts of a block, ``(8, SIDE)``, and the same memory as floats, flat.
        drawn_bits: that.
    """

    left: Any
    arguments: Any
    argument_bits: Any
    drawn: Any
    drawn_bits: Any


@njit(nogil=True)
def make_urn(n: int, batch: int) -> Urn:
    """An urn for n prompts; a single one is drawn from none."""
    arguments, drawn = np.empty(5, np.uint64), np.empty(8 * SIDE, np.int64)
    bits = drawn.view(np.float64)
    left = np.empty(n if batch > 1 else 1, np.int64)
    return Urn(left, arguments, arguments.view(np.float64), drawn.reshape((8, SIDE)), bits)


@njit(**OPTIONS)
def draw_block(draws: Draws, n: int, first: int, replica: int, order: Any, urn: Urn) -> None:
    """Prompts of steps from ``first`` on, of ``width`` replicas, into ``order``, ``(steps, B, width)``."""
    steps, batch, width = order.shape
    if not draws.random:
        for step in range(min(steps, len(draws.given) - first)):
            for b in range(batch):
                for lane in range(width):
                    order[step, b, lane] = draws.given[first + step, b]
        return
    if batch == 1:
        _draw_singles(draws, n, first, replica, order, urn)
        return
    left = urn.left
    for lane in range(width):
        words = (np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0))
        for index in range(steps * batch):
            if index % 8 == 0:
                block = np.uint64((first * batch + index) // 8)
                words = philox_block(block, draws.seed, np.uint64(replica + lane), np.uint64(ORDER_STREAM))
            word = words[index % 8 // 2]
            half = word >> _HALF if index % 2 else word & _LOW
            b = index % batch
            other = b + np.int64((half * np.uint64(n - b)) >> _HALF)
            if b == 0:
                for prompt in range(n):
                    left[prompt] = prompt
            drawn = left[other]
            left[other] = left[b]
            left[b] = drawn
            order[index // batch, b, lane] = drawn


@njit(nogil=True)
def draw_prompts(draws: Draws, n: int, first: int, replica: int, order: Any) -> None:
    """:func:`draw_block` with an urn of its own, for callers that are not compiled."""
    draw_block(draws, n, first, replica, order, make_urn(n, draws.batch))


@njit(**OPTIONS)
def _draw_singles(draws: Draws, n: int, first: int, replica: int, order: Any, urn: Urn) -> None:
    """The same for one prompt a step, a Philox block of 8 at a time; the words of ``SIDE`` replicas side by side."""
    size, lanes = np.uint64(n), order.shape[2]
    beside = lanes - lanes % SIDE
    arguments, drawn = urn.arguments, urn.drawn
    arguments[1], arguments[3], arguments[4] = draws.seed, np.uint64(ORDER_STREAM), size
    for step in range(0, order.shape[0], 8):
        block = np.uint64((first + step) // 8)
        for lane in range(0, beside, SIDE):
            arguments[0], arguments[2] = block + np.uint64(1), np.uint64(replica + lane)
            prompts_of_block(((urn.argument_bits, 0), (urn.drawn_bits, 0)))
            for k in range(8):
                for j in range(SIDE):
                    order[step + k, 0, lane + j] = drawn[k, j]
        for lane in range(beside, lanes):
            a, b, c, d = philox_block(block, draws.seed, np.uint64(replica + lane), np.uint64(ORDER_STREAM))
            _two(a, size, order, step, lane)
            _two(b, size, order, step + 2, lane)
            _two(c, size, order, step + 4, lane)
            _two(d, size, order, step + 6, lane)


@njit(inline="always")
def _two(word: np.uint64, size: np.uint64, order: Any, step: int, lane: int) -> None:
    order[step, 0, lane] = ((word & _LOW) * size) >> _HALF
    order[step + 1, 0, lane] = ((word >> _HALF) * size) >> _HALF


@njit(**OPTIONS)
def _choose(u: float, v: float, p: float, q: float, e: Any, counts: Any) -> None:
    """Count one sampled output: the right one if ``u < p``, else the wrong one in whose share ``u - p`` falls."""
    right = v > q if p > 0.5 else u < p
    if right:
        counts[-1] += 1
        return
    excess = q - v if p > 0.5 else u - p
    chance, last = 0.0, -1
    for j in range(len(counts) - 1):
        share = p * e[j]
        chance += share
        if share > 0:
            last = j
        if excess < chance:
            last = j
            break
    counts[last] += 1


@njit(**OPTIONS)
def sample(draws: Draws, sampling: Sampling, place: int, replica: int, p: float, q: float, e: Any, counts: Any) -> None:
    """Counts of the outputs of one group: wrong ones in index order, the right one last."""
    group = sampling.group
    for attempt in range(sampling.attempts):
        for j in range(len(counts)):
            counts[j] = 0
        stream = np.uint64(SAMPLE_STREAM + ATTEMPT_STRIDE * attempt)
        words = (np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0))
        for g in range(group):
            number = place * group + g
            if g == 0 or number % 4 == 0:
                words = philox_block(np.uint64(number // 4), draws.seed, np.uint64(replica), stream)
            word = words[number % 4]
            u, v = np.float64(word) * 2.0**-64, (np.float64(~word) + 1.0) * 2.0**-64
            _choose(u, v, p, q, e, counts)
        if 0 < counts[-1] < group:
            return


@njit(nogil=True)
def sample_words(first: int, seed: np.uint64, replica: int, stream: np.uint64, words: Any) -> None:
    """Words from number ``first`` on of consecutive replicas into ``words``, uint64 ``(R, count)``."""
    for row in range(words.shape[0]):
        block = (np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0))
        for index in range(words.shape[1]):
            number = first + index
            if index == 0 or number % 4 == 0:
                block = philox_block(np.uint64(number // 4), seed, np.uint64(replica + row), stream)
            words[row, index] = block[number % 4]
