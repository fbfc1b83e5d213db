"""How long the operations take that a step of one replica cannot do but one after the other, measured there and then.

A step begins with the parameters that the step before left, and ends with those that the next one needs. GRPO's step is
``e_j / ((1 + E) sqrt(E))`` times known vectors, E the sum of the ``e_j``; calculated as they stand, these wait for each
other: the exponential of the drawn prompt's margin, the sum E of K - 1 numbers (``ceil(log2(K - 1))`` additions, in
pairs), a square root, and the multiply-add that moves the margin. All else is left out, as it may be done meanwhile or
in another way: the sums of the margins, the clamp, the division (approximate instructions avoid it), products, loads
and stores, the draw. Of several ways to compute the exponential the fastest counts; on one thread, which none disturbs.
"""

from __future__ import annotations

import math
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from simulator.engines.functions import EXP_COEFFICIENTS, exp, reduced_exp
from simulator.engines.pointers import Pointer, staged
from simulator.engines.vectors import Lanes

__all__ = ["addition", "chain", "short_exp"]

# Registers of two doubles: a square root takes less time on them than on wider ones.
_WIDTH, _INNER, _ROUNDS, _ADDITIONS = 2, 1000, 20, 8
_MARGIN, _LITTLE = 0.1, 1e-30

Operation = Callable[[Lanes], Lanes]


def _in_pairs(x: Lanes, coefficients: tuple[float, ...]) -> Lanes:
    """The polynomial by Estrin's scheme: coefficients are joined in pairs with x, those with ``x^2``, and so on."""
    terms, power = [x.emitter.constant(c) for c in coefficients], x
    while len(terms) > 1:
        pairs = [power.fma(high, low) for low, high in zip(terms[::2], terms[1::2], strict=False)]
        terms, power = pairs + terms[2 * len(pairs) :], power * power
    return terms[0]


def short_exp(x: Lanes) -> Lanes:
    """The engine's exp but for the order of its polynomial, which needs a third of the time, and more operations."""
    return reduced_exp(x, lambda r: _in_pairs(r, EXP_COEFFICIENTS))


def _least(many: Callable[[int], Any], repeats: int) -> float:
    """Least seconds of a round of ``many(rounds)``."""
    many(1)
    return min(timeit.repeat(lambda: many(_ROUNDS), number=1, repeat=repeats)) / _ROUNDS


def _seconds(step: Operation, repeats: int) -> float:
    """Least seconds of a step, each of which needs the one before."""

    def text(start: Pointer, out: Pointer) -> None:
        out.store(start.emitter.loop(0, _INNER, 1, [start.load()], lambda _, x: [step(x[0])])[0])

    body = staged(_WIDTH, text)

    @njit(nogil=True)
    def many(start, out, rounds):  # type: ignore[no-untyped-def]
        for _ in range(rounds):
            body(((start, 0), (out, 0)))

    start, out = np.full(_WIDTH, _MARGIN), np.empty(_WIDTH)
    return _least(lambda rounds: many(start, out, rounds), repeats) / _INNER


@njit(nogil=True, fastmath={"contract"})
def _with_the_librarys_exp(x: float, rounds: int) -> float:
    for _ in range(rounds * _INNER):
        x = math.sqrt(math.exp(x) + 1.0) * _LITTLE + _MARGIN
    return x


def chain(repeats: int = 40) -> float:
    """Seconds of exponential, one addition, square root and multiply-add: a step with K = 3."""

    def step(exponential: Operation) -> Operation:
        # The margin stays where it is but for rounding, and yet waits for the root.
        return lambda x: (exponential(x) + 1.0).sqrt().fma(x.emitter.constant(_LITTLE), x.emitter.constant(_MARGIN))

    library = _least(lambda rounds: _with_the_librarys_exp(_MARGIN, rounds), repeats) / _INNER
    return min(library, *(_seconds(step(one), repeats) for one in (exp, short_exp)))


def addition(repeats: int = 40) -> float:
    """Seconds of one addition that needs the one before."""

    def step(x: Lanes) -> Lanes:
        for _ in range(_ADDITIONS):
            x = x + _LITTLE
        return x

    return _seconds(step, repeats) / _ADDITIONS
