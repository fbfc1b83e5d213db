"""Replays certificates: small, strict, and without a line of the provers' code.

Strings are parsed with Python's ``ast`` and calculated as exact rational functions with flint. A certificate passes
only if every step holds modulo the declared relations, every claimed non-negative form is visibly non-negative, the
assumptions and claims that its texts name are the declared ones, and the digest fits.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import flint

from theory.declared import misdeclared
from theory.formulas import CertificateError, ball, integer, tree

__all__ = ["CertificateError", "check"]

_KEYS = {
    *("format", "claim", "assumptions", "cites", "symbols", "relations", "facts", "derivation", "steps", "conclusion"),
    "sha256",
}
_STEP_KEYS = {
    "equal": {"kind", "left", "right", "because"},
    "derivative": {"kind", "of", "image", "because"},
    "moments": {"kind", "summand", "values", "total", "because"},
    "nonnegative": {"kind", "expression", "terms", "because"},
    "bound": {"kind", "expression", "box", "at_most", "because"},
}

_MAX_CELLS = 100_000


class _Rational:
    """A quotient of polynomials; the denominator is known to be non-zero."""

    def __init__(self, num: Any, den: Any) -> None:
        self.num, self.den = num, den

    def plus(self, other: _Rational, sign: int = 1) -> _Rational:
        return _Rational(self.num * other.den + sign * other.num * self.den, self.den * other.den)

    def times(self, other: _Rational) -> _Rational:
        return _Rational(self.num * other.num, self.den * other.den)


class _Replay:
    def __init__(self, certificate: Mapping[str, Any]) -> None:
        self.signs = {s["name"]: s["sign"] for s in certificate["symbols"]}
        if len(self.signs) != len(certificate["symbols"]):
            raise CertificateError("a symbol is declared twice")
        if set(self.signs.values()) - {"positive", "nonnegative", "real"}:
            raise CertificateError("a symbol has an unknown sign")
        # Later symbols stand first: a symbol that a relation defines is eliminated in favour of earlier ones.
        names = tuple(reversed([s["name"] for s in certificate["symbols"]]))
        self.ring = flint.fmpq_mpoly_ctx.get(names, "lex")
        self.symbols = dict(zip(names, self.ring.gens(), strict=True))
        self.one = self.ring.constant(1)
        self.relations = [self.parse(r["zero"]) for r in certificate["relations"]]
        if any(not r.den.is_constant() for r in self.relations):
            raise CertificateError("a relation is not polynomial")
        self.derivation = {name: self.parse(image) for name, image in certificate["derivation"].items()}
        if set(self.derivation) - set(self.signs):
            raise CertificateError("the derivation names an undeclared symbol")
        if not all(self.vanishes(self.derived(relation)) for relation in self.relations if self.derivation):
            raise CertificateError("the derivation does not respect a relation")

    def parse(self, text: str) -> _Rational:
        return self.value(tree(text))

    def value(self, node: ast.expr) -> _Rational:
        match node:
            case ast.Constant(value=int(number)) if not isinstance(number, bool):
                return _Rational(self.ring.constant(number), self.one)
            case ast.Name(id=name) if name in self.symbols:
                return _Rational(self.symbols[name], self.one)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self.value(operand)
                return _Rational(-inner.num, inner.den)
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
                return self.value(left).plus(self.value(right), 1 if isinstance(op, ast.Add) else -1)
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                return self.value(left).times(self.value(right))
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return self.value(left).times(self.inverse(right))
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                exponent = integer(right)
                base = self.value(left) if exponent >= 0 else self.inverse(left)
                return _Rational(base.num ** abs(exponent), base.den ** abs(exponent))
        raise CertificateError(f"cannot read {ast.unparse(node)}")

    def inverse(self, node: ast.expr) -> _Rational:
        if not self.is_positive(node):
            raise CertificateError(f"division by {ast.unparse(node)}, which is not known to be positive")
        inner = self.value(node)
        return _Rational(inner.den, inner.num)

    def is_positive(self, node: ast.expr) -> bool:
        match node:
            case ast.Constant(value=int(number)):
                return number > 0
            case ast.Name(id=name):
                return self.signs.get(name) == "positive"
            case ast.BinOp(left=left, op=ast.Mult() | ast.Div(), right=right):
                return self.is_positive(left) and self.is_positive(right)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return (self.is_positive(left) and self.is_nonnegative(right)) or (
                    self.is_nonnegative(left) and self.is_positive(right)
                )
            case ast.BinOp(left=left, op=ast.Pow()):
                return self.is_positive(left)
        return False

    def is_nonnegative(self, node: ast.expr) -> bool:
        match node:
            case ast.Constant(value=int(number)):
                return number >= 0
            case ast.Name(id=name):
                return self.signs.get(name) in ("positive", "nonnegative")
            case ast.BinOp(left=left, op=ast.Add() | ast.Mult(), right=right):
                return self.is_nonnegative(left) and self.is_nonnegative(right)
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return self.is_nonnegative(left) and self.is_positive(right)
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                exponent = integer(right)
                return self.is_positive(left) or (exponent >= 0 and (exponent % 2 == 0 or self.is_nonnegative(left)))
        return False

    def vanishes(self, expression: _Rational) -> bool:
        """Whether the numerator lies in the ideal of the relations, as far as repeated division finds out."""
        remainder = expression.num
        for _ in range(40):
            before = remainder
            for relation in self.relations:
                remainder = divmod(remainder, relation.num)[1]
            if remainder == before:
                break
        return bool(remainder == 0)

    def step(self, step: Mapping[str, Any]) -> None:
        kind = step.get("kind")
        if kind not in _STEP_KEYS or set(step) != _STEP_KEYS[kind]:
            raise CertificateError(f"unknown or malformed step kind {kind!r}")
        getattr(self, f"_{kind}")(step)

    def _require(self, expression: _Rational, step: Mapping[str, Any]) -> None:
        if not self.vanishes(expression):
            raise CertificateError(f"step {step['because']!r} does not hold")

    def _equal(self, step: Mapping[str, Any]) -> None:
        self._require(self.parse(step["left"]).plus(self.parse(step["right"]), -1), step)

    def derived(self, of: _Rational) -> _Rational:
        """What the derivation maps an expression to."""
        total = _Rational(self.ring.constant(0), self.one)
        for name, rate in self.derivation.items():
            top = of.num.derivative(name) * of.den - of.num * of.den.derivative(name)
            total = total.plus(_Rational(top, of.den * of.den).times(rate))
        return total

    def _derivative(self, step: Mapping[str, Any]) -> None:
        total = self.derived(self.parse(step["of"]))
        self._require(total.plus(self.parse(step["image"]), -1), step)

    def _moments(self, step: Mapping[str, Any]) -> None:
        values = [(self.parse(k).num, self.parse(v)) for k, v in step["values"].items()]
        indexed = {position for key, _ in values for position, degree in enumerate(key.degrees()) if degree}
        total, summand = _Rational(self.ring.constant(0), self.one), self.parse(step["summand"])
        if summand.den != self.one:
            raise CertificateError(f"step {step['because']!r}: the summand is not polynomial")
        for monom, coefficient in summand.num.terms():
            inner, outer = self.one, self.ring.constant(coefficient)
            for position, (gen, power) in enumerate(zip(self.ring.gens(), monom, strict=True)):
                if position in indexed:
                    inner = inner * gen**power
                else:
                    outer = outer * gen**power
            match [value for key, value in values if key == inner]:
                case [value]:
                    total = total.plus(value.times(_Rational(outer, self.one)))
                case _:
                    raise CertificateError(f"step {step['because']!r}: no sum is given for {inner}")
        self._require(total.plus(self.parse(step["total"]), -1), step)

    def _nonnegative(self, step: Mapping[str, Any]) -> None:
        if not self.is_nonnegative(tree(step["terms"])):
            raise CertificateError(f"step {step['because']!r}: {step['terms']} is not visibly non-negative")
        self._require(self.parse(step["expression"]).plus(self.parse(step["terms"]), -1), step)

    def _bound(self, step: Mapping[str, Any]) -> None:
        body = tree(step["expression"])
        ends = {name: [ball(tree(end), {}) for end in pair] for name, pair in step["box"].items()}
        limit = ball(tree(step["at_most"]), {})
        cells = [{name: low.union(high) for name, (low, high) in ends.items()}]
        looked_at = 0
        while cells:
            cell = cells.pop()
            looked_at += 1
            if looked_at > _MAX_CELLS:
                raise CertificateError(f"step {step['because']!r}: not decided on {_MAX_CELLS} boxes")
            value = ball(body, cell)
            if value <= limit:
                continue
            if value > limit:
                raise CertificateError(f"step {step['because']!r} does not hold")
            name = max(cell, key=lambda each: float(cell[each].rad()))
            middle = cell[name].mid()
            cells += [{**cell, name: end.union(middle)} for end in (cell[name].lower(), cell[name].upper())]


def check(certificate: Mapping[str, Any]) -> int:
    """Replay a certificate.

    Returns:
        The number of steps that hold (all of them).

    Raises:
        CertificateError: the certificate is malformed, tampered with, or a step does not hold.
    """
    if set(certificate) != _KEYS or certificate["format"] != 2:
        raise CertificateError("not a certificate of format 2")
    body = {key: value for key, value in certificate.items() if key != "sha256"}
    canonical = json.dumps(body, sort_keys=True, separators=(",", ":"))
    if hashlib.sha256(canonical.encode()).hexdigest() != certificate["sha256"]:
        raise CertificateError("the digest does not fit the content")
    if not certificate["steps"]:
        raise CertificateError("a certificate without steps")
    try:
        undeclared = misdeclared(certificate)
        if undeclared:
            raise CertificateError(undeclared)
        replay = _Replay(certificate)
        for step in certificate["steps"]:
            replay.step(step)
    except CertificateError:
        raise
    except (SyntaxError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise CertificateError(f"cannot read the certificate: {repr(error)[:160]}") from error
    return len(certificate["steps"])
