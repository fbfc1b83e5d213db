"""What the normalisation experiment runs: model, parts, rules, step sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from llm_bridge.chat import FORMS
from llm_bridge.sampled.group_settings import GroupSettings
from simulator.sampled import SampledRule, get_any_rule
from theory.errors import expected
from theory.rules import Rule

__all__ = ["PAIRINGS", "PROVED", "Experiment", "Mode", "pairings_of"]

Mode = Literal["exact", "sampled"]

# Step size of no_std over that of std; None is measured.
PAIRINGS: dict[str, float | None] = {"same": 1.0, "theorem": 2.0, "best": 27**0.5 / 2, "matched": None}
# Those that stand for step sizes of theorems, which are about exact rules.
PROVED = ("theorem", "best")


def pairings_of(mode: Mode) -> tuple[str, ...]:
    """The pairings that mean something in a mode: of sampled rules no step size is proved."""
    return tuple(label for label in PAIRINGS if mode == "exact" or label not in PROVED)


@dataclass(frozen=True)
class Experiment:
    """What the experiment runs.

    Attributes:
        model: name of the model.
        parts: name of each part and the task it consists of.
        n: prompts drawn from the part for each seed.
        steps: updates T.
        every: steps between two looks.
        eta: step size of std.
        seeds: number of seeds, 0 .. seeds - 1.
        pairings: which of ``PAIRINGS``; in sampled mode none of ``PROVED``.
        dtype: of the base model.
        mode: ``exact`` (Algorithms 1 and 2) or ``sampled`` (group advantages of G completions).
        group, batch, max_new_tokens: in sampled mode, G, prompts of a step, and the longest completion.
        form: how questions are put, in both modes and to whatever J is measured by; see ``asking.questions.get_task``.

    Raises:
        InputError: a number is out of range, there is no such form, or a pairing is unknown or of no meaning in the
            mode.
    """

    model: str
    parts: Mapping[str, str]
    n: int = 8
    steps: int = 160
    every: int = 4
    eta: float = 2e-3
    seeds: int = 10
    pairings: tuple[str, ...] = tuple(PAIRINGS)
    dtype: str = "float64"
    mode: Mode = "exact"
    group: int = 8
    batch: int = 1
    max_new_tokens: int = 6
    form: str = "auto"

    def __post_init__(self) -> None:
        """Check the fields; see the class for what holds afterwards."""
        for name, least in (("n", 1), ("steps", 1), ("every", 1), ("seeds", 2)):
            if getattr(self, name) < least:
                raise expected(name, getattr(self, name), f"at least {least}", "raise it")
        if not 0 < self.eta < float("inf"):
            raise expected("eta", self.eta, "a finite number above 0", "0.002 suits tiny")
        if not self.parts:
            raise expected("parts", {}, "at least one NAME=TASK", "e.g. hard=arithmetic:product")
        if self.form not in FORMS:
            raise expected("form", self.form, f"one of {', '.join(FORMS)}", "choose one of these")
        _check_pairings(self.pairings, self.mode)
        for label in ("std", "no_std"):
            self.rule(label)
        if self.mode == "exact" and self.batch != 1:
            raise expected("batch", self.batch, "1 in exact mode", "Algorithms 1 and 2 move one prompt a step")
        if self.batch > self.n:
            raise expected("batch", self.batch, f"at most n = {self.n}", "lower it")

    def rule(self, label: str) -> Rule | SampledRule:
        """The rule of ``std``, and of ``no_std`` or any pairing."""
        exact, sampled = ("grpo", "paper") if label == "std" else ("reinforce", "no_std")
        return get_any_rule(exact if self.mode == "exact" else f"{sampled}:{self.group}")

    def expected_rule(self, label: str) -> Rule:
        """The same as an exact rule."""
        rule = self.rule(label)
        return rule.expected_rule() if isinstance(rule, SampledRule) else rule

    @property
    def schedule(self) -> str:
        """The simulator's name for the order of prompts."""
        return "uniform" if self.mode == "exact" else f"minibatch:{self.batch}"

    def settings(self, label: str, eta: float, seed: int) -> GroupSettings:
        """Of a run in sampled mode."""
        return GroupSettings(
            rule=self.rule(label).name,
            steps=self.steps,
            eta=eta,
            batch=self.batch,
            max_new_tokens=self.max_new_tokens,
            order="uniform",
            seed=seed,
        )


def _check_pairings(pairings: tuple[str, ...], mode: Mode) -> None:
    unknown = [name for name in pairings if name not in PAIRINGS]
    if unknown or not pairings:
        raise expected("pairing", unknown, f"some of {', '.join(PAIRINGS)}", "pick from those")
    unproved = [name for name in pairings if name not in pairings_of(mode)]
    if unproved:
        wanted = f"some of {', '.join(pairings_of(mode))} in {mode} mode: no step size of sampled groups is proved"
        raise expected("pairing", unproved, wanted, "leave them out, or use --mode exact")
