"""The proofs of the rest of X-UNSCALED: the one-step inequality, the sum and the rate, from X-UNSCALED-STEP."""

from __future__ import annotations

import sympy as sp

from theory.certificates import Certificate, Proof
from theory.claims._runs import unweighted_sum, weighted_rate
from theory.claims._unscaled_proofs import SMALL

__all__ = [
    "FEW_OTHERS",
    "FEW_STEPS",
    "MOST_OTHERS",
    "MOST_PASSES",
    "MOST_STEPS",
    "descent_proof",
    "min_proof",
    "sum_proof",
]

# For K > 2 the losses of all pairs of prompts, or of all steps, are added up. That leaves room for so many others per f
# that take from one prompt, or so many steps per f^2: with several right outputs, and with one.
FEW_OTHERS, FEW_STEPS = 2500, 300_000
MOST_OTHERS, MOST_STEPS = 2_000_000, 50_000_000
# So many passes over the prompts per f^2 / Lambda, in the mean over the draws.
MOST_PASSES = 1400
# The losses of a prompt, over 1 - J_l(theta_0): at most this, where the bounds leave room for 1.26.
_PART = sp.Rational(6, 5)
# Gains of a prompt while its variance is small: their sum, and that of each times V_i over the square of V's bound.
_TOP = sp.Rational(67, 10000)
_RATIO = sp.Rational(59, 50)


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
    fewer = proof.symbol("kn", "nonnegative", f"{FEW_OTHERS} - N/f, N the number of others")
    total = proof.symbol("Gm", "nonnegative", "largest sum, over the prompts, of own gains from V_i < 1/400")
    slack = proof.symbol("sg", "nonnegative", "slack of the next relation")
    proof.fact(
        "Such a gain stays in that set (log-odds move by c <= 1/20), so its length counts it once, and again only"
    )
    proof.fact(
        "after losses, which come from N prompts j with V_j < V_i^2 / 25 < 1/400: at most (3/100) V_i / f of gains."
    )
    rate = sp.Rational(3, 100) * sp.Rational(264, 100000)
    proof.relation(total + slack, most + rate * (FEW_OTHERS - fewer) * total, "X-UNSCALED-STEP")
    base = 1 - FEW_OTHERS * rate
    terms = (_TOP * base - most + _TOP * rate * fewer + slack) / (base + rate * fewer)
    proof.nonnegative(_TOP - total, terms, f"that sum is at most {_TOP}")


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
        "V_j < w = v''^2 / 25, at most V_j / (60 f) of their gains: together at most N S(w) / (60 f), S(w) <= s w^2."
    )
    again = sp.Rational(11, 5000)
    proof.bound(sp.exp(6 * c + 4 * c**2 / 8) / 625, ends, again, "exp(1/20) v' w^2 <= (11/5000) v^5")
    top = proof.symbol("s", "nonnegative", "largest S(v) / v^2")
    slack = proof.symbol("ss", "nonnegative", "slack of the next relation")
    rate = again * MOST_OTHERS / 60 / 400**3
    proof.relation(top + slack, first + rate * top, f"X-UNSCALED-STEP; N <= {MOST_OTHERS} f, v <= 1/400")
    proof.nonnegative(_RATIO - top, (_RATIO * (1 - rate) - first + slack) / (1 - rate), f"s <= {_RATIO}")


def _losses(proof: Proof, q0: sp.Symbol) -> None:
    """What a prompt can lose on the whole, as a part of ``q0``: at most 6/5."""
    proof.fact(
        "The draw of prompt i takes nothing from prompt l where X_i X_l^T = 0 or 5 sqrt(V_i) >= V_l, nor with K = 2."
    )
    proof.fact(
        "N: the largest number, over l, of others i with X_i X_l^T not 0 and 5 sqrt(V_i) < V_l at a visited state."
    )
    proof.fact("B: the sum of the losses of l up to any time, on any order; J_l never is below J_l(theta_0) - B.")
    proof.fact("V: the largest V_l up to then; V = (1 - q) q with some q = 1 - J_l, and q <= q0 + B.")
    q = sp.Symbol("q", real=True)
    box, fourth, fifth = {q: (0, 1)}, sp.Rational(1, 118), sp.Rational(1, 480)
    proof.bound((1 - q) ** 4 * q**3, box, fourth, "V^4 <= q / 118")
    proof.bound((1 - q) ** 5 * q**4, box, fifth, "V^5 <= q / 480")
    _largest_sum(proof)
    share = sp.Rational(3, 100) * FEW_OTHERS * _TOP
    _part_of_start(
        proof, "f", q0, share, f"N <= {FEW_OTHERS} f: each loss is at most (3/100) V_l / f of a gain, V_l <= q"
    )
    _single_largest_sum(proof)
    proof.fact("The losses of l come from V_i < v = V^2 / 25: N S(v) / (60 f) at most, S(v) <= s v^2.")
    share = _RATIO * MOST_OTHERS / (60 * 25**2) * fourth
    _part_of_start(proof, "1", q0, share, f"one right output, N <= {MOST_OTHERS} f: V_i / (60 f) of another's gain")
    proof.fact("A loss of l comes from sqrt(V_i) < V / 5, and T steps bring at most T losses, whatever N is.")
    share = sp.Rational(FEW_STEPS, 39 * 5**3) * fourth
    _part_of_start(proof, "ft", q0, share, f"T <= {FEW_STEPS} f^2: each loss is at most V_l V_i^(3/2) / (39 f^2)")
    share = sp.Rational(MOST_STEPS, 72 * 5**5) * fifth
    _part_of_start(proof, "1t", q0, share, f"one right output, T <= {MOST_STEPS} f^2: V_i^(5/2) / (72 f^2) each")
    proof.fact(
        "Lambda: the largest sum, over j, of |cos(grad J_i, grad J_j)|, of all i and visited states. In the mean"
    )
    proof.fact("over the drawn prompt a step takes Lambda V_l^3 / (95 f^2) over n at most; E (1 - J_l) <= q0 + E B.")
    proof.bound((1 - q) ** 3 * q**2, box, sp.Rational(1, 28), "V_l^3 <= (1 - J_l) / 28")
    share = sp.Rational(MOST_PASSES, 95 * 28)
    _part_of_start(proof, "p", q0, share, f"T <= {MOST_PASSES} n f^2 / Lambda, the mean of B")


def _part_of_start(proof: Proof, case: str, q0: sp.Symbol, share: sp.Rational, because: str) -> None:
    lost = proof.symbol(f"B{case}", "nonnegative", "B in this case")
    slack = proof.symbol(f"sB{case}", "nonnegative", "slack of the next relation")
    proof.relation(lost + slack, share * (q0 + lost), f"X-UNSCALED-STEP; {because}")
    proof.nonnegative(_PART * q0 - lost, ((_PART * (1 - share) - share) * q0 + slack) / (1 - share), f"B <= {_PART} q0")


def _budget(proof: Proof) -> tuple[sp.Expr, sp.Symbol, sp.Expr]:
    """``B - W`` as a visibly non-negative expression, W the weighted sum of the squared gradients."""
    q0 = proof.symbol("q0", "positive", "1 - J_l(theta_0)")
    _losses(proof, q0)
    n, f = proof.symbol("n", "positive", "number of prompts"), proof.symbol("f", "positive", "max(R1, 5M/8) R2")
    x_sq = proof.symbol("X2", "positive", "X_max^2")
    total = proof.symbol("W", "nonnegative", "sum over t < T of E ||grad J_l(theta_t)||^2 / C_{l,t}")
    room = proof.symbol("h", "nonnegative", "1 - E J_l(theta_T)")
    kept = proof.symbol("hb", "nonnegative", "(6/5) q0 - E B")
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
