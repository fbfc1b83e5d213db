"""Proofs of the X-PLATEAU claims: one draw of the prompt, then the sum over T draws."""

from __future__ import annotations

import sympy as sp

from theory.certificates import Certificate, Proof
from theory.claims._setting import probabilities

__all__ = ["linear_proof", "power_proof"]


def _log_odds_step(proof: Proof, group: bool) -> None:
    """``7/8 eta |g|^2 omega <= dL <= eta |g|^2 omega`` with ``omega = weight V``."""
    t = proof.symbol("t", "positive", "eta X^2 omega, with omega = weight(p, q) V")
    less = proof.symbol("e", "nonnegative", "1/4 - t")
    gap = proof.symbol("b", "nonnegative", "|g|^2 / X^2 with g = grad L")
    proof.relation(t, sp.Rational(1, 4) - less, "the step size")
    if group:
        proof.fact("t <= 1/4: w_G V <= sqrt(V) <= 1/2 by X-GROUP-JENSEN, and eta X^2 = 1/2.")
    else:
        proof.fact("t = (4 V)^(1 - alpha) / 4 <= 1/4, as eta X^2 = 4^(-alpha).")
    proof.fact("grad L . y = E_v u - E_w u, so y^T Hess L y = Var_v(u) - Var_w(u): X-SEVERAL-IDENTITY.")
    proof.fact("It is at least -X^2 |y|^2, so dL >= t b - t^2 b / 2 by Taylor with Lagrange remainder.")
    rise = t * gap - t**2 * gap / 2
    proof.nonnegative(rise - sp.Rational(7, 8) * t * gap, t * gap * less / 2, "dL >= 7/8 t b")


def _concave(proof: Proof) -> None:
    proof.fact("Assumption 1: Var_v(u) = 0, so L is concave and dL <= t b.")


def _nearly_concave(proof: Proof, size: int) -> sp.Expr:
    """``dL <= t b (1 + t/4)`` for any number of right outputs, and ``q^2 (1 + t/4) <= 1``; returns ``t / 4``."""
    p, q = probabilities(proof)
    t, less = sp.Symbol("t", positive=True), proof.symbol("tv", "nonnegative", "8 V - t")
    proof.relation(t, 8 * p * q - less, f"t = omega / 2 <= sqrt(G - 1) V / 2, G = {size}" if size else "t = V")
    proof.fact("Popoviciu: Var_v(u) <= (1/2) sum of u_j^2 <= X^2 |y|^2 / 2, so dL <= t b + t^2 b / 4.")
    proof.nonnegative(1 - q**2 * (1 + t / 4), p**2 * (1 + 2 * q + 2 * q**2) + q**2 * less / 4, "q^2 (1 + t/4) <= 1")
    return t / 4


def _with_excess(proof: Proof, r: sp.Symbol, over: sp.Expr) -> tuple[sp.Symbol, sp.Symbol]:
    """``q^2 (1 + t/4)`` in place of ``r = q^2``, and what it lacks to 1."""
    value = proof.symbol("rt", "nonnegative", "q^2 (1 + t/4)")
    lacking = proof.symbol("rt2", "nonnegative", "1 - q^2 (1 + t/4), shown above")
    proof.relation(value, r * (1 + over), "definition")
    proof.relation(lacking, 1 - value, "definition")
    return value, lacking


def _tail(
    proof: Proof, v: sp.Symbol, first: sp.Expr, rate: sp.Expr, lower: tuple[sp.Expr, ...], upper: tuple[sp.Expr, ...]
) -> None:
    """What ``(p/q)^s`` gains in one draw; ``lower`` and ``upper`` hold the factors of either bound."""
    e_eta, low, least = lower
    slack, highest, over = upper
    y = proof.symbol("y", "positive", "(p / q)^s")
    c, c_least, c_more = _share(proof, "c", "p^(2 s)", "p_0^(2 s)")
    proof.relation(c, y * v, "(p / q)^s (p q)^s = p^(2 s)")
    proof.fact("(p/q)^s grows by the factor exp(u); 1 + u <= exp(u) for u >= 0, and exp(u) <= 1 + u + u^2 for u <= 1.")
    proof.nonnegative(
        sp.Rational(7, 8) * y * first - sp.Rational(7, 8) * e_eta * low * least * c_least,
        _at_least(e_eta, (low, least, c_least), sp.Rational(7, 8), sp.Rational(7, 8)),
        "tail, at least 7/8 s eta gamma k0 p_0^(2 s)",
    )
    proof.fact(
        "s dL <= 17/16 s t b <= 17/32, where exp(z) - 1 <= 24/17 z: so exp(s dL) - 1 <= 3/2 s t b."
        if over
        else "s dL <= t b <= 1/2, so exp(s dL) - 1 <= 3/2 s dL."
    )
    proof.nonnegative(
        sp.Rational(3, 2) * (rate - y * first),
        sp.Rational(3, 2) * e_eta * (slack * c + highest * c_more),
        "tail, at most 3/2 s eta Gamma k1",
    )


def linear_proof(name: str) -> Certificate:
    """alpha = 1: omega = 1, so the log-odds move linearly."""
    proof = Proof(name)
    _log_odds_step(proof, group=False)
    _concave(proof)
    proof.fact("t b = eta |g|^2, between eta gamma and eta Gamma. Sum over T draws.")
    return proof.done("7/8 eta gamma T <= L_T - L_0 <= eta Gamma T")


def power_proof(name: str, s: str, size: int = 0) -> Certificate:
    """``omega = kappa V^s``: both sides of what ``(q/p)^s`` loses and ``(p/q)^s`` gains in one draw.

    Args:
        name: of the claim.
        s: the exponent, 1 - alpha.
        size: of the group, at most 257; 0 for exact probabilities, where kappa = 1.
    """
    proof = Proof(name)
    _log_odds_step(proof, group=size > 0)
    e = sp.Rational(s)
    # Several right outputs add a share of t/4 to the step of L: for s = 1 that is of order p, and 1 - q^2 pays for it;
    # for s < 1 it is of order p^s, which 1 - q^(2 s) cannot pay for.
    if e == 1:
        over = _nearly_concave(proof, size)
    else:
        over = sp.Integer(0)
        _concave(proof)
    eta = proof.symbol("eta", "positive", "step size")
    gap, low, high = _between(proof, "g", "|g|^2", "gamma", "Gamma")
    kappa, least, most = _between(proof, "k", "omega / V^s", "k0", "k1")
    proof.fact("k0 = 2 (G - 1) / G and k1 = sqrt(G - 1): X-GROUP-BOUND." if size else "omega = V^s: k0 = k1 = 1.")
    v = proof.symbol("v", "positive", "V^s")
    first = e * eta * gap * kappa * v
    rate = e * eta * high * most
    slack = sp.Symbol("g1", nonnegative=True) * most + gap * sp.Symbol("k2", nonnegative=True)

    x = proof.symbol("x", "positive", "(q / p)^s")
    r, r_least, r_more = _share(proof, "r", "q^(2 s)", "q_{T-1}^(2 s)")
    proof.relation(r, x * v, "(q / p)^s (p q)^s = q^(2 s)")
    proof.fact("(q/p)^s falls by the factor exp(-u) with u = s dL; u / (1 + u) <= 1 - exp(-u) <= u for u >= 0.")
    most_r, most_more = (r, r_more) if not over else _with_excess(proof, r, over)
    proof.nonnegative(
        rate - x * first * (1 + over),
        e * eta * (slack * most_r + high * most * most_more),
        "escape, at most s eta Gamma k1",
    )
    u = proof.symbol("u", "nonnegative", "7/8 s eta |g|^2 omega, at most s dL")
    small = proof.symbol("u1", "nonnegative", "7/16 - u, as t <= 1/4, |g|^2 <= 2 X^2 and s <= 1")
    proof.relation(u + small, sp.Rational(7, 16), "u = 7/8 s t b")
    proof.nonnegative(
        x * u / (1 + u) - sp.Rational(16, 23) * x * u, 16 * x * u * small / (23 * (1 + u)), "u / (1 + u) >= 16/23 u"
    )
    proof.fact("q does not rise along the path, so q_t >= q_{T-1} for t < T; likewise p_t >= p_0.")
    proof.nonnegative(
        sp.Rational(14, 23) * x * first - sp.Rational(3, 5) * e * eta * low * least * r_least,
        _at_least(e * eta, (low, least, r_least), sp.Rational(14, 23), sp.Rational(3, 5)),
        "escape, at least 3/5 s eta gamma k0 q_{T-1}^(2 s)",
    )
    _tail(proof, v, first, rate, (e * eta, low, least), (slack, high * most, over))
    proof.fact("Sum over T draws.")
    return proof.done("both sides of (q_0/p_0)^s - (q_T/p_T)^s and of (p_T/q_T)^s - (p_0/q_0)^s, for every K and T")


def _between(proof: Proof, name: str, meaning: str, low: str, high: str) -> tuple[sp.Symbol, sp.Symbol, sp.Symbol]:
    """A positive symbol with a lower and an upper bound; the slacks are called ``..0`` (below) and above."""
    below, above = {"g": ("g0", "g1"), "k": ("k3", "k2")}[name]
    least = proof.symbol(low, "nonnegative", f"least {meaning}")
    value = proof.symbol(name, "nonnegative", meaning)
    most = proof.symbol(high, "nonnegative", f"largest {meaning}")
    under = proof.symbol(below, "nonnegative", f"{meaning} above its least")
    over = proof.symbol(above, "nonnegative", f"{meaning} below its largest")
    proof.relation(value, least + under, f"{low} is a lower bound")
    proof.relation(most, value + over, f"{high} is an upper bound")
    return value, least, most


def _share(proof: Proof, name: str, meaning: str, least: str) -> tuple[sp.Symbol, sp.Symbol, sp.Symbol]:
    """A number in [0, 1] with a lower bound, and what it lacks to 1."""
    low = proof.symbol(f"{name}0", "nonnegative", least)
    value = proof.symbol(name, "nonnegative", meaning)
    under = proof.symbol(f"{name}1", "nonnegative", f"{meaning} - {least}")
    over = proof.symbol(f"{name}2", "nonnegative", f"1 - {meaning}")
    proof.relation(value, low + under, "it does not go below")
    proof.relation(value + over, sp.Integer(1), "a probability to a power is at most 1")
    return value, low, over


def _at_least(scale: sp.Expr, least: tuple[sp.Symbol, ...], have: sp.Rational, want: sp.Rational) -> sp.Expr:
    """``scale (have prod(least_i + slack_i) - want prod(least_i))`` as a visibly non-negative sum."""
    slacks = {"gamma": "g0", "k0": "k3", "r0": "r1", "c0": "c1"}
    pairs = [(low, sp.Symbol(slacks[str(low)], nonnegative=True)) for low in least]
    (a, da), (b, db), (c, dc) = pairs
    excess = da * (b + db) * (c + dc) + a * db * (c + dc) + a * b * dc
    return scale * (have * excess + (have - want) * a * b * c)
