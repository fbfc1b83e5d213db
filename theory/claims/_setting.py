"""The symbols that proofs share: one prompt, one direction y, every K.

``u_j = x_j . y``. ``groups`` speaks of any number of right outputs: ``v`` and ``w`` are the distributions over the
right and over the wrong outputs, ``mr`` and ``mw`` the means of u under them, ``sr`` and ``sw`` its variances, and
``g_u`` is the slack of ``E_v u^2 + E_w u^2 <= ||u||^2 <= X^2 ||y||^2`` (weights are at most 1; spectral norm).
``direction`` speaks of one right output, as Assumption 1 has it: ``u_a`` in place of ``mr``, ``sr = 0``, the slack in
its two parts.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import sympy as sp

from theory.certificates import Proof
from theory.instances import Instance

__all__ = ["Direction", "Groups", "Probabilities", "direction", "groups", "probabilities", "root_27", "symmetric_pair"]


class Probabilities(NamedTuple):
    """Success and failure probability of the prompt."""

    p: sp.Symbol
    q: sp.Symbol

    @property
    def variance(self) -> sp.Expr:
        """``V = p q``."""
        return self.p * self.q


class Groups(NamedTuple):
    """Scalars that a direction y reduces the right and the wrong outputs to."""

    mr: sp.Symbol
    mw: sp.Symbol
    sr: sp.Symbol
    sw: sp.Symbol
    room: sp.Symbol

    @property
    def bound(self) -> sp.Expr:
        """``||X_i||^2 ||y||^2``."""
        return self.mr**2 + self.sr + self.mw**2 + self.sw + self.room

    def quadratic(self, at: Probabilities) -> sp.Expr:
        """``y^T Hess J y``, by X-SEVERAL-IDENTITY."""
        return at.variance * ((at.q - at.p) * (self.mr - self.mw) ** 2 + self.sr - self.sw)


class Direction(NamedTuple):
    """Scalars that a direction y reduces the K outputs to, one of them right."""

    u_a: sp.Symbol
    m: sp.Symbol
    s2: sp.Symbol
    bound: sp.Symbol

    def quadratic(self, at: Probabilities) -> sp.Expr:
        """``y^T Hess J y``, by the second identity."""
        return at.variance * ((at.q - at.p) * (self.u_a - self.m) ** 2 - self.s2)


def probabilities(proof: Proof) -> Probabilities:
    """Declare p and q."""
    p = proof.symbol("p", "positive", "success probability J_i(theta)")
    q = proof.symbol("q", "positive", "failure probability")
    proof.relation(p + q, sp.Integer(1), "the outputs' probabilities sum to 1")
    return Probabilities(p, q)


def groups(proof: Proof) -> Groups:
    """Declare the scalars of a direction, for any number of right outputs."""
    mr, mw = proof.symbol("mr", "real", "E_v u"), proof.symbol("mw", "real", "E_w u")
    sr, sw = proof.symbol("sr", "nonnegative", "Var_v(u)"), proof.symbol("sw", "nonnegative", "Var_w(u)")
    room = proof.symbol("g_u", "nonnegative", "||X||^2 ||y||^2 - E_v u^2 - E_w u^2: spectral norm, weights at most 1")
    proof.fact("grad J . y = V (mr - mw), y^T Hess J y = V [(q - p)(mr - mw)^2 + sr - sw]: X-SEVERAL-IDENTITY.")
    proof.fact("X_max >= ||X_i||.")
    return Groups(mr, mw, sr, sw, room)


def direction(proof: Proof) -> Direction:
    """Declare the scalars of a direction under Assumption 1, and ``bound = X^2 ||y||^2`` with its two slacks."""
    u_a = proof.symbol("u_a", "real", "x_a . y")
    m = proof.symbol("m", "real", "mean of x_j . y over the wrong outputs, under w")
    s2 = proof.symbol("s2", "nonnegative", "variance of x_j . y over the wrong outputs, under w")
    bound = proof.symbol("XY", "positive", "||X_i||^2 ||y||^2")
    g_op = proof.symbol("g_op", "nonnegative", "||X_i||^2 ||y||^2 - ||X_i y||^2")
    g_w = proof.symbol("g_w", "nonnegative", "sum over wrong j of (1 - w_j) (x_j . y)^2")
    proof.relation(
        bound, u_a**2 + m**2 + s2 + g_w + g_op, "spectral norm, and ||X_i y||^2 = u_a^2 + E_w u^2 + sum (1 - w_j) u_j^2"
    )
    return Direction(u_a, m, s2, bound)


def root_27(like: Any) -> Any:
    """``3 sqrt(3)``, in the arithmetic of ``like``: floats or balls."""
    return (like * 0 + 27) ** 0.5


def symmetric_pair(p: float, displacement: float = 0.0) -> Instance:
    """One prompt with K = 2 outputs and features 1 and -1, at success probability p; it attains the best constants."""
    theta = np.array([(math.log(p) - math.log1p(-p)) / 2])
    return Instance(np.array([[[1.0], [-1.0]]]), np.array([0]), theta, np.ones(1), np.array([displacement]))
