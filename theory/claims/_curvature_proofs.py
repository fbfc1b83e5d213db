"""The certificates of Appendix C.1's displayed steps."""

from __future__ import annotations

import sympy as sp

from theory.certificates import Certificate, Proof
from theory.claims._setting import groups, probabilities
from theory.claims._steps import cauchy_schwarz, lemma_17_terms

__all__ = ["proof_13", "proof_14", "proof_15", "proof_16", "proof_entries", "proof_lemma_17", "proof_norm"]


def proof_lemma_17() -> Certificate:
    proof = Proof("P-STEP-C1")
    at = probabilities(proof)
    first, second, mean, form = lemma_17_terms(proof, at, groups(proof), "")
    proof.equal(form, first - 2 * second * mean, "Lemma 17's form")
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
    proof.fact("Assumption 1: r has entry 1 at a and 0 elsewhere, so pi^T r = p.")
    proof.equal(p * 1 - p * p, p * q, "entry a of diag(pi) r - pi pi^T r")
    proof.equal(pi * 0 - pi * p, -p * pi, "entry j of diag(pi) r - pi pi^T r")
    return proof.done("[H r]_a = p (1 - p) and [H r]_j = -p pi_j")


def proof_14() -> Certificate:
    proof = Proof("P-STEP-14")
    p, pi = proof.symbol("p", "positive", "success probability"), proof.symbol("pi", "nonnegative", "pi_j of a wrong j")
    rest = proof.symbol("rest", "nonnegative", "sum of pi_k over the wrong k other than j")
    q = proof.symbol("q", "positive", "failure probability")
    proof.relation(q, pi + rest, "q is the sum over the wrong outputs")
    proof.fact("[H r] is p q at a and -p pi_j elsewhere: P-STEP-C1-ENTRIES. The maximum is attained at a.")
    proof.nonnegative(p * q - p * pi, p * rest, "no other entry is larger")
    return proof.done("max_j |[H r]_j| = p (1 - p)")


def proof_15() -> Certificate:
    proof = Proof("P-STEP-15")
    p, q = proof.symbol("p", "positive", "success probability"), proof.symbol("q", "positive", "failure probability")
    pi = proof.symbol("pi", "nonnegative", "pi_j of a wrong output j")
    rest = proof.symbol("rest", "nonnegative", "q - pi_j")
    squares = proof.symbol("S2", "nonnegative", "sum over wrong j of pi_j^2")
    proof.relation(rest, q - pi, "the others' probabilities")
    proof.fact("[H r] is p q at a and -p pi_j elsewhere: P-STEP-C1-ENTRIES. The square root is monotone.")
    sums = {pi: q, pi**2: squares}
    proof.moments(p**2 * pi**2, sums, p**2 * squares, "squares of the wrong outputs' entries")
    proof.equal((p * q) ** 2 + p**2 * squares, p**2 * (q**2 + squares), "first line, squared")
    proof.nonnegative(pi * q - pi**2, pi * rest, "each term of the second line")
    proof.moments(pi * q, sums, q**2, "sum over wrong j of pi_j (1 - p)")
    proof.equal(p**2 * (q**2 + q**2), 2 * (p * q) ** 2, "third line, squared")
    return proof.done("||H r|| = p sqrt(q^2 + sum pi_j^2) <= p sqrt(q^2 + sum pi_j q) = sqrt(2) p q")


def _entries_at_most(proof: Proof) -> tuple[str, str]:
    """``max |[H r]_j| <= V`` and ``||H r||^2 <= 2 V^2``, for any number of right outputs; in words, what was shown."""
    p, q = probabilities(proof)
    right, wrong = (
        proof.symbol(f"p{x}", "nonnegative", f"pi_j of a {w} j") for x, w in (("r", "right"), ("w", "wrong"))
    )
    rest_r = proof.symbol("rr", "nonnegative", "p - pi_j of that right j")
    rest_w = proof.symbol("rw", "nonnegative", "q - pi_j of that wrong j")
    proof.relation(rest_r, p - right, "p is the sum over the right outputs")
    proof.relation(rest_w, q - wrong, "q is the sum over the wrong outputs")
    proof.fact("[H r]_j = pi_j (r_j - pi^T r) with pi^T r = p: pi_j q at a right output, -pi_j p at a wrong one.")
    proof.nonnegative(p * q - right * q, rest_r * q, "no right output's entry exceeds V")
    proof.nonnegative(p * q - wrong * p, rest_w * p, "nor does a wrong one's, in absolute value")
    proof.nonnegative(right * p * q**2 - (right * q) ** 2, right * rest_r * q**2, "squares, right outputs")
    proof.nonnegative(wrong * q * p**2 - (wrong * p) ** 2, wrong * rest_w * p**2, "squares, wrong outputs")
    proof.moments(right * p * q**2, {right: p}, (p * q) ** 2, "their sum over right outputs: V^2")
    proof.moments(wrong * q * p**2, {wrong: q}, (p * q) ** 2, "their sum over wrong outputs: V^2")
    return "each entry is at most V", "the squares sum to at most 2 V^2"


def proof_16() -> Certificate:
    proof = Proof("P-STEP-16")
    below_sup, below_norm = _entries_at_most(proof)
    v, two = proof.symbol("V", "positive", "p (1 - p)"), proof.symbol("rt", "positive", "square root of 2")
    u_sq = proof.symbol("U2", "nonnegative", "||X_i y||^2")
    sup, n = proof.symbol("hinf", "nonnegative", "max |[H r]_j|"), proof.symbol("N", "nonnegative", "||H r||")
    room_sup = proof.symbol("s0", "nonnegative", f"V - max |[H r]_j|, {below_sup}")
    below = proof.symbol("s", "nonnegative", f"sqrt(2) V - ||H r||, {below_norm}")
    y_sq, x_sq = proof.symbol("y2", "positive", "||y||^2"), proof.symbol("x2", "positive", "||X_i||^2")
    g_op = proof.symbol("g_op", "nonnegative", "||X_i||^2 ||y||^2 - ||X_i y||^2")
    room, x_max = proof.symbol("gx", "nonnegative", "X_max^2 - ||X_i||^2"), proof.symbol("X2", "positive", "X_max^2")
    proof.relation(two**2, sp.Integer(2), "its square is 2")
    proof.relation(room_sup, v - sup, below_sup)
    proof.relation(below, two * v - n, below_norm)
    proof.relation(g_op, x_sq * y_sq - u_sq, "spectral norm")
    proof.relation(room, x_max - x_sq, "X_max is the largest")
    proof.fact("The first line is P-STEP-13.")
    front = (2 * two + 1) * v
    second = (room_sup + 2 * below) * u_sq
    proof.nonnegative(front * u_sq - (sup * u_sq + 2 * n * u_sq), second, "second line")
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
