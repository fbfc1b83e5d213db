"""A bridge run: choose prompts, measure the model's geometry, train it, and run its linearisation beside it.

The linearisation (surrogate) is the bandit with the model's own Gram matrix and logits; it runs in the simulator with
the same rule, step size and prompt order, so that the two learning curves can be laid over each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from llm_bridge.bars import Progress, no_progress
from llm_bridge.measures import Geometry, measure_geometry
from llm_bridge.models import LoadedModel, LoraSettings, load_model
from llm_bridge.policies import AnswerBatch, answer_logits, log_odds, p_and_q
from llm_bridge.tasks import KINDS, Prompt, arithmetic_prompts, prompts_from_names, spread_prompts
from llm_bridge.training import train
from llm_bridge.weights.adapters import load_adapter
from simulator.records import Record
from simulator.reference import simulate
from theory.errors import expected
from theory.rules import Rule, get_rule

__all__ = ["BridgeRun", "BridgeSettings", "choose_prompts", "prepare", "run_bridge"]

# How many prompts of each kind are scored when prompts are chosen by difficulty.
_POOL = 40
# How many prompts are scored at once.
_AT_ONCE = 16


@dataclass(frozen=True)
class BridgeSettings:
    """What a bridge run is made of.

    Attributes:
        model: a name of ``llm_bridge.weights.catalogue``.
        rule: name of the update rule.
        prompts: names such as ``3+5``; empty to choose ``n`` of them by difficulty.
        n: number of prompts to choose.
        low, high: range of success probabilities to choose from.
        eta: step size; None for the theorem's own.
        eta_scale: multiplies the step size.
        steps: number of updates.
        seed: of the prompt order.
        dtype: ``float64``, ``float32``, ``bfloat16``, or ``auto``: float64 for ``tiny``, float32 for others.
        device: where the model computes.
        form: how prompts are put to the model, see ``AnswerBatch.of``.
        lora: adapter; None for ``LoraSettings()``.
        adapter: file or folder of a saved one, whose numbers it gets before anything is asked.
        checkpointing: compute layers again in the backward pass, to save memory.
    """

    model: str = "tiny"
    rule: str = "grpo"
    prompts: tuple[str, ...] = ()
    n: int = 6
    low: float = 0.03
    high: float = 0.9
    eta: float | None = None
    eta_scale: float = 1.0
    steps: int = 60
    seed: int = 0
    dtype: str = "auto"
    device: str = "cpu"
    form: str = "auto"
    lora: LoraSettings | None = None
    adapter: Path | None = None
    checkpointing: bool = False

    def load(self) -> LoadedModel:
        """The model that these settings name, with the saved adapter if there is one.

        Raises:
            InputError: there is no such model, or the adapter is not one of it.
        """
        loaded = load_model(
            self.model,
            lora=self.lora,
            dtype=("float64" if self.model == "tiny" else "float32") if self.dtype == "auto" else self.dtype,
            device=self.device,
            checkpointing=self.checkpointing,
        )
        if self.adapter is not None:
            loaded = load_adapter(loaded, self.adapter)
        return loaded

    def step_size(self, rule: Rule, x_max_sq: float) -> float:
        """The step size that these settings mean for a model with this ``X_max^2``.

        Raises:
            InputError: no theorem covers the rule and no eta is given, or eta_scale is not positive.
        """
        if not 0 < self.eta_scale < float("inf"):
            raise expected("eta-scale", self.eta_scale, "a finite number above 0", "1 is the theorem's step size")
        if self.eta is None and rule.step_size is None:
            raise expected("eta", None, f"a step size, as no theorem of the sources covers {rule.name}", "pass --eta")
        base = self.eta if self.eta is not None else float(rule.step_size(x_max_sq))  # type: ignore[misc]
        return base * self.eta_scale


@dataclass(frozen=True)
class BridgeRun:
    """A model's run and its linearisation's run, with the geometry both started from."""

    settings: BridgeSettings
    prompts: tuple[str, ...]
    form: str
    geometry: Geometry
    model: Record
    surrogate: Record


def choose_prompts(
    loaded: LoadedModel, n: int, low: float, high: float, form: str = "auto", progress: Progress = no_progress
) -> tuple[Prompt, ...]:
    """n arithmetic prompts whose success probabilities run from ``low`` to ``high``, evenly in log-odds.

    The probabilities are those of the model as it stands, with whatever its adapter holds.

    Raises:
        InputError: n, the range or the form is not usable.
    """
    pool = [prompt for kind in KINDS for prompt in arithmetic_prompts(kind, limit=_POOL)]
    p: list[float] = []
    with torch.no_grad(), progress("scoring prompts to choose from", len(pool)) as tick:
        for start in range(0, len(pool), _AT_ONCE):
            some = pool[start : start + _AT_ONCE]
            batch = AnswerBatch.of(some, loaded.tokenizer, form=form, device=loaded.device)
            p += p_and_q(log_odds(answer_logits(loaded.model, batch), batch.correct))[0].tolist()
            tick(len(p))
    return spread_prompts(pool, p, n, low=low, high=high)


def prepare(
    settings: BridgeSettings, progress: Progress = no_progress
) -> tuple[LoadedModel, tuple[Prompt, ...], AnswerBatch]:
    """Load the model and tokenise the prompts."""
    torch.set_num_threads(1)  # Two threads that share a busy core wait for each other; results must not depend on it.
    loaded = settings.load()
    if settings.prompts:
        prompts = prompts_from_names(settings.prompts)
    else:
        prompts = choose_prompts(loaded, settings.n, settings.low, settings.high, settings.form, progress)
    return loaded, prompts, AnswerBatch.of(prompts, loaded.tokenizer, form=settings.form, device=loaded.device)


def run_bridge(settings: BridgeSettings, progress: Progress = no_progress) -> BridgeRun:
    """Measure, train, and run the linearisation with the same rule, step size and prompt order.

    Raises:
        InputError: unknown model, rule or prompt, or a step size or number of steps out of range.
    """
    rule = get_rule(settings.rule)
    loaded, prompts, batch = prepare(settings, progress)
    with progress("per-answer gradients, prompts", len(prompts)) as tick:
        geometry = measure_geometry(loaded, batch, tick)
    x_max_sq, steps, seed = geometry.x_max_sq, settings.steps, settings.seed
    eta = settings.step_size(rule, x_max_sq)
    with progress(f"{settings.rule} on {settings.model}", steps) as tick:
        record = train(loaded, batch, rule, eta, steps, x_max_sq=x_max_sq, seed=seed, progress=tick)
    surrogate = simulate(geometry.surrogate, rule, eta, steps, seed=seed, record="full")
    return BridgeRun(settings, tuple(prompt.question for prompt in prompts), batch.form, geometry, record, surrogate)
