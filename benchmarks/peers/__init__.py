"""Peers of the lanes engine: one file each, one interface, GRPO with uniformly drawn prompts.

``prepare(case, steps, replicas, threads)`` does what may be done once (compiling, copying to a device) and returns a
callable. Each call draws the prompts and runs ``steps`` updates of ``replicas`` runs in float64, with J and
``||grad J||^2`` of every prompt at the times 0..T, and returns a :class:`Result`. A peer may draw with a generator of
its own; the draw is part of the call, and the result tells the order so that the run can be checked.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.engines.layout import Layout, lay_out
from simulator.problems import Problem
from simulator.random import uniform_order

__all__ = ["PEERS", "Case", "Result", "load", "make_case", "package_order"]

Floats = npt.NDArray[np.float64]
# Clamp of the margins, as in the engine.
LARGEST = 690.0

# name -> (module, variant); the first two are the package's own engines.
PEERS = {
    "lanes": ("lanes", ""),
    "reference": ("reference", ""),
    "c": ("c_lanes", ""),
    "jax": ("jax_scan", ""),
    "numba": ("plain_numba", ""),
    "numpy": ("numpy_batched", ""),
    "torch": ("torch_batched", "eager"),
    "torch compiled": ("torch_batched", "compiled"),
}


@dataclass(frozen=True, eq=False)
class Case:
    """A problem and its matrices, which every peer is given.

    Attributes:
        problem: the bandit.
        layout: ``D``, its triangular factors, and the rows that a step combines, in feature space or in Gram space.
        eta: step size.
    """

    problem: Problem
    layout: Layout
    eta: float

    @property
    def rows(self) -> Floats:
        """What a step combines, ``(n, K - 1, length)``, without padding."""
        return np.ascontiguousarray(self.layout.rows)

    @property
    def start(self) -> Floats:
        """The state at theta0, ``(length,)``."""
        return np.ascontiguousarray(self.layout.start(self.problem.theta0[None])[0])

    @property
    def scaled_eta(self) -> float:
        """Step size for the scaled matrices."""
        return float(self.eta / self.layout.scale**2)

    @property
    def name(self) -> str:
        """For tables."""
        n, outputs, d = self.problem.features.shape
        return f"({n}, {outputs}, {d}) {self.layout.space}"


@dataclass(frozen=True)
class Result:
    """What a call leaves; ``(R, n)`` each.

    Attributes:
        J: success probabilities at T.
        grad_sq: ``||grad J||^2`` at T, of the scaled features.
        sum_J: sums over the times 0..T.
        sum_grad_sq: likewise.
        order: prompts of a replica, ``(T,)``.
    """

    J: Floats
    grad_sq: Floats
    sum_J: Floats
    sum_grad_sq: Floats
    order: Callable[[int], npt.NDArray[np.int64]]


def make_case(n: int, outputs: int, d: int, space: Any) -> Case:
    """Gaussian features in d dimensions, theta = 0, half the theorem's largest step."""
    features = np.random.default_rng(0).standard_normal((n, outputs, d)) / np.sqrt(d)
    problem = Problem(features, np.zeros(n, dtype=np.int64), np.zeros(d))
    return Case(problem, lay_out(problem, space), 0.5 / problem.x_max_sq)


def package_order(n: int, steps: int) -> Callable[[int], npt.NDArray[np.int64]]:
    """The package's own order of seed 0."""
    return lambda replica: uniform_order(n, steps, 0, replica)


def load(name: str) -> tuple[ModuleType, str]:
    """Module and variant of a peer.

    Raises:
        ImportError: it, or what it needs, is not installed.
    """
    module, variant = PEERS[name]
    return importlib.import_module(f"benchmarks.peers.{module}"), variant
