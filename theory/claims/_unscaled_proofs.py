"""The proof of X-UNSCALED-STEP: what a step of GRPO gives and takes, whatever the ratios between scales."""

from __future__ import annotations

from typing import NamedTuple

import sympy as sp

from theory.certificates import Certificate, Proof

__all__ = ["SMALL", "step_proof"]

# c = sqrt(V_i) of a drawn prompt that takes something from a prompt l is below V_l / 5, hence below this.
SMALL = sp.Rational(1, 20)


class _Drawn(NamedTuple):
    """The step of the drawn prompt i: ``y = eta grad J_i / c``."""

    f: sp.Symbol
    over: sp.Symbol
    x_max: sp.Symbol
    c: sp.Symbol
    grad_sq: sp.Symbol
    short: sp.Symbol
    rest: sp.Symbol

    @property
    def eta(self) -> sp.Expr:
        """The step size."""
        return 1 / (2 * self.f * self.x_max)

    @property
    def reach(self) -> sp.Expr:
        """``X_max^2 ||y||^2``."""
        return self.x_max * self.eta**2 * self.grad_sq / self.c**2

    @property
    def gain(self) -> sp.Expr:
        """``J_i(theta') - J_i(theta)``."""
        slope = self.eta * self.grad_sq / self.c
        return slope - sp.Rational(3, 10) * self.c * self.reach + self.rest

    @property
    def unit(self) -> sp.Expr:
        """``||grad J_i||^2 / (f X_max^2 c)``."""
        return self.grad_sq / (self.f * self.x_max * self.c)

    @property
    def gain_room(self) -> sp.Expr:
        """What the gain exceeds 17/40 of the unit by; the unit is ``4 f c`` times the reach."""
        return sp.Rational(3, 40) * self.over * self.unit / self.f + self.rest


def _drawn(proof: Proof) -> _Drawn:
    f = proof.symbol("f", "positive", "max(R1, 5M/8) R2 with any R1, R2 that are at least 1")
    x_max = proof.symbol("X2", "positive", "X_max^2")
    c = proof.symbol("c", "positive", "sqrt(V_i(theta)) of the drawn prompt i")
    grad_sq = proof.symbol("G", "nonnegative", "||grad J_i(theta)||^2")
    rest = proof.symbol("r", "nonnegative", "slack of the Taylor bound")
    over = proof.symbol("o", "nonnegative", "f - 1")
    short = proof.symbol("g", "nonnegative", "2 V^2 X_max^2 - ||grad J_i||^2, X-SEVERAL-LIPSCHITZ")
    proof.relation(over, f - 1, "f >= 1")
    proof.relation(short, 2 * c**4 * x_max - grad_sq, "||grad J|| <= sqrt(2) V X_max")
    return _Drawn(f, over, x_max, c, grad_sq, short, rest)


def _own_gain(proof: Proof, i: _Drawn) -> None:
    proof.fact("theta' = theta + y with y = eta grad J_i / c, and eta = 1 / (2 f X_max^2).")
    outside = i.short / (2 * i.x_max * i.c**2)
    proof.nonnegative(i.c**2 - 2 * i.f**2 * i.reach, outside, "2 f^2 X_max^2 ||y||^2 <= V_i")
    proof.nonnegative(
        i.c**2 - 2 * i.reach,
        i.c**2 * i.over * (2 + i.over) / i.f**2 + outside / i.f**2,
        "2 X_max^2 ||y||^2 <= V_i, as f >= 1",
    )
    proof.fact(
        "So the step stays in the ball of radius c / X_max; curvature there: X-SHARP-BALL. Taylor along the step."
    )
    proof.nonnegative(i.gain - sp.Rational(17, 40) * i.unit, i.gain_room, "the drawn prompt gains")
    scaled = sp.Rational(10, 17)
    proof.nonnegative(
        scaled * i.gain / i.f - i.c * i.reach,
        scaled * i.gain_room / i.f,
        "c X_max^2 ||y||^2 is at most 10/17 of that gain over f",
    )


def _start(proof: Proof, i: _Drawn) -> tuple[sp.Symbol, sp.Symbol]:
    """The first order of another prompt's log-odds, and what the second can take; returns M and f - 5M/8."""
    m = proof.symbol("M", "positive", "of Assumption 4")
    x_sq = proof.symbol("x2", "positive", "||X_l||^2")
    moved = proof.symbol("P", "nonnegative", "||X_l y||^2")
    v = proof.symbol("V", "positive", "V_l(theta) of another prompt l")
    slack = proof.symbol("s", "nonnegative", "slack of Assumption 4 at theta, l observed")
    bend = proof.symbol("rb", "nonnegative", "integral of (1 - s) (phi' + P / 2)")
    beyond = proof.symbol("o2", "nonnegative", "f - 5M/8")
    room = proof.symbol("gx", "nonnegative", "X_max^2 - ||X_l||^2")
    near = proof.symbol("k1", "nonnegative", "case 5c >= V_l: 5c - V_l")
    proof.relation(beyond, i.f - sp.Rational(5, 8) * m, "f >= 5M/8")
    proof.relation(room, i.x_max - x_sq, "X_max is the largest")
    proof.relation(near, 5 * i.c - v, "case 5c >= V_l")
    proof.fact("L = log(p/q) of prompt l. Along theta + s y it has the slope phi = E_v u - E_w u, u = X_l y, and")
    proof.fact("phi' = Var_v(u) - Var_w(u), v and w the policy on its right and wrong outputs: X-SEVERAL-IDENTITY.")
    slope = i.c * moved / (i.eta * m * x_sq * v) + slack
    least = sp.Rational(5, 4) * i.c * moved / v
    spare = slack + i.c * moved * (sp.Rational(5, 4) * m * room + 2 * beyond * i.x_max) / (m * x_sq * v)
    proof.nonnegative(slope - least, spare, "phi(0) >= (5/4) c P / V_l: Assumption 4 and the step size")
    proof.nonnegative(slope, i.c * moved / (i.eta * m * x_sq * v) + slack, "K = 2: phi is constant, so L does not fall")
    proof.fact("A variance is at most half the sum of squares (Popoviciu), so phi' >= -P/2; P <= X_max^2 ||y||^2.")
    proof.nonnegative(
        slope - moved / 4 + bend, spare + moved * near / (4 * v) + bend, "L does not fall where 5 sqrt(V_i) >= V_l"
    )
    return m, beyond


def _first_loss(proof: Proof, i: _Drawn) -> None:
    """What a prompt can lose at most, from the slope at the start alone."""
    far = proof.symbol("k2", "nonnegative", "V_l - 5c")
    unused = proof.symbol("gp", "nonnegative", "X_max^2 ||y||^2 - P")
    proof.fact("Otherwise L falls by at most z = P (V_l - 5c) / (4 V_l) <= c^2 / 8, and J by at most V_l z exp(z).")
    scaled = sp.Rational(10, 17)
    proof.nonnegative(
        scaled * i.gain * far / (4 * i.c * i.f) - (i.reach - unused) * far / 4,
        far / 4 * (scaled * i.gain_room / (i.c * i.f) + unused),
        "V_l z is at most 10/68 of the gain of prompt i over f, times (V_l - 5c) / c",
    )
    c = sp.Symbol("c", real=True)
    proof.bound(sp.exp(c**2 / 8) * 10 / 68, {c: (0, sp.Rational(1, 2))}, sp.Rational(1, 6), "with exp(z): at most 1/6")


def _end(proof: Proof, i: _Drawn, m: sp.Symbol, beyond: sp.Symbol) -> None:
    """The slope of the log-odds at the end of the step."""
    x_sq = proof.symbol("xi2", "positive", "||X_i||^2")
    v, v_i = proof.symbol("Ve", "positive", "V_l(theta')"), proof.symbol("Vie", "positive", "V_i(theta')")
    z = proof.symbol("z", "nonnegative", "||X_i h||, h = grad L at theta'")
    own = proof.symbol("R", "nonnegative", "||X_i y||")
    room = proof.symbol("gi", "nonnegative", "X_max^2 - ||X_i||^2")
    proof.relation(room, i.x_max - x_sq, "X_max is the largest")
    proof.fact("phi(1) = eta c h . g, g the gradient of prompt i's log-odds at theta; with g' the one at theta',")
    proof.fact("h . g' >= V_l z^2 / (M ||X_i||^2 V_i) there by Assumption 4, i observed; and g' - g is the integral of")
    proof.fact("Cov_v - Cov_w of prompt i's features, applied to y, so |h . (g' - g)| <= z R / 2 (Popoviciu).")
    steep = v / (m * x_sq * v_i)
    square = i.eta * i.c * steep * (z - own * m * x_sq * v_i / (4 * v)) ** 2
    left_over = i.c * own**2 * v_i / (32 * v * i.f * i.x_max) * (m * room + sp.Rational(8, 5) * beyond * i.x_max)
    proof.nonnegative(
        i.eta * i.c * (steep * z**2 - z * own / 2) + i.c * own**2 * v_i / (20 * v),
        square + left_over,
        "phi(1) >= -(1/20) c R^2 V_i(theta') / V_l(theta')",
    )


def _last_loss(proof: Proof) -> None:
    """What a prompt can lose at most, from the slopes at both ends."""
    proof.fact("Trapezoidal rule: L falls by at most -phi(1) / 2 + max |phi''| / 12, as phi(0) >= 0. phi'' is a sum of")
    proof.fact("two third central moments, each at most (range)^3 / 4, (range)^2 <= 2 (sum of squares) of its group:")
    proof.fact("max |phi''| <= (2P)^(3/2) / 4 <= c P / 2, as 2P <= 2 X_max^2 ||y||^2 <= c^2.")
    proof.fact("Where J_l falls, c < V_l / 5 <= 1/20, so V_i / V_l < c / 5; prompt i's log-odds move by at most")
    proof.fact("sqrt(2) ||X_i y|| <= c, those of l fall by at most c^2 / 8, and |d log V| <= |d log-odds|.")
    c = sp.Symbol("c", real=True)
    box, third = {c: (0, SMALL)}, sp.Rational(1, 24)
    ratio = c / 200 * sp.exp(c + c**2 / 8)
    proof.bound(ratio, box, sp.Rational(1, 120), "(1/40) V_i(theta') / V_l(theta') <= 1/120")
    proof.equal(sp.Rational(1, 120) + third, SMALL, "L falls by at most z = c X_max^2 ||y||^2 / 20 <= c^3 / 40")
    proof.equal(SMALL * sp.Rational(10, 17), sp.Rational(1, 34), "which is at most 1/34 of the gain of prompt i over f")
    falls = sp.exp(c**3 / 40)
    proof.bound(falls / 34, box, sp.Rational(3, 100), "J_l falls by at most V_l z exp(z)")
    proof.bound(falls / 40, box, sp.Rational(1, 39), "and that by V_l c^3 / (39 f^2), as 2 f^2 X_max^2 ||y||^2 <= c^2")


def _single_loss(proof: Proof) -> None:
    """What a prompt with one right output can lose at most: its log-odds are concave along the step."""
    proof.fact("One right output: phi' = -Var_w(u) <= 0. The slope of Var_w(u) is a third central moment, at most")
    proof.fact("(range) Var_w(u), and (range)^2 <= 2P <= c^2: along the step Var_w(u) varies by at most exp(c). So the")
    proof.fact(
        "integral of s Var_w(u) is at least exp(-c)/2 times that of Var_w(u), which is phi(0) - phi(1) >= -phi(1):"
    )
    proof.fact(
        "L falls by -phi(1) less that integral, at most (1 - exp(-c)/2) (1/20) c R^2 V_i / V_l, the variances at"
    )
    proof.fact("theta'; those at theta differ by factors of at most exp(c) and exp(c^2/8), as above; R <= X_max ||y||.")
    c = sp.Symbol("c", real=True)
    box = {c: (0, SMALL)}
    most = sp.exp(c + c**2 / 4) / 20 * (1 - sp.exp(-c) / 2)
    scaled = most * sp.Rational(10, 17)
    proof.bound(scaled, box, sp.Rational(1, 60), "J_l falls by at most V_l z exp(z): V_i / 60 of that gain, over f")
    proof.bound(most / 2, box, sp.Rational(1, 72), "and by c^5 / (72 f^2), as 2 f^2 X_max^2 ||y||^2 <= c^2")


def _joint_loss(proof: Proof) -> None:
    """What all other prompts together can take from one, each drawn at the same state."""
    proof.fact(
        "L falls by at most the integral of (1 - s) Var_w(u), the weights w_j those at theta + s y, which are at"
    )
    proof.fact(
        "most exp(c) w_j as the range of u is at most c: by exp(c)/2 times the sum of w_j (x_j . y)^2, and c^2/8."
    )
    proof.fact(
        "Over the prompts i with c < V_l / 5, the sum of (x . y)^2 is at most max ||y||^2 ||x||^2 times the largest"
    )
    proof.fact(
        "eigenvalue of the matrix of cosines of their gradients, hence times its largest sum of |cosines| in a row"
    )
    proof.fact("(Gershgorin), at most Lambda; ||x|| <= X_max; X_max^2 ||y||^2 <= V_i / (2 f^2) <= V_l^2 / (50 f^2).")
    c = sp.Symbol("c", real=True)
    most = sp.exp(c + c**2 / 8) / 100
    proof.bound(most, {c: (0, SMALL)}, sp.Rational(1, 95), "J_l falls by V_l z exp(z): all by Lambda V_l^3 / (95 f^2)")


def step_proof() -> Certificate:
    """X-UNSCALED-STEP."""
    proof = Proof("X-UNSCALED-STEP")
    drawn = _drawn(proof)
    _own_gain(proof, drawn)
    m, beyond = _start(proof, drawn)
    _first_loss(proof, drawn)
    _end(proof, drawn, m, beyond)
    _last_loss(proof)
    _single_loss(proof)
    _joint_loss(proof)
    return proof.done("whichever prompt is drawn gains, and takes at most the stated parts of its gain from the others")
