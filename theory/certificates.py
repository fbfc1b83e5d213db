"""Proofs as data: every step is checked by sympy when it is written, and leaves a certificate that others can replay.

A proof works in polynomial (or rational) arithmetic over named symbols with declared signs, modulo relations such as
``p + q - 1 = 0``. An inequality taken from the setting enters as a relation with a non-negative slack symbol:
``||u||^2 = u_a^2 + E_w u^2 + g`` with ``g >= 0``. A step then is one of

* ``equal``: two expressions agree modulo the relations,
* ``derivative``: the derivation given by ``derivation`` maps one expression to another,
* ``moments``: a weighted sum over the wrong outputs, taken term by term (this is what makes proofs hold for every K),
* ``nonnegative``: an expression equals a sum of products of non-negative things, hence is >= 0;
* ``bound``: a function with exponentials is at most a number on a box, by ball arithmetic on ever smaller boxes.

A certificate declares the assumptions and the claims that its texts name; ``theory.hypotheses`` follows them down.
``theory.checker`` replays certificates with another algebra system and shares no code with this module.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import sympy as sp

from theory.boxes import bounded

__all__ = ["Certificate", "Proof", "ProofError", "digest"]

Sign = Literal["positive", "nonnegative", "real"]

_ASSUMPTION = re.compile(r"\bAssumption (\d)")
_CLAIM = re.compile(r"\b[PSX]-[A-Z][A-Z0-9]*(?:-[A-Z0-9]+)*\b")
# Notation that only makes sense where a single output is right, that is under Assumption 1.
_ONE_ANSWER = re.compile(r"\b[eux]_a\b|,a\}|\]_a\b|\bthe right output\b")


class ProofError(AssertionError):
    """A step of a proof that does not hold."""


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a certificate without its own digest."""
    body = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True)
class Certificate:
    """A finished proof, ready to be written as JSON and replayed."""

    claim: str
    content: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The certificate with its digest."""
        return {**self.content, "sha256": digest(self.content)}


@dataclass
class Proof:
    """Builds a certificate step by step; each method raises :class:`ProofError` when sympy cannot confirm the step."""

    claim: str
    symbols: list[dict[str, str]] = field(default_factory=list)
    relations: list[dict[str, str]] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    derivation: dict[str, str] = field(default_factory=dict)
    steps: list[dict[str, Any]] = field(default_factory=list)
    _zeros: list[sp.Expr] = field(default_factory=list)

    def symbol(self, name: str, sign: Sign, meaning: str) -> sp.Symbol:
        """Declare a symbol with its sign and meaning."""
        self.symbols.append({"name": name, "sign": sign, "meaning": meaning})
        return _symbol(name, sign)

    def relation(self, left: sp.Expr, right: sp.Expr, because: str) -> None:
        """Declare ``left = right``, from the definitions or from an inequality with its slack symbol."""
        zero = sp.expand(left - right)
        self._zeros.append(zero)
        self.relations.append({"zero": str(zero), "because": because})

    def fact(self, text: str) -> None:
        """Cite a textbook fact that connects the algebra with the claim (shown, not machine-checked)."""
        self.facts.append(text)

    def equal(self, left: sp.Expr, right: sp.Expr, because: str) -> None:
        """``left = right`` modulo the relations."""
        self._require_zero(left - right, because)
        self.steps.append({"kind": "equal", "left": str(left), "right": str(right), "because": because})

    def derive(self, rules: Mapping[sp.Symbol, sp.Expr]) -> None:
        """Declare the derivation d/ds on symbols (all other symbols are constant)."""
        self.derivation.update({str(symbol): str(image) for symbol, image in rules.items()})

    def derivative(self, of: sp.Expr, image: sp.Expr, because: str) -> None:
        """``d/ds of = image`` modulo the relations."""
        names = {str(s): s for s in of.free_symbols}
        rules = {names[k]: sp.sympify(v, locals=self._names()) for k, v in self.derivation.items() if k in names}
        total = sum((sp.diff(of, symbol) * rate for symbol, rate in rules.items()), sp.Integer(0))
        self._require_zero(total - image, because)
        self.steps.append({"kind": "derivative", "of": str(of), "image": str(image), "because": because})

    def moments(self, summand: sp.Expr, values: Mapping[sp.Expr, sp.Expr], total: sp.Expr, because: str) -> None:
        """``sum_j summand_j = total``, given the sums of the monomials that ``summand_j`` is made of.

        This is where "for every K" comes from: a sum over the wrong outputs is linear, whatever their number.

        Args:
            summand: polynomial in the symbols indexed by j, with coefficients that do not depend on j.
            values: for each monomial in the indexed symbols, its sum over the wrong outputs.
            total: what the sum comes to.
            because: why.
        """
        indexed = sorted(set().union(*(key.free_symbols for key in values)), key=str)
        result = sp.Integer(0)
        for powers, coefficient in sp.Poly(summand, *indexed).terms():
            monomial = sp.prod(symbol**power for symbol, power in zip(indexed, powers, strict=True))
            if monomial not in values:
                raise ProofError(f"{self.claim}: {because}: no sum is given for {monomial}")
            result += coefficient * values[monomial]
        self._require_zero(result - total, because)
        sums = {str(key): str(value) for key, value in values.items()}
        self.steps.append(
            {"kind": "moments", "summand": str(summand), "values": sums, "total": str(total), "because": because}
        )

    def nonnegative(self, expression: sp.Expr, terms: sp.Expr, because: str) -> None:
        """``expression = terms`` modulo the relations, where ``terms`` is visibly non-negative.

        ``terms`` is recorded unexpanded: sums, products and quotients of declared non-negative symbols, non-negative
        numbers and even powers. The checker verifies this shape.
        """
        self._require_zero(expression - terms, because)
        self.steps.append(
            {"kind": "nonnegative", "expression": str(expression), "terms": str(terms), "because": because}
        )

    def bound(self, expression: sp.Expr, box: Mapping[sp.Symbol, tuple[Any, Any]], at_most: Any, because: str) -> None:
        """``expression <= at_most`` on a box, with room to spare: boxes are halved until ball arithmetic is certain.

        Args:
            expression: of the box's symbols; +, *, integer powers, exp and sqrt.
            box: rational ends of each symbol.
            at_most: rational.
            because: what this shows.
        """
        ends = {str(name): tuple(sp.Rational(end) for end in pair) for name, pair in box.items()}
        if not bounded(expression, ends, sp.Rational(at_most)):
            raise ProofError(f"{self.claim}: {because}: {expression} was not shown to be at most {at_most}")
        self.steps.append(
            {
                "kind": "bound",
                "expression": str(expression),
                "box": {name: [str(end) for end in pair] for name, pair in ends.items()},
                "at_most": str(sp.Rational(at_most)),
                "because": because,
            }
        )

    def done(self, conclusion: str) -> Certificate:
        """Finish; ``conclusion`` is the claim in words, and the last step is what it rests on."""
        if not self.steps:
            raise ProofError(f"{self.claim}: a proof without steps")
        content = {
            "format": 2,
            "claim": self.claim,
            "assumptions": self._assumptions(),
            "cites": sorted({name for text in self._texts() for name in _CLAIM.findall(text)} - {self.claim}),
            "symbols": self.symbols,
            "relations": self.relations,
            "facts": self.facts,
            "derivation": self.derivation,
            "steps": self.steps,
            "conclusion": conclusion,
        }
        return Certificate(self.claim, content)

    def _texts(self) -> Iterator[str]:
        """All that is said in words, the names of symbols included."""
        for symbol in self.symbols:
            yield from (symbol["name"], symbol["meaning"])
        yield from (relation["because"] for relation in self.relations)
        yield from self.facts
        yield from (step["because"] for step in self.steps)

    def _assumptions(self) -> list[str]:
        """Ids of the assumptions that the texts name, or whose notation they use."""
        named = {f"A{number}" for text in self._texts() for number in _ASSUMPTION.findall(text)}
        return sorted(named | {"A1" for text in self._texts() if _ONE_ANSWER.search(text)})

    def _names(self) -> dict[str, sp.Symbol]:
        return {s["name"]: _symbol(s["name"], s["sign"]) for s in self.symbols}

    def _require_zero(self, expression: sp.Expr, because: str) -> None:
        numerator = sp.expand(sp.numer(sp.together(expression)))
        if self._zeros and numerator != 0:
            gens = sorted(set().union(*(z.free_symbols for z in self._zeros), numerator.free_symbols), key=str)
            basis = sp.groebner(self._zeros, *gens, order="lex")
            numerator = basis.reduce(numerator)[1]
        if sp.expand(numerator) != 0:
            raise ProofError(f"{self.claim}: {because}: {expression} is not 0, remainder {numerator}")


def _symbol(name: str, sign: str) -> sp.Symbol:
    if sign == "positive":
        return sp.Symbol(name, positive=True)
    return sp.Symbol(name, nonnegative=True) if sign == "nonnegative" else sp.Symbol(name, real=True)
