"""Many runs of one rule on one problem: what every fast engine returns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from simulator.files import (
    check_axes,
    number_field,
    prepare_directory,
    read_npz,
    text_field,
    write_json,
    write_npz,
)
from simulator.records import Record, stable_difference
from simulator.schedules import GIVEN, get_schedule
from theory.errors import expected

if TYPE_CHECKING:
    from simulator.engines.plan import Plan

__all__ = ["Ensemble", "ensemble_of", "joined"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ensemble:
    """R independent runs on the same snapshot times.

    Attributes:
        problem: name.
        rule: name.
        schedule: name.
        engine: that computed it.
        eta: step sizes, ``(R,)``.
        x_max_sq: ``X_max^2``.
        seed: of all runs.
        replicas: numbers of the runs, which together with the seed name their random streams, ``(R,)``.
        t: snapshot times, ``(S,)``.
        J: success probabilities, ``(R, S, n)``.
        q: failure probabilities, ``(R, S, n)``.
        grad_sq: ``||grad J_i||^2``, ``(R, S, n)``.
        sum_J: sums of J over the times after the snapshot before, up to and with this one, ``(R, S, n)``.
        sum_grad_sq: the same of ``||grad J_i||^2``.
        theta: parameters at the snapshots, ``(R, S, d)``, or ``(R, 0, d)`` where they were not asked for.
        order: the problem's own prompt order, ``(T,)``, if it came with one (schedule ``given``).
    """

    problem: str
    rule: str
    schedule: str
    engine: str
    eta: Floats
    x_max_sq: float
    seed: int
    replicas: npt.NDArray[np.int64]
    t: npt.NDArray[np.int64]
    J: Floats
    q: Floats
    grad_sq: Floats
    sum_J: Floats
    sum_grad_sq: Floats
    theta: Floats
    order: npt.NDArray[np.int64] | None = None

    @property
    def steps(self) -> int:
        """T."""
        return int(self.t[-1])

    @property
    def finite(self) -> npt.NDArray[np.bool_]:
        """Runs all of whose recorded numbers are finite, sums over unrecorded steps included, ``(R,)``."""
        recorded = (self.J, self.q, self.grad_sq, self.sum_J, self.sum_grad_sq, self.theta)
        return np.logical_and.reduce([np.isfinite(values).all(axis=(1, 2)) for values in recorded])

    def mean_over_steps(self, sums: Floats, last: Floats) -> Floats:
        """Averages over the times 0..T-1 before each step, as the theorems take them, ``(R, n)``.

        Args:
            sums: ``sum_J`` or ``sum_grad_sq``.
            last: the values that were summed, at the snapshots: ``J`` or ``grad_sq``.
        """
        return (sums.sum(axis=1) - last[:, -1]) / self.t[-1]

    def draws(self, row: int) -> npt.NDArray[np.int64]:
        """Prompts that moved at each step of a run, ``(T, B)``: drawn anew from its seed and its replica's number."""
        if self.schedule == GIVEN:
            assert self.order is not None
            return self.order[: self.steps, None]
        return get_schedule(self.schedule).draws(self.J.shape[2], self.steps, self.seed, int(self.replicas[row]))

    def record(self, row: int) -> Record:
        """The record of one run, as ``simulator.reference.simulate`` leaves it for that replica.

        Args:
            row: of the arrays, from 0 to R - 1.

        Raises:
            InputError: no such row, or not every step was recorded.
        """
        if not 0 <= row < len(self.replicas):
            raise expected("row", row, f"an integer from 0 to {len(self.replicas) - 1}", "it counts the runs from 0")
        if len(self.t) != self.steps + 1:
            raise expected("record", "log", "full, as a record holds every step", "run with record='full'")
        draws, p, q, grad_sq = self.draws(row), self.J[row], self.q[row], self.grad_sq[row]
        at, after = (np.arange(self.steps)[:, None], draws), (np.arange(1, self.steps + 1)[:, None], draws)
        return Record(
            origin="simulator",
            problem=self.problem,
            rule=self.rule,
            eta=float(self.eta[row]),
            x_max_sq=self.x_max_sq,
            order=draws[:, 0] if draws.shape[1] == 1 else draws,
            t=self.t,
            J=p,
            q=q,
            grad_sq=grad_sq,
            theta=self.theta[row] if self.theta.shape[1] else np.empty((len(self.t), 0)),
            step_gain=stable_difference(p[at], q[at], p[after], q[after]).mean(axis=1),
            step_grad_sq=grad_sq[at].mean(axis=1),
            step_std=np.sqrt(p[at] * q[at]).mean(axis=1),
            schedule=self.schedule,
        )

    def save(self, directory: Path, summary: Mapping[str, Any] | None = None) -> None:
        """Write ``ensemble.npz`` and ``summary.json`` into ``directory``.

        Args:
            directory: made if need be.
            summary: what ``summary.json`` holds besides the names and numbers that :meth:`load` needs; plain data, e.g.
                :func:`simulator.engines.statistics.evaluate_ensemble`.
        """
        prepare_directory(directory)
        arrays = {name: getattr(self, name) for name in _AXES} | ({} if self.order is None else {"order": self.order})
        scalars = {name: getattr(self, name) for name in (*_TEXTS, "x_max_sq", "seed")}
        # The summary comes first: it is what may be refused (NaN is not JSON), and then nothing is left behind.
        write_json(directory / "summary.json", {**scalars, **(summary or {})})
        write_npz(directory / "ensemble.npz", **arrays)

    @classmethod
    def load(cls, directory: Path) -> Ensemble:
        """Inverse of :meth:`save`.

        Raises:
            InputError: a file is missing or is not what :meth:`save` writes.
        """
        try:
            arrays = read_npz(directory / "ensemble.npz")
            scalars = json.loads((directory / "summary.json").read_text())
            values = {name: arrays[name] for name in _AXES} | {"order": arrays.get("order")}
            values |= {name: text_field(name, scalars[name]) for name in _TEXTS}
            values |= {"x_max_sq": number_field("x_max_sq", scalars["x_max_sq"]), "seed": _seed(scalars["seed"])}
            _check(values)
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())[:300]
            wanted = "ensemble.npz and summary.json of one set of runs"
            raise expected("run directory", str(directory), wanted, reason) from None
        return cls(**values)


_TEXTS = ("problem", "rule", "schedule", "engine")
# R runs, S snapshots, n prompts; theta has U snapshots, S or none, of d parameters.
_AXES = {
    "eta": "R",
    "replicas": "R",
    "t": "S",
    "J": "RSn",
    "q": "RSn",
    "grad_sq": "RSn",
    "sum_J": "RSn",
    "sum_grad_sq": "RSn",
    "theta": "RUd",
}


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**64:
        raise TypeError(f"seed is {value!r}, not an integer from 0 to 2^64 - 1")
    return value


def _check(values: dict[str, Any]) -> None:
    """Raise ValueError unless the arrays belong together."""
    check_axes(values, _AXES, integers=("replicas", "t"))
    if values["theta"].shape[1] not in (0, len(values["t"])):
        raise ValueError(f"theta has {values['theta'].shape[1]} snapshots, not 0 or {len(values['t'])}")
    order, given = values["order"], values["schedule"] == GIVEN
    if given != (order is not None) or (given and (order.dtype.kind not in "iu" or order.shape != (values["t"][-1],))):
        raise ValueError("the prompt order does not fit the schedule and the number of steps")


def joined(parts: Sequence[Ensemble]) -> Ensemble:
    """Ensembles of the same runs but for their replicas, one after the other."""
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts]) for name in _AXES if name != "t"
    }
    return replace(parts[0], **arrays)


def ensemble_of(plan: Plan, engine: str, **arrays: Floats) -> Ensemble:
    """The ensemble of a plan from the arrays that an engine computed."""
    if not plan.keep_theta:
        arrays["theta"] = np.empty((len(plan.replicas), 0, plan.problem.d))
    order = plan.problem.order
    return Ensemble(
        problem=plan.problem.name,
        rule=plan.rule.name,
        schedule=plan.schedule,
        engine=engine,
        eta=plan.eta,
        x_max_sq=plan.problem.x_max_sq,
        seed=plan.seed,
        replicas=np.arange(plan.replicas.start, plan.replicas.stop, dtype=np.int64),
        t=plan.times,
        order=None if order is None else order[: plan.times[-1]],
        **arrays,
    )
