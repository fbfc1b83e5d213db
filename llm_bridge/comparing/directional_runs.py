"""State-dependent step sizes tested on the model: whole runs beside the theorem's step, same prompts, same order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm_bridge.comparing.directional import model_step
from llm_bridge.experiment import BridgeSettings, prepare
from llm_bridge.measurement.gram import answer_gram
from llm_bridge.measurement.moves import kept_parameters
from llm_bridge.training import train
from simulator.directional import STATE_FORMS
from simulator.records import Record
from theory.rules import get_rule

__all__ = ["StepRuleRun", "step_rule_runs"]


@dataclass(frozen=True, eq=False)
class StepRuleRun:
    """A run of the model under one step size.

    Attributes:
        name: ``theorem``, or a key of ``simulator.directional.STATE_FORMS``.
        record: of the run.
        eta: the theorem's step size.
    """

    name: str
    record: Record
    eta: float

    def to_json(self) -> dict[str, Any]:
        """Scalars: how large the steps were over the theorem's, and how many of them lowered the drawn prompt's J."""
        taken = self.record.extra.get("step_eta", np.full(len(self.record.order), self.record.eta)) / self.eta
        lowered = self.record.step_gain < 0
        return {
            "step": self.name,
            "rule": self.record.rule,
            "steps": len(taken),
            "times_theorem_median": float(np.median(taken)),
            "times_theorem_least": float(taken.min()),
            "times_theorem_most": float(taken.max()),
            "steps_that_lowered_the_drawn_J": int(lowered.sum()),
            "largest_fall_in_a_step": float(max(0.0, -self.record.step_gain.min())),
            "mean_J_start": float(self.record.J[0].mean()),
            "mean_J_end": float(self.record.J[-1].mean()),
        }


def step_rule_runs(
    settings: BridgeSettings, progress: Callable[[int], Any] = lambda step: None
) -> tuple[StepRuleRun, ...]:
    """Train from the same start under the theorem's step size and each state-dependent one.

    Args:
        settings: of the run; its eta and eta_scale are not used.
        progress: called with the number of steps done in all.

    Raises:
        InputError: the rule has no theorem's or no directional step size.
    """
    rule = get_rule(settings.rule)
    loaded, _, batch = prepare(settings)
    x_max_sq = answer_gram(loaded, batch).problem(loaded.name).x_max_sq
    assert rule.step_size is not None
    eta = float(rule.step_size(x_max_sq))
    runs: list[StepRuleRun] = []

    def tick(step: int) -> None:
        progress(len(runs) * settings.steps + step)

    for name in ("theorem", *STATE_FORMS):
        chosen = eta if name == "theorem" else model_step(name, rule)
        with kept_parameters(loaded):
            record = train(
                loaded, batch, rule, chosen, settings.steps, x_max_sq=x_max_sq, seed=settings.seed, progress=tick
            )
        runs.append(StepRuleRun(name, record, eta))
    return tuple(runs)
