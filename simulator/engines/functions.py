"""Elementary functions on ``Lanes``: exp, log and powers, without branches, for every lane at once.

``exp`` is Cody and Waite's reduction ``x = k log 2 + r`` and a polynomial of degree 11 in r, the truncated Chebyshev
interpolant of exp on [-log 2 / 2, log 2 / 2]; ``log`` is ``2 atanh(f / (2 + f))`` of the mantissa ``1 + f``, a
polynomial in the square of that quotient. Tests recompute the coefficients and hold both functions against 50-digit
arithmetic (at most 1 unit in the last place).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from llvmlite import ir

from simulator.engines.vectors import Lanes

__all__ = ["LARGEST_EXPONENT", "exp", "inverse_sqrt", "log", "power", "reduced_exp"]

# exp is accurate for |x| <= 708; the kernels clamp their log-odds to this.
LARGEST_EXPONENT = 690.0
# Adding this to a double of size below 2^51 rounds it to an integer, found in the low bits of the sum.
_ROUNDER = 1.5 * 2.0**52


# Coefficients of 1, r, r^2, ...: 1 + r + r^2 P(r), P the Chebyshev interpolant of (exp(r) - 1 - r) / r^2.
EXP_COEFFICIENTS = (
    1.0,
    1.0,
    0.5000000000000001,
    0.16666666666666669,
    0.041666666666624164,
    0.008333333333330065,
    0.0013888888917196719,
    0.00019841269863040545,
    2.4801521322368692e-05,
    2.7557268480310024e-06,
    2.7620075879983367e-07,
    2.5100375832561234e-08,
)
# Coefficients of 1, u, u^2, ...: the Chebyshev interpolant of (atanh(s) / s - 1) / u, u = s^2 in [0, (3 - 2 sqrt 2)^2].
LOG_COEFFICIENTS = (
    0.3333333333333333,
    0.19999999999999996,
    0.1428571428571768,
    0.11111111109929367,
    0.09090909296828381,
    0.07692287566165049,
    0.06667819334919911,
    0.05844061821431555,
    0.05940998601480729,
)
# What is lacking from log 2 in its nearest double.
LOG_2_LOW = 2.3190468138462996e-17


def _polynomial(x: Lanes, coefficients: tuple[float, ...]) -> Lanes:
    """Horner's scheme, ``coefficients[k]`` being that of ``x^k``."""
    total = x.emitter.constant(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total.fma(x, x.emitter.constant(coefficient))
    return total


def exp(x: Lanes) -> Lanes:
    """``exp(x)`` for ``|x| <= 708``; no check."""
    return reduced_exp(x, lambda r: _polynomial(r, EXP_COEFFICIENTS))


def reduced_exp(x: Lanes, near_zero: Callable[[Lanes], Lanes]) -> Lanes:
    """``2^k near_zero(r)`` with ``x = k log 2 + r`` and ``|r| <= log 2 / 2``, for ``|x| <= 708``; no check."""
    emitter, builder = x.emitter, x.emitter.builder
    rounded = x.fma(emitter.constant(1 / math.log(2)), emitter.constant(_ROUNDER))
    k = rounded - _ROUNDER
    # log 2 in two parts; the fused multiplication makes the first product exact.
    r = k.fma(emitter.constant(-LOG_2_LOW), k.fma(emitter.constant(-math.log(2)), x))
    value = near_zero(r)
    shifted = builder.shl(rounded.to_bits(), emitter.integer(52))
    return emitter.from_bits(builder.add(value.to_bits(), shifted))


def log(x: Lanes) -> Lanes:
    """``log(x)`` for normal positive x; no check."""
    emitter, builder = x.emitter, x.emitter.builder
    # x = 2^k m with m in [1 / sqrt 2, sqrt 2): the bits of 1 / sqrt 2 are subtracted before the exponent is cut off.
    offset = emitter.integer(0x3FE6A09E667F3BCD)
    shifted = builder.ashr(builder.sub(x.to_bits(), offset), emitter.integer(52))
    m = emitter.from_bits(builder.sub(x.to_bits(), builder.shl(shifted, emitter.integer(52))))
    k = Lanes(emitter, builder.sitofp(shifted, ir.VectorType(ir.DoubleType(), emitter.width)))
    f = m - 1.0
    s = f / (f + 2.0)
    u = s * s
    # log m = 2 s + 2 s u P(u), with 2 s = f - s f.
    tail = (s + s) * u * _polynomial(u, LOG_COEFFICIENTS)
    mantissa = f - (s * f - tail)
    return k.fma(emitter.constant(math.log(2)), k.fma(emitter.constant(LOG_2_LOW), mantissa))


def inverse_sqrt(x: Lanes) -> Lanes:
    """``x ** -0.5`` for normal positive x, without the divider, which is several times slower; no check.

    The bits of x, halved and subtracted from a constant, give 3% accuracy (Blinn's trick); four of Newton's steps
    ``y + y (1/2 - (x/2) y^2)`` square the error each.
    """
    emitter, builder = x.emitter, x.emitter.builder
    halved = builder.lshr(x.to_bits(), emitter.integer(1))
    y = emitter.from_bits(builder.sub(emitter.integer(0x5FE6EB50C7B537A9), halved))
    minus_half, half = x * -0.5, emitter.constant(0.5)
    for _ in range(4):
        # (x/2) y first: y^2 overflows for small x, and the product of all three does not.
        y = y.fma((minus_half * y).fma(y, half), y)
    return y


def power(x: Lanes, exponent: float) -> Lanes:
    """``x ** exponent`` for normal positive x; products and roots where the exponent allows it."""
    if exponent == 0:
        return x.emitter.constant(1.0)
    if exponent == -0.5:
        return inverse_sqrt(x)
    if exponent < 0:
        return 1.0 / power(x, -exponent)
    if exponent in (1.0, 2.0):
        return x if exponent == 1 else x * x
    if exponent == 0.5:
        return x.sqrt()
    return exp(exponent * log(x))
