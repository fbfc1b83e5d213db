"""What a sampled run is made of, and the order in which it asks its questions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from llm_bridge.sampled.decoding import Sampling
from simulator.random import ORDER_STREAM, words
from simulator.sampled import SampledRule, get_any_rule
from simulator.schedules import get_schedule
from theory.errors import expected

__all__ = ["GroupSettings", "question_order"]

Order = Literal["epochs", "uniform"]
Optimizer = Literal["sgd", "adamw"]
# What may differ when a run is resumed: more steps, and other memory bounds (which change results by rounding only).
_FREE = ("steps", "rollout_rows", "backward_rows")


@dataclass(frozen=True)
class GroupSettings:
    """A run of a sampled rule; frozen and checked.

    Attributes:
        rule: a sampled rule with its group size, such as ``paper:8``, ``no_std:8``, ``trl:8``, ``dapo:8``.
        steps: number of updates.
        eta: step size (learning rate).
        batch: N, questions of one step.
        temperature, top_p, top_k, max_new_tokens: see :class:`Sampling`; a temperature above 0.
        optimizer: ``sgd`` moves by eta times the gradient, as the theory has it; ``adamw`` rescales every coordinate by
            its own gradient history, and with it whatever a division by the standard deviation does.
        weight_decay: of AdamW.
        order: ``epochs`` goes through all questions in a new random order each time; ``uniform`` draws N different
            ones anew at every step (with N = 1 Algorithms 1 and 2 of the paper).
        max_grad_norm: a longer gradient is shortened to this length; None for never.
        seed: of the order, of all completions, and of the global random states a reward function may use.
        eval_every: measure accuracy on the held-out questions before the first step, after every so many and after the
            last; 0 for never.
        eval_temperature: of these completions; 0 for greedy.
        eval_group: completions for each held-out question.
        rollout_rows: completions that are drawn at once, to bound memory; 0 for all of a step.
        backward_rows: completions in one backward pass, to bound memory; 0 for all of a step.
    """

    rule: str = "paper:8"
    steps: int = 100
    eta: float = 1e-2
    batch: int = 8
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_new_tokens: int = 256
    optimizer: Optimizer = "sgd"
    weight_decay: float = 0.0
    order: Order = "epochs"
    max_grad_norm: float | None = None
    seed: int = 0
    eval_every: int = 0
    eval_temperature: float = 0.0
    eval_group: int = 1
    rollout_rows: int = 0
    backward_rows: int = 0

    def __post_init__(self) -> None:
        """Check the fields; see the class for what holds afterwards.

        Raises:
            InputError: a field is out of range, or the rule is none, is exact, or cannot handle its group size.
        """
        least = {
            "steps": 1,
            "batch": 1,
            "eval_every": 0,
            "eval_group": 1,
            "rollout_rows": 0,
            "backward_rows": 0,
            "seed": 0,
        }
        for name, low in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 2**63:
                raise expected(_shown(name), value, f"an integer from {low} on", "correct it")
        for name in ("eta", "temperature", "max_grad_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise expected(_shown(name), value, "a finite number above 0", "correct it")
        if not 0 <= self.weight_decay < float("inf") or (self.weight_decay and self.optimizer == "sgd"):
            wanted = "0, or a positive number with the optimizer adamw"
            raise expected("weight-decay", self.weight_decay, wanted, "leave it out")
        for name, allowed in (("optimizer", get_args(Optimizer)), ("order", get_args(Order))):
            if getattr(self, name) not in allowed:
                raise expected(name, getattr(self, name), f"one of {', '.join(allowed)}", "choose one of these")
        _ = self.sampling, self.eval_sampling, self.sampled_rule

    @property
    def sampled_rule(self) -> SampledRule:
        """The rule: its convention, G, and how often groups without variance are drawn again."""
        rule = _rule(self.rule)
        if not isinstance(rule, SampledRule):
            remedy = "exact rules are for finite answer sets: whynorm bridge run"
            raise expected("rule", self.rule, "a sampled rule with its group size, such as paper:8 or no_std:8", remedy)
        return rule

    @property
    def group(self) -> int:
        """G."""
        return self.sampled_rule.group

    @property
    def sampling(self) -> Sampling:
        """How completions are drawn for training."""
        return Sampling(self.temperature, self.top_p, self.top_k, self.max_new_tokens)

    @property
    def eval_sampling(self) -> Sampling:
        """How completions are drawn for evaluation."""
        return Sampling(self.eval_temperature, max_new_tokens=self.max_new_tokens)

    def identity(self) -> dict[str, Any]:
        """The settings on which a run's course depends: all of them but the number of steps and the memory bounds."""
        return {name: value for name, value in asdict(self).items() if name not in _FREE}


def question_order(settings: GroupSettings, n: int) -> npt.NDArray[np.int64]:
    """Numbers of the questions of every step, int64 ``(steps, N)``; more steps continue the same order.

    ``uniform`` is the simulator's schedule ``minibatch:N``. ``epochs`` lays permutations of all n questions end to end,
    permutation e sorting the words ``e n .. e n + n - 1`` of the order stream of the seed, and cuts the row into steps.

    Raises:
        InputError: ``uniform`` with more than n questions a step.
    """
    steps, batch, seed = settings.steps, settings.batch, settings.seed
    if settings.order == "uniform":
        return get_schedule(f"minibatch:{batch}").draws(n, steps, seed)
    epochs = -(-steps * batch // n)
    keys = words(seed, 0, epochs * n, stream=ORDER_STREAM).reshape(epochs, n)
    return np.argsort(keys, axis=1, kind="stable").reshape(-1)[: steps * batch].reshape(steps, batch)


# A run asks for its rule several times a step.
_rule = lru_cache(maxsize=16)(get_any_rule)


def _shown(name: str) -> str:
    return name.replace("_", "-")
