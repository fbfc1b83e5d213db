"""The proofs of X-DIRECTIONAL: curvature along one direction, by the range of the outputs along it."""

from __future__ import annotations

from typing import NamedTuple

import sympy as sp

from theory.certificates import Certificate, Proof
from theory.claims._setting import Probabilities, probabilities
from theory.claims.rates import upward_curvature

__all__ = ["curvature_proof", "global_proof", "grpo_proof", "odds_proof", "range_proof", "reinforce_proof", "var_proof"]

_HALF = sp.Rational(1, 2)
_SIGN = "Negating y changes no side and negates u_a - m, so u_a >= m may be assumed."


class _Span(NamedTuple):
    """One direction: ``above = hi - m``, ``below = m - lo``, ``slope = u_a - m``, ``s2 = Var_w(u)``."""

    above: sp.Symbol
    below: sp.Symbol
    slope: sp.Symbol
    s2: sp.Symbol
    high: sp.Symbol
    spare: sp.Symbol

    @property
    def square(self) -> sp.Expr:
        """``R^2``."""
        return (self.above + self.below) ** 2

    @property
    def past(self) -> sp.Expr:
        """``(hi - m)^2 - (u_a - m)^2``, visibly not negative."""
        return self.high * (self.above + self.slope)


def _variance_in_range(proof: Proof, above: sp.Symbol, below: sp.Symbol, s2: sp.Symbol, spare: sp.Symbol) -> None:
    """``s2 <= (hi - m)(m - lo)``, from ``(hi - u_j)(u_j - lo) >= 0`` for every wrong output j."""
    m, w = proof.symbol("m", "real", "E_w u"), proof.symbol("w", "positive", "w_j")
    u = proof.symbol("u", "real", "u_j of a wrong output j")
    summand = w * (above + m - u) * (u - m + below)
    sums = {w: sp.Integer(1), w * u: m, w * u**2: m**2 + s2}
    proof.moments(summand, sums, above * below - s2, "E_w (hi - u)(u - lo) = (hi - m)(m - lo) - Var_w(u)")
    proof.relation(spare, above * below - s2, "a mean of products of non-negative numbers")


def _span(proof: Proof) -> tuple[Probabilities, _Span]:
    """Declare one prompt, one direction y, and where its outputs lie: ``lo <= u_j <= hi`` for all of them."""
    at = probabilities(proof)
    above = proof.symbol("A", "nonnegative", "hi - m, hi = max_j u_j over all outputs")
    below = proof.symbol("B", "nonnegative", "m - lo, lo = min_j u_j over all outputs")
    slope = proof.symbol("D", "nonnegative", "u_a - m")
    s2 = proof.symbol("s2", "nonnegative", "Var_w(u)")
    high = proof.symbol("e1", "nonnegative", "hi - u_a")
    spare = proof.symbol("e2", "nonnegative", "E_w (hi - u)(u - lo)")
    proof.fact("y^T Hess J y = V [(1 - 2p)(u_a - m)^2 - Var_w(u)]: X-IDENTITY. " + _SIGN)
    proof.relation(high, above - slope, "u_a <= hi")
    _variance_in_range(proof, above, below, s2, spare)
    return at, _Span(above, below, slope, s2, high, spare)


def curvature_proof() -> Certificate:
    proof = Proof("X-DIRECTIONAL-CURVATURE")
    (p, q), y = _span(proof)
    v, down = p * q, (p - q) * y.slope**2 + y.s2
    e = proof.symbol("e", "nonnegative", "case p <= 1/2: 1 - 2p")
    low = v * ((y.above - y.below) ** 2 / 4 + y.spare + e * y.slope**2)
    proof.nonnegative(v * y.square / 4 - v * (y.s2 - e * y.slope**2), low, "p <= 1/2: V R^2 / 4 + form >= 0")
    up = v * (e * (y.below + y.high) * (y.above + y.below + y.slope) + y.s2)
    proof.nonnegative(v * e * y.square - v * (e * y.slope**2 - y.s2), up, "p <= 1/2: (1 - 2p) V R^2 - form >= 0")
    b = proof.symbol("b", "nonnegative", "case p >= 1/2: 2p - 1")
    proof.relation(b, p - q, "p >= 1/2")
    rest = y.spare + b * y.past
    middle = ((1 - 4 * q) * y.above + y.below) ** 2 / (8 * q) + rest
    proof.nonnegative(v * y.square / (8 * q) - v * down, v * middle, "1/2 <= p <= 3/4: V R^2 / (8 q) + form >= 0")
    large = proof.symbol("l", "nonnegative", "case p >= 3/4: 4p - 3")
    proof.relation(large, 4 * p - 3, "p >= 3/4")
    high = v * (large * y.above * y.below + b * y.below**2 + rest)
    proof.nonnegative(v * b * y.square - v * down, high, "p >= 3/4: (2p - 1) V R^2 + form >= 0")
    proof.fact("The form is not positive where p >= 1/2. With x = 1 / max(1, 2c) and c = min(1, 2q), x - c x^2 is")
    proof.fact("1/4 for p <= 1/2, 1/(8 q) for 1/2 <= p <= 3/4, and 2p - 1 beyond.")
    proof.fact("Attained: p >= 3/4 by K = 2; p <= 1/2 by u_a = m and wrong outputs at both ends, w = 1/2 each.")
    return proof.done("the two one-sided bounds hold for all y, theta and K, and at every p no smaller ones do")


class _Sides(NamedTuple):
    """One direction, any number of right outputs: ``hi - mr``, ``mr - mw``, ``mw - lo``, and both variances' slacks."""

    top: sp.Symbol
    slope: sp.Symbol
    bottom: sp.Symbol
    sr: sp.Symbol
    sw: sp.Symbol
    spare_r: sp.Symbol
    spare_w: sp.Symbol

    @property
    def square(self) -> sp.Expr:
        """``R^2``."""
        return (self.top + self.slope + self.bottom) ** 2


def _sides(proof: Proof) -> _Sides:
    """Declare where the means of u over the right (mr) and the wrong outputs (mw) lie between lo and hi."""
    top = proof.symbol("a", "nonnegative", "hi - mr, hi = max_j u_j over all outputs")
    slope = proof.symbol("D", "nonnegative", "mr - mw")
    bottom = proof.symbol("c", "nonnegative", "mw - lo, lo = min_j u_j over all outputs")
    sr, sw = proof.symbol("sr", "nonnegative", "Var_v(u)"), proof.symbol("sw", "nonnegative", "Var_w(u)")
    spare_r = proof.symbol("er", "nonnegative", "E_v (hi - u)(u - lo)")
    spare_w = proof.symbol("ew", "nonnegative", "E_w (hi - u)(u - lo)")
    proof.fact("y^T Hess J y = V [(q - p)(mr - mw)^2 + sr - sw]: X-SEVERAL-IDENTITY.")
    proof.fact("Negating y changes no side and negates mr - mw, so mr >= mw may be assumed.")
    for mean, above, below, spread, spare in (
        ("mr", top, slope + bottom, sr, spare_r),
        ("mw", top + slope, bottom, sw, spare_w),
    ):
        m, w = proof.symbol(mean, "real", "mean of u"), proof.symbol(f"w_{mean}", "positive", "weight of output j")
        u = proof.symbol(f"u_{mean}", "real", "u_j")
        sums = {w: sp.Integer(1), w * u: m, w * u**2: m**2 + spread}
        summand = w * (above + m - u) * (u - m + below)
        proof.moments(summand, sums, above * below - spread, "mean of (hi - u)(u - lo)")
        proof.relation(spare, above * below - spread, "a mean of products of non-negative numbers")
    return _Sides(top, slope, bottom, sr, sw, spare_r, spare_w)


def var_proof() -> Certificate:
    proof = Proof("X-DIRECTIONAL-VAR")
    p, q = probabilities(proof)
    y = _sides(proof)
    form, common = (q - p) * y.slope**2 + y.sr - y.sw, y.top**2 + y.bottom**2 + y.top * y.bottom
    up = common + y.top * y.slope + 2 * y.slope * y.bottom + 2 * p * y.slope**2 + y.spare_r + y.sw
    down = common + 2 * y.top * y.slope + y.slope * y.bottom + 2 * q * y.slope**2 + y.sr + y.spare_w
    proof.nonnegative(p * q * (y.square - form), p * q * up, "V R^2 - form >= 0")
    proof.nonnegative(p * q * (y.square + form), p * q * down, "V R^2 + form >= 0")
    proof.fact("Approached by K = 2, features 1 and -1 (R = 2, mr - mw = 2, sr = sw = 0) as p tends to 0.")
    proof.equal(p * q * (q - p) * 4, p * q * 4 * (1 - 2 * p), "there the form is (1 - 2p) times V R^2")
    return proof.done("|y^T Hess J y| <= V R(y)^2 for all y, theta and K, and no smaller constant will do")


def global_proof() -> Certificate:
    proof = Proof("X-DIRECTIONAL-GLOBAL")
    p, q = probabilities(proof)
    y = _sides(proof)
    proof.fact("Exchanging right and wrong outputs negates the form and exchanges p and q: its upper side is enough.")
    lower, reach = proof.symbol("e", "nonnegative", "case p >= 1/2: p - q"), y.slope + y.bottom
    proof.nonnegative(
        y.square / 4 - (-lower * y.slope**2 + y.sr - y.sw),
        (y.top - reach) ** 2 / 4 + y.spare_r + lower * y.slope**2 + y.sw,
        "p >= 1/2: form / V <= R^2 / 4",
    )
    bias = proof.symbol("b", "nonnegative", "case p <= 1/2: q - p")
    proof.relation(bias, q - p, "p <= 1/2")
    rest = bias * y.bottom * (y.slope + reach) + y.spare_r + y.sw
    upper = bias * y.slope**2 + y.sr - y.sw
    middle = ((1 - 4 * p) * reach + y.top) ** 2 / (8 * p) + rest
    proof.nonnegative(y.square / (8 * p) - upper, middle, "1/4 <= p <= 1/2: form / V <= R^2 / (8 p)")
    large = proof.symbol("l", "nonnegative", "case p <= 1/4: 1 - 4p")
    proof.relation(large, 1 - 4 * p, "p <= 1/4")
    high = large * reach * y.top + bias * y.top**2 + rest
    proof.nonnegative(bias * y.square - upper, high, "p <= 1/4: form / V <= (1 - 2p) R^2")
    r = proof.symbol("r", "positive", "square root of 3")
    proof.relation(r**2, sp.Integer(3), "r = sqrt(3), so 1 / (6 sqrt 3) = r / 18")
    square = 8 * (p * q - sp.Rational(1, 6)) ** 2 * (p * q + sp.Rational(1, 12))
    gap = sp.Rational(1, 108) - (p * q) ** 2 * (1 - 4 * p * q)
    proof.nonnegative(gap, square / 2, "1/108 - (V |1 - 2p|)^2 >= 0, with (1 - 2p)^2 = 1 - 4 V: p <= 1/4")
    cut = sp.Rational(27, 16)
    proof.nonnegative(r / 18 - sp.Rational(3, 32), (3 - cut**2) / (r + cut) / 18, "1 / (6 sqrt 3) >= 3/32")
    proof.fact("1/4 <= p <= 1/2: V / (8 p) = q / 8 <= 3/32.")
    proof.nonnegative(sp.Rational(1, 16) - p * q / 4, (p - q) ** 2 / 16, "V / 4 <= 1/16 < 3/32: p >= 1/2")
    proof.fact("Attained at V = 1/6 by K = 2, features 1 and -1, where the form is -(2p - 1) V R^2.")
    return proof.done("|y^T Hess J y| <= R(y)^2 / (6 sqrt 3) for all y, theta and K; no smaller constant will do")


def range_proof() -> Certificate:
    proof = Proof("X-DIRECTIONAL-RANGE")
    high, low = proof.symbol("hi", "real", "max_j u_j"), proof.symbol("lo", "real", "min_j u_j")
    rest = proof.symbol("g", "nonnegative", "||X_i||^2 ||y||^2 - hi^2 - lo^2 where hi and lo are of two outputs")
    norm = proof.symbol("XY", "positive", "||X_i||^2 ||y||^2")
    proof.relation(norm, high**2 + low**2 + rest, "spectral norm: ||X_i y||^2 <= ||X_i||^2 ||y||^2")
    proof.nonnegative(2 * norm - (high - low) ** 2, (high + low) ** 2 + 2 * rest, "2 X^2 ||y||^2 - R^2 >= 0")
    proof.fact("If all outputs have the same u_j, R = 0. X_max >= ||X_i||.")
    return proof.done("R(y)^2 <= 2 X_max^2 ||y||^2, with equality for K = 2, features 1 and -1")


def odds_proof() -> Certificate:
    proof = Proof("X-DIRECTIONAL-ODDS")
    above = proof.symbol("A", "nonnegative", "hi - m, hi = max_j u_j over wrong outputs")
    below = proof.symbol("B", "nonnegative", "m - lo, lo = min_j u_j over wrong outputs")
    s2, spare = proof.symbol("s2", "nonnegative", "Var_w(u)"), proof.symbol("e2", "nonnegative", "E_w (hi - u)(u - lo)")
    proof.fact("L = log(p/q) has grad L . y = u_a - m, and d/ds m = s2 along y, so y^T Hess L y = -Var_w(u).")
    _variance_in_range(proof, above, below, s2, spare)
    proof.nonnegative(
        (above + below) ** 2 / 4 - s2, (above - below) ** 2 / 4 + spare, "Var_w(u) <= R_w^2 / 4 at every theta"
    )
    proof.fact("Taylor with Lagrange remainder: L(theta + y) - L(theta) >= y . grad L - R_w^2 / 8.")
    proof.fact("Approached by two wrong outputs at +-r, w = 1/2 each, u_a = 0, as r tends to 0: log cosh r ~ r^2 / 2.")
    return proof.done("L(theta + y) >= L(theta) + y . grad L - R_w(y)^2 / 8 for all y, theta and K")


def _step(proof: Proof) -> tuple[sp.Symbol, sp.Symbol, sp.Symbol]:
    """Declare ``R^2`` along the unit gradient, ``||grad J||^2`` and the slack of the Taylor bound."""
    span = proof.symbol("R2", "positive", "R(grad L)^2 / ||grad L||^2, squared range along the unit gradient")
    grad_sq = proof.symbol("G", "nonnegative", "||grad J_i(theta)||^2")
    taylor = proof.symbol("r", "nonnegative", "slack of the Taylor bound")
    return span, grad_sq, taylor


def reinforce_proof() -> Certificate:
    proof = Proof("X-DIRECTIONAL-REINFORCE")
    span, grad_sq, taylor = _step(proof)
    root = proof.symbol("k", "positive", "square root of 3")
    proof.relation(root**2, sp.Integer(3), "k = sqrt(3)")
    proof.fact("Under Assumption 1 the step goes along x_a - E_w x, and the curvature along it is X-IDENTITY's.")
    proof.fact("Taylor with Lagrange remainder; along the step the curvature is at most R^2 / (6 sqrt 3) = R^2 k / 18")
    proof.fact("per squared length, everywhere: X-DIRECTIONAL-GLOBAL.")
    eta = 6 * root / span
    value = eta * grad_sq - span * root / 18 / 2 * eta**2 * grad_sq + taylor
    proof.nonnegative(value - 3 * root * grad_sq / span, taylor, "gain of the step eta = 6 sqrt(3) / R^2")
    return proof.done("J(theta + eta grad J) - J(theta) >= 3 sqrt(3) ||grad J||^2 / R^2 with eta = 6 sqrt(3) / R^2")


def grpo_proof() -> Certificate:
    proof = Proof("X-DIRECTIONAL-GRPO")
    span, grad_sq, taylor = _step(proof)
    root = proof.symbol("v", "positive", "sqrt(V_i(theta))")
    slope = proof.symbol("g", "nonnegative", "V^2 R^2 - ||grad J||^2, as ||grad L|| = u_a - m <= R along the unit y")
    proof.relation(slope, root**4 * span - grad_sq, "||grad J|| = V ||grad L|| <= V R")
    eta = 4 / span / root
    proof.nonnegative(
        16 * root**2 - span * eta**2 * grad_sq,
        16 * slope / (root**2 * span),
        "the step moves the log-odds by at most 4 sqrt(V), as their slope is at most R",
    )
    b, k = (
        proof.symbol("b1", "nonnegative", "case 1/2 <= p' <= 3/4: 2p' - 1"),
        proof.symbol("k1", "nonnegative", "1 - 2b'"),
    )
    twice = proof.symbol("t1", "positive", "2q' = 1 - b'")
    proof.relation(k, 1 - 2 * b, "p' <= 3/4")
    proof.relation(twice, 1 - b, "p' + q' = 1")
    proof.nonnegative(
        (_HALF + b) / 2 - 1 / (4 * twice),
        b * k / (4 * twice),
        "X-DIRECTIONAL-CURVATURE's factor is at most max(1/2, 1/2 + b', 2b') / 2: 1/(8q') <= (1/2 + b')/2",
    )
    upward_curvature(proof)
    proof.fact("So along the step the downward curvature per squared length is at most R^2 sqrt(V) / 4.")
    proof.fact(
        "As long as J along the step has not fallen below its start, J(s) >= J(0) + (4s - 2s^2) G / (R^2 sqrt(V))"
        " > J(0) for 0 < s <= 1 by Taylor, so it never falls below: the bound holds on the whole step."
    )
    value = eta * grad_sq - span * root / 4 / 2 * eta**2 * grad_sq + taylor
    proof.nonnegative(value - 2 * grad_sq / (span * root), taylor, "gain of the step eta = 4 / R^2")
    return proof.done("J(theta + eta grad J / sqrt(V)) - J(theta) >= 2 ||grad J||^2 / (R^2 sqrt(V)), eta = 4 / R^2")
