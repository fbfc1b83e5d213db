"""The certificates of Appendix C.1's displayed steps."""

from __future__ import annotations

import sympy as sp

from theory.certificates import Certificate, Proof
from theory.claims._setting import probabilities
from theory.claims._steps import cauchy_schwarz

__all__ = ["proof_13", "proof_14", "proof_15", "proof_16", "proof_entries", "proof_lemma_17", "proof_norm"]


def proof_lemma_17() -> Certificate:
    proof = Proof("P-STEP-C1")
    p, q = probabilities(proof)
    u_a, m = proof.symbol("u_a", "real", "x_a . y"), proof.symbol("m", "real", "sum over wrong j of w_j u_j")
    s2 = proof.symbol("s2", "nonnegative", "sum over wrong j of w_j u_j^2, minus m^2")
    w, u = proof.symbol("w", "positive", "w_j = pi_j / q"), proof.symbol("u", "real", "x_j . y of a wrong output j")
    proof.fact("y^T Hess J y = V [(q - p)(u_a - m)^2 - s2]: X-IDENTITY. [H r]_a = V, [H r]_j = -p pi_j: C1-ENTRIES.")
    sums = {w * u: m, w * u**2: m**2 + s2}
    proof.moments(-p * q * w * u**2, sums, -p * q * (m**2 + s2), "sum over wrong j of [H r]_j u_j^2")
    proof.moments(-p * q * w * u, sums, -p * q * m, "sum over wrong j of [H r]_j u_j")
    proof.moments(q * w * u, sums, q * m, "sum over wrong j of pi_j u_j")
    form = p * q * (u_a**2 - m**2 - s2) - 2 * p * q * (u_a - m) * (p * u_a + q * m)
    proof.equal(p * q * ((q - p) * (u_a - m) ** 2 - s2), form, "Lemma 17's form")
    return proof.done("y^T Hess J y = (H r)^T (Xy o Xy) - 2 (H r)^T (Xy) pi^T Xy for all y and all K")


def proof_13() -> Certificate:
    proof = Proof("P-STEP-13")
    parts = {}
    for name, what in (("a", "(H r)^T (Xy o Xy)"), ("b", "(H r)^T Xy"), ("c", "pi^T Xy")):
        plus = proof.symbol(f"{name}p", "nonnegative", f"positive part of {what}")
        parts[name] = plus, proof.symbol(f"{name}m", "nonnegative", f"negative part of {what}")
    (ap, am), (bp, bm), (cp, cm) = parts["a"], parts["b"], parts["c"]
    value = (ap - am) - 2 * (bp - bm) * (cp - cm)
    bound = (ap + am) + 2 * (bp + bm) * (cp + cm)
    proof.fact("A number is its positive minus its negative part, its absolute value is their sum. P-STEP-C1.")
    proof.nonnegative(bound - value, 2 * am + 4 * (bp * cp + bm * cm), "triangle inequality, above")
    proof.nonnegative(bound + value, 2 * ap + 4 * (bp * cm + bm * cp), "triangle inequality, below")
    h, sup = proof.symbol("h", "real", "[H r]_j"), proof.symbol("hinf", "nonnegative", "max over k of |[H r]_k|")
    above = proof.symbol("g", "nonnegative", "max |[H r]_k| - [H r]_j")
    below = proof.symbol("gm", "nonnegative", "max |[H r]_k| + [H r]_j")
    square = proof.symbol("v", "nonnegative", "(Xy)_j^2")
    proof.relation(above, sup - h, "the maximum")
    proof.relation(below, sup + h, "the maximum")
    proof.nonnegative(sup * square - h * square, above * square, "each term of the first product, above")
    proof.nonnegative(sup * square + h * square, below * square, "each term of the first product, below")
    n, u = proof.symbol("N", "positive", "||H r||"), proof.symbol("U", "positive", "||Xy||")
    policy = proof.symbol("P", "positive", "||pi||")
    b, c = proof.symbol("b", "nonnegative", "|(H r)^T Xy|"), proof.symbol("c", "nonnegative", "|pi^T Xy|")
    s1 = cauchy_schwarz(proof, (n, "hr"), (u, "xy"), b)
    s2 = cauchy_schwarz(proof, (policy, "pi"), (u, "xy"), c)
    proof.nonnegative(n * u * policy * u - b * c, b * s2 + s1 * c + s1 * s2, "second line, second term")
    entry = sp.Symbol("xy_j", real=True)
    proof.moments(entry * entry, {entry**2: u**2}, u**2, "third line: ||Xy o Xy||_1 = ||Xy||^2")
    proof.equal(n * u * policy * u, n * policy * u**2, "third line")
    prob = proof.symbol("pj", "nonnegative", "pi_j")
    rest = proof.symbol("rj", "nonnegative", "1 - pi_j")
    proof.relation(rest, 1 - prob, "a probability is at most 1")
    proof.moments(prob * (1 - prob), {prob: sp.Integer(1), prob**2: policy**2}, 1 - policy**2, "1 - ||pi||^2")
    proof.nonnegative(prob * (1 - prob), prob * rest, "each term of 1 - ||pi||^2")
    left = proof.symbol("d", "nonnegative", "1 - ||pi||^2, as just shown")
    proof.relation(left, 1 - policy**2, "the sum of these terms")
    proof.nonnegative(2 * n * u**2 * (1 - policy), 2 * n * u**2 * left / (1 + policy), "last line: ||pi|| <= 1")
    return proof.done("the four (in)equalities of (13), for all y and all K (where a norm is 0, both its sides are 0)")


def proof_entries() -> Certificate:
    proof = Proof("P-STEP-C1-ENTRIES")
    p, q = probabilities(proof)
    pi = proof.symbol("pi", "nonnegative", "pi_j of a wrong output j")
    proof.fact("r has entry 1 at a and 0 elsewhere, so pi^T r = p.")
    proof.equal(p * 1 - p * p, p * q, "entry a of diag(pi) r - pi pi^T r")
    proof.equal(pi * 0 - pi * p, -p * pi, "entry j of diag(pi) r - pi pi^T r")
    return proof.done("[H r]_a = p (1 - p) and [H r]_j = -p pi_j")


def proof_14() -> Certificate:
    proof = Proof("P-STEP-14")
    p, pi = proof.symbol("p", "positive", "success probability"), proof.symbol("pi", "nonnegative", "pi_j of a wrong j")
    rest = proof.symbol("rest", "nonnegative", "sum of pi_k over the wrong k other than j")
    q = proof.symbol("q", "positive", "failure probability")
    proof.relation(q, pi + rest, "q is the sum over the wrong outputs")
    proof.fact("[H r]_a = p q, [H r]_j = -p pi_j: P-STEP-C1-ENTRIES. The maximum is attained at a.")
    proof.nonnegative(p * q - p * pi, p * rest, "no other entry is larger")
    return proof.done("max_j |[H r]_j| = p (1 - p)")


def proof_15() -> Certificate:
    proof = Proof("P-STEP-15")
    p, q = proof.symbol("p", "positive", "success probability"), proof.symbol("q", "positive", "failure probability")
    pi = proof.symbol("pi", "nonnegative", "pi_j of a wrong output j")
    rest = proof.symbol("rest", "nonnegative", "q - pi_j")
    squares = proof.symbol("S2", "nonnegative", "sum over wrong j of pi_j^2")
    proof.relation(rest, q - pi, "the others' probabilities")
    proof.fact("[H r]_a = p q, [H r]_j = -p pi_j: P-STEP-C1-ENTRIES. The square root is monotone.")
    sums = {pi: q, pi**2: squares}
    proof.moments(p**2 * pi**2, sums, p**2 * squares, "squares of the wrong outputs' entries")
    proof.equal((p * q) ** 2 + p**2 * squares, p**2 * (q**2 + squares), "first line, squared")
    proof.nonnegative(pi * q - pi**2, pi * rest, "each term of the second line")
    proof.moments(pi * q, sums, q**2, "sum over wrong j of pi_j (1 - p)")
    proof.equal(p**2 * (q**2 + q**2), 2 * (p * q) ** 2, "third line, squared")
    return proof.done("||H r|| = p sqrt(q^2 + sum pi_j^2) <= p sqrt(q^2 + sum pi_j q) = sqrt(2) p q")


def proof_16() -> Certificate:
    proof = Proof("P-STEP-16")
    v, two = proof.symbol("V", "positive", "p (1 - p)"), proof.symbol("rt", "positive", "square root of 2")
    u_sq = proof.symbol("U2", "nonnegative", "||X_i y||^2")
    sup, n = proof.symbol("hinf", "nonnegative", "max |[H r]_j|"), proof.symbol("N", "nonnegative", "||H r||")
    below = proof.symbol("s", "nonnegative", "sqrt(2) V - ||H r||, (15)")
    y_sq, x_sq = proof.symbol("y2", "positive", "||y||^2"), proof.symbol("x2", "positive", "||X_i||^2")
    g_op = proof.symbol("g_op", "nonnegative", "||X_i||^2 ||y||^2 - ||X_i y||^2")
    room, x_max = proof.symbol("gx", "nonnegative", "X_max^2 - ||X_i||^2"), proof.symbol("X2", "positive", "X_max^2")
    proof.relation(two**2, sp.Integer(2), "its square is 2")
    proof.relation(sup, v, "(14)")
    proof.relation(below, two * v - n, "(15)")
    proof.relation(g_op, x_sq * y_sq - u_sq, "spectral norm")
    proof.relation(room, x_max - x_sq, "X_max is the largest")
    proof.fact("The first line is P-STEP-13.")
    front = (2 * two + 1) * v
    proof.nonnegative(front * u_sq - (sup * u_sq + 2 * n * u_sq), 2 * below * u_sq, "second line")
    proof.nonnegative(front * x_sq * y_sq - front * u_sq, front * g_op, "third line")
    proof.nonnegative(4 - (2 * two + 1), 1 / (3 + 2 * two), "2 sqrt(2) + 1 <= 4")
    fourth = v * y_sq * (x_sq / (3 + 2 * two) + 4 * room)
    proof.nonnegative(4 * v * x_max * y_sq - front * x_sq * y_sq, fourth, "fourth line")
    return proof.done("|y^T Hess J y| <= 4 V X_max^2 ||y||^2, through the four lines of (16)")


def proof_norm() -> Certificate:
    proof = Proof("P-STEP-C1-NORM")
    top = proof.symbol("L", "nonnegative", "||Hess J_i||, the largest |lambda|")
    value = proof.symbol("lam", "real", "an eigenvalue of Hess J_i")
    share = proof.symbol("c2", "nonnegative", "squared component of y along its eigenvector")
    above = proof.symbol("g", "nonnegative", "||Hess J_i|| - lambda")
    below = proof.symbol("gm", "nonnegative", "||Hess J_i|| + lambda")
    proof.relation(above, top - value, "the largest")
    proof.relation(below, top + value, "the largest")
    proof.fact(
        "A symmetric matrix has an orthonormal basis of eigenvectors: y^T H y = sum of lambda c^2, ||y||^2 = sum c^2."
    )
    proof.nonnegative(top * share - value * share, above * share, "each term, above")
    proof.nonnegative(top * share + value * share, below * share, "each term, below")
    unit = proof.symbol("one", "positive", "||y||^2 of the eigenvector of the largest |lambda|")
    proof.equal(top * unit / unit, top, "along that eigenvector the quotient is the norm")
    return proof.done("||Hess J_i|| is the maximum over y of |y^T Hess J_i y| / ||y||^2")
