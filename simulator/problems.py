"""Problems: n prompts with K outputs each and d features, one right output per prompt, a start, and maybe an order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.files import read_npz, write_npz
from theory.errors import expected
from theory.exact import spectral_norm_sq
from theory.policy import PolicyState, evaluate

__all__ = ["Problem", "check_step", "load_problem"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# Larger entries would overflow where squares of products of them are summed.
LARGEST = 1e60


@dataclass(frozen=True)
class Problem:
    """A log-linear softmax bandit; validated when built.

    Attributes:
        features: ``X``, float64 ``(n, K, d)``; K >= 2, finite.
        answers: index of the right output of each prompt, ``(n,)`` in ``[0, K)``.
        theta0: start, ``(d,)``.
        order: prompts drawn at steps 1..T, ``(T,)`` in ``[0, n)``, or None to draw them at random.
        name: shown in records and plots.

    Raises:
        InputError: on anything else, naming the array, its value and the remedy.
    """

    features: Floats
    answers: Ints
    theta0: Floats
    order: Ints | None = None
    name: str = "problem"

    def __post_init__(self) -> None:
        """Convert to float64/int64 and validate."""
        _set(self, "features", _floats("features", self.features, 3, "(n, K, d)"))
        n, outputs, d = self.features.shape
        if n < 1 or d < 1:
            raise expected("shape of features", self.features.shape, "(n, K, d) with n, d >= 1", "add prompts/features")
        if outputs < 2:
            raise expected("K", outputs, "at least 2 outputs per prompt", "add a wrong output to features[:, K, :]")
        _set(self, "answers", _indices("answers", self.answers, (n,), outputs, "one output index per prompt"))
        _set(self, "theta0", _floats("theta0", self.theta0, 1, "(d,)"))
        if self.theta0.shape != (d,):
            raise expected("shape of theta0", self.theta0.shape, f"({d},), as features have d = {d}", "resize theta0")
        if self.order is not None:
            order = _array("order", self.order, "(T,)")
            _set(self, "order", _indices("order", order, order.shape[:1], n, "the prompt drawn at each step"))

    @property
    def n(self) -> int:
        """Number of prompts."""
        return int(self.features.shape[0])

    @property
    def outputs(self) -> int:
        """Number of outputs K of each prompt."""
        return int(self.features.shape[1])

    @property
    def d(self) -> int:
        """Number of features."""
        return int(self.features.shape[2])

    @cached_property
    def x_max_sq(self) -> float:
        """``X_max^2 = max_i ||X_i||^2`` (spectral norm)."""
        return max(float(spectral_norm_sq(x)) for x in self.features)

    def at(self, theta: Floats) -> PolicyState:
        """The policy at theta."""
        return evaluate(self.features, self.answers, theta)

    def with_order(self, order: npt.ArrayLike) -> Problem:
        """The same problem with a fixed prompt order."""
        return replace(self, order=_array("order", order, "(T,)"))

    def save(self, path: Path) -> None:
        """Write ``features``, ``answers``, ``theta0`` (and ``order``) as ``.npz``, atomically."""
        arrays = {"features": self.features, "answers": self.answers, "theta0": self.theta0}
        write_npz(path, **arrays, **({} if self.order is None else {"order": self.order}))

    @classmethod
    def from_gram(
        cls, gram: npt.ArrayLike, logits: npt.ArrayLike, answers: npt.ArrayLike, name: str = "gram"
    ) -> Problem:
        """The bandit whose features have the given Gram matrix and whose policy at theta0 has the given logits.

        Everything depends on theta only through logits and ``X X^T``, so this bandit is the linearisation of any model
        whose per-answer gradients have this Gram matrix.

        Args:
            gram: ``(n K, n K)``, symmetric positive semidefinite, rows ordered by prompt, then output.
            logits: ``(n, K)`` at the start; only differences within a prompt matter.
            answers: ``(n,)``.
            name: of the problem.

        Raises:
            InputError: shapes do not fit, gram is not finite, symmetric and positive semidefinite, or its range does
                not hold the logits (then no theta0 of this bandit starts there).
        """
        table = _floats("logits", logits, 2, "(n, K)")
        matrix = _floats("gram", gram, 2, "(n K, n K)")
        n, outputs = table.shape
        if matrix.shape != (n * outputs, n * outputs):
            raise expected(
                "shape of gram", matrix.shape, f"{(n * outputs,) * 2} for logits {table.shape}", "recompute it"
            )
        if matrix.size == 0:
            raise expected("shape of logits", table.shape, "(n, K) with n >= 1 and K >= 2", "add prompts or outputs")
        skew = float(np.abs(matrix - matrix.T).max())
        if skew > 1e-8 * float(np.abs(matrix).max()):
            raise expected("largest |gram - gram^T|", skew, "0: a symmetric matrix", "pass X X^T")
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        if values[-1] <= 0 <= values[0]:
            raise expected(
                "largest eigenvalue of gram", float(values[-1]), "above 0", "pass X X^T of features that differ"
            )
        if values[0] < -1e-8 * values[-1]:
            raise expected("smallest eigenvalue of gram", float(values[0]), "at least 0", "pass X X^T")
        keep = values > 1e-13 * values[-1]
        features = vectors[:, keep] * np.sqrt(values[keep])
        # Shifting all logits of a prompt changes nothing, so n free shifts are solved for along with theta0.
        shifts = np.kron(np.eye(n), np.ones((outputs, 1))) * np.sqrt(values[-1])
        solution = np.linalg.lstsq(np.hstack([features, shifts]), table.ravel(), rcond=None)[0]
        theta0 = solution[: features.shape[1]]
        problem = cls(features.reshape(n, outputs, -1), _array("answers", answers, "(n,)"), theta0, name=name)
        rows, start = np.arange(n), (features @ theta0).reshape(n, outputs)
        target = table - table[rows, problem.answers][:, None]
        error = float(np.abs(start - start[rows, problem.answers][:, None] - target).max())
        if error > 1e-6:
            raise expected("logits", f"off by {error:.1e}", "in the range of the Gram matrix", "use more parameters")
        return problem


def load_problem(path: Path) -> Problem:
    """Read a problem from ``.npz``. Nothing is unpickled.

    The arrays are ``features``, ``answers``, ``theta0``, or, without ``features``, those of :meth:`Problem.from_gram`:
    ``gram``, ``logits``, ``answers``; and in both cases optionally ``order``.

    Raises:
        InputError: no such file, not an npz, an array missing or of the wrong shape, dtype or range.
    """
    if not path.is_file():
        raise expected(
            "problem file", str(path), "an existing file of arrays (.npz) or counterexamples", "check the path"
        )
    arrays = read_npz(path)
    by_gram = "gram" in arrays and "features" not in arrays
    wanted = ("gram", "logits", "answers") if by_gram else ("features", "answers", "theta0")
    missing = [key for key in wanted if key not in arrays]
    if missing:
        told = f"the arrays {', '.join(wanted)}; {', '.join(missing)} missing"
        raise expected("problem file", str(path), told, "add them")
    if by_gram:
        problem = Problem.from_gram(arrays["gram"], arrays["logits"], arrays["answers"], name=path.stem)
        return problem.with_order(arrays["order"]) if "order" in arrays else problem
    return Problem(arrays["features"], arrays["answers"], arrays["theta0"], arrays.get("order"), name=path.stem)


def _set(problem: Problem, name: str, value: Any) -> None:
    object.__setattr__(problem, name, value)


def _array(name: str, values: Any, shape: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError:
        raise expected(name, "ragged", f"a numeric array of shape {shape}", "give every row the same length") from None


def _floats(name: str, values: Any, ndim: int, shape: str) -> Floats:
    array = _array(name, values, shape)
    if array.dtype.kind not in "fiu":
        raise expected(f"dtype of {name}", str(array.dtype), "a real numeric type", "convert it to float64")
    if array.ndim != ndim:
        raise expected(f"shape of {name}", array.shape, shape, "reshape it")
    with np.errstate(over="ignore"):
        array = array.astype(np.float64)
    bad = np.argwhere(~(np.abs(array) <= LARGEST))
    if len(bad):
        where = tuple(int(i) for i in bad[0])
        place = f"{name}[{', '.join(map(str, where))}]"
        raise expected(place, float(array[where]), f"a finite number of size at most {LARGEST:g}", "remove or rescale")
    return array


def _indices(name: str, values: Any, shape: tuple[int, ...], stop: int, meaning: str) -> Ints:
    array = _array(name, values, "(T,)" if name == "order" else "(n,)")
    if array.dtype.kind not in "iu":
        raise expected(f"dtype of {name}", str(array.dtype), f"integers ({meaning})", "convert it to int64")
    if array.shape != shape or len(shape) != 1:
        raise expected(
            f"shape of {name}", array.shape, f"({'T' if name == 'order' else shape[0]},): {meaning}", "resize"
        )
    bad = np.flatnonzero((array < 0) | (array >= stop))
    if len(bad):
        raise expected(f"{name}[{bad[0]}]", int(array[bad[0]]), f"an integer from 0 to {stop - 1}", f"it is {meaning}")
    return array.astype(np.int64)


def check_step(eta: float, steps: int) -> None:
    """Validate a step size and a number of steps.

    Raises:
        InputError: eta is not a finite positive number, or steps is not from 1 to 2^53.
    """
    if not (np.isfinite(eta) and eta > 0):
        raise expected("eta", eta, "a finite number above 0", "omit it for the theorem's own step size")
    if steps < 1:
        raise expected("steps", steps, "at least 1", "choose how many updates to run")
    if steps > 2**53:
        raise expected("steps", steps, "at most 2^53", "no run of that length ever ends")
