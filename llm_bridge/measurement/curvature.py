r"""Curvature of ``J_i`` on a language model, by Hessian-vector products, against Lemmas 3.1 to 3.3.

With the answer logits ``z(theta)`` and ``J = p(z)``,

    Hess J = X^T (Hess_z p) X  +  sum_k (dp / dz_k) Hess z_k.

The first part is the softmax's, all there is in the paper's log-linear policy, and is bounded by the lemmas with the
model's own X; the second is the network's own, which no lemma knows. Both are measured. Products are by two backward
passes (eager attention is differentiable twice); largest eigenvalues in absolute value are by Lanczos (ARPACK).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from llm_bridge.costs import counted_as
from llm_bridge.measurement.gram import AnswerGram
from llm_bridge.measurement.moves import moved
from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch, answer_logits, log_odds
from simulator.random import START_STREAM, generator
from theory.policy import PolicyState

__all__ = ["HessianProduct", "largest_eigenvalue", "prompt_curvature", "softmax_eigenvalue"]

Floats = npt.NDArray[np.float64]
_FORMS = {
    "success": lambda z, answers: torch.sigmoid(log_odds(z[None, :], answers))[0],
    "network": lambda z, answers: (_slopes(z, answers) * z).sum(),
}


class HessianProduct:
    """``v -> Hess v`` of one prompt's ``J_i`` (``success``) or of the network's own part of it (``network``), at theta.

    The graph of the first derivative is kept, so that a product costs about two backward passes; ``count`` counts them.
    """

    def __init__(self, loaded: LoadedModel, single: AnswerBatch, form: str = "success") -> None:
        """Compute the gradient with its graph."""
        self._parameters = list(loaded.parameters.values())
        value = _FORMS[form](answer_logits(loaded.model, single)[0], single.correct)
        pieces = torch.autograd.grad(value, self._parameters, create_graph=True)
        self._gradient = torch.cat([piece.reshape(-1) for piece in pieces])
        self.gradient: Floats = self._gradient.detach().double().cpu().numpy()
        self.count = 0

    def __call__(self, v: Floats) -> Floats:
        """``Hess v`` for ``v`` of shape ``(d,)``, float64."""
        self.count += 1
        direction = torch.as_tensor(np.ravel(v)).to(self._gradient)
        with counted_as(backward=2):
            pieces = torch.autograd.grad(
                self._gradient, self._parameters, grad_outputs=direction, retain_graph=True, materialize_grads=True
            )
        return torch.cat([piece.detach().reshape(-1).double() for piece in pieces]).cpu().numpy()


def largest_eigenvalue(
    product: Callable[[Floats], Floats],
    size: int,
    *,
    start: Floats | None = None,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> tuple[float, Floats | None]:
    """The eigenvalue of largest absolute value of a symmetric operator, with its unit vector.

    Args:
        product: ``v -> H v``.
        size: d.
        start: a direction to begin with; random if left out.
        tolerance: relative, of the eigenvalue.
        seed: of the random start.

    Returns:
        ``(0, None)`` where the operator vanishes on the start, and its Rayleigh quotient there, a lower bound in
        absolute value, with None if Lanczos does not converge.
    """
    first = generator(seed, stream=START_STREAM).standard_normal(size)
    if start is not None and np.linalg.norm(start) > 0:
        # A little of everything: a start within an invariant subspace would never leave it.
        first = start / np.linalg.norm(start) + 0.01 * first / np.linalg.norm(first)
    image = product(first)
    scale = float(np.linalg.norm(image) / np.linalg.norm(first))
    if not scale > 0:
        return 0.0, None
    operator = LinearOperator((size, size), matvec=lambda v: product(v) / scale, dtype=np.float64)
    try:
        values, vectors = eigsh(operator, k=1, which="LM", v0=first, tol=tolerance, maxiter=20, ncv=min(12, size))
        return float(values[0] * scale), vectors[:, 0]
    except ArpackNoConvergence:
        return float(first @ image / (first @ first)), None


def softmax_eigenvalue(measured: AnswerGram, i: int) -> float:
    """The eigenvalue of largest absolute value of ``X_i^T (Hess_z p) X_i``, exactly, from the Gram matrix."""
    gram = measured.blocks.sum(axis=0)[i]
    outputs = len(gram)
    # In z the policy is log-linear with the unit vectors as features: the theory's own Hessian, column by column.
    one = PolicyState(np.eye(outputs)[None], measured.answers[i : i + 1], _odds_of(measured, i))
    hessian = np.array([one.hessian_vector(e)[0] for e in np.eye(outputs)])
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    spectrum = np.linalg.eigvalsh(root @ (hessian + hessian.T) / 2 @ root)
    return float(spectrum[np.argmax(np.abs(spectrum))])


def prompt_curvature(
    loaded: LoadedModel,
    batch: AnswerBatch,
    measured: AnswerGram,
    i: int,
    *,
    ball: int = 2,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> dict[str, Any]:
    """Curvature of one prompt's ``J_i`` and what Lemmas 3.1 to 3.3 say about it.

    Args:
        loaded: the model, at the parameters that ``measured`` was taken at; left as it was.
        batch: all prompts.
        measured: their Gram matrix.
        i: the prompt.
        ball: parameter vectors on the ball of Lemma 3.3 at which the curvature is measured too: along plus and minus
            the top eigenvector, then random directions. A lower bound of the largest on the ball.
        tolerance: of Lanczos.
        seed: of random directions.

    Returns:
        ``p``, ``variance``, ``eigenvalue`` of ``Hess J_i`` (largest in absolute value), ``softmax`` and ``network``:
        those of its two parts, which need not add up; ``converged``: whether all of them are eigenvalues, False where
        Lanczos gave up on one, which is then a lower bound, as is what follows from it; ``gradient`` norm;
        ``finite_difference``: the relative error of a Hessian-vector product against central differences of gradients;
        ``ball``: the largest norm found on the ball, None for ``ball=0`` or without a top eigenvector; for each lemma,
        ``left / right`` under ``lemmas``: above 1 the bound fails, None where it is 0, as V is
        for a prompt solved to the last digit; ``products``.
    """
    single, state = batch.prompt(i), measured.odds
    variance, x_max_sq = (
        float((state.p * state.q)[i]),
        float(np.linalg.norm(measured.blocks.sum(axis=0), 2, (1, 2)).max()),
    )
    full = HessianProduct(loaded, single)
    size = len(full.gradient)
    eigenvalue, vector = largest_eigenvalue(full, size, start=full.gradient, tolerance=tolerance, seed=seed)
    own = HessianProduct(loaded, single, "network")
    network, along = largest_eigenvalue(own, size, start=full.gradient, tolerance=tolerance, seed=seed)
    norm = float(np.linalg.norm(full.gradient))
    error = _difference_error(loaded, single, full)
    around, more, sure = _on_ball(loaded, single, vector, (variance / x_max_sq) ** 0.5, ball, tolerance, seed)
    largest = abs(eigenvalue) if around is None else max(abs(eigenvalue), around)
    return {
        "p": float(state.p[i]),
        "variance": variance,
        "eigenvalue": eigenvalue,
        "softmax": softmax_eigenvalue(measured, i),
        "network": network,
        "converged": _converged(eigenvalue, vector) and _converged(network, along) and sure,
        "gradient": norm,
        "finite_difference": error,
        "ball": around,
        "lemmas": {
            "3.1, 4 X^2 V": _share(abs(eigenvalue), 4 * x_max_sq * variance),
            "3.1, X^2": _share(abs(eigenvalue), x_max_sq),
            "3.2, X / 2": _share(norm, 0.5 * x_max_sq**0.5),
            "3.3, 5/2 X^2 sqrt(V)": _share(largest, 2.5 * x_max_sq * variance**0.5),
        },
        "products": full.count + own.count + more,
    }


def _share(left: float, right: float) -> float | None:
    return left / right if right > 0 else None


def _slopes(z: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """``dp / dz``, constant: ``pi_a (e_a - pi)``, with ``pi_a q`` at the right answer formed without cancellation."""
    with torch.no_grad():
        pi, odds = torch.softmax(z, dim=0), log_odds(z[None, :], answers)[0]
        slope = -torch.sigmoid(odds) * pi
        slope[answers[0]] = torch.sigmoid(odds) * torch.sigmoid(-odds)
    return slope


def _odds_of(measured: AnswerGram, i: int) -> Any:
    from dataclasses import fields

    state = measured.odds
    return type(state)(*(getattr(state, each.name)[i : i + 1] for each in fields(state)))


def _converged(eigenvalue: float, vector: Floats | None) -> bool:
    """Whether `largest_eigenvalue` found one; that of an operator that vanishes is 0, without a vector."""
    return vector is not None or eigenvalue == 0


def _difference_error(loaded: LoadedModel, single: AnswerBatch, product: HessianProduct) -> float | None:
    """Relative error of ``Hess g`` along the gradient, against a central difference; None where the gradient is 0."""
    norm = float(np.linalg.norm(product.gradient))
    if not norm > 0:
        return None
    direction = product.gradient / norm
    # The cube root of the rounding unit balances rounding against the third derivative.
    h = float(torch.finfo(next(iter(loaded.parameters.values())).dtype).eps) ** (1 / 3)
    # The product comes first: moving the parameters spoils its graph.
    exact = product(direction)
    ends = [moved(loaded, s * h * direction, lambda: HessianProduct(loaded, single).gradient) for s in (1, -1)]
    estimate = (ends[0] - ends[1]) / (2 * h)
    return float(np.linalg.norm(estimate - exact)) / max(float(np.linalg.norm(exact)), 1e-300)


def _on_ball(
    loaded: LoadedModel,
    single: AnswerBatch,
    top: Floats | None,
    radius: float,
    number: int,
    tolerance: float,
    seed: int,
) -> tuple[float | None, int, bool]:
    """The largest norm of the Hessian at some points at this distance, how many products that took, and whether all of
    them converged.
    """
    if top is None or number == 0:
        return None, 0, True

    def norm() -> tuple[float, int, bool]:
        # The product is used where it was made: moving the parameters spoils its graph.
        product = HessianProduct(loaded, single)
        value, vector = largest_eigenvalue(product, len(top), start=top, tolerance=tolerance, seed=seed)
        return abs(value), product.count, _converged(value, vector)

    draws = generator(seed, run=1, stream=START_STREAM)
    directions = [top, -top, *draws.standard_normal((max(number - 2, 0), len(top)))][:number]
    found = [moved(loaded, radius * each / np.linalg.norm(each), norm) for each in directions]
    values, counts, converged = zip(*found, strict=True)
    return max(values), sum(counts), all(converged)
