"""What the compiled engine reads of a problem: differences of features, their factors, and the space to run in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from simulator.engines.arrays import Bandit
from simulator.problems import Problem
from theory.errors import expected

__all__ = ["Layout", "Space", "aligned_zeros", "lay_out", "padded_length", "row_block"]

Floats = npt.NDArray[np.float64]
Space = Literal["auto", "features", "gram"]

# Doubles of the largest Gram matrix that is formed: 2 GiB.
LARGEST_GRAM = 1 << 28
# Bytes of a cache line, and of the widest vector register.
_LINE = 64


@dataclass(frozen=True, eq=False)
class Layout:
    """A problem, prepared.

    Attributes:
        space: ``features``: the state is theta; ``gram``: the state is all margins ``D theta``, and a step adds a
            combination of rows of ``D D^T``, so that its cost does not depend on d.
        differences: ``D``, ``x_j - x_a`` of the wrong outputs in index order, times ``scale``, ``(n, K - 1, d)``.
        factors: F with ``F_i^T F_i = D_i D_i^T``, upper triangular (trapezoidal), ``(n, rank, K - 1)``.
        steps: rows that a step combines, of D or of ``D D^T``, cut into blocks that are read one after the other:
            ``(n, blocks, K - 1, block)``, padded with zeros.
        length: of such a row without the padding: d, or n (K - 1).
        scale: the power of two that brings the largest difference near 1.
        across: 0, or how many prompts stand side by side (see :meth:`side_by_side`).
    """

    space: Literal["features", "gram"]
    differences: Floats
    factors: Floats
    steps: Floats
    length: int
    scale: float
    across: int = 0
    _beside: dict[int, Layout] = field(default_factory=dict, init=False, repr=False)

    @property
    def dimension(self) -> int | None:
        """d in feature space, None in Gram space."""
        return self.differences.shape[2] if self.space == "features" else None

    @property
    def rows(self) -> Floats:
        """The rows that a step combines, whole, ``(n, K - 1, length)``."""
        n, _, wrong, _ = self.steps.shape
        return np.moveaxis(self.steps, 1, 2).reshape(n, wrong, -1)[:, :, : self.length]

    def start(self, theta0: Floats) -> Floats:
        """The state at ``theta0``, ``(R, d)`` -> ``(R, length)``."""
        if self.space == "features":
            return theta0 / self.scale
        wrong = self.differences.reshape(-1, self.differences.shape[2])
        # Not by BLAS, whose rounding depends on the number of rows: a run must not depend on its company.
        same = bool((theta0 == theta0[:1]).all())
        margins = np.einsum("rd,md->rm", (theta0[:1] if same else theta0) / self.scale, wrong)
        margins = np.repeat(margins, len(theta0), axis=0) if same else margins
        return margins if not self.across else _interleave(margins, len(self.factors), self.across)

    def side_by_side(self, width: int) -> Layout:
        """The same with ``width`` prompts side by side, prompts of zeros filling the last group.

        ``differences`` and ``factors`` become ``(groups, rows, columns, width)`` for the compiled run, and margins are
        ordered ``(groups, K - 1, width)``. It is kept: to rearrange a large Gram matrix takes as long as many steps.
        """
        if width not in self._beside:
            self._beside[width] = self._rearranged(width)
        return self._beside[width]

    def _rearranged(self, width: int) -> Layout:
        n, length, steps = len(self.differences), self.length, self.steps
        if self.space == "gram":
            rows = _interleave(self.rows.reshape(-1, length), n, width)
            length = rows.shape[1]
            steps = _cut(rows.reshape(n, -1, length))
        return replace(self, steps=steps, length=length, across=width)

    @cached_property
    def compiled(self) -> Bandit:
        """Arrays for the compiled run, arranged once: for a short run of one replica it takes as long as many steps."""
        # In Gram space the differences are not read again.
        matrices = [self.differences if self.space == "features" else self.differences[:0], self.factors]
        if self.across:
            matrices = [_group(matrix, self.across) for matrix in matrices]
        return Bandit(*(_aligned(matrix).ravel() for matrix in (*matrices, self.steps)))


def aligned_zeros(*shape: int) -> Floats:
    """Zeros that begin a cache line: a vector that straddles two is read twice."""
    size = int(np.prod(shape))
    whole = np.zeros(size + _LINE // 8)
    first = -whole.ctypes.data % _LINE // 8
    return whole[first : first + size].reshape(shape)


def _aligned(values: Floats) -> Floats:
    """The same numbers, contiguous, from the begin of a cache line on."""
    if values.flags.c_contiguous and values.ctypes.data % _LINE == 0:
        return values
    copy = aligned_zeros(*values.shape)
    copy[...] = values
    return copy


def _group(matrices: Floats, width: int) -> Floats:
    """``(n, rows, columns)`` -> ``(groups, rows, columns, width)``, padded with zeros."""
    n, rows, columns = matrices.shape
    grouped = aligned_zeros(-(-n // width), rows, columns, width)
    for prompt, matrix in enumerate(matrices):
        grouped[prompt // width, :, :, prompt % width] = matrix
    return grouped


def _interleave(margins: Floats, n: int, width: int) -> Floats:
    """``(R, n (K - 1))`` -> ``(R, groups (K - 1) width)``."""
    split = margins.reshape(len(margins), n, -1).transpose(1, 2, 0)
    return _group(split, width).transpose(2, 0, 1, 3).reshape(len(margins), -1)


def _cut(rows: Floats) -> Floats:
    """``(n, K - 1, length)`` -> ``(n, blocks, K - 1, block)``, padded with zeros."""
    n, wrong, length = rows.shape
    padded = np.zeros((n, wrong, padded_length(length)))
    padded[:, :, :length] = rows
    return _aligned(np.moveaxis(padded.reshape(n, wrong, -1, row_block(length)), 2, 1))


def row_block(length: int) -> int:
    """Doubles of a row that are summed at once."""
    return next((size for size in (4, 8, 16) if length <= size), 32)


def padded_length(length: int) -> int:
    """``length`` rounded up to whole blocks."""
    block = row_block(length)
    return -(-length // block) * block


def lay_out(problem: Problem, space: Space) -> Layout:
    """Prepare a problem.

    Args:
        problem: the bandit.
        space: ``auto`` chooses the one with fewer multiplications for a step.

    Raises:
        InputError: no such space, or a Gram matrix above 2 GiB is asked for.
    """
    n, outputs, d = problem.features.shape
    wrong = outputs - 1
    if space not in ("auto", "features", "gram"):
        raise expected("space", space, "auto, features or gram", "auto chooses the cheaper one")
    fits = (n * wrong) ** 2 <= LARGEST_GRAM
    if space == "gram" and not fits:
        raise expected("(n (K - 1))^2", (n * wrong) ** 2, f"at most {LARGEST_GRAM} in Gram space", "use space=features")
    if space == "auto":
        # Margins and update: n (K - 1) d + (K - 1) d against n (K - 1)^2 multiplications.
        space = "gram" if fits and n * wrong < (n + 1) * d else "features"
    differences = np.empty((n, wrong, d))
    for prompt, answer in enumerate(problem.answers):
        block = problem.features[prompt]
        differences[prompt] = np.delete(block, answer, axis=0) - block[answer]
    largest = float(np.abs(differences).max())
    # Its square must not overflow, however small the features are.
    scale = 1.0 if largest == 0 else 2.0 ** min(-float(np.round(np.log2(largest))), 500.0)
    differences *= scale
    factors = np.stack([np.linalg.qr(block.T, mode="r") for block in differences])
    if space == "gram":
        flat = differences.reshape(n * wrong, d)
        rows = (flat @ flat.T).reshape(n, wrong, n * wrong)
    else:
        rows = differences
    return Layout(space, _aligned(differences), _aligned(factors), _cut(rows), rows.shape[2], scale)
