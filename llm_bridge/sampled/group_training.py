r"""Sampled mode: train the adapter by a sampled rule, on policy.

At step t, N questions get G completions each from the policy as it stands, rewards of 0 and 1 become advantages by the
rule's convention, and theta moves by ``eta (1/N) sum_i g_i`` (plain SGD) with
``g_i = (1/G) sum_g A_ig grad ln pi(o_ig | q_i)``, whose expectation is ``w_G(p_i) grad J_i`` (claim X-GROUP).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from llm_bridge.asking.questions import Task
from llm_bridge.models import LoadedModel
from llm_bridge.sampled.checkpoints import load_checkpoint, newest_checkpoint, save_checkpoint
from llm_bridge.sampled.distributed import ALONE, Processes
from llm_bridge.sampled.group_settings import GroupSettings, question_order
from llm_bridge.sampled.halves import check_halves
from llm_bridge.sampled.metrics import MetricsFile, Row, told_completions, write_parquet
from llm_bridge.sampled.observers import Observer
from llm_bridge.sampled.random_states import own_random_states
from llm_bridge.sampled.rollouts import evaluating
from llm_bridge.sampled.run_folder import RunFolder, run_identity, save_adapter, writing
from llm_bridge.sampled.updating import Run, advance, evaluation, get_optimizer
from theory.errors import expected

__all__ = ["GroupRun", "GroupSettings", "Observer", "Tracker", "train_groups"]


class Tracker(Protocol):
    """Where metrics go besides the run's own files; see ``llm_bridge.sampled.trackers``."""

    def log(self, step: int, row: Mapping[str, float | int | None]) -> None:
        """Take the metrics of one step."""

    def close(self) -> None:
        """The run is over."""


@dataclass(frozen=True)
class GroupRun:
    """A finished run.

    Attributes:
        settings: of the run.
        rows: its metrics, one row a step; row ``step`` t tells of the t-th update, and of accuracy after it.
        resumed_at: the step it went on from, 0 for one from the beginning.
    """

    settings: GroupSettings
    rows: tuple[Row, ...]
    resumed_at: int = 0


def train_groups(
    loaded: LoadedModel,
    task: Task,
    settings: GroupSettings,
    *,
    observers: Sequence[Observer] = (),
    half_observers: Sequence[Observer] = (),
    observe_every: int = 1,
    held_out: Task | None = None,
    folder: RunFolder | None = None,
    trackers: Sequence[Tracker] = (),
    processes: Processes = ALONE,
    progress: Callable[[int], Any] = lambda step: None,
) -> GroupRun:
    """Train the adapter in place.

    Args:
        loaded: the model, with a fresh adapter (also when a run is resumed: the checkpoint's adapter replaces it).
        task: questions and reward.
        settings: of the run.
        observers: called after each step's backward passes with the step's number from 1, the gradients ``g_i`` of its
            N prompts ``(N, d)`` and the rewards ``(N, G)``; what they return is logged under ``theory/``.
        half_observers: the same, but called with the gradients of the two halves of each group ``(N, 2, d)``, see
            ``llm_bridge.sampled.halves``. With one of them the run changes by rounding, and where a model reads a
            prompt once for all its completions, it reads it twice.
        observe_every: call observers at step 1 and every so many steps after; the others cost what they do without.
        held_out: questions of which accuracy is measured every ``settings.eval_every`` steps.
        folder: where metrics and checkpoints go, and whether to go on with what is there; None to keep nothing.
        trackers: get every row besides.
        processes: among which a step's prompts are shared out.
        progress: called with the number of steps done.

    Raises:
        InputError: the settings do not fit the task, the directory holds another run, a reward is not 0 or 1, or the
            gradient is not finite.
    """
    if settings.eval_every and held_out is None:
        raise expected("eval-every", settings.eval_every, "0 without held-out questions", "pass --eval-task")
    order = question_order(settings, len(task.questions))
    if half_observers:
        check_halves(settings.group)
    if observe_every < 1:
        raise expected("diagnostics-every", observe_every, "an integer from 1 on", "1 is every step")
    optimizer = get_optimizer(loaded, settings)
    run = Run(loaded, task, settings, optimizer, processes, observers, half_observers, observe_every, held_out)
    with ExitStack() as stack:
        stack.enter_context(own_random_states(settings.seed + processes.rank))
        stack.enter_context(evaluating(loaded.model))
        metrics = _open(run, folder, stack)
        started = run.step
        texts = _open_completions(run, folder, stack)
        log = _Log(metrics, trackers)
        if run.step == 0 and settings.eval_every:
            log({"step": 0, **evaluation(run)})
        progress(run.step)
        while run.step < settings.steps:
            row, drawn = advance(run, order[run.step])
            log(row)
            if texts is not None:
                texts.write({"step": run.step, "completions": told_completions(run.task, drawn, order[run.step - 1])})
            if folder is not None and (run.step % folder.every == 0 or run.step == settings.steps):
                _save(run, folder)
            progress(run.step)
        if folder is not None and processes.first:
            assert metrics is not None
            write_parquet(folder.path / "metrics.parquet", metrics.rows)
            save_adapter(loaded, folder.path / "adapter")
    return GroupRun(settings, tuple(log.rows), started)


class _Log:
    """Rows go to the file and to the trackers, on the first process only, and are kept."""

    def __init__(self, metrics: MetricsFile | None, trackers: Sequence[Tracker]) -> None:
        self.rows: list[Row] = [] if metrics is None else list(metrics.rows)
        self._metrics, self._trackers = metrics, trackers

    def __call__(self, row: Row) -> None:
        self.rows.append(row if self._metrics is None else self._metrics.append(row))
        for tracker in self._trackers:
            tracker.log(int(row["step"] or 0), self.rows[-1])


def _open(run: Run, folder: RunFolder | None, stack: ExitStack) -> MetricsFile | None:
    """Restore what is to be resumed; the metrics file of the first process."""
    if folder is None:
        return None
    identity = run_identity(run.loaded, run.task, run.settings, run.held_out)
    if run.processes.first:
        stack.enter_context(folder.held())
    there = folder.check(identity)
    newest = newest_checkpoint(folder.checkpoints) if there else None
    if newest is not None:
        run.step, run.counters = load_checkpoint(newest, run.loaded, run.optimizer, run.processes)
        if run.step > run.settings.steps:
            remedy = "ask for more steps"
            raise expected("steps", run.settings.steps, f"at least {run.step}, which the run has already done", remedy)
    # Nobody writes before everybody has read.
    run.processes.wait()
    if not run.processes.first:
        return None
    folder.claim(identity)
    stack.enter_context(writing(folder.path))
    return stack.enter_context(MetricsFile(folder.metrics, None if newest is None else run.step))


def _open_completions(run: Run, folder: RunFolder | None, stack: ExitStack) -> MetricsFile | None:
    if folder is None or not folder.completions or not run.processes.first:
        return None
    file = MetricsFile(folder.path / "completions.jsonl", run.step or None, gaps=True)
    return stack.enter_context(file)


def _save(run: Run, folder: RunFolder) -> None:
    save_checkpoint(
        folder.checkpoints,
        run.step,
        run.loaded,
        run.optimizer,
        run.counters,
        keep=folder.keep,
        processes=run.processes,
    )
