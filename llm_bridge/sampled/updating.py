"""One update of a sampled run, and what is to be said of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from llm_bridge.asking.questions import Task
from llm_bridge.models import LoadedModel
from llm_bridge.sampled.distributed import Processes
from llm_bridge.sampled.evaluation import evaluate
from llm_bridge.sampled.group_gradients import step_gradients
from llm_bridge.sampled.group_settings import GroupSettings
from llm_bridge.sampled.group_step import GroupStep, draw_step
from llm_bridge.sampled.halves import halved
from llm_bridge.sampled.metrics import Row, step_metrics
from llm_bridge.sampled.observers import Observer, observed
from llm_bridge.sampled.per_prompt import PerPromptGradients
from theory.errors import expected

__all__ = ["Run", "advance", "evaluation", "get_optimizer"]


@dataclass
class Run:
    """What changes while a run goes on."""

    loaded: LoadedModel
    task: Task
    settings: GroupSettings
    optimizer: torch.optim.Optimizer
    processes: Processes
    observers: Sequence[Observer]
    half_observers: Sequence[Observer]
    observe_every: int
    held_out: Task | None
    step: int = 0
    counters: dict[str, int] = field(default_factory=lambda: {"num_tokens": 0, "questions": 0})
    recorder: PerPromptGradients | None = None


def advance(run: Run, chosen: npt.NDArray[np.int64]) -> tuple[Row, GroupStep]:
    """One update with the questions of these numbers: its metrics, and what was drawn for it.

    Raises:
        InputError: a reward is not 0 or 1, or the gradient is not finite.
    """
    start = time.monotonic()
    settings = run.settings
    drawn = draw_step(run.loaded, run.task, settings, chosen, run.step, run.processes)
    total, rows = _gradients(run, drawn)
    norm = float(torch.linalg.vector_norm(total, dtype=torch.float64))
    if not np.isfinite(norm):
        remedy = "lower eta; the last checkpoint is intact"
        raise expected(f"gradient norm at step {run.step + 1}", norm, "a finite number", remedy)
    _move(run, total, norm)
    run.step += 1
    run.counters["num_tokens"] += int(drawn.tokens.sum())
    run.counters["questions"] += len(chosen)
    row: Row = {
        "step": run.step,
        "epoch": run.counters["questions"] / len(run.task.questions),
        **step_metrics(drawn),
        "grad_norm": norm,
        "learning_rate": settings.eta,
        "num_tokens": run.counters["num_tokens"],
    }
    if rows is not None and run.processes.first:
        found = observed(run.step, rows, drawn.rewards, run.observers, run.half_observers)
        row.update({f"theory/{name}": value for name, value in found.items()})
    row["step_time"] = time.monotonic() - start
    if settings.eval_every and (run.step % settings.eval_every == 0 or run.step == settings.steps):
        row.update(evaluation(run))
    return row, drawn


def _gradients(run: Run, drawn: GroupStep) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The step's gradient, and those that are observed: of the prompts, or of the halves of their groups."""
    watched = bool(run.observers or run.half_observers) and run.step % run.observe_every == 0
    step = halved(drawn) if watched and run.half_observers else drawn
    if watched and run.recorder is None:
        run.recorder = PerPromptGradients(run.loaded.model, len(step.rewards))
    return step_gradients(run.loaded, step, run.settings, run.processes, keep=watched, recorder=run.recorder)


def _move(run: Run, ascent: torch.Tensor, norm: float) -> None:
    """One step of the optimizer along the gradient of the objective."""
    limit = run.settings.max_grad_norm
    scale = 1.0 if limit is None or norm <= limit else limit / norm
    parameters = [value for group in run.optimizer.param_groups for value in group["params"]]
    # Optimizers descend.
    pieces = torch.split(-scale * ascent, [value.numel() for value in parameters])
    for value, piece in zip(parameters, pieces, strict=True):
        value.grad = piece.view_as(value)
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)


def evaluation(run: Run) -> Row:
    """Accuracy on the held-out questions as the adapter stands."""
    assert run.held_out is not None
    return evaluate(run.loaded, run.held_out, run.settings, run.step, run.processes)


def get_optimizer(loaded: LoadedModel, settings: GroupSettings) -> torch.optim.Optimizer:
    """The optimizer of the adapter that the settings name."""
    parameters = list(loaded.parameters.values())
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=settings.eta, weight_decay=settings.weight_decay)
    # All tensors in one call: the very same sums.
    return torch.optim.SGD(parameters, lr=settings.eta, foreach=True)
