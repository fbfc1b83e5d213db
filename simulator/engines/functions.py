"""Elementary functions on ``Lanes``: exp, log and powers, without branches, for every lane at once.

``exp`` is Cody and Waite's reduction ``x = k log 2 + r`` and a polynomial of degree 11 in r, the truncated Chebyshev
interpolant of exp on [-log 2 / 2, log 2 / 2]; ``log`` is ``2 atanh(f / (2 + f))`` of the mantissa ``1 + f``, a
polynomial in the square of that quotient. Both are tested against 50-digit arithmetic (at most 2 units in the last
place, ``tests/test_simulator_engines_functions.py``).
"""

from __future__ import annotations

import math
from functools import cache

import mpmath
from llvmlite import ir

from simulator.engines.vectors import Lanes

__all__ = ["LARGEST_EXPONENT", "exp", "log", "power"]

# exp is accurate for |x| <= 708; the kernels clamp their log-odds to this.
LARGEST_EXPONENT = 690.0
_EXP_DEGREE, _LOG_DEGREE = 11, 9
# Adding this to a double of size below 2^51 rounds it to an integer, found in the low bits of the sum.
_ROUNDER = 1.5 * 2.0**52


@cache
def _exp_coefficients() -> tuple[float, ...]:
    """Coefficients of 1, r, r^2, ... in near-minimax form; those of 1 and r are 1, so that exp(0) = 1."""
    with mpmath.workdps(40):
        half = mpmath.log(2) / 2

        def tail(r: mpmath.mpf) -> mpmath.mpf:
            return mpmath.nsum(lambda k: r**k / mpmath.factorial(k + 2), [0, 30])

        fitted, _ = mpmath.chebyfit(tail, [-half, half], _EXP_DEGREE - 1, error=True)
        return (1.0, 1.0, *(float(c) for c in reversed(fitted)))


@cache
def _log_coefficients() -> tuple[float, ...]:
    """``atanh(s) / s - 1`` over ``s^2``, as a polynomial in ``s^2 in [0, (3 - 2 sqrt 2)^2]``."""
    with mpmath.workdps(40):
        top = (3 - 2 * mpmath.sqrt(2)) ** 2

        def tail(u: mpmath.mpf) -> mpmath.mpf:
            return mpmath.nsum(lambda k: u**k / (2 * k + 3), [0, 60])

        fitted, _ = mpmath.chebyfit(tail, [0, top], _LOG_DEGREE, error=True)
        return tuple(float(c) for c in reversed(fitted))


def _polynomial(x: Lanes, coefficients: tuple[float, ...]) -> Lanes:
    """Horner's scheme, ``coefficients[k]`` being that of ``x^k``."""
    total = x.emitter.constant(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total.fma(x, x.emitter.constant(coefficient))
    return total


def exp(x: Lanes) -> Lanes:
    """``exp(x)`` for ``|x| <= 708``; no check."""
    emitter, builder = x.emitter, x.emitter.builder
    rounded = x.fma(emitter.constant(1 / math.log(2)), emitter.constant(_ROUNDER))
    k = rounded - _ROUNDER
    # log 2 in two parts; the fused multiplication makes the first product exact.
    r = k.fma(emitter.constant(-_log_2_low()), k.fma(emitter.constant(-math.log(2)), x))
    value = _polynomial(r, _exp_coefficients())
    shifted = builder.shl(rounded.to_bits(), emitter.integer(52))
    return emitter.from_bits(builder.add(value.to_bits(), shifted))


@cache
def _log_2_low() -> float:
    with mpmath.workdps(40):
        return float(mpmath.log(2) - mpmath.mpf(math.log(2)))


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
    tail = (s + s) * u * _polynomial(u, _log_coefficients())
    mantissa = f - (s * f - tail)
    return k.fma(emitter.constant(math.log(2)), k.fma(emitter.constant(_log_2_low()), mantissa))


def power(x: Lanes, exponent: float) -> Lanes:
    """``x ** exponent`` for normal positive x; products and roots where the exponent allows it."""
    if exponent == 0:
        return x.emitter.constant(1.0)
    if exponent < 0:
        return 1.0 / power(x, -exponent)
    if exponent in (1.0, 2.0):
        return x if exponent == 1 else x * x
    if exponent == 0.5:
        return x.sqrt()
    return exp(exponent * log(x))
