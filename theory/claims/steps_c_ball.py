"""Appendix C.3, display by display: the curvature bound on a ball, in two cases."""

from __future__ import annotations

from typing import Any

import numpy as np

from theory.assumptions import UNIQUE_ANSWER
from theory.claim import Claim, Link
from theory.claims._ball_proofs import (
    proof_case_1,
    proof_case_2,
    proof_f,
    proof_half,
    proof_max,
    proof_move,
)
from theory.claims._steps import deviation, root, smaller
from theory.points import Ball, Point
from theory.policy import Array

__all__ = ["CLAIMS"]


def _moved(ball: Ball) -> Array:
    """``|J_i(theta') - J_i(theta)|``, as ``|p' q - p q'|``."""
    p, q = ball.state.p, ball.state.q
    return np.array([abs(s.p[0] * q[i] - p[i] * s.q[0]) for i, s in enumerate(ball.displaced)])


def _radius_times_slope(ball: Ball) -> Array:
    x_max = ball.x_max_sq**0.5
    return x_max / 2 * (1 / x_max) * deviation(ball)


def _share(p: Array, q: Array) -> Array:
    """``max l (1 - l)`` over ``|l - p| <= sqrt(p q) / 2``: at the point of that interval closest to 1/2."""
    b = np.abs(q - p)
    reach = smaller(b, (p * q) ** 0.5) / 2
    return p * q + reach * (b - reach)


def _f(p: Array, q: Array) -> Array:
    """``f(a)``, the maximum in the proof of Lemma 3.3."""
    return 4 * _share(p, q) / (p * q) ** 0.5


def _f_at(point: Point) -> Array:
    return _f(point.state.p, point.state.q)


def _minority(point: Point) -> Array:
    """``a``, without loss of generality at most 1/2."""
    return smaller(point.state.p, point.state.q)


def _near(point: Point) -> Any:
    """Whether 1/2 certainly lies in the interval: case 1."""
    return np.asarray(deviation(point) >= np.abs(point.state.q - point.state.p), dtype=bool)


def _far(point: Point) -> Any:
    """Whether 1/2 certainly lies outside: case 2."""
    return np.asarray(deviation(point) < np.abs(point.state.q - point.state.p), dtype=bool)


def _edge(like: Array) -> Array:
    """``1/2 - sqrt(5)/10``, where the two cases meet."""
    return (5 - root(5, like)) / 10


def _f_at_edge(like: Array) -> Array:
    return _f(_edge(like), 1 - _edge(like))


def _upper_end(point: Point) -> Array:
    a, c = _minority(point), deviation(point)
    # 1 - a is the other of p and q.
    return 4 * (a + c / 2) * (point.state.p + point.state.q - a - c / 2) / c


def _polynomial(point: Point) -> Array:
    return 3 * deviation(point) + 2 * np.abs(point.state.q - point.state.p)


def _f_at_a_tenth(like: Array) -> Array:
    tenth = (0 * like + 1) / 10
    return _f(tenth, 1 - tenth)


def _claim(name: str, place: str, title: str, statement: str, proof: Any, **fields: Any) -> Claim:
    return Claim(
        id=f"P-STEP-{name}",
        source="paper",
        place=f"App. {place}",
        title=title,
        statement=statement,
        assumptions=(UNIQUE_ANSWER,),
        scope=fields.pop("scope", "point"),
        proof=proof,
        **fields,
    )


_A = r"\pi^*_\theta(1-\pi^*_\theta)"
_I = r"[a-\tfrac{\sqrt{a(1-a)}}2,\,a+\tfrac{\sqrt{a(1-a)}}2]"

CLAIMS = (
    _claim(
        "C3-MOVE",
        "C.3, first display",
        "how far the success probability moves in the ball",
        rf"|\pi^*_{{\theta'}} - \pi^*_\theta| \le \tfrac12 X_{{\max}}\cdot\frac1{{X_{{\max}}}}\cdot\sqrt{{{_A}}} "
        rf"= \tfrac12\sqrt{{{_A}}}",
        proof_move,
        scope="ball",
        chain=(
            Link("Lipschitz constant times radius", "<=", _moved, _radius_times_slope),
            Link("X_max cancels", "==", _radius_times_slope, lambda ball: deviation(ball) / 2),
        ),
    ),
    _claim(
        "C3-MAX",
        "C.3, second and third display",
        "the curvature bound over the probabilities that the ball reaches",
        rf"\|\nabla^2 J_i(\theta')\| \le \max_l 4X_{{\max}}^2\, l(1-l), "
        rf"\qquad |l-\pi^*_\theta|\le\tfrac12\sqrt{{{_A}}}",
        proof_max,
        scope="ball",
        relation="<=",
        left=lambda ball: ball.displaced_quadratic,
        right=lambda ball: 4 * ball.x_max_sq * _share(ball.state.p, ball.state.q) * ball.direction_sq,
        remark="Checked along every direction y. The maximum lies where l is closest to 1/2.",
    ),
    _claim(
        "C3-F",
        "C.3, fourth display",
        "the maximum is at most 5/2 standard deviations",
        rf"f(a) := \max_{{l\in{_I}}} \frac{{4l(1-l)}}{{\sqrt{{a(1-a)}}}} \le \tfrac52",
        proof_f,
        relation="<=",
        left=_f_at,
        right=lambda point: (0 * point.state.p + 5) / 2,
        remark='Printed as "equivalent" to Lemma 3.3; it implies the lemma, which is what the proof needs.',
    ),
    _claim(
        "C3-HALF",
        "C.3, first display of either case",
        "when 1/2 lies in the interval",
        rf"\tfrac12\in{_I} \iff a\in[\tfrac12-\tfrac{{\sqrt5}}{{10}},\tfrac12]",
        proof_half,
        relation="iff",
        left=lambda point: _minority(point) - _edge(point.state.p),
        right=lambda point: deviation(point) - np.abs(point.state.q - point.state.p),
        misprint=True,
        remark=(
            "a is the smaller of p and 1 - p. Case 2 is printed with a closed interval; at its end, "
            "a = 1/2 - sqrt(5)/10, the interval does contain 1/2, and case 1 applies."
        ),
    ),
    _claim(
        "C3-CASE1",
        "C.3, case 1",
        "1/2 in the interval",
        r"f(a) = \frac1{\sqrt{a(1-a)}} \le f\left(\tfrac12-\tfrac{\sqrt5}{10}\right) = \sqrt5 \le \tfrac52",
        proof_case_1,
        chain=(
            Link("maximum at 1/2", "==", lambda p: _f_at(p)[_near(p)], lambda p: 1 / deviation(p)[_near(p)]),
            Link(
                "largest at the edge",
                "<=",
                lambda p: 1 / deviation(p)[_near(p)],
                lambda p: _f_at_edge(p.state.p[_near(p)]),
            ),
            Link(
                "its value",
                "==",
                lambda p: _f_at_edge(p.state.p[_near(p)]),
                lambda p: root(5, p.state.p[_near(p)]),
            ),
            Link(
                "sqrt(5) at most 5/2",
                "<=",
                lambda p: root(5, p.state.p[_near(p)]),
                lambda p: (0 * p.state.p[_near(p)] + 5) / 2,
            ),
        ),
        remark="Checked on the prompts of case 1; a point without one has nothing to compare.",
    ),
    _claim(
        "C3-CASE2",
        "C.3, case 2",
        "1/2 outside the interval",
        r"f(a) = \frac{4(a+\frac{\sqrt{a(1-a)}}2)(1-a-\frac{\sqrt{a(1-a)}}2)}{\sqrt{a(1-a)}} "
        r"= 3\sqrt{a(1-a)} + (2-4a) \le \tfrac52 = f(\tfrac1{10})",
        proof_case_2,
        chain=(
            Link("maximum at the upper end", "==", lambda p: _f_at(p)[_far(p)], lambda p: _upper_end(p)[_far(p)]),
            Link("multiplied out", "==", lambda p: _upper_end(p)[_far(p)], lambda p: _polynomial(p)[_far(p)]),
            Link(
                "at most 5/2",
                "<=",
                lambda p: _polynomial(p)[_far(p)],
                lambda p: (0 * p.state.p[_far(p)] + 5) / 2,
            ),
            Link(
                "attained at a = 1/10",
                "==",
                lambda p: (0 * p.state.p[_far(p)] + 5) / 2,
                lambda p: _f_at_a_tenth(p.state.p[_far(p)]),
            ),
        ),
        remark="Checked on the prompts of case 2; a point without one has nothing to compare.",
    ),
)
