"""Formulas of certificates, read with Python's ``ast``; a part of ``theory.checker``, without the provers' code."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from typing import Any

import flint

__all__ = ["CertificateError", "ball", "integer", "tree"]

# No honest formula comes near these; without them a forged one could keep the checker busy for good.
_MAX_LENGTH = 10_000
_MAX_EXPONENT = 100
_MAX_TERMS = 100_000
_MAX_BITS = 100_000


class CertificateError(ValueError):
    """A certificate that does not prove what it says; the message names the step."""


def tree(text: str) -> ast.expr:
    """The formula that a text holds, if it is small enough to be calculated."""
    if len(text) > _MAX_LENGTH:
        raise CertificateError(f"a formula of {len(text)} characters, more than {_MAX_LENGTH}")
    body = ast.parse(text, mode="eval").body
    above, below, bits = _size(body)
    if max(above, below) > _MAX_TERMS or bits > _MAX_BITS:
        raise CertificateError(f"{text[:60]} is too large to be calculated")
    return body


def _size(node: ast.expr) -> tuple[int, int, int]:
    """The most terms of the numerator and the denominator once multiplied out, and about the most bits of a number."""
    match node:
        case ast.Constant(value=int(number)):
            return 1, 1, number.bit_length()
        case ast.UnaryOp(operand=operand):
            return _size(operand)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            (above, below, bits), exponent = _size(left), abs(integer(right))
            if exponent > _MAX_EXPONENT:
                raise CertificateError(f"the exponent {exponent} is above {_MAX_EXPONENT}")
            return _capped(_power(above, exponent), _power(below, exponent), exponent * (bits + above + below))
        case ast.BinOp(left=left, op=op, right=right):
            (above, below, bits), (up, down, more) = _size(left), _size(right)
            if isinstance(op, ast.Add | ast.Sub):
                return _capped(above * down + up * below, below * down, bits + more + 1)
            if isinstance(op, ast.Div):
                up, down = down, up
            return _capped(above * up, below * down, bits + more + 1)
    return 1, 1, 0


def _power(terms: int, exponent: int) -> int:
    return math.comb(terms + exponent - 1, exponent)


def _capped(above: int, below: int, bits: int) -> tuple[int, int, int]:
    """Numbers that stay small, as all that matters is whether they pass the limits."""
    return min(above, _MAX_TERMS + 1), min(below, _MAX_TERMS + 1), min(bits, _MAX_BITS + 1)


def ball(node: ast.expr, values: Mapping[str, Any]) -> Any:
    """The value of an expression with exponentials and square roots in ball arithmetic."""
    match node:
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            return flint.arb(number)
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -ball(operand, values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return ball(left, values) + ball(right, values)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return ball(left, values) - ball(right, values)
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return ball(left, values) * ball(right, values)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return ball(left, values) / ball(right, values)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            base, exponent, power = ball(left, values), integer(right), flint.arb(1)
            for _ in range(abs(exponent)):
                power = power * base
            return power if exponent >= 0 else 1 / power
        case ast.Call(func=ast.Name(id="exp"), args=[inner], keywords=[]):
            return ball(inner, values).exp()
        case ast.Call(func=ast.Name(id="sqrt"), args=[inner], keywords=[]):
            return ball(inner, values).sqrt()
    raise CertificateError(f"cannot evaluate {ast.unparse(node)}")


def integer(node: ast.expr) -> int:
    """An exponent: an integer, written as such."""
    match node:
        case ast.Constant(value=int(number)):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(number))):
            return -number
    raise CertificateError(f"the exponent {ast.unparse(node)} is not an integer")
