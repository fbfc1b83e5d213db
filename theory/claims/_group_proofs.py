"""Proofs of the X-GROUP claims: G outputs are drawn, k of them right, ``b`` is the probability of k."""

from __future__ import annotations

from typing import NamedTuple

import sympy as sp

from theory.advantages import PRESETS
from theory.certificates import Certificate, Proof
from theory.claims._setting import Probabilities, probabilities

__all__ = ["bound", "expectation", "jensen", "limit", "monotone", "unscaled"]


class _Sampled(NamedTuple):
    at: Probabilities
    size: sp.Symbol
    less: sp.Symbol
    right: sp.Symbol
    chance: sp.Symbol


def _sampled(proof: Proof) -> _Sampled:
    at = probabilities(proof)
    size = proof.symbol("G", "positive", "group size")
    less = proof.symbol("H", "positive", "G - 1")
    right = proof.symbol("k", "real", "number of right outputs in the group")
    chance = proof.symbol("b", "nonnegative", "probability of k: Binomial(G, p)")
    proof.relation(size, less + 1, "H = G - 1")
    return _Sampled(at, size, less, right, chance)


def _raw_moments(g: _Sampled) -> dict[sp.Expr, sp.Expr]:
    """``E k`` to ``E k^4`` from the factorial moments ``E k(k-1)...(k-j+1) = G(G-1)...(G-j+1) p^j``."""
    falling = [sp.Integer(1)]
    for j in range(4):
        falling.append(falling[-1] * (g.size - j) * g.at.p)
    first, second, third, fourth = falling[1:]
    return {
        g.chance * g.right: first,
        g.chance * g.right**2: second + first,
        g.chance * g.right**3: third + 3 * second + first,
        g.chance * g.right**4: fourth + 6 * third + 7 * second + first,
    }


def _mean_spread(proof: Proof, g: _Sampled) -> sp.Expr:
    """``E[k (G - k)] = G (G - 1) V``, as a step."""
    total = g.size * g.less * g.at.variance
    moments = dict(list(_raw_moments(g).items())[:2])
    proof.moments(g.chance * g.right * (g.size - g.right), moments, total, "E[k (G - k)] = G (G - 1) V")
    return total


def _given_k(proof: Proof, g: _Sampled, divisor: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """The slope of the expected update given k, and that of the log-odds; ``r - b`` is centred over ``divisor``."""
    mr = proof.symbol("mr", "real", "mean of x_j . y over the right outputs, under v")
    m = proof.symbol("m", "real", "mean of x_j . y over the wrong outputs, under w")
    v = proof.symbol("v", "positive", "v_j of one right output j")
    w = proof.symbol("w", "positive", "w_j of one wrong output j")
    u = proof.symbol("u", "real", "x_j . y of that output, right or wrong")
    mean, gap = g.at.p * mr + g.at.q * m, mr - m
    proof.fact("grad log pi(o) . y = u_o - E_pi u. Given k, right outputs of the group are distributed as v,")
    proof.fact("and wrong ones as w.")
    one = sp.Integer(1)
    proof.moments(v * (u - mean), {v: one, v * u: mr}, g.at.q * gap, "slope of log pi, mean over right outputs")
    proof.moments(w * (u - mean), {w: one, w * u: m}, -g.at.p * gap, "its mean over wrong outputs")
    right, wrong = (g.size - g.right) / divisor, -g.right / divisor
    update = (g.right * right * g.at.q * gap - (g.size - g.right) * wrong * g.at.p * gap) / g.size
    value = g.right * (g.size - g.right) / (g.size * divisor) * gap
    proof.equal(update, value, "expected update given k, along y")
    return value, gap


def expectation(name: str, preset: str) -> Certificate:
    """``E[update] = w_G grad J`` with any divisor that depends on k alone."""
    proof = Proof(name)
    g = _sampled(proof)
    std = proof.symbol(
        "s", "positive", "std of the k ones among G rewards, plus eps; any positive number if k is 0 or G"
    )
    _, gap = _given_k(proof, g, g.size * std)
    share = proof.symbol("Y", "nonnegative", "khat (1 - khat) / s, a function of k")
    total = proof.symbol("W", "nonnegative", "E[khat (1 - khat) / s]")
    proof.moments(g.chance * share * gap, {g.chance * share: total}, total * gap, "mean over k")
    proof.equal(
        total * gap, total / g.at.variance * (g.at.variance * gap), "grad J . y = V (mr - m): X-SEVERAL-IDENTITY"
    )
    formula = f"s with ddof = {PRESETS[preset].ddof}" + (" and eps > 0" if PRESETS[preset].eps else "")
    return proof.done(f"E[update] = w grad J with w = E[khat (1 - khat) / s] / V, {formula}, for all y, K, G and theta")


def unscaled(name: str, preset: str) -> Certificate:
    """Without std: a multiple of the gradient that does not depend on p."""
    proof = Proof(name)
    g = _sampled(proof)
    alone = PRESETS[preset].baseline == "leave_one_out"
    over = g.less if alone else g.size
    _, gap = _given_k(proof, g, over)
    spread = _mean_spread(proof, g)
    multiple = sp.Integer(1) if alone else g.less / g.size
    proof.equal(
        spread / (g.size * over) * gap,
        multiple * g.at.variance * gap,
        "mean over k; grad J . y = V (mr - m): X-SEVERAL-IDENTITY",
    )
    return proof.done(f"E[update] = {'grad J' if alone else '(G - 1) / G grad J'}, for all y, K, G and theta")


def bound(name: str) -> Certificate:
    """``2 (G - 1) / G <= w_G <= sqrt(G - 1)``."""
    proof = Proof(name)
    g = _sampled(proof)
    spread, v = _mean_spread(proof, g), g.at.variance
    y = proof.symbol("y", "nonnegative", "sqrt(k (G - k))")
    root = proof.symbol("r", "positive", "sqrt(G - 1)")
    mean = proof.symbol("E", "nonnegative", "E sqrt(k (G - k)) = G V w_G")
    proof.relation(root**2, g.less, "r = sqrt(G - 1)")
    proof.nonnegative(
        g.size**2 / 4 - g.right * (g.size - g.right), (g.right - g.size / 2) ** 2, "sqrt(k (G - k)) <= G / 2"
    )
    short = proof.symbol("f", "nonnegative", "G / 2 - y")
    proof.relation(g.size, 2 * y + 2 * short, "y <= G / 2")
    proof.nonnegative(y - 2 * y**2 / g.size, 2 * y * short / g.size, "y >= 2 y^2 / G")
    below = proof.symbol("S", "nonnegative", "E of G y - 2 y^2")
    proof.relation(g.size * mean, 2 * spread + below, "mean over k of the last step")
    proof.nonnegative(mean / (g.size * v) - 2 * g.less / g.size, below / (g.size**2 * v), "the floor")
    some = proof.symbol("i", "nonnegative", "k - 1, where the group is mixed")
    other = proof.symbol("j", "nonnegative", "G - k - 1, where the group is mixed")
    proof.nonnegative((some + 1) * (other + 1) - (some + other + 1), some * other, "mixed groups: k (G - k) >= G - 1")
    length = proof.symbol("z", "nonnegative", "sqrt(k (G - k)) of a mixed group")
    over = proof.symbol("h", "nonnegative", "sqrt(k (G - k)) - sqrt(G - 1) of a mixed group")
    proof.relation(length, root + over, "the last step")
    proof.nonnegative(
        length**2 / root - length, length * over / root, "z <= z^2 / sqrt(G - 1); both are 0 if not mixed"
    )
    above = proof.symbol("T", "nonnegative", "E of z^2 - sqrt(G - 1) z")
    proof.relation(root * mean + above, spread, "mean over k of the last step")
    proof.nonnegative(root - mean / (g.size * v), above / (root * g.size * v), "the ceiling")
    return proof.done("2 (G - 1) / G <= w_G(p) <= sqrt(G - 1), for all p and G >= 2")


def _below_mean(proof: Proof, g: _Sampled) -> sp.Symbol:
    """Jensen by hand: ``E sqrt(Y) <= c`` with ``c^2 = E Y = (G - 1) V / G``; returns c."""
    spread = _mean_spread(proof, g)
    c = proof.symbol("c", "positive", "sqrt(E Y) with Y = khat (1 - khat)")
    y = proof.symbol("y", "nonnegative", "sqrt(Y)")
    mean = proof.symbol("E", "nonnegative", "E sqrt(Y) = V w_G")
    proof.relation(g.size * c**2, g.less * g.at.variance, "c^2 = E Y = E[k (G - k)] / G^2")
    proof.equal(c**2, spread / g.size**2, "the same")
    proof.nonnegative((y**2 + c**2) / (2 * c) - y, (y - c) ** 2 / (2 * c), "sqrt(Y) <= (Y + c^2) / (2 c)")
    slack = proof.symbol("S", "nonnegative", "E of (sqrt(Y) - c)^2")
    proof.relation(2 * c * mean + slack, 2 * c**2, "mean over k of the last step, E Y = c^2")
    proof.nonnegative(c - mean, slack / (2 * c), "E sqrt(Y) <= c")
    proof.equal((c / g.at.variance) ** 2, g.less / (g.size * g.at.variance), "c / V = sqrt((G - 1) / (G V))")
    return c


def jensen(name: str) -> Certificate:
    """``w_G <= sqrt((G - 1) / (G V))``."""
    proof = Proof(name)
    _below_mean(proof, _sampled(proof))
    return proof.done("w_G(p) = E sqrt(Y) / V <= c / V = sqrt((G - 1) / G) / sqrt(V), for all p and G >= 2")


def limit(name: str) -> Certificate:
    """Both sides of ``sqrt(V) w_G``, by a cubic below the square root and the fourth moment of the binomial."""
    proof = Proof(name)
    g = _sampled(proof)
    v, size, less = g.at.variance, g.size, g.less
    _below_mean(proof, g)
    s = proof.symbol("s", "nonnegative", "sqrt(Y) / c")
    proof.nonnegative(
        s - s**2 * (3 - s**2) / 2, s * (s - 1) ** 2 * (s + 2) / 2, "sqrt(t) >= t (3 - t) / 2 with t = Y / c^2 = s^2"
    )
    fourth = size * less * (size - 2) * (size - 3) * v**2 + size * less**2 * v
    proof.moments(g.chance * g.right**2 * (size - g.right) ** 2, _raw_moments(g), fourth, "E[k^2 (G - k)^2]")
    ratio = (size - 2) * (size - 3) / (size * less) + 1 / (size * v)
    proof.equal(fourth / (size * less * v) ** 2, ratio, "E t^2")
    low = 1 - 1 / (2 * size * v) + (2 * size - 3) / (size * less)
    proof.equal((3 - ratio) / 2, low, "(3 E t - E t^2) / 2, as E t = 1: the lower bound of E sqrt(Y) / c")
    return proof.done("c (1 - 1 / (2 G V) + (2G - 3) / (G (G - 1))) <= E sqrt(Y) = V w_G <= c, c = sqrt((G - 1) V / G)")


def monotone(name: str) -> Certificate:
    """The mean of the unbiased std grows with G: leave one out, then Jensen."""
    proof = Proof(name)
    size = proof.symbol("G", "positive", "group size")
    less = proof.symbol("H", "positive", "G - 1")
    right = proof.symbol("k", "nonnegative", "right outputs among G + 1")
    wrong = proof.symbol("l", "nonnegative", "wrong outputs among G + 1")
    a = proof.symbol("a", "nonnegative", "std (ddof = 1) of the G outputs that are left if a right one is removed")
    b = proof.symbol("b", "nonnegative", "the same if a wrong one is removed")
    std = proof.symbol("s", "nonnegative", "std (ddof = 1) of all G + 1")
    proof.relation(size, less + 1, "H = G - 1")
    proof.relation(right + wrong, size + 1, "k + l = G + 1")
    var_a, var_b = (right - 1) * wrong / (size * less), right * (wrong - 1) / (size * less)
    whole = right * wrong / (size * (size + 1))
    proof.fact("Binary rewards with k ones among N: the variance with ddof = 1 is k (N - k) / (N (N - 1)).")
    proof.fact("A group of G is a group of G + 1 from which one output, chosen uniformly, is removed.")
    proof.equal((right * var_a + wrong * var_b) / (size + 1), whole, "leave-one-out variances average to the variance")
    proof.relation((size + 1) * std**2, right * a**2 + wrong * b**2, "the last step, for the roots")
    terms = right * wrong * (a - b) ** 2 / (size + 1) ** 2
    proof.nonnegative(
        std**2 - ((right * a + wrong * b) / (size + 1)) ** 2, terms, "mean of the roots <= root of the mean"
    )
    return proof.done("E std_G <= E std_{G+1} with ddof = 1, and E std_G = V sqrt(G / (G - 1)) w_G(p)")
