"""The table *theory constant | simulator | language model*, computed from what a directory holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.constants import cumulative_share, mean_factor
from simulator.constants import geometry as bandit_geometry
from simulator.problems import Problem
from simulator.records import Record
from theory.rules import GRPO, REINFORCE

__all__ = ["Row", "breaking_time", "constants_table", "prediction_error"]

# Beyond this error in a success probability the linear picture is called broken.
BREAK = 0.05


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: what is measured.
        theory: what the theory says or needs.
        simulator: value on simulated orthogonal prompts.
        linearised: value on the bandit with the model's Gram matrix.
        model: value on the language model.
        values: the same as numbers, where they are numbers.
    """

    name: str
    theory: str
    simulator: str
    linearised: str
    model: str
    values: Mapping[str, float | None]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "theory": self.theory,
            "simulator": self.simulator,
            "linearised": self.linearised,
            "model": self.model,
            "values": dict(self.values),
        }


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}g}"


def _row(name: str, theory: str, simulator: float | None, linearised: float | None, model: float | None) -> Row:
    values = {"simulator": simulator, "linearised": linearised, "model": model}
    shown = [_number(value) for value in values.values()]
    return Row(name, theory, shown[0], shown[1], shown[2], values)


def prediction_error(measured: Record, predicted: Record) -> float:
    """Largest ``|J_i(t) - J_i'(t)|`` over prompts and time."""
    return float(np.abs(measured.J - predicted.J).max())


def breaking_time(measured: Record, predicted: Record) -> int | None:
    """First t at which a predicted success probability is off by more than 0.05, or None."""
    late = np.flatnonzero(np.abs(measured.J - predicted.J).max(axis=1) > BREAK)
    return int(measured.t[late[0]]) if len(late) else None


def _least_gain(record: Record) -> float | None:
    value = record.summary().get("gain_over_bound_min")
    return None if value is None else float(value)


_GEOMETRY = (
    ("orthogonality_defect", "orthogonality defect (Assumption 2)", "0"),
    ("cosine_mean", "mean cosine between prompts' gradients", "0 (Lemma D.1)"),
    ("cosine_std", "std of these cosines", "0"),
    ("cosine_small_share", "share of pairs with |cos| < 0.1", "1"),
    ("x_max_sq", "X_max^2", "scales every bound"),
    ("x_max_sq_centred", "X_max^2 after centring each prompt", "what the softmax sees"),
)


def constants_table(runs: Mapping[str, Record], geometry: Mapping[str, Any], problem: Problem) -> list[Row]:
    """All rows. The linearised model's geometry is the model's own and is not measured again, except X_max.

    Args:
        runs: by name, as ``whynorm.reproduce`` writes them.
        geometry: content of ``geometry.json``.
        problem: of the simulated runs on orthogonal prompts.
    """
    bandit = bandit_geometry(problem)
    linearised = {"x_max_sq": runs["linearised-grpo-theorem"].x_max_sq}
    rows = [_row(name, theory, bandit[key], linearised.get(key), geometry[key]) for key, name, theory in _GEOMETRY]
    for rule in (REINFORCE, GRPO):
        rows.extend(_rule_rows(rule.name, runs))
    return rows


def _rule_rows(rule: str, runs: Mapping[str, Record]) -> list[Row]:
    label = rule.upper()
    trio = (runs[f"orthogonal-{rule}"], runs[f"linearised-{rule}-theorem"], runs[f"model-{rule}-theorem"])
    big_linear, big_model = runs[f"linearised-{rule}-big"], runs[f"model-{rule}-big"]
    scale = f"{big_model.eta / trio[2].eta:.6g}"
    fraction = "1/X_max^2" if rule == "reinforce" else "1/(2 X_max^2)"
    rows = [
        _row(f"{label}: the theorem's step size", fraction, *(r.eta for r in trio)),
        _row(f"{label}: least one-step gain / guarantee", "at least 1", *(_least_gain(r) for r in trio)),
        _row(
            f"{label}: the same at {scale} times that step",
            "no statement",
            None,
            _least_gain(big_linear),
            _least_gain(big_model),
        ),
        _row(
            f"{label}: sum of ||grad||^2 / bound of Theorem 3.1",
            "at most 1 (mean over orders)",
            *(cumulative_share(r) for r in trio),
        ),
        _row(f"{label}: C(T)", "printed criterion for GRPO: below 1", *(mean_factor(r) for r in trio)),
        _row(f"{label}: mean J gained in the run", "more than 0", *(_gained(r) for r in trio)),
        _row(
            f"{label}: the same at {scale} times that step",
            "no statement",
            None,
            _gained(big_linear),
            _gained(big_model),
        ),
    ]
    return [*rows, *_prediction_rows(label, scale, trio[1], trio[2], big_linear, big_model)]


def _gained(record: Record) -> float:
    return float(record.J[-1].mean() - record.J[0].mean())


def _prediction_rows(
    label: str, scale: str, small_linear: Record, small_model: Record, big_linear: Record, big_model: Record
) -> list[Row]:
    return [
        _row(
            f"{label}: largest error of the linearised prediction",
            "0 to first order",
            None,
            None,
            prediction_error(small_model, small_linear),
        ),
        _row(
            f"{label}: the same at {scale} times that step",
            "0 to first order",
            None,
            None,
            prediction_error(big_model, big_linear),
        ),
        _row(
            f"{label}: steps until it is off by {BREAK} (at {scale} times)",
            "never, if features were fixed",
            None,
            None,
            breaking_time(big_model, big_linear),
        ),
    ]
