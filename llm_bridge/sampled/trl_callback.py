"""The theory's diagnostics in a run of TRL's GRPOTrainer: how its prompts act on one another, step by step.

The trainer's own backward pass leaves every prompt's LoRA gradient (`sampled.per_prompt`); what is added to a step
are the adapter's weight gradients prompt by prompt and one ``(N, N)`` Gram matrix. The run stays the same to the last
bit.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial, wraps
from time import perf_counter
from typing import Any

import torch
from transformers import TrainerCallback

from llm_bridge.measurement.interaction_measures import interaction_measures
from llm_bridge.sampled.halves import check_halves, measures_of_halves, reward_halves
from llm_bridge.sampled.per_prompt import PerPromptGradients
from theory.advantages import get_convention
from theory.errors import InputError, expected

__all__ = ["TheoryCallback"]

# Key of the tensor that tells, through TRL's shuffling and splitting of a batch, of which prompt a row is.
_PROMPT = "theory_prompt"

# scale_rewards -> the preset whose divisor it is.
_PRESETS = {"group": "trl", "batch": "trl_batch", "none": "no_std"}


class TheoryCallback(TrainerCallback):
    """Logs ``theory/...`` beside the trainer's own metrics, at every ``every``-th optimizer step.

    ::

        trainer = GRPOTrainer(model=..., reward_funcs=..., peft_config=LoraConfig(...), ...)
        trainer.add_callback(TheoryCallback(trainer))
        trainer.train()

    Logged are ``cosine_mean``, ``cosine_std``, ``cosine_small_share``, ``cosine_positive_share``, ``m``, ``m_median``,
    ``no_m_share``, ``r1``, ``r2``, ``pairs`` and ``zero_gradients`` of `llm_bridge.measurement.interaction_measures`;
    ``reward_variance`` and ``reward_std``, means over prompts of the variance and standard deviation within the group
    (the paper's ``V_i`` and its root; TRL's ``reward_std`` is over the whole batch); and ``seconds`` spent here.

    A prompt's gradient is the share of the loss gradient that comes from its group, divided by what the advantages were
    divided by. It is as noisy as G completions make it. With several processes each measures its own prompts, and the
    main one's are logged.

    Args:
        trainer: the ``trl.GRPOTrainer``, with a plain LoRA adapter as its only trainable parameters.
        every: measure at every ``every``-th optimizer step, >= 1.
        split_half: also tell what of the gradients is the noise of sampling, from the two halves of each group: what
            `llm_bridge.sampled.halves.measures_of_halves` returns is logged too. For rewards of 0 and 1.

    Raises:
        InputError: not such a trainer, other parameters are trained, groups are cut or have no halves, or ``every`` is
            below 1.
    """

    def __init__(self, trainer: Any, every: int = 1, *, split_half: bool = False) -> None:
        """See the class."""
        needed = ("_generate_and_score_completions", "_calculate_rewards", "compute_loss", "training_step", "_metrics")
        missing = [name for name in needed if not hasattr(trainer, name)]
        if missing:
            wanted = f"a GRPOTrainer of TRL, which has {', '.join(missing)}"
            raise expected("trainer", type(trainer).__name__, wanted, "pass the trainer; tested with trl 1.16")
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise expected("every", every, "an integer of 1 or more", "1 measures at every step")
        local = trainer.args.per_device_train_batch_size * trainer.args.steps_per_generation
        if local % trainer.num_generations:
            wanted = f"a multiple of num_generations = {trainer.num_generations}"
            raise expected("rows generated per process", local, wanted, "raise per_device_train_batch_size")
        if split_half:
            check_halves(trainer.num_generations)
        self.trainer, self.every = trainer, every
        # Parts of a group that are told apart.
        self._each = 2 if split_half else 1
        # Optimizer steps may take several generation batches; their prompts are numbered through.
        self._batches = max(1, trainer.args.gradient_accumulation_steps // trainer.args.steps_per_generation)
        self._n = local // trainer.num_generations
        self._parts = PerPromptGradients(trainer.model, self._n * self._batches * self._each)
        self._rewards = torch.full((self._n * self._batches, trainer.num_generations), torch.nan)
        self._latest = torch.empty(0)
        self._generated = 0
        self._active = False
        self._seconds = 0.0
        self._originals: dict[str, Callable[..., Any]] = {}
        self._own: frozenset[str] = frozenset()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Listen to the trainer's steps."""
        if not self._originals:
            self._own = frozenset(vars(self.trainer))
            self._wrap("_calculate_rewards", self._on_rewards)
            self._wrap("_generate_and_score_completions", self._on_generation)
            self._wrap("compute_loss", self._on_loss)
            self._wrap("training_step", self._on_training_step)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Leave the trainer as it was."""
        for name, original in self._originals.items():
            if name in self._own:
                setattr(self.trainer, name, original)
            else:
                delattr(self.trainer, name)
        self._originals.clear()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """All backward passes of the step are done: measure, and hand the numbers to the trainer's log."""
        if not self._due():
            return
        start = perf_counter()
        try:
            found = self._measure()
        except InputError as error:
            logging.getLogger(__name__).warning("no diagnostics at step %d: %s", state.global_step, error)
            found = {}
        self._parts.reset()
        self._seconds += perf_counter() - start
        for name, value in {**found, "seconds": self._seconds}.items():
            if value is not None:
                self.trainer._metrics["train"][f"theory/{name}"].append(float(value))
        self._seconds = 0.0

    def _due(self) -> bool:
        return int(self.trainer.state.global_step) % self.every == 0

    def _measure(self) -> dict[str, Any]:
        rewards = self._rewards.double()
        std = _nanstd(rewards, correction=0)
        scored = std[~torch.isnan(std)]
        weights = self._weights(rewards)
        gradients = self._parts.gradients()
        if self._each == 2 and weights is not None and _binary(rewards):
            halves = gradients.view(len(rewards), 2, -1)
            found: Any = measures_of_halves(halves, rewards.numpy(), weights.double().cpu().numpy())
        else:
            whole = gradients.view(len(rewards), self._each, -1).sum(dim=1) if self._each == 2 else gradients
            found = interaction_measures(whole, torch.nan_to_num(std), weights=weights)
        return {**found, "reward_variance": (scored**2).mean(), "reward_std": scored.mean()}

    def _weights(self, rewards: torch.Tensor) -> torch.Tensor | None:
        """``(N,)``, one over what TRL divided each group's centred rewards by; None if that is not one number."""
        if self.trainer.multi_objective_aggregation != "sum_then_normalize":
            return None
        scale = self.trainer.scale_rewards
        convention = get_convention(_PRESETS[scale])
        if scale == "none":
            return torch.ones(len(rewards))
        pooled = rewards if scale == "group" else rewards.view(self._batches, -1)
        std = _nanstd(pooled, convention.ddof).repeat_interleave(len(rewards) // len(pooled))
        return torch.nan_to_num(1 / (std + convention.eps))

    def _on_rewards(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        by_function = original(*args, **kwargs)
        rewards = (by_function * self.trainer.reward_weights.to(by_function)).nansum(dim=1)
        self._latest = rewards.masked_fill(torch.isnan(by_function).all(dim=1), torch.nan).cpu()
        return by_function

    def _on_generation(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        output = original(*args, **kwargs)
        if self.trainer.model.training:
            count = len(output["prompt_ids"])
            first = self._generated % self._batches * self._n
            start = self.trainer.accelerator.process_index * count
            own = self._latest[start : start + count].view(self._n, -1)
            self._rewards[first : first + self._n] = own
            parts = first * self._each + self._parts_of(own)
            output[_PROMPT] = parts.reshape(-1).to(output["prompt_ids"].device)
            self._generated += 1
        return output

    def _parts_of(self, rewards: torch.Tensor) -> torch.Tensor:
        """``(n, G)``, the number of the prompt of every completion, or of the half of its group, from 0."""
        prompts = torch.arange(self._n)[:, None].expand(rewards.shape)
        if self._each == 1:
            return prompts
        second = torch.from_numpy(reward_halves(torch.nan_to_num(rewards).numpy())[:, 1])
        return (2 * prompts).scatter_add(1, second, torch.ones_like(second))

    def _on_loss(self, original: Callable[..., Any], model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        if _PROMPT in inputs and model.training and self._due():
            self._parts.set_rows(inputs[_PROMPT])
            self._parts.__enter__()
            self._active = True
        return original(model, inputs, *args, **kwargs)

    def _on_training_step(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # Generation, which comes first in a training step, runs through the model's own layers; backward does not, as
        # checkpointed layers run forward again in it.
        try:
            return original(*args, **kwargs)
        finally:
            if self._active:
                self._parts.__exit__(None, None, None)
                self._active = False

    def _wrap(self, name: str, around: Callable[..., Any]) -> None:
        """Put ``around`` in the place of a method of this one trainer."""
        self._originals[name] = getattr(self.trainer, name)
        setattr(self.trainer, name, wraps(self._originals[name])(partial(around, self._originals[name])))


def _binary(rewards: torch.Tensor) -> bool:
    return bool(((rewards == 0) | (rewards == 1)).all())


def _nanstd(values: torch.Tensor, correction: int) -> torch.Tensor:
    """Standard deviation of each row's numbers that are not NaN; NaN where there are too few."""
    count = (~torch.isnan(values)).sum(dim=1)
    squares = ((values - values.nanmean(dim=1, keepdim=True)) ** 2).nansum(dim=1)
    return torch.where(count > correction, torch.sqrt(squares / (count - correction)), torch.nan)
