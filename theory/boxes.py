"""Bounding a function on a box, rigorously: sympy expressions in ball arithmetic, on ever smaller boxes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import flint
import sympy as sp

from theory.exact import precision

__all__ = ["MAX_BOXES", "bounded"]

# Boxes looked at before giving up.
MAX_BOXES = 100_000


def bounded(expression: sp.Expr, box: Mapping[str, tuple[sp.Rational, sp.Rational]], at_most: sp.Rational) -> bool:
    """Whether ``expression <= at_most`` on the box is certain; False if it is not, or not within ``MAX_BOXES`` boxes.

    Args:
        expression: sums, products, integer powers, exp and sqrt of rationals and the box's symbols.
        box: ends of each symbol.
        at_most: the bound.
    """
    names = list(box)
    places = [(symbol, names.index(symbol.name)) for symbol in expression.free_symbols]
    queue = [tuple(_ball(low, high) for low, high in box.values())]
    with precision(64):
        limit = _number(at_most)
        for _ in range(MAX_BOXES):
            if not queue:
                return True
            cell = queue.pop()
            value = _evaluate(expression, {symbol: cell[place] for symbol, place in places})
            if value <= limit:
                continue
            if value > limit:
                return False
            widest = max(range(len(cell)), key=lambda i: float(cell[i].rad()))
            queue += [(*cell[:widest], half, *cell[widest + 1 :]) for half in _halves(cell[widest])]
    return False


def _number(value: sp.Rational) -> Any:
    return flint.arb(int(value.p)) / int(value.q)


def _ball(low: sp.Rational, high: sp.Rational) -> Any:
    return _number(low).union(_number(high))


def _halves(ball: Any) -> tuple[Any, Any]:
    low, middle, high = ball.lower(), ball.mid(), ball.upper()
    return low.union(middle), middle.union(high)


def _evaluate(node: sp.Expr, known: dict[sp.Expr, Any]) -> Any:
    """The value of an expression; ``known`` holds its symbols' values, and is given every part's, as parts recur."""
    if node not in known:
        known[node] = _combined(node, known)
    return known[node]


def _combined(node: sp.Expr, known: dict[sp.Expr, Any]) -> Any:
    if node.is_Rational:
        return _number(node)
    if node.is_Pow:
        return _power(_evaluate(node.args[0], known), node.args[1])
    if node.is_Symbol or not (node.is_Add or node.is_Mul or isinstance(node, sp.exp)):
        raise TypeError(f"cannot evaluate {node} in ball arithmetic")
    parts = [_evaluate(part, known) for part in node.args]
    if node.is_Add:
        return sum(parts[1:], parts[0])
    return math.prod(parts[1:], start=parts[0]) if node.is_Mul else parts[0].exp()


def _power(base: Any, exponent: sp.Expr) -> Any:
    if exponent == sp.Rational(1, 2):
        return base.sqrt()
    if not exponent.is_Integer:
        raise TypeError(f"cannot raise a ball to the power {exponent}")
    power = flint.arb(1)
    # Products rather than powers: the square of a ball around 0 is NaN in flint.
    for _ in range(abs(int(exponent))):
        power = power * base
    return power if exponent >= 0 else 1 / power
