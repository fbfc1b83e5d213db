r"""Sampled mode against the theory: does ``X-GROUP``'s expected weight predict the mean curve of groups?

On finite answer sets everything but the draws is exact. For each seed the model is trained with groups of G answers
drawn from its own policy, and so is its bandit, with the same random words and prompt order: where the two policies
agree they draw the same answers. Beside the means of both stands the bandit under ``SampledRule.expected_rule()``, with
the weight ``w_G(p)`` in place of the draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import t as student

from llm_bridge.comparing.lines import log_odds_at
from llm_bridge.experiment import BridgeSettings, prepare
from llm_bridge.measurement.gram import answer_gram
from llm_bridge.measurement.moves import kept_parameters
from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch, answer_logits
from simulator.random import uniform_order
from simulator.reference import simulate
from simulator.sampled import SampledRule, outputs_of, sample_words
from theory.errors import expected
from theory.policy import PolicyState, logistic, odds
from theory.rules import GRPO, Rule

__all__ = ["SampledComparison", "check_sampled", "compare_sampled", "group_coefficients", "train_sampled"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SampledComparison:
    """Curves of R seeds, T steps and n prompts.

    Attributes:
        prompts: names.
        rule: name of the sampled rule.
        eta: step size.
        step: where it is from, in words; no theorem covers it.
        model, bandit: ``J`` of the model's and of the bandit's runs, ``(R, T + 1, n)``.
        expected: the bandit under the expected rule, along the prompt order of each seed, ``(R, T + 1, n)``.
    """

    prompts: tuple[str, ...]
    rule: str
    eta: float
    step: str
    model: Floats
    bandit: Floats
    expected: Floats

    def interval(self, curves: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
        """Mean over seeds of the mean over prompts, and the half-width of its Student interval, ``(T + 1,)`` each."""
        per_seed = curves.mean(axis=2)
        count = len(per_seed)
        half = student.ppf((1 + level) / 2, count - 1) * per_seed.std(axis=0, ddof=1) / count**0.5
        return per_seed.mean(axis=0), half

    def to_json(self) -> dict[str, Any]:
        """Scalars and mean curves.

        Of the expected rule both are told: whether it lies within the interval of the model's mean
        (``share_within_interval``, of the steps), and, free of what the prompt orders do to both, whether the paired
        difference ``over_expected_rule``, model minus expected rule, has an interval that holds 0.
        """
        (measured, half), (simulated, other) = self.interval(self.model), self.interval(self.bandit)
        predicted = self.expected.mean(axis=(0, 2))
        # Model and bandit use the same words, and both go along the order that the expected rule goes along: so the
        # difference of each pair is what tells.
        paired, width = self.interval(self.model - self.bandit)
        ahead, margin = self.interval(self.model - self.expected)
        return {
            "prompts": list(self.prompts),
            "rule": self.rule,
            "eta": self.eta,
            "step": self.step,
            "seeds": len(self.model),
            "steps": self.model.shape[1] - 1,
            "measured": measured.tolist(),
            "measured_half_width": half.tolist(),
            "bandit": simulated.tolist(),
            "bandit_half_width": other.tolist(),
            "expected_rule": predicted.tolist(),
            "largest_error_of_expected_rule": float(np.abs(predicted - measured).max()),
            "share_within_interval": float((np.abs(predicted - measured) <= half)[1:].mean()),
            "over_expected_rule": ahead.tolist(),
            "over_expected_rule_half_width": margin.tolist(),
            "share_within_paired_interval": float((np.abs(ahead) <= margin)[1:].mean()),
            "paired_difference_at_end": [
                float(paired[-1]),
                float(paired[-1] - width[-1]),
                float(paired[-1] + width[-1]),
            ],
        }


def group_coefficients(rule: SampledRule, logits: Floats, answer: int, words: Any) -> Floats:
    """``c_j`` with which the update is ``sum_j c_j grad log pi_j = (1/G) sum_g A_g grad log pi_{y_g}``, ``(K,)``.

    The outputs y_g are those that ``simulator.sampled`` draws with the same words from the same policy, groups without
    variance drawn again as often as the rule says.
    """
    answers = np.array([answer])
    state = PolicyState(np.empty((1, len(logits), 0)), answers, odds(logits[None, :].copy(), answers))
    for attempt in range(rule.resample + 1):
        outputs = outputs_of(state, words(attempt))
        rewards = (outputs == answer).astype(np.float64)
        if rewards.min() != rewards.max():
            break
    coefficients = np.zeros(len(logits))
    np.add.at(coefficients, outputs[0], rule.convention(rewards)[0] / rule.group)
    return coefficients


def train_sampled(
    loaded: LoadedModel, batch: AnswerBatch, rule: SampledRule, eta: float, steps: int, seed: int
) -> Floats:
    """Run ``theta <- theta + eta (1/G) sum_g A_g grad log pi(y_g)`` on the model; ``J``, ``(T + 1, n)``."""
    order = uniform_order(batch.shape[0], steps, seed)
    parameters = list(loaded.parameters.values())
    curves = [logistic(log_odds_at(loaded, batch))[0]]
    for step, i in enumerate(order):
        single = batch.prompt(int(i))
        logits = answer_logits(loaded.model, single)[0]
        words = sample_words(rule, 1, step, seed, 0)
        weights = group_coefficients(rule, logits.detach().cpu().numpy(), int(single.correct[0]), words)
        gain = torch.as_tensor(weights, device=logits.device) @ torch.log_softmax(logits, dim=0)
        slopes = torch.autograd.grad(gain, parameters)
        with torch.no_grad():
            for value, slope in zip(parameters, slopes, strict=True):
                value.add_(slope, alpha=eta)
        curves.append(logistic(log_odds_at(loaded, batch))[0])
    return np.array(curves)


def check_sampled(rule: SampledRule, seeds: int) -> Rule:
    """The rule that moves by the expectation of a sampled one.

    Raises:
        InputError: fewer than two seeds, or there is no such rule.
    """
    if seeds < 2:
        raise expected("seeds", seeds, "at least 2, for an interval", "pass --seeds")
    return rule.expected_rule()


def compare_sampled(
    settings: BridgeSettings, rule: SampledRule, seeds: int, progress: Callable[[int], Any] = lambda done: None
) -> SampledComparison:
    """Train the model and its bandit under each seed, and predict their mean.

    Args:
        settings: of the runs; the step size is its eta, or that of exact GRPO's theorem, times eta_scale. Nothing is
            proved about it here: the theorems are about exact rules.
        rule: sampled.
        seeds: R, at least 2: seed, seed + 1, ...
        progress: called with the number of seeds done.

    Raises:
        InputError: fewer than two seeds, or a rule without expected weight.
    """
    weighted = check_sampled(rule, seeds)
    loaded, prompts, batch = prepare(settings)
    problem = answer_gram(loaded, batch).problem(f"{loaded.name} linearised")
    eta = replace(settings, rule=GRPO.name).step_size(GRPO, problem.x_max_sq)
    base = "the step size of exact GRPO's theorem" if settings.eta is None else f"the step size {settings.eta:g}"
    step = f"{settings.eta_scale:g} times {base}; no theorem covers {rule.name}"
    model, bandit, means = [], [], []
    for number in range(seeds):
        seed = settings.seed + number
        with kept_parameters(loaded):
            model.append(train_sampled(loaded, batch, rule, eta, settings.steps, seed))
        bandit.append(simulate(problem, rule, eta, settings.steps, seed=seed, record="full").J)
        means.append(simulate(problem, weighted, eta, settings.steps, seed=seed, record="full").J)
        progress(number + 1)
    names = tuple(prompt.question for prompt in prompts)
    return SampledComparison(names, rule.name, eta, step, np.array(model), np.array(bandit), np.array(means))
