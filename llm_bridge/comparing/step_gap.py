r"""The step-size gap: the largest step for which descent holds on the model, over the theorem's, and its causes.

For each prompt the model is moved along the rule's own update, ``theta + eta weight grad J_i``. Descent is

* ``own``: ``J_i`` of the prompt that is drawn does not fall;
* ``mean``: the average of all J does not fall;
* ``epoch_own``, ``epoch_mean``: the same over a pass through all prompts, each drawn once, in their order.

The gap of a prompt, ``eta_own / eta_theorem``, is the product of ``FACTORS``, each of which takes one step away from
the theorem's worst case.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from llm_bridge.comparing.directional import along_of
from llm_bridge.comparing.feature_shares import feature_shares, largest_eigenvalues, own_blocks
from llm_bridge.comparing.lines import Largest, largest, log_odds_at, log_odds_direction
from llm_bridge.gradients import surrogate_loss
from llm_bridge.measurement.gram import AnswerGram
from llm_bridge.measurement.moves import kept_parameters, move
from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch, answer_logits
from simulator.directional import largest_linear, step_rule
from theory.directional import output_range
from theory.policy import logistic
from theory.rules import Rule

__all__ = ["FACTORS", "PromptGap", "StepGap", "measure_gap"]

# In the order in which they are taken away; their product is the gap.
FACTORS = {
    "centring": "X_max^2 as it is, over X_max^2 after each prompt's mean feature is taken out, which softmax ignores",
    "worst prompt": "that of the worst prompt, over this prompt's",
    "direction": "this prompt's, over R^2 / 2 along the gradient, in which the update goes",
    "constants": "the printed constants, over the best ones",
    "left over": "the largest step on the model, over the directional one: worst-case probabilities, and the network",
}
# Steps are looked for up to this multiple of the theorem's.
MOST = 2.0**24


@dataclass(frozen=True)
class PromptGap:
    """The gap of one prompt.

    Attributes:
        prompt: its name.
        p: success probability.
        factors: by name, see ``FACTORS``.
        directional, peak: those step sizes (``simulator.directional``) over the theorem's.
        linear: the largest step of the linear picture over the theorem's; None if it has no limit.
        own, mean: the largest steps on the model over the theorem's.
    """

    prompt: str
    p: float
    factors: dict[str, float]
    directional: float
    peak: float
    linear: float | None
    own: Largest
    mean: Largest | None


@dataclass(frozen=True)
class StepGap:
    """The gap at one checkpoint.

    Attributes:
        step: updates done before.
        rule: name.
        eta: the theorem's step size at this checkpoint.
        x_max_sq: what it comes from.
        prompts: one by one.
        epoch_own, epoch_mean: over the theorem's step size.
        features: what makes X_max as large as it is, see ``feature_shares``.
    """

    step: int
    rule: str
    eta: float
    x_max_sq: float
    prompts: tuple[PromptGap, ...]
    epoch_own: Largest | None
    epoch_mean: Largest | None
    features: dict[str, Any]

    @property
    def smallest(self) -> float:
        """The gap: the largest step for which no drawn prompt falls, over the theorem's."""
        return min(each.own.value for each in self.prompts)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "smallest": self.smallest}


def measure_gap(
    loaded: LoadedModel,
    batch: AnswerBatch,
    rule: Rule,
    gram: AnswerGram,
    names: tuple[str, ...],
    *,
    step: int = 0,
    whole: bool = True,
    progress: Callable[[int], Any] = lambda done: None,
) -> StepGap:
    """Measure at the model's present parameters, which are put back.

    Args:
        loaded: the model.
        batch: n prompts with K answers each.
        rule: exact, with a theorem's step size.
        gram: measured here.
        names: of the prompts.
        step: told in the result.
        whole: also ``mean`` and the epochs, which cost n times as much.
        progress: called with the number of prompts done; the epochs count as one more.
    """
    n, outputs = gram.logits.shape
    along = along_of(gram)
    own = own_blocks(gram)
    middle = np.eye(outputs) - 1 / outputs
    raw, flat = largest_eigenvalues(own), largest_eigenvalues(middle @ own @ middle)
    assert rule.step_size is not None
    eta = float(rule.step_size(raw.max()))
    sizes = {name: step_rule(name, rule).sizes(along) / eta for name in ("directional", "peak")}
    linear = along.step_size(rule, largest_linear(along)) / eta
    # The constant c of the directional step c / R^2, which equals the best c' = c / 2 of X_max^2 at R^2 = 2 X_max^2.
    spread = output_range(along.u) ** 2 / along.gap_sq / 2
    best = sizes["directional"] * eta * spread
    found = []
    for i in range(n):
        single, mean = _largest_steps(loaded, batch, i, float(along.step_size(rule, np.ones(n))[i]), eta, whole)
        factors = (raw.max() / flat.max(), flat.max() / flat[i], flat[i] / spread[i], best[i] / (eta * raw.max()))
        rest = single.value / sizes["directional"][i]
        found.append(
            PromptGap(
                names[i],
                float(along.p[i]),
                dict(zip(FACTORS, map(float, (*factors, rest)), strict=True)),
                float(sizes["directional"][i]),
                float(sizes["peak"][i]),
                float(linear[i]) if np.isfinite(linear[i]) else None,
                single,
                mean,
            )
        )
        progress(i + 1)
    near = min(each.own.value for each in found)
    over_own, over_mean = _epochs(loaded, batch, rule, eta, near) if whole else (None, None)
    progress(n + whole)
    shares = feature_shares(gram, batch, along)
    return StepGap(step, rule.name, eta, float(raw.max()), tuple(found), over_own, over_mean, shares)


def _scaled(found: Largest, scale: float) -> Largest:
    return Largest(found.value / scale, found.open_end, found.tried)


def _largest_steps(
    loaded: LoadedModel, batch: AnswerBatch, i: int, eta_of_tau: float, eta: float, whole: bool
) -> tuple[Largest, Largest | None]:
    """``own`` and ``mean`` of prompt i, over eta; ``eta_of_tau`` is the step size that moves by one gradient of L."""
    start, single = eta / eta_of_tau, batch.prompt(i)
    before, direction = log_odds_direction(loaded, single)
    with kept_parameters(loaded) as base:
        everywhere = logistic(log_odds_at(loaded, batch))[0].mean() if whole else 0.0

        def own(tau: float) -> bool:
            move(loaded, base, direction, tau)
            return bool(log_odds_at(loaded, single)[0] >= before)

        def mean(tau: float) -> bool:
            move(loaded, base, direction, tau)
            return bool(logistic(log_odds_at(loaded, batch))[0].mean() >= everywhere)

        first = largest(own, start, start * MOST)
        second = largest(mean, start, start * MOST) if whole else None
    return _scaled(first, start), None if second is None else _scaled(second, start)


def _epochs(loaded: LoadedModel, batch: AnswerBatch, rule: Rule, eta: float, near: float) -> tuple[Largest, Largest]:
    """The largest steps over a pass through all prompts, over eta; looked for from an eighth of the one-step limit."""
    n = batch.shape[0]
    start = eta * max(near / 8, 1.0)

    def passed(step: float) -> tuple[bool, bool]:
        with kept_parameters(loaded):
            before = log_odds_at(loaded, batch)
            rises = True
            for i in range(n):
                single = batch.prompt(i)
                old = log_odds_at(loaded, single)[0]
                loss = surrogate_loss(answer_logits(loaded.model, single)[0], single.correct[0], rule)
                slopes = torch.autograd.grad(loss, list(loaded.parameters.values()))
                move(loaded, [value.detach().clone() for value in loaded.parameters.values()], slopes, -step)
                rises = rises and bool(log_odds_at(loaded, single)[0] >= old)
            after = log_odds_at(loaded, batch)
        return rises, bool(logistic(after)[0].mean() >= logistic(before)[0].mean())

    return (
        _scaled(largest(lambda step: passed(step)[0], start, eta * MOST), eta),
        _scaled(largest(lambda step: passed(step)[1], start, eta * MOST), eta),
    )
