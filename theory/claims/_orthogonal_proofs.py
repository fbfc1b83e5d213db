"""The certificates of Appendix D's displayed steps."""

from __future__ import annotations

import sympy as sp

from theory.certificates import Certificate, Proof
from theory.claims._runs import descent_proof
from theory.claims._steps import taylor_symbols, telescoped

__all__ = [
    "proof_17",
    "proof_18",
    "proof_19",
    "proof_20",
    "proof_21",
    "proof_22",
    "proof_23",
    "proof_24",
    "proof_ball",
    "proof_product",
    "proof_sum",
    "proof_update",
]


def proof_17() -> Certificate:
    """Lemma D.1."""
    proof = Proof("P-STEP-17")
    h, x = proof.symbol("h", "real", "[H_i r_i]_k [H_j r_j]_l"), proof.symbol("x", "real", "x_{i,k} . x_{j,l}")
    proof.fact("grad J_i = X_i^T H_i r_i (P-EQ10), so the product is a double sum over pairs of outputs.")
    proof.fact("Assumption 2: every entry of X_i X_j^T is 0.")
    proof.moments(h * x, {x: sp.Integer(0)}, sp.Integer(0), "each term of the double sum vanishes")
    return proof.done("X_i X_j^T = 0 implies grad J_i . grad J_j = 0")


def proof_product() -> Certificate:
    """The display in the proof of Lemma D.1."""
    proof = Proof("P-STEP-D1")
    x_i, h_i = proof.symbol("xi", "real", "one coordinate of x_{i,k}"), proof.symbol("hi", "real", "[H_i r_i]_k")
    x_j, h_j = proof.symbol("xj", "real", "that coordinate of x_{j,l}"), proof.symbol("hj", "real", "[H_j r_j]_l")
    g_i, g_j = proof.symbol("gi", "real", "that coordinate of grad J_i"), proof.symbol("gj", "real", "of grad J_j")
    cross = proof.symbol("x", "real", "x_{i,k} . x_{j,l}, one entry of X_i X_j^T")
    proof.fact(
        "grad J_i = X_i^T H_i r_i: P-EQ10. The sum over coordinates of x_{i,k} x_{j,l} is an entry of X_i X_j^T."
    )
    proof.moments(h_i * x_i * g_j, {h_i * x_i: g_i}, g_i * g_j, "first line, sum over the outputs of prompt i")
    proof.moments(h_i * x_i * h_j * x_j, {h_j * x_j: g_j}, h_i * x_i * g_j, "first line, those of prompt j")
    zero = sp.Integer(0)
    proof.moments(h_i * h_j * cross, {cross: zero}, zero, "second and third line: Assumption 2, entry by entry")
    return proof.done("grad J_i . grad J_j = r_i^T H_i X_i X_j^T H_j r_j = 0")


def _undrawn(proof: Proof) -> None:
    """The logits of a prompt that is not drawn do not change."""
    step = proof.symbol("e", "positive", "eta, times the weight of the rule")
    h = proof.symbol("h", "real", "[H_i r_i]_k of the drawn prompt i")
    x = proof.symbol("x", "real", "x_{l,j} . x_{i,k}, one entry of X_l X_i^T")
    z = proof.symbol("z", "real", "logit x_{l,j} . theta_{t-1} of the observed prompt l")
    moved = proof.symbol("dz", "real", "its change, the sum over k of e h x")
    proof.fact("theta_t - theta_{t-1} = e X_i^T H_i r_i: P-EQ10. The policy depends on theta through its logits only.")
    zero = sp.Integer(0)
    proof.moments(step * h * x, {h * x: zero}, zero, "the change of a logit: Assumption 2, entry by entry")
    proof.relation(moved, zero, "as just shown")
    proof.equal(z + moved, z, "the logits of prompt l stay, and with them J_l")


def proof_18() -> Certificate:
    """Eq. (18)."""
    proof = Proof("P-STEP-18")
    _undrawn(proof)
    return proof.done("J_l(theta_t) = J_l(theta_{t-1} + eta grad J_i(theta_{t-1})) = J_l(theta_{t-1}) for i != l")


def proof_19() -> Certificate:
    """Eq. (19)."""
    proof = Proof("P-STEP-19")
    x_sq, grad_sq, slack = taylor_symbols(proof, normalised=False)
    eta = proof.symbol("e", "positive", "eta")
    proof.relation(eta * x_sq, sp.Integer(1), "eta = 1 / X_max^2")
    printed = eta * grad_sq - x_sq / 2 * (eta**2 * grad_sq)
    proof.nonnegative((printed + slack) - printed, slack, "first line")
    proof.equal(printed, (eta - x_sq / 2 * eta**2) * grad_sq, "second line: theta_t - theta_{t-1} = eta grad J_l")
    proof.equal((eta - x_sq / 2 * eta**2) * grad_sq, grad_sq / (2 * x_sq), "third line")
    return proof.done("the three lines of (19)")


def proof_20() -> Certificate:
    """Eq. (20)."""
    proof = Proof("P-STEP-20")
    descent_proof(proof, coefficient=(1, 2), curvature=(1, 1), step=(1, 1), normalised=False)
    return proof.done("the mean over i_t of J_l(theta_t) - J_l(theta_{t-1}) is at least ||grad J_l||^2 / (2 n X_max^2)")


def proof_sum() -> Certificate:
    """The display after (20)."""
    proof = Proof("P-STEP-D2-SUM")
    telescoped(proof, (1, 2), "1", "P-STEP-20 with E over theta_{t-1}")
    return proof.done("both inequalities, for every T")


def proof_21() -> Certificate:
    """Eq. (21)."""
    proof = Proof("P-STEP-21")
    _undrawn(proof)
    return proof.done("J_l(theta_t) = J_l(theta_{t-1}) if i_t != l; for i_t = l the equation says nothing")


def proof_update() -> Certificate:
    """The update of D.3."""
    proof = Proof("P-STEP-D3-UPDATE")
    a, b = proof.symbol("a", "positive", "square root of p"), proof.symbol("b", "positive", "square root of q")
    u_a, m = proof.symbol("u_a", "real", "x_a . y"), proof.symbol("m", "real", "sum over wrong j of w_j u_j")
    w, u = proof.symbol("w", "positive", "w_j = pi_j / q"), proof.symbol("u", "real", "x_j . y of a wrong output j")
    proof.fact("The update is eta grad J / sqrt(V) with grad J . y = V (u_a - m): X-IDENTITY.")
    proof.moments(b**2 * w * u, {w * u: m}, b**2 * m, "sum over wrong j of pi_j u_j")
    proof.equal(a**2 * b**2 * (u_a - m) / (a * b), a * b * u_a - a / b * (b**2 * m), "along every direction y")
    return proof.done("theta_t - theta_{t-1} = eta (sqrt(p q) x_a - sqrt(p / q) sum over wrong j of pi_j x_j)")


def proof_ball() -> Certificate:
    """The chain of D.3 that keeps the step in the ball."""
    proof = Proof("P-STEP-D3-BALL")
    a, b = proof.symbol("a", "positive", "square root of p"), proof.symbol("b", "positive", "square root of q")
    x = proof.symbol("x", "positive", "X_max")
    pi = proof.symbol("pi", "nonnegative", "pi_j of a wrong output j")
    u, size = proof.symbol("u", "real", "x_j . y"), proof.symbol("nj", "nonnegative", "||x_j||")
    update = proof.symbol("N", "nonnegative", "norm of the bracket")
    above = proof.symbol("gu", "nonnegative", "||x_j|| - x_j . y, Cauchy-Schwarz with ||y|| = 1")
    below = proof.symbol("gl", "nonnegative", "||x_j|| + x_j . y, likewise")
    row = proof.symbol("gr", "nonnegative", "X_max - ||x_j||")
    proof.relation(above, size - u, "||y|| = 1")
    proof.relation(below, size + u, "||y|| = 1")
    proof.relation(row, x - size, "a row's norm is at most the matrix's")
    proof.fact("A norm is the largest product with a unit vector y; a positive factor comes out of it.")
    eta = 1 / (2 * x**2)
    proof.equal(eta * update, update / (2 * x**2), "first line: eta = 1 / (2 X_max^2)")
    proof.nonnegative(a * b * size - a * b * u, a * b * above, "second line, the right output's term (j = a)")
    proof.nonnegative(a / b * pi * (size + u), a / b * pi * below, "second line, a wrong output's term")
    proof.nonnegative(a * b * x - a * b * size, a * b * row, "third line, the right output's term (j = a)")
    proof.nonnegative(a / b * pi * (x - size), a / b * pi * row, "third line, a wrong output's term")
    proof.moments(a * x * pi, {pi: b**2}, b * (a * b * x), "third line: sqrt(p/q) sum of pi_j X_max, times sqrt(q)")
    proof.equal(eta * (2 * a * b * x), a * b / x, "fourth line")
    return proof.done("||theta_t - theta_{t-1}|| <= sqrt(V) / X_max, through the four lines")


def proof_22() -> Certificate:
    """Eq. (22)."""
    proof = Proof("P-STEP-22")
    x_sq, grad_sq, slack = taylor_symbols(proof, normalised=True)
    c, over = proof.symbol("c", "positive", "sqrt(V)"), proof.symbol("h", "nonnegative", "C - c, Assumption 3")
    bound = proof.symbol("C", "positive", "C_{l,t-1}")
    proof.relation(bound, c + over, "sqrt(V) <= C: Assumption 3")
    slopes = proof.symbol(
        "g", "nonnegative", "4 V^2 X_max^2 - ||grad J_l||^2, X-SEVERAL-LIPSCHITZ: at least half of it"
    )
    proof.relation(slopes, 4 * c**4 * x_sq - grad_sq, "||grad J|| <= 2 V X_max")
    eta = 1 / (2 * x_sq)
    proof.nonnegative(
        c**2 / x_sq - (eta / c) ** 2 * grad_sq, slopes / (4 * c**2 * x_sq**2), "the step stays in the ball"
    )
    printed = eta / c * grad_sq - sp.Rational(5, 4) * x_sq * c * (eta / c) ** 2 * grad_sq
    middle = 3 * grad_sq / (16 * x_sq * c)
    proof.nonnegative((printed + slack) - printed, slack, "first line")
    proof.equal(printed, middle, "second line: theta_t - theta_{t-1} = eta grad J_l / sqrt(V)")
    last = 3 * grad_sq * over / (16 * x_sq * c * bound)
    proof.nonnegative(middle - 3 * grad_sq / (16 * x_sq * bound), last, "third line: Assumption 3")
    return proof.done("the three lines of (22)")


def proof_23() -> Certificate:
    """Eq. (23), repaired."""
    proof = Proof("P-STEP-23-FIXED")
    descent_proof(proof, coefficient=(3, 16), curvature=(5, 2), step=(1, 2), normalised=True)
    return proof.done("the expected gain is at least 3 E ||grad J_l||^2 / (16 n X_max^2 C_{l,t-1})")


def proof_24() -> Certificate:
    """Eq. (24), repaired."""
    proof = Proof("P-STEP-24-FIXED")
    telescoped(proof, (3, 16), "1", "P-STEP-23-FIXED")
    return proof.done("E J_l(theta_T) - J_l(theta_0) is at least the weighted sum, for every T")
