"""The proofs of the rest of X-UNSCALED: the one-step inequality, the sum and the rate, from X-UNSCALED-STEP."""

from __future__ import annotations

import sympy as sp

from theory.certificates import Certificate, Proof
from theory.claims._runs import unweighted_sum, weighted_rate
from theory.claims._unscaled_proofs import SMALL

__all__ = ["FEW_PROMPTS", "MOST_PROMPTS", "descent_proof", "min_proof", "sum_proof"]

# For K > 2 the losses of all pairs of prompts are added up, which leaves enough room for that many prompts: with
# several right outputs, and with one.
FEW_PROMPTS = 2000
MOST_PROMPTS = 500_000
# The losses of a prompt, over 1 - J_l(theta_0): at most this, where the bounds leave room for 1.26.
_PART = sp.Rational(9, 10)


def descent_proof() -> Certificate:
    """X-UNSCALED-DESCENT."""
    proof = Proof("X-UNSCALED-DESCENT")
    unit = proof.symbol("U", "nonnegative", "||grad J_l||^2 / (f X_max^2)")
    c, bound = proof.symbol("c", "positive", "sqrt(V_l)"), proof.symbol("C", "positive", "C_{l,t-1}")
    over = proof.symbol("h", "nonnegative", "C - c, Assumption 3")
    proof.relation(bound, c + over, "sqrt(V) <= C")
    proof.fact("By X-UNSCALED-STEP prompt l gains (17/40) U / c when it is drawn, and loses nothing otherwise (K = 2).")
    spare = sp.Rational(17, 40) - sp.Rational(3, 16)
    proof.nonnegative(
        sp.Rational(17, 40) * unit / c - sp.Rational(3, 16) * unit / bound,
        spare * unit / c + sp.Rational(3, 16) * unit * over / (c * bound),
        "C may replace sqrt(V), and 17/40 >= 3/16",
    )
    proof.fact("A prompt is drawn with odds 1/n.")
    return proof.done("the one-step inequality of P-T34-DESCENT-FIXED, for K = 2")


def _largest_sum(proof: Proof) -> None:
    """What a prompt gains by being drawn while its variance is small, on any order of prompts."""
    c = sp.Symbol("c", real=True)
    box = {c: (0, SMALL)}
    band, most = sp.exp(c) / 400, sp.Rational(53, 10000)
    proof.bound(1 - sp.sqrt(1 - 4 * band), box, most, "length of the set of J with J (1 - J) < exp(1/20) / 400")
    proof.bound(band * sp.exp(c**2 / 8), box, sp.Rational(264, 100000), "V before a loss that ends in that set")
    fewer = proof.symbol("kn", "nonnegative", f"{FEW_PROMPTS} - n")
    total = proof.symbol("Gm", "nonnegative", "largest sum, over the prompts, of own gains from V_i < 1/400")
    slack = proof.symbol("sg", "nonnegative", "slack of the next relation")
    proof.fact(
        "Such a gain stays in that set (log-odds move by c <= 1/20), so its length counts it once, and again only"
    )
    proof.fact(
        "after losses, which come from prompts j with V_j < V_i^2 / 25 < 1/400, at most (3/100) V_i of their gains."
    )
    rate, top = sp.Rational(3, 100) * sp.Rational(264, 100000), sp.Rational(63, 10000)
    proof.relation(total + slack, most + rate * (FEW_PROMPTS - 1 - fewer) * total, "X-UNSCALED-STEP")
    base = 1 - (FEW_PROMPTS - 1) * rate
    terms = (top * base - most + top * rate * fewer + slack) / (base + rate * fewer)
    proof.nonnegative(top - total, terms, "that sum is at most 63/10000")


def _single_largest_sum(proof: Proof) -> None:
    """The same sum, each gain times its V_i, with one right output."""
    c = sp.Symbol("c", real=True)
    band = sp.exp(c) / 400
    ends = {c: (0, SMALL)}
    proof.fact(
        "One right output. S(v): largest sum, over the draws of a prompt i that find V_i < v, of V_i times its gain,"
    )
    proof.fact("on any order; s: the largest S(v) / v^2, v <= 1/400, finite as finitely many states are visited.")
    proof.fact(
        "Such a gain stays in the set of J with V < v' = v exp(1/20), where V >= V_i exp(-1/20) along the step, and"
    )
    proof.fact("J (1 - J) has the integral at most b^2 over it, b = (1 - sqrt(1 - 4 v')) / 2 = v' / (1 - b).")
    proof.bound((1 - sp.sqrt(1 - 4 * band)) / 2, ends, sp.Rational(1, 301), "b <= 1/301, so b^2 <= (301/300)^2 v'^2")
    first = sp.Rational(1171, 1000)
    proof.bound(sp.exp(3 * c) * sp.Rational(301, 300) ** 2, ends, first, "exp(1/20) b^2 <= (1171/1000) v^2")
    proof.fact(
        "Gains count again only after losses of i that begin at V < v'' = v' exp(1/3200); they come from prompts j with"
    )
    proof.fact(
        "V_j < w = v''^2 / 25, at most V_j / 32 of their gains: together at most (n - 1) S(w) / 32, S(w) <= s w^2."
    )
    again = sp.Rational(11, 5000)
    proof.bound(sp.exp(6 * c + 4 * c**2 / 8) / 625, ends, again, "exp(1/20) v' w^2 <= (11/5000) v^5")
    top = proof.symbol("s", "nonnegative", "largest S(v) / v^2")
    slack = proof.symbol("ss", "nonnegative", "slack of the next relation")
    rate = again * (MOST_PROMPTS - 1) / 32 / 400**3
    proof.relation(top + slack, first + rate * top, f"X-UNSCALED-STEP; n <= {MOST_PROMPTS}, v <= 1/400")
    most = sp.Rational(59, 50)
    proof.nonnegative(most - top, (most * (1 - rate) - first + slack) / (1 - rate), "s <= 59/50")


def _losses(proof: Proof, q0: sp.Symbol) -> None:
    """What a prompt can lose on the whole, as a part of ``q0``: at most 9/10."""
    few = proof.symbol("Bf", "nonnegative", f"sum of prompt l's losses up to any time, any order, n <= {FEW_PROMPTS}")
    many = proof.symbol("B1", "nonnegative", f"the same with one right output, n <= {MOST_PROMPTS}")
    proof.fact(
        "V_l <= 1 - J_l <= q0 + B at all times up to then, B the sum of the losses of l; for K = 2 there are none."
    )
    _largest_sum(proof)
    share = sp.Rational(3, 100) * (FEW_PROMPTS - 1) * sp.Rational(63, 10000)
    _part_of_start(proof, few, q0, share, "each loss is at most (3/100) V_l of another's gain: X-UNSCALED-STEP")
    _single_largest_sum(proof)
    proof.fact(
        "The losses of l come from V_i < v = V^2 / 25, V its largest V_l: (n - 1) S(v) / 32 at most, S(v) <= s v^2,"
    )
    proof.fact("and V^4 <= V / 64 <= (q0 + B) / 64.")
    share = sp.Rational(59, 50) * (MOST_PROMPTS - 1) / (32 * 625 * 64)
    _part_of_start(proof, many, q0, share, "each loss is at most V_i / 32 of another's gain: X-UNSCALED-STEP")


def _part_of_start(proof: Proof, lost: sp.Symbol, q0: sp.Symbol, share: sp.Rational, because: str) -> None:
    slack = proof.symbol(f"s{lost}", "nonnegative", "slack of the next relation")
    proof.relation(lost + slack, share * (q0 + lost), because)
    proof.nonnegative(_PART * q0 - lost, ((_PART * (1 - share) - share) * q0 + slack) / (1 - share), "B <= (9/10) q0")


def _budget(proof: Proof) -> tuple[sp.Expr, sp.Symbol, sp.Expr]:
    """``B - W`` as a visibly non-negative expression, W the weighted sum of the squared gradients."""
    q0 = proof.symbol("q0", "positive", "1 - J_l(theta_0)")
    _losses(proof, q0)
    n, f = proof.symbol("n", "positive", "number of prompts"), proof.symbol("f", "positive", "max(R1, 5M/8) R2")
    x_sq = proof.symbol("X2", "positive", "X_max^2")
    total = proof.symbol("W", "nonnegative", "sum over t < T of E ||grad J_l(theta_t)||^2 / C_{l,t}")
    room = proof.symbol("h", "nonnegative", "1 - E J_l(theta_T)")
    kept = proof.symbol("hb", "nonnegative", "(9/10) q0 - E B")
    rest = proof.symbol("sw", "nonnegative", "gains from other prompts' draws, and slacks of the own gains, scaled")
    proof.fact("Assumption 3: sqrt(V) <= C. A prompt is drawn with odds 1/n, and then gains (17/40) ||grad J||^2 / ...")
    scale = n * f * x_sq
    proof.relation(
        sp.Rational(17, 40) * total + rest, scale * ((1 + _PART) * q0 - room - kept), "own gains = rise + losses - rest"
    )
    own = sp.Rational(40, 17)
    bound = sp.Rational(16, 3) * scale * q0
    terms = scale * q0 * (sp.Rational(16, 3) - own * (1 + _PART)) + own * (scale * (room + kept) + rest)
    proof.nonnegative(bound - total, terms, "the weighted sum")
    return bound, total, terms


def sum_proof() -> Certificate:
    """X-UNSCALED-SUM."""
    proof = Proof("X-UNSCALED-SUM")
    unweighted_sum(proof, *_budget(proof))
    return proof.done("the stated bound, for every T")


def min_proof() -> Certificate:
    """X-UNSCALED-MIN."""
    proof = Proof("X-UNSCALED-MIN")
    weighted_rate(proof, *_budget(proof))
    return proof.done("the stated bound, for every T")
