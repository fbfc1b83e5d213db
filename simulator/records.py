"""The record: what any run leaves, simulated or real, so that the same checks and plots serve both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
from simulator.sampled import get_any_rule
from theory.errors import InputError, expected
from theory.policy import change_of_success, stable_difference
from theory.rules import Rule

__all__ = ["Record", "change_of_success", "snapshot_times", "stable_difference"]

Floats = npt.NDArray[np.float64]


def snapshot_times(steps: int, mode: str) -> npt.NDArray[np.int64]:
    """Times of snapshots: ``full`` is 0..T, ``ends`` 0 and T, ``log`` about 20 a decade (0 and T included).

    Raises:
        InputError: no such mode.
    """
    if mode == "full":
        return np.arange(steps + 1)
    if mode == "ends":
        return np.unique([0, steps])
    if mode != "log":
        raise expected("record", mode, "log, full or ends", "log keeps about 20 snapshots a decade")
    spaced = np.rint(10 ** np.arange(0, np.log10(max(steps, 1)) + 1e-9, 0.05)).astype(np.int64)
    return np.unique(np.concatenate([[0], spaced[spaced <= steps], [steps]]))


@dataclass(frozen=True)
class Record:
    """A run of one rule on one problem or model.

    Attributes:
        origin: ``simulator`` or ``language model``.
        problem: name of the problem or model.
        rule: name of the rule.
        eta: step size.
        x_max_sq: ``X_max^2`` that eta was chosen by.
        order: prompts that moved, ``(T,)``, or ``(T, B)`` where B > 1 of them moved at each step.
        t: snapshot times, ``(S,)``.
        J: success probabilities, ``(S, n)``.
        q: failure probabilities, ``(S, n)``.
        grad_sq: ``||grad J_i||^2``, ``(S, n)``.
        theta: parameters at the snapshots, ``(S, d)``; empty ``(S, 0)`` for a language model.
        step_gain: change of ``J`` of the drawn prompt at each step, ``(T,)``; here and in the next two, the mean over
            the drawn prompts where B > 1.
        step_grad_sq: its ``||grad J||^2`` before the step, ``(T,)``.
        step_std: its ``sqrt(V)`` before the step, ``(T,)``.
        schedule: name of the prompt schedule, or ``given`` if the problem came with its order.
        extra: further arrays by name (e.g. gradient cosines).
    """

    origin: str
    problem: str
    rule: str
    eta: float
    x_max_sq: float
    order: npt.NDArray[np.int64]
    t: npt.NDArray[np.int64]
    J: Floats
    q: Floats
    grad_sq: Floats
    theta: Floats
    step_gain: Floats
    step_grad_sq: Floats
    step_std: Floats
    schedule: str = "uniform"
    extra: dict[str, Floats] = field(default_factory=dict)

    @property
    def std(self) -> Floats:
        """``sqrt(V_i)`` at the snapshots, ``(S, n)``."""
        return np.sqrt(self.J * self.q)

    @property
    def step_bound(self) -> Floats | None:
        """Gain guaranteed by the rule's theorem at each step, ``(T,)``, or None.

        The one-step inequality is about the prompt that is drawn, whatever schedule drew it, and about exact gradients:
        there is none for sampled rules, nor for steps of several prompts, whose means it does not bound.
        """
        try:
            rule = get_any_rule(self.rule)
        except InputError:
            # A rule of the caller's own, which no theorem knows.
            return None
        if not isinstance(rule, Rule) or rule.guarantee is None or self.order.ndim > 1:
            return None
        return np.asarray(rule.guarantee(self.step_grad_sq, self.step_std, self.x_max_sq))

    def summary(self) -> dict[str, Any]:
        """Scalars of the run, ready for JSON."""
        result: dict[str, Any] = {
            "origin": self.origin,
            "problem": self.problem,
            "rule": self.rule,
            "schedule": self.schedule,
            "eta": self.eta,
            "x_max_sq": self.x_max_sq,
            "prompts": int(self.J.shape[1]),
            "steps": len(self.order),
            "J_start": [float(v) for v in self.J[0]],
            "J_end": [float(v) for v in self.J[-1]],
            "mean_J_start": float(self.J[0].mean()),
            "mean_J_end": float(self.J[-1].mean()),
            "descending_steps": int((self.step_gain < 0).sum()),
        }
        if "step_eta" in self.extra:
            result["step_eta"] = {
                "least": float(self.extra["step_eta"].min()),
                "most": float(self.extra["step_eta"].max()),
            }
        if self.order.ndim > 1:
            result["prompts_per_step"] = int(self.order.shape[1])
        if self.step_bound is not None:
            # Below this the change of the log-odds is lost in the rounding of the parameters.
            relevant = self.step_bound > 1e-10 * self.step_std**2
            ratio = self.step_gain[relevant] / self.step_bound[relevant]
            result["gain_over_bound_min"] = float(ratio.min()) if len(ratio) else None
            result["gain_over_bound_median"] = float(np.median(ratio)) if len(ratio) else None
        return result

    def save(self, directory: Path, more: Mapping[str, Any] | None = None) -> None:
        """Write ``record.npz`` and ``summary.json`` (with ``more`` in it) into ``directory``."""
        prepare_directory(directory)
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        # The summary comes first: it is what may be refused (NaN is not JSON), and then nothing is left behind.
        write_json(directory / "summary.json", {**self.summary(), **(more or {})})
        write_npz(directory / "record.npz", **arrays, **self.extra)

    @classmethod
    def load(cls, directory: Path) -> Record:
        """Inverse of :meth:`save`.

        Raises:
            InputError: a file is missing or is not what :meth:`save` writes.
        """
        try:
            arrays = read_npz(directory / "record.npz")
            scalars = json.loads((directory / "summary.json").read_text())
            fields = {name: arrays.pop(name) for name in _ARRAYS}
            fields |= {name: text_field(name, scalars[name]) for name in ("origin", "problem", "rule")}
            # Runs written before there were schedules drew prompts at random.
            fields["schedule"] = text_field("schedule", scalars.get("schedule", "uniform"))
            fields |= {name: number_field(name, scalars[name]) for name in ("eta", "x_max_sq")}
            check_axes(fields, _ARRAYS, longer={"order": "TB"})
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            reason = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())[:300]
            raise expected("run directory", str(directory), "record.npz and summary.json of one run", reason) from None
        return cls(**fields, extra=arrays)


# Axes of each array: T steps, S snapshots, n prompts, d features. The order may have B draws a step as a second axis.
_ARRAYS = {
    "order": "T",
    "t": "S",
    "J": "Sn",
    "q": "Sn",
    "grad_sq": "Sn",
    "theta": "Sd",
    "step_gain": "T",
    "step_grad_sq": "T",
    "step_std": "T",
}
