"""One run of the normalisation experiment: a rule on one draw of prompts, exact or sampled, with its learning curve."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from llm_bridge.asking.questions import Task
from llm_bridge.gradients import surrogate_loss
from llm_bridge.measures import measure_geometry
from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch, answer_logits, log_odds, p_and_q
from llm_bridge.sampled.group_settings import GroupSettings
from llm_bridge.sampled.group_training import train_groups
from simulator.files import check_axes, read_npz, write_npz
from simulator.problems import Problem
from simulator.random import uniform_order
from simulator.reference import simulate
from simulator.sampled import SampledRule
from theory.errors import expected
from theory.rules import Rule

__all__ = [
    "Curve",
    "evaluation_times",
    "exact_curve",
    "linearised",
    "matched_ratio",
    "predicted_curve",
    "sampled_curve",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curve:
    """The learning curve of one run.

    Attributes:
        t: steps after which it was looked at, ``(S,)``, from 0 to T.
        J: success probabilities of all n prompts, ``(S, n)``.
        move: length of every update, ``(T,)``; zeros for a prediction.
        reward, zero_share: mean reward of every step's completions, and the share of its groups whose rewards are all
            equal, ``(T,)``; empty ``(0,)`` in exact mode, which has neither.
    """

    t: npt.NDArray[np.int64]
    J: Floats
    move: Floats
    reward: Floats = field(default_factory=lambda: np.empty(0))
    zero_share: Floats = field(default_factory=lambda: np.empty(0))

    def save(self, path: Path) -> None:
        """Write all arrays as one ``.npz``, atomically: the file is there only if the run is done."""
        write_npz(path, t=self.t, J=self.J, move=self.move, reward=self.reward, zero_share=self.zero_share)

    @classmethod
    def load(cls, path: Path) -> Curve:
        """Inverse of :meth:`save`.

        Raises:
            InputError: the file is not what :meth:`save` writes.
        """
        arrays = read_npz(path)
        try:
            fields = {name: arrays[name] for name in ("t", "J", "move")}
            check_axes(fields, {"t": "S", "J": "Sn", "move": "T"})
            fields |= {name: arrays[name] for name in ("reward", "zero_share") if name in arrays}
        except (KeyError, ValueError) as error:
            raise expected("run", str(path), f"the arrays of one run ({error})", "remove it; it is run anew") from None
        return cls(**fields)


def evaluation_times(steps: int, every: int) -> npt.NDArray[np.int64]:
    """0, every, 2 every, ... and T."""
    return np.unique(np.append(np.arange(0, steps + 1, every), steps))


def exact_curve(
    loaded: LoadedModel,
    batch: AnswerBatch,
    rule: Rule,
    eta: float,
    steps: int,
    every: int,
    seed: int,
    progress: Callable[[int], Any] = lambda step: None,
) -> Curve:
    """``llm_bridge.training.train``, looked at after every ``every`` steps only: the same updates, bit for bit.

    A run whose parameters stop being finite keeps NaN from there on.
    """
    times = set(evaluation_times(steps, every).tolist())
    parameters = list(loaded.parameters.values())
    optimizer = torch.optim.SGD(parameters, lr=eta)
    rows, moves = [_success(loaded, batch)], []
    for step, i in enumerate(uniform_order(batch.shape[0], steps, seed)):
        optimizer.zero_grad(set_to_none=True)
        surrogate_loss(answer_logits(loaded.model, batch.prompt(int(i)))[0], batch.correct[i], rule).backward()
        norms = torch.stack(
            [torch.linalg.vector_norm(each.grad.double()) for each in parameters if each.grad is not None]
        )
        moves.append(eta * float(torch.linalg.vector_norm(norms)))
        optimizer.step()
        if step + 1 in times:
            rows.append(_success(loaded, batch))
        progress(step + 1)
    return Curve(np.array(sorted(times)), np.array(rows), np.array(moves))


def sampled_curve(loaded: LoadedModel, task: Task, batch: AnswerBatch, settings: GroupSettings, every: int) -> Curve:
    """The same from sampled completions (``sampled.group_training``); J is exact here too, from the answer sets."""
    rows = [_success(loaded, batch)]
    times = set(evaluation_times(settings.steps, every).tolist())

    def look(step: int, gradients: torch.Tensor, rewards: Floats) -> Mapping[str, float | None]:
        if step in times:
            rows.append(_success(loaded, batch))
        return {}

    run = train_groups(loaded, task, settings, observers=(look,))
    columns = {name: np.array([row[name] for row in run.rows], dtype=np.float64) for name in _LOGGED}
    return Curve(
        np.array(sorted(times)),
        np.array(rows),
        settings.eta * columns["grad_norm"],
        columns["reward"],
        columns["frac_reward_zero_std"],
    )


_LOGGED = ("grad_norm", "reward", "frac_reward_zero_std")


def _success(loaded: LoadedModel, batch: AnswerBatch) -> Floats:
    with torch.no_grad():
        p, _ = p_and_q(log_odds(answer_logits(loaded.model, batch), batch.correct))
    return np.asarray(p.cpu().double().numpy())


def linearised(loaded: LoadedModel, batch: AnswerBatch) -> Problem:
    """The bandit with the model's Gram matrix and logits; all that the theory sees of the model."""
    return measure_geometry(loaded, batch).surrogate


def matched_ratio(problem: Problem, std: Rule, no_std: Rule) -> float:
    r"""Step size of no_std / step size of std at which the mean length of a first step is the same.

    ``sum_i w(p_i) ||grad J_i|| / sum_i v(p_i) ||grad J_i||`` with the weights w of std and v of no_std: normalisation
    also multiplies the update by about that much, which is no effect of normalising.

    Args:
        problem: the linearised model.
        std, no_std: exact rules; of sampled ones their expected rules.
    """
    state = problem.at(problem.theta0)
    norms = state.p * state.q * np.linalg.norm(state.gap, axis=1)
    return float(np.sum(std.weight(state.p, state.q) * norms) / np.sum(no_std.weight(state.p, state.q) * norms))


def predicted_curve(
    problem: Problem, rule: Rule | SampledRule, eta: float, steps: int, every: int, seed: int, schedule: str = "uniform"
) -> Curve:
    """What the linearised model does with the same rule, step size and prompt order; a sampled rule draws anew."""
    record = simulate(problem, rule, eta, steps, schedule=schedule, seed=seed, record="full")
    times = evaluation_times(steps, every)
    return Curve(times, record.J[times], np.zeros(steps))
