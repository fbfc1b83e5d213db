"""The settings of the sources' own experiments, as far as they are printed, each with its place.

The sources print little: no learning rate, no batch size, no optimizer, no sampling temperature, no length, and the
paper no group size. A value that is not printed is None here, and never a guess; a command that needs it takes its own
default and says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

from llm_bridge.models import LoraSettings
from theory.errors import expected

__all__ = ["PRESETS", "Preset", "Printed", "get_preset"]

T = TypeVar("T")


@dataclass(frozen=True)
class Printed(Generic[T]):
    """A value and its place in the source; value None: the source does not print it, and place says what it does."""

    value: T | None
    place: str


NOT_PRINTED = "not printed"


@dataclass(frozen=True)
class Preset:
    """One experiment's settings.

    Attributes:
        name: ``paper`` or ``talk``.
        model: id on the hub.
        lora: rank, alpha and layers of the adapter; dropout and seed are not printed.
        group: generations per prompt, G.
        steps: number of training iterations.
        kl: weight of a KL penalty.
        on_policy: whether each batch of samples is used for one update only.
        advantages: the two that are compared.
        tasks: the training sets.
        evaluator: the model whose answers split GSM8K into easy and hard.
        easy, hard: sizes of that split.
        metric: what is reported.
        cosine_prompts: number of prompts whose gradients' cosines are followed.
        cosine_steps: the checkpoints where that is done.
        hidden_pairs: number of pairs of questions whose hidden states are compared.
        learning_rate, optimizer, batch, temperature, max_new_tokens, seeds: not printed in either source.
    """

    name: str
    model: Printed[str]
    lora: Printed[LoraSettings]
    group: Printed[int]
    steps: Printed[int]
    kl: Printed[float]
    on_policy: Printed[bool]
    advantages: Printed[tuple[str, str]]
    tasks: Printed[tuple[str, ...]]
    evaluator: Printed[str]
    easy: Printed[int]
    hard: Printed[int]
    metric: Printed[str]
    cosine_prompts: Printed[int]
    cosine_steps: Printed[tuple[int, ...]]
    hidden_pairs: Printed[int]
    learning_rate: Printed[float] = Printed(None, NOT_PRINTED)
    optimizer: Printed[str] = Printed(None, NOT_PRINTED)
    batch: Printed[int] = Printed(None, NOT_PRINTED)
    temperature: Printed[float] = Printed(None, NOT_PRINTED)
    max_new_tokens: Printed[int] = Printed(None, NOT_PRINTED)
    seeds: Printed[int] = Printed(None, NOT_PRINTED)

    def printed(self) -> Iterator[tuple[str, Printed[object]]]:
        """Every setting with its name, in order."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Printed):
                yield field.name, value

    @property
    def unprinted(self) -> tuple[str, ...]:
        """The names of the settings that the source does not print."""
        return tuple(name for name, setting in self.printed() if setting.value is None)


_MODEL = "Qwen/Qwen2.5-Math-1.5B"
_SPLIT = "paper, 4.4 and G.1; talk, Dataset Stratification"

PRESETS: dict[str, Preset] = {
    "paper": Preset(
        name="paper",
        model=Printed(_MODEL, "paper, 4.4 and G.3: Qwen2.5-Math-1.5B"),
        lora=Printed(LoraSettings(r=64, alpha=128), "paper, G.3: all linear layers, rank 64, alpha 128"),
        group=Printed(None, NOT_PRINTED),
        steps=Printed(500, "paper, Figures 3 and 5: iterations 0 to 500"),
        kl=Printed(0.0, "paper, Remark 2.1: the unregularized objective"),
        on_policy=Printed(True, "paper, 2.1, and Algorithm 2: on-policy"),
        advantages=Printed(("standard", "no_std"), "paper, 4.4: (r - mean) / std and r - mean"),
        tasks=Printed(("GSM8K-Easy", "GSM8K-Hard", "MATH Level 2"), "paper, 4.4, F.3 and G.1"),
        evaluator=Printed("Qwen/Qwen2-7B-Instruct", "paper, 4.4, G.1 and G.3: Qwen2-7B-Instruct"),
        easy=Printed(4695, _SPLIT),
        hard=Printed(1909, _SPLIT),
        metric=Printed("sample accuracy", "paper, 4.4; G.2 calls it equivalent to greedy pass@1"),
        cosine_prompts=Printed(100, "paper, F.1 and Table 3: 100 questions of GSM8K, 4,950 pairs"),
        cosine_steps=Printed((0, 260, 500), "paper, F.1 and Table 3"),
        hidden_pairs=Printed(1000, "paper, 4.1: 1,000 pairs of distinct questions, penultimate layer"),
    ),
    "talk": Preset(
        name="talk",
        model=Printed(_MODEL, "talk, Model Configuration: Qwen2.5-Math-1.5B"),
        lora=Printed(LoraSettings(r=16, alpha=32), "talk, Model Configuration: rank 16, alpha 32; layers not printed"),
        group=Printed(8, "talk, Model Configuration: K = 8 generations per prompt"),
        steps=Printed(None, NOT_PRINTED),
        kl=Printed(None, NOT_PRINTED),
        on_policy=Printed(None, NOT_PRINTED),
        advantages=Printed(("std", "no_std"), "talk, Normalization Variants"),
        tasks=Printed(("GSM8K-Easy", "GSM8K-Hard"), "talk, Dataset Stratification"),
        evaluator=Printed(None, "not printed; difficulty is defined by solution complexity"),
        easy=Printed(4695, _SPLIT),
        hard=Printed(1909, _SPLIT),
        metric=Printed("accuracy", "talk, GSM8K Results"),
        cosine_prompts=Printed(None, NOT_PRINTED),
        cosine_steps=Printed(None, NOT_PRINTED),
        hidden_pairs=Printed(None, NOT_PRINTED),
    ),
}


def get_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        InputError: there is none.
    """
    if name not in PRESETS:
        raise expected("preset", name, f"one of {', '.join(PRESETS)}", "leave it out for whynorm's own settings")
    return PRESETS[name]
