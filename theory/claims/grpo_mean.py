r"""X-GRPO-SUM-MEAN: the cumulative bound of Theorem 3.2 as printed, with the mean of C, for two prompts or more.

With one prompt it is false (P-T32-SUM). With more, a prompt may be drawn at every step, and C must allow for it: it
runs ahead of the expectation, which knows of one draw in n steps. So the mean of C is at least half of what the
expectation sees of it, and the constant 8/3 has just that to spare.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import sympy as sp

from theory.assumptions import BOUNDED_STD, ORTHOGONAL, UNIQUE_ANSWER
from theory.certificates import Certificate, Proof
from theory.claim import Claim
from theory.claims._runs import drawn_gain, mean_factor, reinforce_bound
from theory.instances import Instance
from theory.policy import Array
from theory.rules import GRPO

__all__ = ["CLAIMS", "PRINTED"]

# The constant in front of the mean of C: printed. What is proved is 40/17.
PRINTED = sp.Rational(8, 3)


def _several(run: Any, side: Array) -> Array:
    """The side where the claim speaks: with two prompts or more; else nothing."""
    return side if run.n > 1 else side[:0]


def _own_path(proof: Proof) -> None:
    """One draw of a prompt: c_k and G_k are c and G at the k-th point of its path."""
    proof.fact("A prompt that was drawn k times stands at the k-th point of its own path: X-ORDER.")
    drawn_gain(proof, sp.Integer(1))


def _draws(proof: Proof) -> None:
    """The number B_t of draws among t steps: how often a point is met, and how rarely draws are many."""
    n, at = proof.symbol("n", "positive", "number of prompts"), proof.symbol("a", "nonnegative", "P(B_t = k)")
    above = proof.symbol("b", "nonnegative", "P(B_t > k)")
    proof.fact("B_t, the number of draws of the prompt among t steps, is Binomial(t, 1/n).")
    proof.equal(
        n * (above + at / n - above), at, "n [P(B_(t+1) > k) - P(B_t > k)] = P(B_t = k): so over t < T that adds up to"
    )
    proof.fact(
        "n P(B_T > k), the mean number of t < T with B_t = k. So the sum of E ||grad||^2 is n sum P(B_T > k) G_k."
    )
    _rarely(proof)


def _rarely(proof: Proof) -> None:
    """``P(B_T > m) <= 2 (T - m) / T``, in three cases, each with an m of its own."""
    steps = proof.symbol("T", "positive", "number of steps")
    proof.fact("P(B_T > m) <= 2 (T - m) / T for integers m < T. The left side is largest for n = 2, as n >= 2: there")
    proof.fact("T - B_T has the distribution of B_T, the mean is T/2 and the variance T/4.")
    half = sp.Rational(1, 2)
    m, f = _case(proof, "1", "2m <= T", "T - 2m")
    proof.relation(f, steps - 2 * m, "case 2m <= T")
    proof.nonnegative(2 * (steps - m) / steps - 1, f / steps, "there the bound is at least 1")
    m, f = _case(proof, "2", "T < 2m and 4m <= 3T", "3T - 4m")
    proof.relation(f, 3 * steps - 4 * m, "case 4m <= 3T")
    proof.fact("Where T < 2m, B_T > m and T - B_T > m exclude each other and are as likely: each has at most 1/2.")
    proof.nonnegative(2 * (steps - m) / steps - half, f / (2 * steps), "where 4m <= 3T, the bound is at least 1/2")
    m, f = _case(proof, "3", "4m > 3T", "T - 1 - m")
    proof.relation(f, steps - 1 - m, "m is an integer below T")
    chebyshev = half * (steps / 4) / (steps / 4) ** 2
    proof.fact("Where 4m > 3T, each of the two has at most half of what Chebyshev gives for |B_T - T/2| > T/4.")
    proof.nonnegative(2 * (steps - m) / steps - chebyshev, 2 * f / steps, "there the bound is at least that")


def _case(proof: Proof, number: str, case: str, slack: str) -> tuple[sp.Symbol, sp.Symbol]:
    m = proof.symbol(f"m{number}", "nonnegative", f"m, case {case}")
    return m, proof.symbol(f"f{number}", "nonnegative", f"{slack}, case {case}")


def _sum(proof: Proof) -> None:
    """All draws, held against the mean of C."""
    n, x_sq, steps = (sp.Symbol(name, positive=True) for name in ("n", "X2", "T"))
    q0 = proof.symbol("q0", "positive", "1 - J_i(theta_0)")
    ahead = proof.symbol("E", "nonnegative", "E [L_(B_T - 1); B_T > 0], L_t the largest of c_0, ..., c_t")
    least = proof.symbol("A", "nonnegative", "sum over t < T of L_t")
    total = proof.symbol("S", "nonnegative", "sum over t < T of E ||grad J_i(theta_t)||^2")
    above = proof.symbol("h0", "nonnegative", "sum over t < T of (C_{i,t} - L_t)")
    spare = proof.symbol("h1", "nonnegative", "2 A / T - E")
    room = proof.symbol("h2", "nonnegative", "q0 E - sum of P(B_T > k) c_k gain_k")
    gains = proof.symbol("h3", "nonnegative", "sum of P(B_T > k) c_k gain_k - 17 S / (40 n X^2)")
    proof.fact(
        "L does not fall, so it is a sum of steps from 0 to something at some m; and the mean of L_(B_T - 1) over"
    )
    proof.fact("B_T > 0 is at most twice that of L_t over t < T, as each step is met with P(B_T > m) <= 2 (T - m) / T.")
    proof.fact(
        "The gains along the path are not negative and sum to at most q0, so that sum c_k gain_k over k < B_T is at"
    )
    proof.fact("most L_(B_T - 1) q0, and the sum of P(B_T > k) c_k gain_k is its mean.")
    proof.fact("For n >= 2 each k <= t is the number of draws in some order, so Assumption 3 has C_{i,t} >= L_t.")
    proof.relation(steps * ahead, 2 * least - steps * spare, "the mean of C is at least half of E")
    seen = q0 * ahead - room
    proof.relation(17 * total, 40 * n * x_sq * (seen - gains), "a draw gains 17 G / (40 X^2 c) or more")
    unused = n * x_sq * sp.Rational(40, 17) * (q0 * spare + room + gains)
    proved = 2 * n * q0 * x_sq * sp.Rational(40, 17) * least / steps
    proof.nonnegative(proved - total, unused, "with 40/17 in place of the printed constant, and the least C")
    printed = 2 * n * q0 * x_sq * PRINTED * (least + above) / steps
    left_over = 2 * n * q0 * x_sq / steps * ((PRINTED - sp.Rational(40, 17)) * least + PRINTED * above)
    proof.nonnegative(printed - total, left_over + unused, "the printed bound, with any C that is allowed")


def _proof() -> Certificate:
    proof = Proof("X-GRPO-SUM-MEAN")
    _own_path(proof)
    _draws(proof)
    _sum(proof)
    return proof.done(
        "for n >= 2 the sum of E ||grad J_i||^2 is at most 2 n (1 - p0) X^2 times 8/3 the mean of C, any T"
    )


def _hard_pair() -> Instance:
    """Two prompts at p0 = 1e-4, until the expectation is done with them: C has been 1/2 for half of the time."""
    features = np.zeros((2, 2, 2))
    features[[0, 1], :, [0, 1]] = 1.0, -1.0
    return Instance(features, np.array([0, 0]), np.full(2, math.log(1e-4) / 2), np.ones(2), np.zeros(2), 454)


CLAIMS = (
    Claim(
        id="X-GRPO-SUM-MEAN",
        source="whynorm",
        place="Theorem 3.2 with two prompts or more",
        title="GRPO, cumulative bound with the mean of C, two prompts or more",
        statement=(
            r"\sum_{t=0}^{T-1}\mathbb E\|\nabla J_i(\theta_t)\|^2 \le 2n(1-\pi^*_{\theta_0}(i))X_{\max}^2"
            r"\cdot \frac{8}{3T}\sum_{t=0}^{T-1} C_{i,t} \quad\text{ for } n \ge 2"
        ),
        scope="expectation",
        relation="<=",
        left=lambda run: _several(run, run.grad_sq[:-1].cumsum(axis=0)),
        right=lambda run: _several(run, reinforce_bound(run) * mean_factor(run)),
        assumptions=(UNIQUE_ANSWER, ORTHOGONAL, BOUNDED_STD),
        rule=GRPO,
        step_size=GRPO.step_size,
        proof=_proof,
        witness=_hard_pair,
        remark=(
            "As printed, false with one prompt (P-T32-SUM). C is one sequence for all prompt orders, and each of "
            "several prompts may be drawn at every step or never: the least C is the largest sqrt(V) of the prompt's "
            "own path so far, at least sqrt(V_i(theta_0)), and does not fall. The proof gives 40/17 in place of 8/3. "
            "Two prompts at p0 = 1e-4 with features 1 and -1 come to 0.488 of the bound, and from p0 = 1e-5, T = 1360, "
            "to 0.5317: less than 1.41 would not do."
        ),
    ),
)
