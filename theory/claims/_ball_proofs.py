"""The certificates of the displayed steps of Appendices C.2 and C.3."""

from __future__ import annotations

import sympy as sp

from theory.certificates import Certificate, Proof
from theory.claims._setting import probabilities

__all__ = [
    "proof_case_1",
    "proof_case_2",
    "proof_f",
    "proof_gradient",
    "proof_half",
    "proof_lipschitz",
    "proof_max",
    "proof_move",
]

_HALF, _TENTH = sp.Rational(1, 2), sp.Rational(1, 10)


def proof_gradient() -> Certificate:
    """C.2, first display."""
    proof = Proof("P-STEP-C2-GRADIENT")
    p, q = probabilities(proof)
    u_a, m = proof.symbol("u_a", "real", "x_a . y"), proof.symbol("m", "real", "sum over wrong j of w_j u_j")
    w, u = proof.symbol("w", "positive", "w_j = pi_j / q"), proof.symbol("u", "real", "x_j . y of a wrong output j")
    proof.fact("grad J . y = V (u_a - m): X-IDENTITY.")
    proof.moments(q * w * p * u, {w * u: m}, p * q * m, "sum over wrong j of pi_j p u_j")
    proof.equal((1 - p) * p * u_a - p * q * m, p * q * (u_a - m), "the printed form, along every direction y")
    return proof.done("grad J = p (1 - p) x_a - sum over wrong j of pi_j p x_j")


def proof_lipschitz() -> Certificate:
    """C.2, second display."""
    proof = Proof("P-STEP-C2")
    p, q = probabilities(proof)
    x = proof.symbol("x", "nonnegative", "||X_i||")
    pi = proof.symbol("pi", "nonnegative", "pi_j of a wrong output j")
    u, size = proof.symbol("u", "real", "x_j . y"), proof.symbol("nj", "nonnegative", "||x_j||")
    above = proof.symbol("gu", "nonnegative", "||x_j|| - x_j . y, Cauchy-Schwarz with ||y|| = 1")
    below = proof.symbol("gl", "nonnegative", "||x_j|| + x_j . y, likewise")
    row = proof.symbol("gr", "nonnegative", "||X_i|| - ||x_j||: x_j is a row of X_i")
    x_max, room = proof.symbol("Xm", "nonnegative", "X_max"), proof.symbol("gx", "nonnegative", "X_max - ||X_i||")
    proof.relation(above, size - u, "||y|| = 1")
    proof.relation(below, size + u, "||y|| = 1")
    proof.relation(row, x - size, "a row's norm is at most the matrix's")
    proof.relation(room, x_max - x, "X_max is the largest")
    proof.fact(
        "||grad J|| is the largest grad J . y over unit y, and that is p q u_a - sum pi_j p u_j: P-STEP-C2-GRADIENT."
    )
    proof.nonnegative(p * q * size - p * q * u, p * q * above, "first line, the right output's term (j = a)")
    proof.nonnegative(pi * p * size - pi * p * (-u), pi * p * below, "first line, a wrong output's term")
    proof.nonnegative(p * q * x - p * q * size, p * q * row, "second line, the right output's term (j = a)")
    proof.nonnegative(pi * p * x - pi * p * size, pi * p * row, "second line, a wrong output's term")
    proof.moments(x * pi * p, {pi: q}, x * p * q, "third line: sum over wrong j of ||X_i|| pi_j p")
    proof.equal(x * (1 - p) * p + x * p * q, 2 * x * (1 - p) * p, "third line")
    fourth = room / 2 + x * (p - q) ** 2 / 2
    proof.nonnegative(x_max / 2 - 2 * x * p * q, fourth, "fourth line: p (1 - p) <= 1/4")
    return proof.done("||grad J|| <= 2 ||X_i|| p (1 - p) <= X_max / 2, through the four lines")


def proof_move() -> Certificate:
    """C.3, first display."""
    proof = Proof("P-STEP-C3-MOVE")
    x = proof.symbol("x", "positive", "X_max")
    slope = proof.symbol("L", "nonnegative", "largest ||grad J_i|| between theta and theta'")
    below = proof.symbol("s", "nonnegative", "X_max / 2 - L, P-L32")
    r = proof.symbol("r", "nonnegative", "||theta' - theta||")
    inside = proof.symbol("t", "nonnegative", "sqrt(V) / X_max - r: theta' lies in the ball")
    c = proof.symbol("c", "nonnegative", "sqrt(V_i(theta))")
    moved = proof.symbol("d", "nonnegative", "|J_i(theta') - J_i(theta)|")
    rest = proof.symbol("g", "nonnegative", "L r - |J_i(theta') - J_i(theta)|, mean value theorem")
    proof.relation(below, x / 2 - slope, "P-L32")
    proof.relation(c, x * (r + inside), "the ball's radius")
    proof.relation(rest, slope * r - moved, "mean value theorem")
    bound = x / 2 * (1 / x) * c
    proof.nonnegative(bound - moved, x * inside / 2 + below * r + rest, "Lipschitz constant times radius")
    proof.equal(bound, c / 2, "X_max cancels")
    return proof.done("|J_i(theta') - J_i(theta)| <= (X_max / 2)(1 / X_max) sqrt(V) = sqrt(V) / 2")


def proof_max() -> Certificate:
    """C.3, second display: l (1 - l) is largest where l is closest to 1/2."""
    proof = Proof("P-STEP-C3-MAX")
    v, b = proof.symbol("V", "positive", "V_i(theta)"), proof.symbol("b", "nonnegative", "|1 - 2 p|")
    c = proof.symbol("c", "positive", "sqrt(V_i(theta))")
    d = proof.symbol("d", "nonnegative", "move of J_i towards 1/2, at most c/2: P-STEP-C3-MOVE")
    e = proof.symbol("e", "nonnegative", "move of J_i away from 1/2")
    room = proof.symbol("g", "nonnegative", "c/2 - d")
    far = proof.symbol("h", "nonnegative", "b - c, where 1/2 lies outside the interval")
    proof.relation(room, c / 2 - d, "P-STEP-C3-MOVE")
    proof.relation(far, b - c, "1/2 lies outside the interval")
    proof.fact("|y^T Hess J y| <= 4 X_max^2 V(theta') ||y||^2: P-L31-VAR at theta'.")
    proof.fact("l = p + s gives l (1 - l) = V + s (1 - 2 p) - s^2; the maximum is at s (1 - 2p) = b min(b, c) / 2.")
    outside = v + c / 2 * (b - c / 2)
    proof.nonnegative(outside - (v + d * b - d**2), room * (far + room), "1/2 outside: a move towards it")
    proof.nonnegative(outside - (v - e * b - e**2), c / 2 * (far + c / 2) + e * b + e**2, "1/2 outside: away from it")
    inside = v + b / 2 * (b - b / 2)
    proof.nonnegative(inside - (v + d * b - d**2), (b / 2 - d) ** 2, "1/2 inside: a move towards it")
    proof.nonnegative(inside - (v - e * b - e**2), (b / 2 + e) ** 2, "1/2 inside: away from it")
    return proof.done("4 X_max^2 V(theta') is at most the maximum of 4 X_max^2 l (1 - l) over the interval")


def _near_and_far(proof: Proof) -> tuple[sp.Symbol, sp.Symbol, sp.Symbol]:
    """Declare c and b of either case with ``b^2 + 4 c^2 = 1``, and ``c - b >= 0`` (case 1)."""
    c = proof.symbol("c", "positive", "sqrt(a (1 - a))")
    b = proof.symbol("b", "nonnegative", "1 - 2 a")
    proof.relation(b**2, 1 - 4 * c**2, "(1 - 2a)^2 = 1 - 4 a (1 - a)")
    k, n = proof.symbol("k", "positive", "case 1: sqrt(a (1 - a))"), proof.symbol("n", "nonnegative", "case 1: 1 - 2 a")
    near = proof.symbol("h", "nonnegative", "case 1: k - n, 1/2 lies in the interval")
    proof.relation(n**2, 1 - 4 * k**2, "(1 - 2a)^2 = 1 - 4 a (1 - a)")
    proof.relation(near, k - n, "case 1")
    return c, b, k


def proof_f() -> Certificate:
    """C.3, fourth display."""
    proof = Proof("P-STEP-C3-F")
    c, b, k = _near_and_far(proof)
    n, near = sp.Symbol("n", nonnegative=True), sp.Symbol("h", nonnegative=True)
    five = sp.Rational(5, 2)
    proof.equal(4 * (c**2 + c / 2 * (b - c / 2)) / c, 3 * c + 2 * b, "case 2: the maximum is at the upper end")
    proof.nonnegative(five - 3 * c - 2 * b, (4 * c - 3 * b / 2) ** 2 / (five + 3 * c + 2 * b), "case 2")
    proof.equal(4 * (k**2 + n / 2 * (n - n / 2)) / k, 1 / k, "case 1: the maximum is at 1/2")
    quarter = sp.Rational(1, 4)
    terms = (5 * quarter * near * (k + n) + quarter) / (five * k + 1) / k
    proof.nonnegative(five - 1 / k, terms, "case 1")
    return proof.done("f(a) <= 5/2 in both cases; equality at a = 1/10")


def proof_half() -> Certificate:
    """C.3: the two cases are told apart by a alone."""
    proof = Proof("P-STEP-C3-HALF")
    a, c = proof.symbol("a", "positive", "the smaller of p and 1 - p"), proof.symbol("c", "positive", "sqrt(a (1 - a))")
    r = proof.symbol("r", "positive", "square root of 5")
    b = proof.symbol("b", "nonnegative", "1 - 2 a")
    proof.relation(c**2, a - a**2, "c = sqrt(a (1 - a))")
    proof.relation(r**2, sp.Integer(5), "its square is 5")
    proof.relation(b, 1 - 2 * a, "definition")
    proof.fact(
        "1/2 is in the interval if and only if c >= b, that is, as c + b > 0, if and only if (c - b)(c + b) >= 0."
    )
    edge = _HALF - r * _TENTH
    proof.equal((c - b) * (c + b), 5 * (a - edge) * (b / 2 + r * _TENTH), "the second factor on the right is positive")
    proof.nonnegative(_HALF - a + r * _TENTH, b / 2 + r * _TENTH, "that factor, for a at most 1/2")
    return proof.done("1/2 lies in the interval if and only if a >= 1/2 - sqrt(5)/10")


def proof_case_1() -> Certificate:
    """C.3, case 1."""
    proof = Proof("P-STEP-C3-CASE1")
    _, _, k = _near_and_far(proof)
    n, near = sp.Symbol("n", nonnegative=True), sp.Symbol("h", nonnegative=True)
    r = proof.symbol("r", "positive", "square root of 5")
    proof.relation(r**2, sp.Integer(5), "its square is 5")
    proof.equal(4 * (k**2 + n / 2 * (n - n / 2)) / k, 1 / k, "the maximum is at 1/2")
    proof.nonnegative(r - 1 / k, near * (k + n) / (r * k + 1) / k, "1/sqrt(a (1 - a)) is largest at the edge")
    edge = _HALF - r * _TENTH
    proof.equal(edge * (1 - edge), sp.Rational(1, 5), "a (1 - a) at the edge, so that f is sqrt(5) there")
    five = sp.Rational(5, 2)
    proof.nonnegative(five - r, sp.Rational(5, 4) / (five + r), "sqrt(5) <= 5/2")
    return proof.done("f(a) = 1/sqrt(a (1 - a)) <= f(1/2 - sqrt(5)/10) = sqrt(5) <= 5/2")


def proof_case_2() -> Certificate:
    """C.3, case 2."""
    proof = Proof("P-STEP-C3-CASE2")
    a, c = proof.symbol("a", "positive", "the smaller of p and 1 - p"), proof.symbol("c", "positive", "sqrt(a (1 - a))")
    b = proof.symbol("b", "nonnegative", "1 - 2 a")
    proof.relation(c**2, a - a**2, "c = sqrt(a (1 - a))")
    proof.relation(b, 1 - 2 * a, "definition")
    proof.fact(
        "1/2 lies above the interval, where l (1 - l) increases: the maximum is at its upper end. P-STEP-C3-MAX."
    )
    upper = 4 * (a + c / 2) * (1 - a - c / 2) / c
    proof.equal(4 * (c**2 + c / 2 * (b - c / 2)) / c, upper, "the value at the upper end")
    proof.equal(upper, 3 * c + (2 - 4 * a), "multiplied out")
    five = sp.Rational(5, 2)
    proof.nonnegative(five - 3 * c - 2 * b, (4 * c - 3 * b / 2) ** 2 / (five + 3 * c + 2 * b), "at most 5/2")
    tenth_c = sp.Rational(3, 10)
    proof.equal(tenth_c**2, _TENTH * (1 - _TENTH), "sqrt(a (1 - a)) = 3/10 at a = 1/10")
    proof.equal(3 * tenth_c + (2 - 4 * _TENTH), five, "attained at a = 1/10")
    return proof.done("f(a) = 3 sqrt(a (1 - a)) + (2 - 4a) <= 5/2 with equality at a = 1/10")
