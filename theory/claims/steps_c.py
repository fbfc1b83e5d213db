"""Appendix C.1, display by display: from Lemma 17's form of the Hessian to the curvature bound, eqs. (13) to (16)."""

from __future__ import annotations

from typing import Any

import flint
import numpy as np

from theory.assumptions import UNIQUE_ANSWER
from theory.claim import Claim, Link
from theory.claims._curvature_proofs import (
    proof_13,
    proof_14,
    proof_15,
    proof_16,
    proof_entries,
    proof_lemma_17,
    proof_norm,
)
from theory.claims._steps import entries, norm, other_outputs, output_slopes, root
from theory.exact import as_balls, as_floats, is_exact, largest
from theory.points import Point
from theory.policy import Array

__all__ = ["CLAIMS"]


def _lemma_17(point: Point) -> Array:
    u, hr = output_slopes(point), entries(point.state)
    return np.sum(hr * u * u, axis=1) - 2 * np.sum(hr * u, axis=1) * np.sum(point.state.policy * u, axis=1)


def _by_definition(point: Point) -> Array:
    """``pi_j (r_j - p)``, with the softmax from its definition and 1 - p summed from the other outputs."""
    z = np.sum(point.features * point.instance.theta, axis=2)
    pi = 1 / np.sum(np.exp(z[:, None, :] - z[:, :, None]), axis=2)
    wrong = point.rewards == 0
    return np.where(wrong, -pi * np.sum(pi * ~wrong, axis=1)[:, None], pi * np.sum(pi * wrong, axis=1)[:, None])


def _by_cases(point: Point) -> Array:
    """``V`` at a, ``-p pi_j`` at every other output."""
    state = point.state
    return np.where(other_outputs(point), -state.p[:, None] * state.policy, state.variance[:, None])


def _triangle(point: Point) -> Array:
    u, hr = output_slopes(point), entries(point.state)
    mean = np.sum(point.state.policy * u, axis=1)
    return np.abs(np.sum(hr * u * u, axis=1)) + 2 * np.abs(np.sum(hr * u, axis=1)) * np.abs(mean)


def _separated(point: Point) -> Array:
    u, hr = output_slopes(point), entries(point.state)
    sup, ones = largest(np.abs(hr).T), np.sum(np.abs(u * u), axis=1)
    return sup * ones + 2 * norm(hr) * norm(u) * norm(point.state.policy) * norm(u)


def _gathered(point: Point) -> Array:
    u, hr = output_slopes(point), entries(point.state)
    squares = np.sum(u * u, axis=1)
    return largest(np.abs(hr).T) * squares + 2 * norm(hr) * norm(point.state.policy) * squares


def _without_policy(point: Point) -> Array:
    u, hr = output_slopes(point), entries(point.state)
    squares = np.sum(u * u, axis=1)
    return largest(np.abs(hr).T) * squares + 2 * norm(hr) * squares


def _entries_norm(point: Point) -> Array:
    return norm(entries(point.state))


def _rest_squared(point: Point) -> Array:
    state = point.state
    squares = np.sum(state.policy * state.policy * other_outputs(point), axis=1)
    return state.p * (state.q * state.q + squares) ** 0.5


def _rest_bounded(point: Point) -> Array:
    state = point.state
    products = np.sum(state.policy * state.q[:, None] * other_outputs(point), axis=1)
    return state.p * (state.q * state.q + products) ** 0.5


def _curvature(point: Point, size: Any) -> Array:
    v = point.state.variance
    return (2 * root(2, v) + 1) * v * size


def _projected(point: Point) -> Array:
    u = output_slopes(point)
    return np.sum(u * u, axis=1)


def _hessians(point: Point) -> Array:
    """``Hess J_i``, ``(n, d, d)``, column by column."""
    d = point.features.shape[2]
    units = as_balls(np.eye(d)) if is_exact(point.features) else np.eye(d)
    return np.stack([point.state.hessian_vector(unit) for unit in units], axis=2)


def _hessian_norms(point: Point) -> Array:
    """``||Hess J_i||``, the largest eigenvalue in absolute value; for balls a rigorous enclosure."""
    hessians = _hessians(point)
    if not is_exact(hessians):
        return np.array([np.abs(np.linalg.eigvalsh(h)).max() for h in hessians])
    found = np.empty(len(hessians), dtype=object)
    for i, h in enumerate(hessians):
        found[i] = _spectral_norm(h)
    return found


def _spectral_norm(h: Array) -> Any:
    """Largest absolute eigenvalue of a symmetric matrix of balls."""
    try:
        values = flint.acb_mat([list(row) for row in h]).eig(multiple=True)
    except ValueError:
        # A cluster that flint cannot isolate: all that is known is 0 <= ||H|| <= ||H||_F, and nothing is decided.
        return flint.arb(0).union(np.sum(h * h) ** 0.5)
    largest = flint.arb(0)
    for value in values:
        largest = largest.max(abs(value.real))
    return largest


def _best_quotients(point: Point) -> Array:
    """``|y^T Hess y| / ||y||^2`` along the eigenvector that floats give; any y is a lower bound for the maximum."""
    result = []
    for i, h in enumerate(_hessians(point)):
        values, vectors = np.linalg.eigh(as_floats(h))
        y = vectors[:, int(np.argmax(np.abs(values)))]
        y = as_balls(y) if is_exact(h) else y
        result.append(abs(point.state.hessian_form(y)[i]) / np.sum(y * y))
    return np.array(result)


def _claim(number: str, title: str, statement: str, proof: Any, **fields: Any) -> Claim:
    return Claim(
        id=f"P-STEP-{number}",
        source="paper",
        place=fields.pop("place", f"App. C.1, eq. ({number})"),
        title=title,
        statement=statement,
        scope="point",
        assumptions=(UNIQUE_ANSWER,),
        proof=proof,
        **fields,
    )


_HR = r"\|H r_i\|"
_SUP = r"\|H r_i\|_\infty"
_U = r"\|X_i y\|"
_FORM = r"|y^\top\nabla^2 J_i(\theta)\,y|"
_V = r"\pi^*_\theta(1-\pi^*_\theta)"

CLAIMS = (
    _claim(
        "C1",
        "Lemma 17: the Hessian's quadratic form",
        r"y^\top \nabla^2 J_i\, y = (H r_i)^\top (X_i y\odot X_i y) - 2 (H r_i)^\top (X_i y)(\pi^\top X_i y)",
        proof_lemma_17,
        place="App. C.1, first display",
        relation="==",
        left=lambda point: point.jets[2],
        right=_lemma_17,
    ),
    _claim(
        "13",
        "triangle, Hoelder and Cauchy-Schwarz inequality",
        rf"{_FORM} \le |(H r_i)^\top (X_i y\odot X_i y)| + 2|(H r_i)^\top X_i y|\,|\pi^\top X_i y| "
        rf"\le {_SUP}\|X_i y\odot X_i y\|_1 + 2{_HR}{_U}\,\|\pi\|\,{_U} "
        rf"= {_SUP}{_U}^2 + 2{_HR}\,\|\pi\|\,{_U}^2 \le {_SUP}{_U}^2 + 2{_HR}\,{_U}^2",
        proof_13,
        chain=(
            Link("triangle inequality", "<=", lambda point: np.abs(point.jets[2]), _triangle),
            Link("Hoelder and Cauchy-Schwarz", "<=", _triangle, _separated),
            Link("squares gathered", "==", _separated, _gathered),
            Link("norm of pi at most 1", "<=", _gathered, _without_policy),
        ),
    ),
    _claim(
        "C1-ENTRIES",
        "the entries of H r",
        r"[H r_i]_{a_i} = \pi^*_\theta(1-\pi^*_\theta), \qquad [H r_i]_j = -\pi^*_\theta\,[\pi_\theta]_j \ (j\ne a_i)",
        proof_entries,
        place="App. C.1, after eq. (13)",
        relation="==",
        left=_by_definition,
        right=_by_cases,
        remark="The left side is pi_j (r_j - pi^T r) with the softmax from its definition.",
    ),
    _claim(
        "14",
        "largest entry of H r",
        rf"{_SUP} = {_V}",
        proof_14,
        relation="==",
        left=lambda point: largest(np.abs(entries(point.state)).T),
        right=lambda point: point.state.variance,
    ),
    _claim(
        "15",
        "norm of H r",
        rf"{_HR} = \pi^*_\theta\sqrt{{(1-\pi^*_\theta)^2 + \sum_{{j\ne a_i}}[\pi_\theta]_j^2}} "
        rf"\le \pi^*_\theta\sqrt{{(1-\pi^*_\theta)^2 + \sum_{{j\ne a_i}}[\pi_\theta]_j(1-\pi^*_\theta)}} "
        rf"= \sqrt2\,{_V}",
        proof_15,
        chain=(
            Link("entries inserted", "==", _entries_norm, _rest_squared),
            Link("each wrong output at most 1 - p", "<=", _rest_squared, _rest_bounded),
            Link("they sum to 1 - p", "==", _rest_bounded, lambda p: root(2, p.state.variance) * p.state.variance),
        ),
    ),
    _claim(
        "16",
        "the curvature bound of Lemma 3.1",
        rf"{_FORM} \le {_SUP}{_U}^2 + 2{_HR}\,{_U}^2 \le (2\sqrt2+1)\,{_V}\,{_U}^2 "
        rf"\le (2\sqrt2+1)\,{_V}\,\|X_i\|^2\|y\|^2 \le 4\,{_V}\,X_{{\max}}^2\|y\|^2",
        proof_16,
        chain=(
            Link("(13)", "<=", lambda point: point.quadratic, _without_policy),
            Link("(14) and (15)", "<=", _without_policy, lambda point: _curvature(point, _projected(point))),
            Link(
                "operator norm",
                "<=",
                lambda point: _curvature(point, _projected(point)),
                lambda point: _curvature(point, point.x_sq * point.direction_sq),
            ),
            Link(
                "definition of X_max",
                "<=",
                lambda point: _curvature(point, point.x_sq * point.direction_sq),
                lambda point: 4 * point.state.variance * point.x_max_sq * point.direction_sq,
            ),
        ),
    ),
    _claim(
        "C1-NORM",
        "the norm of a symmetric matrix",
        r"\|\nabla^2 J_i(\theta)\| = \max_y \frac{|y^\top\nabla^2 J_i(\theta)\,y|}{\|y\|^2}",
        proof_norm,
        place="App. C.1, last display",
        chain=(
            Link(
                "no direction exceeds the norm",
                "<=",
                lambda point: point.quadratic / point.direction_sq,
                _hessian_norms,
            ),
            Link(
                "one direction attains it",
                ">=",
                _best_quotients,
                lambda point: _hessian_norms(point) * (10**9 - 1) / 10**9,
            ),
        ),
        remark=(
            "The norm is the largest eigenvalue in absolute value. That it is attained is checked up to a factor "
            "1 - 1e-9, along the eigenvector that floats give; the certificate has the equality."
        ),
    ),
)
