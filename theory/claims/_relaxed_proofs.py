"""The certificates of Appendix E's displayed steps."""

from __future__ import annotations

import sympy as sp

from theory.certificates import Certificate, Proof
from theory.claims._interaction import cross_symbols, grpo_descent_proof, reinforce_descent_proof
from theory.claims._setting import groups, probabilities
from theory.claims._steps import lemma_17_terms, taylor_symbols, telescoped

__all__ = [
    "proof_25",
    "proof_26",
    "proof_27",
    "proof_28",
    "proof_29",
    "proof_30",
    "proof_31",
    "proof_32",
    "proof_33",
    "proof_sum",
]


def proof_25() -> Certificate:
    """Eq. (25)."""
    proof = Proof("P-STEP-25")
    x_sq, grad_sq, slack = taylor_symbols(proof, normalised=False)
    f = proof.symbol("f", "positive", "max(1, M/2)")
    over = proof.symbol("o", "nonnegative", "f - 1")
    proof.relation(over, f - 1, "f >= 1")
    eta = 1 / (f * x_sq)
    printed = eta * grad_sq - x_sq / 2 * (eta**2 * grad_sq)
    middle = (eta - x_sq / 2 * eta**2) * grad_sq
    proof.nonnegative((printed + slack) - printed, slack, "first line")
    proof.equal(printed, middle, "second line: theta_t - theta_{t-1} = eta grad J_l")
    proof.nonnegative(middle - grad_sq / (2 * f * x_sq), grad_sq * over / (2 * f**2 * x_sq), "third line")
    return proof.done("the three lines of (25)")


def _taylor(proof: Proof) -> None:
    """``J(1) = J(0) + J'(0) + int_0^1 (1 - s) J''(s) ds`` along the step."""
    s = proof.symbol("s", "real", "position on the segment from theta_{t-1} (0) to theta_t (1)")
    value, first = proof.symbol("J", "real", "J_l there"), proof.symbol("J1", "real", "grad J_l . y there")
    second = proof.symbol("J2", "real", "y^T Hess J_l y there, y = theta_t - theta_{t-1}")
    proof.derive({s: sp.Integer(1), value: first, first: second})
    proof.derivative((1 - s) * first + value, (1 - s) * second, "from 0 to 1: J(1) - J(0) - J'(0) = the remainder")
    weight = s - s**2 / 2
    proof.derivative(weight, 1 - s, "an antiderivative of the remainder's weight")
    at_ends = weight.subs(s, 1) - weight.subs(s, 0)
    proof.equal(at_ends * second, second / 2, "the weight has mass 1/2")
    proof.fact("Mean value theorem: the remainder is y^T Hess J_l(theta') y / 2 at some theta' of the segment.")


def proof_26() -> Certificate:
    """Eq. (26)."""
    proof = Proof("P-STEP-26")
    _taylor(proof)
    eta, form = proof.symbol("e", "positive", "eta"), proof.symbol("Q", "real", "grad J_i^T Hess J_l(theta') grad J_i")
    direction = proof.symbol("g", "real", "one coordinate of grad J_i(theta_{t-1})")
    other = proof.symbol("k", "real", "that coordinate of Hess J_l(theta') grad J_i(theta_{t-1})")
    move = eta * direction
    proof.moments(move * eta * other, {direction * other: form}, eta**2 * form, "twice the remainder, y = eta grad J_i")
    return proof.done("J_l(theta_t) - J_l(theta_{t-1}) is the slope plus eta^2/2 times the quadratic form at a theta'")


def proof_30() -> Certificate:
    """Eq. (30), repaired."""
    proof = Proof("P-STEP-30-FIXED")
    _taylor(proof)
    eta, c = proof.symbol("e", "positive", "eta"), proof.symbol("c", "positive", "sqrt(V_i), drawn prompt")
    form = proof.symbol("Q", "real", "grad J_i^T Hess J_l(theta') grad J_i")
    inner = proof.symbol("D", "real", "<grad J_l, grad J_i>")
    direction = proof.symbol("g", "real", "one coordinate of grad J_i(theta_{t-1})")
    other = proof.symbol("k", "real", "that coordinate of Hess J_l(theta') grad J_i(theta_{t-1})")
    own = proof.symbol("m", "real", "that coordinate of grad J_l(theta_{t-1})")
    a = proof.symbol("a", "positive", "eta / sqrt(V_i)")
    proof.relation(a * c, eta, "definition")
    proof.moments(a * direction * own, {direction * own: inner}, a * inner, "the slope along y = a grad J_i")
    form_sum = {direction * other: form}
    proof.moments(a * direction * a * other, form_sum, a**2 * form, "the quadratic form along y")
    proof.equal(a**2 * form / 2, eta**2 / (2 * c**2) * form, "eta^2 / (2 V_i)")
    proof.equal(a * inner, eta / c * inner, "eta / sqrt(V_i), once")
    return proof.done("with the factor eta / sqrt(V_i) on <grad J_l, grad J_i>, the expansion is Taylor's")


def _lemma_17(proof: Proof, factor: sp.Expr) -> None:
    """``factor / 2`` times the quadratic form is ``factor`` times [half the first term, minus the second]."""
    at = probabilities(proof)
    first, slope, mean, form = lemma_17_terms(proof, at, groups(proof), " at theta'")
    second = slope * mean
    proof.equal(factor * form / 2, factor * first / 2 - factor * second, "first line: the second term is subtracted")


def proof_27() -> Certificate:
    """Eq. (27), repaired."""
    proof = Proof("P-STEP-27-FIXED")
    eta = proof.symbol("e", "positive", "eta")
    _lemma_17(proof, eta**2)
    inner, projected, slack, m, x_sq = cross_symbols(proof)
    f, x_max = proof.symbol("f", "positive", "max(1, M/2)"), proof.symbol("X2", "positive", "X_max^2")
    v = proof.symbol("V", "positive", "V_l(theta')")
    b = proof.symbol("b", "real", "1 - 2 J_l(theta')")
    form = proof.symbol("Q", "real", "grad J_i^T Hess J_l(theta') grad J_i")
    curved = proof.symbol("d", "nonnegative", "4 V ||X_l grad J_i||^2 + Q, P-STEP-16 before its last line")
    over, room = proof.symbol("o", "nonnegative", "f - M/2"), proof.symbol("gx", "nonnegative", "X_max^2 - ||X_l||^2")
    proof.relation(b**2, 1 - 4 * v, "V = p (1 - p)")
    proof.relation(curved, 4 * v * projected + form, "|y^T Hess J_l y| <= 4 V ||X_l y||^2")
    proof.relation(over, f - m / 2, "f >= M/2")
    proof.relation(room, x_max - x_sq, "X_max is the largest")
    proof.fact("The gain is eta <grad J_l, grad J_i> + eta^2 Q / 2: P-STEP-26.")
    gain = eta * inner + eta**2 / 2 * form
    second, third = eta * inner - 2 * eta**2 * v * projected, eta * inner - eta**2 / 2 * projected
    fourth = eta * projected / (m * x_sq) - eta**2 / 2 * projected
    proof.nonnegative(gain - second, eta**2 / 2 * curved, "second line: (16)")
    proof.nonnegative(second - third, eta**2 / 2 * projected * b**2, "third line: V <= 1/4")
    proof.nonnegative(third - fourth, eta * slack / (m * x_sq), "fourth line: Assumption 4")
    step = 1 / (f * x_max)
    last = step * projected * (2 * x_max * over + m * room) / (2 * f * m * x_sq * x_max)
    proof.nonnegative(step * projected / (m * x_sq) - step**2 / 2 * projected, last, "fifth line: the step size")
    return proof.done("the five lines of (27), with a minus and with the gradients at theta_{t-1}")


def proof_28() -> Certificate:
    """Eq. (28)."""
    proof = Proof("P-STEP-28")
    reinforce_descent_proof(proof)
    return proof.done("the mean over i_t of the gain is at least ||grad J_l||^2 / (2 max(1, M/2) n X_max^2)")


def proof_sum() -> Certificate:
    """The display after (28)."""
    proof = Proof("P-STEP-E1-SUM")
    telescoped(proof, (1, 2), "max(1, M/2)", "P-STEP-28 with E over theta_{t-1}")
    return proof.done("both inequalities, for every T")


def proof_29() -> Certificate:
    """Eq. (29), repaired."""
    proof = Proof("P-STEP-29-FIXED")
    x_sq, grad_sq, slack = taylor_symbols(proof, normalised=True)
    c, over = proof.symbol("c", "positive", "sqrt(V_l)"), proof.symbol("h", "nonnegative", "C - c, Assumption 3")
    f, beyond = proof.symbol("f", "positive", "max(R1, 5M/8) R2"), proof.symbol("o", "nonnegative", "f - 1")
    slopes = proof.symbol(
        "g", "nonnegative", "4 V^2 X_max^2 - ||grad J_l||^2, X-SEVERAL-LIPSCHITZ: it is at least half of that"
    )
    bound = proof.symbol("C", "positive", "C_{l,t-1}")
    proof.relation(beyond, f - 1, "R1 >= 1 and R2 >= 1, Assumption 5")
    proof.relation(slopes, 4 * c**4 * x_sq - grad_sq, "||grad J|| <= 2 V X_max")
    proof.relation(bound, c + over, "sqrt(V) <= C: Assumption 3")
    eta = 1 / (2 * f * x_sq)
    stays = c**2 * beyond * (f + 1) / (f**2 * x_sq) + slopes / (4 * c**2 * f**2 * x_sq**2)
    proof.nonnegative(c**2 / x_sq - (eta / c) ** 2 * grad_sq, stays, "the step stays in the ball of radius c / X")
    printed = eta / c * grad_sq - sp.Rational(5, 4) * x_sq * c * (eta / c) ** 2 * grad_sq
    middle = 3 * grad_sq / (16 * f * x_sq * c)
    proof.nonnegative((printed + slack) - printed, slack, "first line")
    proof.nonnegative(printed - middle, 5 * grad_sq * beyond / (16 * c * x_sq * f**2), "second line, an inequality")
    last = 3 * grad_sq * over / (16 * f * x_sq * c * bound)
    proof.nonnegative(middle - 3 * grad_sq / (16 * f * x_sq * bound), last, "third line: Assumption 3")
    return proof.done("the three lines of (29), the second with >=")


def _other_step_in_ball(proof: Proof, c: sp.Symbol, f: sp.Symbol, r2: sp.Symbol, x_max: sp.Symbol) -> sp.Symbol:
    """Another prompt's step stays in the observed prompt's ball; returns ``sqrt(V_i)`` of the drawn prompt."""
    c_i = proof.symbol("ci", "positive", "sqrt(V_i(theta_{t-1})), drawn prompt")
    drawn_sq = proof.symbol("Gi", "nonnegative", "||grad J_i(theta_{t-1})||^2")
    slopes = proof.symbol(
        "gi", "nonnegative", "4 V_i^2 X_max^2 - ||grad J_i||^2, X-SEVERAL-LIPSCHITZ: it is at least half of that"
    )
    scale = proof.symbol("h", "nonnegative", "R2 c - ci, Assumption 5")
    beyond = proof.symbol("o1", "nonnegative", "f - 1")
    proof.relation(slopes, 4 * c_i**4 * x_max - drawn_sq, "||grad J|| <= 2 V X_max")
    proof.relation(scale, r2 * c - c_i, "Assumption 5, deviations")
    proof.relation(beyond, f - 1, "f >= R1 >= 1, Assumption 5")
    eta = 1 / (2 * f * r2 * x_max)
    lead = beyond * (f + 1) * r2**2 * c**2 + scale * (r2 * c + c_i)
    inside = (4 * x_max * c_i**2 * lead + slopes) / (4 * f**2 * r2**2 * x_max**2 * c_i**2)
    proof.nonnegative(c**2 / x_max - (eta / c_i) ** 2 * drawn_sq, inside, "the step stays in the ball of radius c / X")
    return c_i


def proof_31() -> Certificate:
    """Eq. (31), repaired."""
    proof = Proof("P-STEP-31-FIXED")
    factor = proof.symbol("e2", "positive", "eta^2 / V_i")
    _lemma_17(proof, factor)
    inner, projected, slack, m, x_sq = cross_symbols(proof)
    f, r2 = proof.symbol("f", "positive", "max(R1, 5M/8)"), proof.symbol("R2", "positive", "of Assumption 5")
    x_max = proof.symbol("X2", "positive", "X_max^2")
    c = proof.symbol("c", "positive", "sqrt(V_l(theta_{t-1})), observed prompt")
    c_i = _other_step_in_ball(proof, c, f, r2, x_max)
    back = proof.symbol("hb", "nonnegative", "R2 ci - c, Assumption 5")
    over, room = proof.symbol("o2", "nonnegative", "f - 5M/8"), proof.symbol("gx", "nonnegative", "X_max^2 - ||X_l||^2")
    form = proof.symbol("Q", "real", "grad J_i^T Hess J_l(theta') grad J_i")
    curved = proof.symbol(
        "d", "nonnegative", "(5/2) c ||X_l grad J_i||^2 + Q: P-STEP-16 before its last line, P-STEP-C3-MAX, P-STEP-C3-F"
    )
    proof.relation(back, r2 * c_i - c, "Assumption 5, deviations")
    proof.relation(over, f - sp.Rational(5, 8) * m, "f >= 5M/8")
    proof.relation(room, x_max - x_sq, "X_max is the largest")
    proof.relation(curved, sp.Rational(5, 2) * c * projected + form, "4 V(theta') <= (5/2) sqrt(V) on the ball")
    proof.fact("The gain is eta/ci <grad J_l, grad J_i> + eta^2/(2 V_i) Q: P-STEP-30-FIXED.")
    step = proof.symbol("e", "positive", "eta")
    lost = sp.Rational(5, 4) * c * step**2 / c_i**2 * projected
    gain = step / c_i * inner + step**2 / (2 * c_i**2) * form
    proof.nonnegative(gain - (step / c_i * inner - lost), step**2 / (2 * c_i**2) * curved, "second line: Lemma 3.3")
    third = step / c_i * projected / (m * x_sq) - lost
    proof.nonnegative(step / c_i * inner - lost - third, step * slack / (c_i * m * x_sq), "third line: Assumption 4")
    eta = 1 / (2 * f * r2 * x_max)
    gap = projected * (8 * f * x_max * back + c * (8 * x_max * over + 5 * m * room))
    terms = eta * gap / (8 * f * m * x_sq * x_max * r2 * c_i**2)
    value = eta / c_i * projected / (m * x_sq) - sp.Rational(5, 4) * c * eta**2 / c_i**2 * projected
    proof.nonnegative(value, terms, "fourth line: the step size, and Assumption 5")
    return proof.done("the four lines of (31), with a minus and with the gradients at theta_{t-1}")


def proof_32() -> Certificate:
    """Eq. (32), repaired."""
    proof = Proof("P-STEP-32-FIXED")
    grpo_descent_proof(proof)
    return proof.done("the expected gain is at least 3 E ||grad J_l||^2 / (16 n max(R1, 5M/8) R2 X_max^2 C_{l,t-1})")


def proof_33() -> Certificate:
    """Eq. (33), repaired."""
    proof = Proof("P-STEP-33-FIXED")
    telescoped(proof, (3, 16), "max(R1, 5M/8) R2", "P-STEP-32-FIXED")
    return proof.done("E J_l(theta_T) - J_l(theta_0) is at least the weighted sum, for every T")
