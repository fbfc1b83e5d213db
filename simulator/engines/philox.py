"""Philox4x64-10 in compiled code: the same words as ``simulator.random.philox``, at any position, without state."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from simulator.engines.pointers import Pointer, staged
from simulator.engines.vectors import Emitter

__all__ = ["SIDE", "philox_block", "prompts_of_block"]

_FIRST, _SECOND = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_FIRST_KEY, _SECOND_KEY = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)

# Replicas whose words are computed side by side.
SIDE = 16


@intrinsic
def _high(typing: Any, a: Any, b: Any) -> Any:
    """Upper 64 bits of the product of two unsigned 64-bit integers."""

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(*(builder.zext(argument, wide) for argument in arguments))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), codegen


@njit(inline="always")
def philox_block(block: np.uint64, seed: np.uint64, replica: np.uint64, stream: np.uint64) -> Any:
    """Words ``4 block, ..., 4 block + 3`` of the stream (seed, replica, stream).

    Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC11), as in numpy.
    """
    a, b, c, d = np.uint64(block + np.uint64(1)), np.uint64(0), replica, stream
    first, second = seed, np.uint64(0)
    for _ in range(10):
        a, b, c, d = _high(_SECOND, c) ^ b ^ first, _SECOND * c, _high(_FIRST, a) ^ d ^ second, _FIRST * a
        first, second = np.uint64(first + _FIRST_KEY), np.uint64(second + _SECOND_KEY)
    return a, b, c, d


class _Words:
    """Integer vectors, one 64-bit word for each replica, on the operators that Philox needs."""

    def __init__(self, emitter: Emitter) -> None:
        self.emitter, self.builder = emitter, emitter.builder
        self.low = emitter.integer(0xFFFFFFFF)

    def upper(self, value: ir.Value) -> ir.Value:
        """The upper half of each word, as a number."""
        return self.builder.lshr(value, self.emitter.integer(32))

    def lower(self, value: ir.Value) -> ir.Value:
        """The lower half of each word."""
        return self.builder.and_(value, self.low)

    def add(self, first: ir.Value, *others: ir.Value) -> ir.Value:
        """Sum modulo 2^64."""
        for other in others:
            first = self.builder.add(first, other)
        return first

    def xor(self, first: ir.Value, *others: ir.Value) -> ir.Value:
        """Exclusive or."""
        for other in others:
            first = self.builder.xor(first, other)
        return first

    def product(self, constant: int, value: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Upper and lower word of a constant times each word, by halves: vectors have no 128-bit product."""
        a_low, a_high = (self.emitter.integer(part) for part in (constant & 0xFFFFFFFF, constant >> 32))
        b_low, b_high, times = self.lower(value), self.upper(value), self.builder.mul
        first, second, third, fourth = (
            times(a_low, b_low),
            times(a_low, b_high),
            times(a_high, b_low),
            times(a_high, b_high),
        )
        middle = self.add(self.upper(first), self.lower(second), self.lower(third))
        high = self.add(fourth, self.upper(second), self.upper(third), self.upper(middle))
        return high, self.builder.or_(self.builder.shl(middle, self.emitter.integer(32)), self.lower(first))


def _prompts_of_block(arguments: Pointer, out: Pointer) -> None:
    """Stage ``(arguments, out)``: prompts of 8 steps for ``SIDE`` replicas, ``floor(n h / 2^32)`` of each half-word h.

    ``arguments`` holds block + 1, seed, first replica, stream and n as bit patterns; ``out`` receives ``(8, SIDE)``.
    """
    emitter, builder = out.emitter, out.emitter.builder
    words = _Words(emitter)
    block, seed, replica, stream, n = ((arguments + k).scalar().to_bits() for k in range(5))
    a, b, c, d = block, emitter.integer(0), words.add(replica, emitter.lane_numbers()), stream
    first, second = seed, emitter.integer(0)
    for _ in range(10):
        (high_a, low_a), (high_c, low_c) = words.product(int(_FIRST), a), words.product(int(_SECOND), c)
        a, b, c, d = words.xor(high_c, b, first), low_c, words.xor(high_a, d, second), low_a
        first = words.add(first, emitter.integer(int(_FIRST_KEY)))
        second = words.add(second, emitter.integer(int(_SECOND_KEY)))
    size = words.lower(n)
    for k, word in enumerate((a, b, c, d)):
        for h, half in enumerate((words.lower(word), words.upper(word))):
            out.vector(2 * k + h).store(emitter.from_bits(words.upper(builder.mul(half, size))))


prompts_of_block = staged(SIDE, _prompts_of_block)
