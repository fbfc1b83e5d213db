"""Philox4x64-10 in compiled code: the same words as ``simulator.random.philox``, at any position, without state."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

__all__ = ["philox_block"]

_FIRST, _SECOND = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_FIRST_KEY, _SECOND_KEY = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)


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
