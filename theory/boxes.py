"""Bounding a function on a box, rigorously: sympy expressions in ball arithmetic, on ever smaller boxes."""

from __future__ import annotations

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
    queue = [tuple(_ball(low, high) for low, high in box.values())]
    with precision(64):
        limit = _number(at_most)
        for _ in range(MAX_BOXES):
            if not queue:
                return True
            cell = queue.pop()
            value = _evaluate(expression, dict(zip(names, cell, strict=True)))
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


def _evaluate(node: sp.Expr, values: Mapping[str, Any]) -> Any:
    if node.is_Rational:
        return _number(node)
    if node.is_Symbol:
        return values[node.name]
    parts = [_evaluate(part, values) for part in node.args if not (node.is_Pow and part is node.args[1])]
    if node.is_Add:
        return sum(parts[1:], parts[0])
    if node.is_Mul:
        product = parts[0]
        for part in parts[1:]:
            product = product * part
        return product
    if node.is_Pow:
        return _power(parts[0], node.args[1])
    if isinstance(node, sp.exp):
        return parts[0].exp()
    raise TypeError(f"cannot evaluate {node} in ball arithmetic")


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
