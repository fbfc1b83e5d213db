r"""Does the theory predict the model? Its bandit is run ahead of it, anchored anew every s steps.

The bandit with the model's Gram matrix and logits at step ks gets the model's rule, step size and prompt order from
there on. What it says for step t is what it says from the last anchor before t, so at an anchor the end of the stretch
before it is shown, never the anchor itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from llm_bridge.costs import cost_part
from llm_bridge.experiment import BridgeSettings, prepare
from llm_bridge.measurement.gram import AnswerGram, answer_gram
from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch
from llm_bridge.training import train
from simulator.problems import Problem
from simulator.records import Record
from simulator.reference import simulate
from theory.errors import expected
from theory.rules import Rule, get_rule

__all__ = ["PERIODS", "TOLERANCE", "Anchor", "Comparison", "Prediction", "compare_run", "predict"]

PERIODS = (20, 10, 5)
TOLERANCE = 0.05

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Anchor:
    """The model at one step of its run.

    Attributes:
        step: updates done before.
        gram: Gram matrix, logits and answers.
        problem: the bandit of these.
        turned: ``||G_t - G_0|| / ||G_0||`` (Frobenius) of the Gram matrices with each prompt's features centred, which
            is all that the softmax sees: how far the features have moved since the start.
    """

    step: int
    gram: AnswerGram
    problem: Problem
    turned: float


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the bandit said.

    Attributes:
        period: s, or None for the anchor at the start alone.
        J: ``(T + 1, n)``.
        anchor_of: the anchor that ``J[t]`` was said from, ``(T + 1,)``; 0 at t = 0.
    """

    period: int | None
    J: Floats
    anchor_of: npt.NDArray[np.int64]

    @property
    def name(self) -> str:
        """As a legend says it."""
        return "anchored at the start" if self.period is None else f"every {self.period} steps"

    @property
    def horizon(self) -> npt.NDArray[np.int64]:
        """Steps since the anchor, ``(T + 1,)``."""
        return np.arange(len(self.J)) - self.anchor_of


@dataclass(frozen=True, eq=False)
class Comparison:
    """A model's run, what was predicted of it, and the anchors it was predicted from."""

    settings: BridgeSettings
    prompts: tuple[str, ...]
    tolerance: float
    measured: Record
    predictions: tuple[Prediction, ...]
    anchors: tuple[Anchor, ...]

    def error(self, prediction: Prediction) -> Floats:
        """``J_i(t)`` predicted minus measured, ``(T + 1, n)``."""
        return prediction.J - self.measured.J

    def by_horizon(self, prediction: Prediction) -> dict[str, Floats]:
        """Over anchors and prompts, at horizon h = 1, 2, ...: ``mean`` and ``most`` of ``|error|``, and ``still``.

        ``still`` is the mean of ``|J(t) - J(anchor)|``: the error of saying that nothing moves.
        """
        size = np.abs(self.error(prediction))
        moved = np.abs(self.measured.J - self.measured.J[prediction.anchor_of])
        steps = [prediction.horizon == h for h in range(1, int(prediction.horizon.max()) + 1)]
        return {
            "mean": np.array([size[at].mean() for at in steps]),
            "most": np.array([size[at].max() for at in steps]),
            "still": np.array([moved[at].mean() for at in steps]),
        }

    def skill(self, prediction: Prediction) -> float | None:
        """``1 - sum error^2 / sum (J(t) - J(anchor))^2``: 1 is perfect, 0 as good as saying that nothing moves."""
        moved = float(np.sum((self.measured.J - self.measured.J[prediction.anchor_of]) ** 2))
        return 1 - float(np.sum(self.error(prediction) ** 2)) / moved if moved > 0 else None

    def breaks(self, prediction: Prediction) -> list[list[int | None]]:
        """For each anchor, and each prompt: the first horizon h with ``|error| > tolerance``; None if it held."""
        off = np.abs(self.error(prediction)) > self.tolerance
        found = []
        for anchor in np.unique(prediction.anchor_of):
            stretch = off[(prediction.anchor_of == anchor) & (prediction.horizon > 0)]
            found.append([int(np.argmax(column)) + 1 if column.any() else None for column in stretch.T])
        return found

    def to_json(self) -> dict[str, Any]:
        """Scalars and curves."""
        return {
            "prompts": list(self.prompts),
            "rule": self.measured.rule,
            "eta": self.measured.eta,
            "x_max_sq": self.measured.x_max_sq,
            "eta_times_x_max_sq": self.measured.eta * self.measured.x_max_sq,
            "tolerance": self.tolerance,
            "steps": len(self.measured.order),
            "largest_move": float(np.abs(self.measured.J - self.measured.J[0]).max()),
            "anchors": [
                {"step": each.step, "x_max_sq": each.problem.x_max_sq, "features_turned": each.turned}
                for each in self.anchors
            ],
            "predictions": [self._row(each) for each in self.predictions],
            "curves": {
                "measured": self.measured.J.tolist(),
                "predicted": [each.J.tolist() for each in self.predictions],
            },
        }

    def _row(self, prediction: Prediction) -> dict[str, Any]:
        size, breaks = np.abs(self.error(prediction)), self.breaks(prediction)
        met = [h for row in breaks for h in row if h is not None]
        return {
            "period": prediction.period,
            "largest_error": float(size.max()),
            "largest_error_of_prompt": [float(value) for value in size.max(axis=0)],
            "mean_error": float(size[1:].mean()),
            "skill": self.skill(prediction),
            "breaks": breaks,
            "first_break": min(met, default=None),
            "stretches_that_break": len(met) / sum(map(len, breaks)),
            "by_horizon": {name: values.tolist() for name, values in self.by_horizon(prediction).items()},
        }


def centred(gram: Floats, n: int) -> Floats:
    """The Gram matrix after subtracting each prompt's mean feature, ``(n K, n K)``."""
    outputs = len(gram) // n
    middle = np.kron(np.eye(n), np.eye(outputs) - 1 / outputs)
    return np.asarray(middle @ gram @ middle)


def predict(anchors: tuple[Anchor, ...], rule: Rule, record: Record, period: int | None) -> Prediction:
    """The bandit's success probabilities, anchored at 0, s, 2s, ...; ``anchors`` must hold these steps."""
    steps = len(record.order)
    at = {anchor.step: anchor for anchor in anchors}
    predicted, anchor_of = np.array(record.J, copy=True), np.zeros(steps + 1, dtype=np.int64)
    for start in range(0, steps, period or steps):
        stop = min(steps, start + (period or steps))
        problem = at[start].problem.with_order(record.order[start:stop])
        with np.errstate(all="ignore"):
            run = simulate(problem, rule, record.eta, stop - start, record="full")
        predicted[start + 1 : stop + 1], anchor_of[start + 1 : stop + 1] = run.J[1:], start
    return Prediction(period, predicted, anchor_of)


def compare_run(
    settings: BridgeSettings,
    *,
    periods: tuple[int, ...] = PERIODS,
    tolerance: float = TOLERANCE,
    also: tuple[int, ...] = (),
    progress: Callable[[int], Any] = lambda step: None,
    visit: Callable[[int, LoadedModel, AnswerBatch, AnswerGram], Any] = lambda *state: None,
) -> Comparison:
    """Train the model by an exact rule, and predict its run from the start and from every s-th step.

    Args:
        settings: of the run.
        periods: the s to anchor anew after.
        tolerance: error in a success probability from which a prediction counts as broken.
        also: further steps, up to the last, at which the Gram matrix is measured.
        progress: called with t after each step.
        visit: called with step, model, batch and Gram matrix at every anchor, before the run goes on.

    Raises:
        InputError: settings out of range, periods below 1, a tolerance that is not above 0, or the run diverges.
    """
    for period in periods:
        if period < 1:
            raise expected("anchor period", period, "an integer above 0", "give steps between two anchors")
    if not 0 < tolerance < 1:
        raise expected("tolerance", tolerance, "a number between 0 and 1", "it is an error in a probability")
    rule = get_rule(settings.rule)
    loaded, prompts, batch = prepare(settings)
    wanted = {t for period in periods for t in range(0, settings.steps, period)} | {0, *also}
    anchors: list[Anchor] = []

    def stop(step: int) -> None:
        if step in wanted:
            with cost_part("gram"):
                gram = answer_gram(loaded, batch)
                first = anchors[0].gram if anchors else gram
                anchors.append(Anchor(step, gram, gram.problem(f"{loaded.name} at step {step}"), _turned(gram, first)))
            visit(step, loaded, batch, gram)
        progress(step)

    stop(0)
    x_max_sq = anchors[0].problem.x_max_sq
    eta = settings.step_size(rule, x_max_sq)
    record = train(loaded, batch, rule, eta, settings.steps, x_max_sq=x_max_sq, seed=settings.seed, progress=stop)
    if not np.isfinite(record.J).all():
        raise expected("eta", eta, "a step size at which the run stays finite", "lower the step size")
    predictions = [predict(tuple(anchors), rule, record, period) for period in _with_none(periods)]
    return Comparison(
        settings, tuple(p.question for p in prompts), tolerance, record, tuple(predictions), tuple(anchors)
    )


def _with_none(periods: tuple[int, ...]) -> Iterator[int | None]:
    yield None
    yield from sorted(set(periods), reverse=True)


def _turned(gram: AnswerGram, first: AnswerGram) -> float:
    before, now = centred(first.gram, first.n), centred(gram.gram, gram.n)
    return float(np.linalg.norm(now - before) / np.linalg.norm(before))
