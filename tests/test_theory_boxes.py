"""Bounds on boxes: what holds is shown, what does not is refused, by the prover and by the checker alike."""

from __future__ import annotations

import copy

import pytest
import sympy as sp

from theory.boxes import bounded
from theory.certificates import Proof, ProofError, digest
from theory.checker import CertificateError, check

X, S = sp.symbols("x s", real=True)
HALF = sp.Rational(1, 2)
UNIT = {"x": (sp.Integer(0), sp.Integer(1))}


@pytest.mark.parametrize(
    ("expression", "limit", "holds"),
    [
        (X * (1 - X), sp.Rational(26, 100), True),
        (X * (1 - X), sp.Rational(24, 100), False),
        (sp.exp(-X) * X, sp.Rational(37, 100), True),
        (sp.sqrt(2 + X) / (1 + X**2), sp.Rational(3, 2), True),
        (sp.sqrt(2 + X) / (1 + X**2), sp.Rational(14, 10), False),
        (X**-2, sp.Integer(100), False),
    ],
)
def test_a_bound_is_shown_exactly_where_it_holds(expression: sp.Expr, limit: sp.Rational, holds: bool) -> None:
    assert bounded(expression, UNIT, limit) is holds


def test_a_bound_without_room_is_not_shown() -> None:
    """Boxes never close an equality case; the answer is no, after a limited number of boxes."""
    assert not bounded(-((X - sp.Rational(1, 3)) ** 2), UNIT, sp.Integer(0))


def test_what_cannot_be_evaluated_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot evaluate sin"):
        bounded(sp.sin(X), UNIT, sp.Integer(2))
    with pytest.raises(TypeError, match="power"):
        bounded(X ** sp.Rational(1, 3), UNIT, sp.Integer(2))


def _proof() -> Proof:
    proof = Proof("T")
    proof.bound(X * sp.exp(-X * S), {X: (0, 1), S: (0, 2)}, sp.Rational(11, 10), "x exp(-x s) <= 1.1")
    return proof


def test_the_checker_replays_a_bound() -> None:
    assert check(_proof().done("holds").to_json()) == 1


def test_the_prover_refuses_a_wrong_bound() -> None:
    with pytest.raises(ProofError, match="too small"):
        _proof().bound(X, {X: (0, 1)}, HALF, "too small")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("at_most", "1/2"),
        ("expression", "x*exp(x*s)"),
        ("expression", "x*open(s)"),
        ("expression", "x*exp(-x*t)"),
        ("expression", "x*exp(-x*s, x)"),
        ("box", {"x": ["0", "2"], "s": ["0", "2"]}),
        ("box", {"x": ["0"], "s": ["0", "2"]}),
        ("at_most", "x"),
        ("at_most", ""),
    ],
)
def test_the_checker_rejects_a_changed_bound(field: str, value: object) -> None:
    changed = copy.deepcopy(_proof().done("holds").to_json())
    changed["steps"][0][field] = value
    changed["sha256"] = digest(changed)
    with pytest.raises(CertificateError):
        check(changed)
