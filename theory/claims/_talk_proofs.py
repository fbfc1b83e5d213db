"""The proofs of the talk's theorems, repaired: one step, the sum and the rate, with step size eta / n."""

from __future__ import annotations

from typing import NamedTuple

import sympy as sp

from theory.certificates import Certificate, Proof
from theory.claims._runs import min_proof, sum_proof
from theory.rules import GRPO, Rule

__all__ = ["descent_certificate", "sum_certificate"]

_OWN = "J_i sees only its own part of the joint step, of size eta / n: the others leave it (S-ORTHO-FIXED)."
# sqrt(V) grows by at most this factor in a step, and the gain is at least 3/8 of its inverse: 17/40.
_GROWTH = sp.Rational(17, 15)


class _Own(NamedTuple):
    """A prompt's own part of a joint step of GRPO: ``y = grad J_i / (2 n X_max^2 c)``."""

    x_sq: sp.Symbol
    n: sp.Symbol
    more: sp.Symbol
    c: sp.Symbol
    grad_sq: sp.Symbol
    short: sp.Symbol

    @property
    def eta(self) -> sp.Expr:
        """What the gradient is multiplied by."""
        return 1 / (2 * self.n * self.x_sq * self.c)

    @property
    def unit(self) -> sp.Expr:
        """``||grad J_i||^2 / (n X_max^2)``."""
        return self.grad_sq / (self.n * self.x_sq)

    @property
    def least(self) -> sp.Expr:
        """What the gain is at least."""
        return sp.Rational(17, 40) * self.unit / self.c


def _reinforce() -> Certificate:
    proof = Proof("S-REINFORCE-DESCENT-FIXED")
    x_sq = proof.symbol("X2", "positive", "X_max^2")
    grad_sq = proof.symbol("G", "nonnegative", "||grad J_i(theta_{t-1})||^2")
    taylor = proof.symbol("r", "nonnegative", "slack of the Taylor bound")
    n = proof.symbol("n", "positive", "number of prompts")
    proof.fact(_OWN)
    eta, curvature, a = 1 / (x_sq * n), x_sq, (2 * n - 1) / (2 * n**2)
    proof.fact("Taylor with Lagrange remainder; the curvature bound is S-SMOOTH-GLOBAL.")
    proof.nonnegative(eta * grad_sq - curvature / 2 * eta**2 * grad_sq + taylor - a * grad_sq / x_sq, taylor, "gain")
    return proof.done("J_i(theta_t) - J_i(theta_{t-1}) >= (2n - 1) / (2 n^2 X^2) ||grad J_i(theta_{t-1})||^2")


def _own_gain(proof: Proof, x_sq: sp.Symbol) -> _Own:
    """The gain of a step is at least 17/40 of ``||grad J||^2 / (n X^2 c)``; needs no name but these and X2."""
    n = proof.symbol("n", "positive", "number of prompts")
    more = proof.symbol("m", "nonnegative", "n - 1")
    c = proof.symbol("c", "positive", "sqrt(V_i) before the step")
    grad_sq = proof.symbol("G", "nonnegative", "||grad J_i||^2 before the step")
    taylor = proof.symbol("e", "nonnegative", "slack of the Taylor bound")
    short = proof.symbol("b", "nonnegative", "2 V^2 X_max^2 - ||grad J_i||^2, X-SEVERAL-LIPSCHITZ")
    own = _Own(x_sq, n, more, c, grad_sq, short)
    proof.relation(more, n - 1, "at least one prompt")
    proof.relation(short, 2 * c**4 * x_sq - grad_sq, "||grad J|| <= sqrt(2) V X_max, V = c^2")
    proof.fact(_OWN)
    inside = short / (4 * n**2 * c**2 * x_sq**2) + c**2 * (1 + 4 * more + 2 * more**2) / (2 * x_sq * n**2)
    proof.nonnegative(c**2 / x_sq - own.eta**2 * grad_sq, inside, "the own part stays in the ball of radius c / X_max")
    proof.fact("Taylor with Lagrange remainder along the step; curvature on the ball: X-SHARP-BALL.")
    value = own.eta * grad_sq - sp.Rational(3, 10) * x_sq * c * own.eta**2 * grad_sq + taylor
    proof.nonnegative(
        value - (20 * n - 3) / (40 * n**2) * grad_sq / (x_sq * c),
        taylor,
        "gain, at least (20n - 3)/(40 n^2) G / (X^2 c)",
    )
    spare = sp.Rational(3, 40) * more * own.unit / (n * c)
    proof.nonnegative(value - own.least, taylor + spare, "hence at least 17/40 of G / (n X^2 c)")
    return own


def _log_odds(proof: Proof, own: _Own) -> sp.Symbol:
    """How far the log-odds rise: by z to first order, in all between f z and F z; returns z."""
    c, n = own.c, own.n
    z = proof.symbol("z", "nonnegative", "slope of the log-odds L = log(p/q) along the step y, at its start")
    m_r, m_w = proof.symbol("mr", "real", "E_v u"), proof.symbol("mw", "real", "E_w u")
    s_r, s_w = proof.symbol("sr", "nonnegative", "Var_v(u)"), proof.symbol("sw", "nonnegative", "Var_w(u)")
    rest = proof.symbol("o", "nonnegative", "X_max^2 ||y||^2, minus mr^2 + sr + mw^2 + sw")
    proof.relation(2 * n * own.x_sq * c**3 * z, own.grad_sq, "grad J = V grad L, y = grad J / (2 n X^2 c)")
    proof.nonnegative(c - z, c * own.more / n + own.short / (2 * n * own.x_sq * c**3), "z = t c with 0 <= t <= 1")
    proof.equal(own.x_sq * own.eta**2 * own.grad_sq, c * z / (2 * n), "X_max^2 ||y||^2 = c z / (2n)")
    proof.fact(
        "Along theta + s y the slope phi of L is mr - mw, and phi' = Var_v(u) - Var_w(u), u = X_i y, v and w the"
    )
    proof.fact(
        "policy on the right and on the wrong outputs: X-SEVERAL-IDENTITY. A mean of squares is at most their sum."
    )
    reach = m_r**2 + s_r + m_w**2 + s_w + rest
    proof.relation(2 * n * reach, c * z, "||X_i y||^2 <= X_max^2 ||y||^2")
    most = c * z / 2 - (m_r - m_w) ** 2 / 2
    spare = c * z * own.more / (2 * n) + (m_r + m_w) ** 2 / 2 + rest
    proof.nonnegative(most - s_w, spare + s_r, "Var_w(u) <= c z / 2 - phi^2 / 2, at every s")
    proof.nonnegative(most - s_r, spare + s_w, "Var_v(u) <= c z / 2 - phi^2 / 2, at every s")
    proof.fact(
        "So phi >= z (1 - c s / 2), phi^2 >= z^2 (1 - c s), either is at most (c z / 2)(1 - t + t c s); and the rise"
    )
    proof.fact(
        "of L is z up to the integral of 1 - s times that: f = 1 - o, F = 1 + o with o = c (1 - t)/4 + t c^2/12."
    )
    return z


def _by_state(x: sp.Symbol, t: sp.Symbol) -> tuple[sp.Expr, sp.Expr]:
    """``c`` at odds x^2 and 1/x^2, and the o of f = 1 - o and F = 1 + o."""
    c = x / (1 + x**2)
    return c, c * (1 - t) / 4 + t * c**2 / 12


def _printed_index(proof: Proof, own: _Own) -> None:
    """``C_i(t)`` in place of ``C_i(t-1)``: the gain is ``2 sinh(rise/2) sqrt(V V')``."""
    z = _log_odds(proof, own)
    x, t = sp.symbols("x t", real=True)
    c, off = _by_state(x, t)
    factor, moved = 1 - off, sp.exp(t * c)
    box, limit = {x: (0, 1), t: (0, 1)}, -sp.Rational(3, 4)
    proof.fact(
        "rise V' grows with the rise while that is below 1 (d log V / dL = q - p), and F z <= 1; so it is at least"
    )
    proof.fact(
        "f z V' with V' taken where L has risen by f z. log V is concave in L: there V'/V >= min(1, R), with R the"
    )
    proof.fact("ratio where L has risen by z = t c.")
    proof.bound((1 + off) * t * c, box, 1, "F z <= 1")
    proof.bound(-factor, box, limit, "f >= 3/4")
    low, high = (1 + x**2) / (1 + x**2 * moved), (1 + x**2) / (x**2 + moved)
    proof.bound(-factor * moved * low**2, box, limit, "f R >= 3/4 for odds x^2, c = x / (1 + x^2)")
    proof.bound(-factor * moved * high**2, box, limit, "f R >= 3/4 for odds 1/x^2")
    _gain_by_the_end(proof, own, z)


def _gain_by_the_end(proof: Proof, own: _Own, z: sp.Symbol) -> None:
    gain = proof.symbol("d", "real", "what J_i gains in the step")
    rise = proof.symbol("l", "nonnegative", "rise of the log-odds")
    after = proof.symbol("c1", "positive", "sqrt(V_i) after the step")
    room = proof.symbol("k", "nonnegative", "rise V' - (3/4) z V, as shown")
    beyond = proof.symbol("j", "nonnegative", "2 sinh(rise/2) c c1 - rise c c1")
    late = proof.symbol("C1", "positive", "C_i(t)")
    over = proof.symbol("h1", "nonnegative", "C_i(t) - c1, Assumption 3")
    proof.fact("J gains sigma(L + rise) - sigma(L) = 2 sinh(rise/2) sqrt(V V'), sigma the logistic function.")
    proof.relation(gain, rise * own.c * after + beyond, "sinh(x) >= x")
    proof.relation(rise * after**2, sp.Rational(3, 4) * z * own.c**2 + room, "the step's end")
    proof.relation(late, after + over, "sqrt(V) <= C")
    proof.nonnegative(
        gain - sp.Rational(3, 8) * own.unit / late,
        beyond + own.c * room / after + sp.Rational(3, 4) * z * own.c**3 * over / (after * late),
        "gain, with C_i(t)",
    )


def _grpo() -> Certificate:
    proof = Proof("S-GRPO-DESCENT-FIXED")
    own = _own_gain(proof, proof.symbol("X2", "positive", "X_max^2"))
    bound = proof.symbol("C", "positive", "C_i(t-1)")
    over = proof.symbol("h", "nonnegative", "C - c, Assumption 3")
    proof.relation(bound, own.c + over, "sqrt(V) <= C")
    eighths = sp.Rational(3, 8) * own.unit
    proof.nonnegative(
        own.least - eighths / bound,
        own.unit / (20 * own.c) + eighths * over / (own.c * bound),
        "gain, with C_i(t-1)",
    )
    _printed_index(proof, own)
    return proof.done(
        "J_i(theta_t) - J_i(theta_{t-1}) >= 3 / (8 n X^2 C) ||grad J_i(theta_{t-1})||^2 for C = C_i(t-1) and C = C_i(t)"
    )


def descent_certificate(rule: Rule) -> Certificate:
    """S-REINFORCE-DESCENT-FIXED and S-GRPO-DESCENT-FIXED."""
    return _grpo() if rule is GRPO else _reinforce()


def _earlier_bound(proof: Proof) -> None:
    """``J_i(theta_{t+1}) - J_i(theta_t) >= (3/8) ||grad J_i(theta_t)||^2 / (n X^2 C_i(t-1))``."""
    proof.fact(
        "GRPO: that sum takes the step from theta_t with C_i(t-1). Two steps: one to theta_t, and one from there."
    )
    own = _own_gain(proof, sp.Symbol("X2", positive=True))
    _log_odds(proof, own)
    x, t = sp.symbols("x t", real=True)
    c, off = _by_state(x, t)
    moved = sp.exp((1 + off) * t * c)
    growth = moved * ((1 + x**2) / (1 + x**2 * moved)) ** 2
    proof.fact(
        "Where p >= 1/2 sqrt(V) falls, as L rises. Elsewhere the odds are x^2 with x <= 1, and every rise up to F z"
    )
    proof.fact("is (1 + o) t c for some t.")
    box = {x: (0, 1), t: (0, 1)}
    proof.bound(growth, box, _GROWTH**2, "sqrt(V) grows by a factor of at most 17/15 in a step")
    before = proof.symbol("C0", "positive", "C_i of one step before, at least sqrt(V) there by Assumption 3")
    room = proof.symbol("c0", "nonnegative", "(17/15) C0 - c")
    proof.relation(_GROWTH * before, own.c + room, "c is at most 17/15 of sqrt(V) one step before")
    proof.nonnegative(
        own.least - sp.Rational(3, 8) * own.unit / before,
        sp.Rational(3, 8) * own.unit * room / (own.c * before),
        "gain, with C of one step before",
    )


def sum_certificate(rule: Rule, part: str) -> Certificate:
    """The repaired SUM and MIN of both."""
    proof = Proof(f"S-{rule.name.upper()}-{part}-FIXED")
    build = sum_proof if part == "SUM" else min_proof
    build(proof, None, one_step=f"S-{rule.name.upper()}-DESCENT-FIXED", weighted=rule is GRPO)
    proof.fact("a = 3 / (8 n) for GRPO and (2n - 1) / (2 n^2) for REINFORCE, both positive for n >= 1.")
    proof.fact(
        "Over t = 1..T: read theta_t as theta_{t+1} in all of this, C_{i,t} staying. The run from theta_1 on is a run"
    )
    proof.fact("of the same kind, and 1 - J_i(theta_1) <= 1 - J_i(theta_0), as J_i never falls.")
    if rule is GRPO:
        _earlier_bound(proof)
    return proof.done(
        "the bound with a in place of the printed constant, for every T and every n, over 1..T and 0..T-1"
    )
