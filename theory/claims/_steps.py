"""What the displayed steps of the appendices share: quantities of a point in both arithmetics, and pieces of proofs."""

from __future__ import annotations

from typing import Any

import numpy as np
import sympy as sp

from theory.certificates import Proof
from theory.claims._setting import Groups, Probabilities
from theory.exact import maximum
from theory.points import Point
from theory.policy import Array

__all__ = [
    "cauchy_schwarz",
    "deviation",
    "entries",
    "expanded_update",
    "feature_norms",
    "lemma_17_terms",
    "norm",
    "of_others",
    "other_outputs",
    "output_slopes",
    "own",
    "root",
    "smaller",
    "taylor_symbols",
    "telescoped",
]


def other_outputs(point: Point) -> Array:
    """Which outputs j are not ``a``, ``(n, K)``: what ``j != a`` says in the displays."""
    return np.asarray(np.arange(point.features.shape[1]) != point.answers[:, None])


def own(values: Array) -> Array:
    """The entries of ``[drawn, observed]`` where the observed prompt is the drawn one, ``(n,)``."""
    return np.asarray(np.diagonal(values))


def of_others(values: Array) -> Array:
    """The entries of ``[drawn, observed]`` where another prompt is drawn, flattened."""
    return np.asarray(values[~np.eye(len(values), dtype=bool)])


def entries(state: Any) -> Array:
    """``H(pi) r = pi o (r - pi^T r)``: ``pi_j q`` at a right output, ``-pi_j p`` at a wrong one, ``(n, K)``."""
    return np.asarray(state.policy * np.where(state.is_right, state.q[:, None], -state.p[:, None]))


def output_slopes(point: Point) -> Array:
    """``X_i y``, ``(n, K)``."""
    return np.asarray(point.features @ point.direction)


def feature_norms(point: Point) -> Array:
    """``||x_{i,j}||``, ``(n, K)``."""
    return norm(point.features, axis=2)


def norm(values: Array, axis: int = 1) -> Array:
    """Euclidean norm along an axis."""
    return np.asarray(np.sum(values * values, axis=axis) ** 0.5)


def smaller(first: Array, second: Array) -> Array:
    """Elementwise minimum, floats or balls."""
    return np.asarray(-maximum(-first, -second))


def root(number: int, like: Array) -> Array:
    """Square root of a number in the arithmetic and the shape of an array."""
    return np.asarray((0 * like + number) ** 0.5)


def deviation(point: Point) -> Array:
    """``sqrt(V_i)``."""
    return np.asarray(point.state.variance**0.5)


def expanded_update(point: Point) -> Array:
    """``sqrt(p q) x_a - sqrt(p / q) sum_{j != a} pi_j x_j``, as eq. (12) has it, ``(n, d)``."""
    state = point.state
    right = point.features[np.arange(len(point.answers)), point.answers]
    rest = np.sum((state.policy * other_outputs(point))[..., None] * point.features, axis=1)
    return np.asarray(deviation(point)[:, None] * right - ((state.p / state.q) ** 0.5)[:, None] * rest)


def lemma_17_terms(proof: Proof, at: Probabilities, y: Groups, where: str) -> tuple[sp.Expr, ...]:
    """The sums of Lemma 17's form over the outputs, for any number of right ones.

    Args:
        proof: receives the steps.
        at: p and q.
        y: means and variances over the right and over the wrong outputs.
        where: the point, in words, that the texts end with.

    Returns:
        ``(H r)^T (u o u)``, ``(H r)^T u``, ``pi^T u``, and the quadratic form itself.
    """
    p, q = at
    v = proof.symbol("v", "positive", f"v_j = pi_j / p of one right output j{where}")
    w = proof.symbol("w", "positive", f"w_j = pi_j / q of one wrong output j{where}")
    u = proof.symbol("u", "real", "u_j of that output, right or wrong")
    proof.fact(f"[H r]_j = pi_j (r_j - pi^T r) with pi^T r = p{where}.")
    for name, share, weight, entry, mean, spread in (
        ("right", p, v, q, y.mr, y.sr),
        ("wrong", q, w, -p, y.mw, y.sw),
    ):
        sums = {weight * u: mean, weight * u**2: mean**2 + spread}
        proof.moments(
            share * weight * entry * u**2, sums, share * entry * (mean**2 + spread), f"sum of [H r]_j u_j^2, {name} j"
        )
        proof.moments(share * weight * entry * u, sums, share * entry * mean, f"sum of [H r]_j u_j, {name} j")
        proof.moments(share * weight * u, sums, share * mean, f"sum of pi_j u_j, {name} j")
    first = at.variance * (y.mr**2 + y.sr - y.mw**2 - y.sw)
    return first, at.variance * (y.mr - y.mw), p * y.mr + q * y.mw, y.quadratic(at)


def cauchy_schwarz(
    proof: Proof, one: tuple[sp.Symbol, str], other: tuple[sp.Symbol, str], product: sp.Symbol
) -> sp.Symbol:
    """``|h . u| <= N U`` from a sum of squares over the outputs.

    Args:
        proof: receives the steps.
        one: the norm N, and the name of an entry ``h_j`` (its sign chosen so that ``h . u >= 0``).
        other: the norm U, and the name of an entry ``u_j``.
        product: ``|h . u|``.

    Returns:
        The slack ``N U - |h . u|``, as a non-negative symbol.
    """
    (n, first), (u, second) = one, other
    h_j, u_j = proof.symbol(f"{first}_j", "real", f"entry j of {first}"), sp.Symbol(f"{second}_j", real=True)
    if all(symbol["name"] != f"{second}_j" for symbol in proof.symbols):
        u_j = proof.symbol(f"{second}_j", "real", f"entry j of {second}")
    squares = proof.symbol(f"k_{first}", "nonnegative", f"sum over j of ({first}_j {u} - {second}_j {n})^2")
    slack = proof.symbol(f"s_{first}", "nonnegative", f"{n} {u} - {product}, shown to be non-negative below")
    sums = {h_j**2: n**2, u_j**2: u**2, h_j * u_j: product}
    total = 2 * n * u * (n * u - product)
    proof.moments((h_j * u - u_j * n) ** 2, sums, total, f"sum of squares, {first} against {second}")
    proof.relation(squares, total, "that sum")
    proof.nonnegative(n * u - product, squares / (2 * n * u), f"Cauchy-Schwarz for {first} and {second}")
    proof.relation(slack, n * u - product, "Cauchy-Schwarz, as just shown")
    return slack


def taylor_symbols(proof: Proof, normalised: bool) -> tuple[sp.Symbol, sp.Symbol, sp.Symbol]:
    """Declare what the gain of the drawn prompt is made of.

    Returns:
        ``X_max^2``, ``||grad J_l||^2``, and the slack of the curvature bound in Taylor's remainder.
    """
    x_sq = proof.symbol("X2", "positive", "X_max^2")
    grad_sq = proof.symbol("G", "nonnegative", "||grad J_l(theta_{t-1})||^2")
    taylor = proof.symbol("r", "nonnegative", "slack of the curvature bound in Taylor's remainder")
    name = "P-L33 on the ball, which the step does not leave" if normalised else "P-L31-GLOBAL"
    proof.fact(f"Taylor with Lagrange remainder along the step; the curvature bound is {name}.")
    return x_sq, grad_sq, taylor


def telescoped(proof: Proof, weight: tuple[int, int], factor: str, one_step: str) -> None:
    """``a W <= E J_l(theta_T) - J_l(theta_0) <= 1 - J_l(theta_0)`` with ``a = weight / (n factor X_max^2)``.

    Args:
        proof: receives the steps.
        weight: 1/2 for REINFORCE, 3/16 for GRPO.
        factor: what the step size is divided by besides, in words.
        one_step: id of the one-step inequality.
    """
    total = proof.symbol("W", "nonnegative", "sum over t < T of E ||grad J_l(theta_t)||^2 (/ C_{l,t} for GRPO)")
    n, x_sq = proof.symbol("n", "positive", "number of prompts"), proof.symbol("X2", "positive", "X_max^2")
    f = proof.symbol("f", "positive", factor)
    rise = proof.symbol("D", "real", "E J_l(theta_T) - J_l(theta_0)")
    slack = proof.symbol("r", "nonnegative", "sum of the slacks of the one-step inequality")
    q0 = proof.symbol("q0", "positive", "1 - J_l(theta_0)")
    room = proof.symbol("h", "nonnegative", "1 - E J_l(theta_T)")
    a = sp.Rational(*weight)
    proof.fact(f"{one_step} holds at every step; its left sides telescope.")
    proof.relation(slack, rise * n * f * x_sq - a * total, "telescoping")
    proof.relation(room, q0 - rise, "J_l <= 1")
    proof.nonnegative(rise - a * total / (n * f * x_sq), slack / (n * f * x_sq), "the sum of the one-step gains")
    proof.nonnegative(q0 - rise, room, "a probability is at most 1")
