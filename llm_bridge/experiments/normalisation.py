"""The experiment of section 4.4: std against no_std on easy and hard prompts, paired over seeds.

Dividing by the standard deviation multiplies a step by ``1 / sqrt(p q) >= 2``, so whether it helps depends on what it
is compared with. One run of std serves four comparisons; no_std runs with the step size of std times

    same      1: the same learning rate, as in the paper
    theorem   2: each rule at the same multiple of its own theorem's step, 1 / (2 X^2) and 1 / X^2
    best      3 sqrt(3) / 2: each at the same multiple of the best step size that is proved (X-SHARP)
    matched   the ratio at which the first steps are as long on average

A seed draws the prompts of the part, the adapter's A and the prompt order, all of them the same for every rule. Every
run is one file, named by pairing and seed in the folder of its part, so that a killed experiment goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from llm_bridge.asking.finite_sets import exact_prompts
from llm_bridge.asking.questions import Question, Task, get_task
from llm_bridge.experiments.normalisation_run import (
    Curve,
    exact_curve,
    linearised,
    matched_ratio,
    predicted_curve,
    sampled_curve,
)
from llm_bridge.models import LoadedModel, LoraSettings, load_model
from llm_bridge.policies import AnswerBatch
from llm_bridge.sampled.group_settings import GroupSettings
from simulator.files import prepare_directory, write_json
from simulator.problems import Problem, load_problem
from simulator.random import FEATURE_STREAM, generator
from simulator.sampled import SampledRule, get_any_rule
from theory.errors import expected
from theory.rules import Rule

__all__ = ["PAIRINGS", "Experiment", "Runs", "draw_questions", "run_experiment"]

# Step size of no_std over that of std; None is measured.
PAIRINGS: dict[str, float | None] = {"same": 1.0, "theorem": 2.0, "best": 27**0.5 / 2, "matched": None}


# Part, ``std`` or the pairing of a no_std run, seed.
Key = tuple[str, str, int]


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
        pairings: which of ``PAIRINGS``.
        dtype: of the base model.
        mode: ``exact`` (Algorithms 1 and 2) or ``sampled`` (group advantages of G completions).
        group, batch, max_new_tokens: in sampled mode, G, prompts of a step, and the longest completion.

    Raises:
        InputError: a number is out of range, or a pairing is unknown.
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
    mode: Literal["exact", "sampled"] = "exact"
    group: int = 8
    batch: int = 1
    max_new_tokens: int = 6

    def __post_init__(self) -> None:
        """Check the fields; see the class for what holds afterwards."""
        for name, least in (("n", 1), ("steps", 1), ("every", 1), ("seeds", 2)):
            if getattr(self, name) < least:
                raise expected(name, getattr(self, name), f"at least {least}", "raise it")
        if not 0 < self.eta < float("inf"):
            raise expected("eta", self.eta, "a finite number above 0", "0.002 suits tiny")
        if not self.parts:
            raise expected("parts", {}, "at least one NAME=TASK", "e.g. hard=arithmetic:product")
        unknown = [name for name in self.pairings if name not in PAIRINGS]
        if unknown or not self.pairings:
            raise expected("pairing", unknown, f"some of {', '.join(PAIRINGS)}", "pick from those")
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


@dataclass(frozen=True)
class Runs:
    """All runs of an experiment: learning curves, those of the linearised models, step sizes, and their X_max^2."""

    experiment: Experiment
    curves: dict[Key, Curve] = field(default_factory=dict)
    predicted: dict[Key, Curve] = field(default_factory=dict)
    etas: dict[Key, float] = field(default_factory=dict)
    x_max_sq: dict[tuple[str, int], float] = field(default_factory=dict)


def draw_questions(questions: Sequence[Question], n: int, seed: int) -> list[Question]:
    """n different questions, in their order, drawn by the seed.

    Raises:
        InputError: there are fewer.
    """
    if n > len(questions):
        raise expected("n", n, f"at most {len(questions)}, the questions of the part", "lower it or widen the part")
    chosen = generator(seed, stream=FEATURE_STREAM).choice(len(questions), n, replace=False)
    return [questions[index] for index in sorted(chosen)]


def run_experiment(experiment: Experiment, out: Path, progress: Callable[[int], Any] = lambda done: None) -> Runs:
    """Run what is not yet there, and return all runs.

    Args:
        experiment: what to run.
        out: directory; holds ``experiment.json`` and a folder of runs for each part.
        progress: called with the number of runs done.

    Raises:
        InputError: the directory belongs to another experiment, or a part has too few questions.
    """
    torch.set_num_threads(1)  # Results must not depend on the number of threads.
    prepare_directory(out)
    tokenizer = load_model(experiment.model, dtype=experiment.dtype).tokenizer
    pools = {part: get_task(task, tokenizer=tokenizer) for part, task in experiment.parts.items()}
    for pool in pools.values():
        exact_prompts(draw_questions(pool.questions, experiment.n, 0))
    _claim(out, experiment, pools)
    runs = Runs(experiment)
    # Seeds outside: an unfinished experiment has as many seeds of one part as of another.
    for seed in range(experiment.seeds):
        for part, pool in pools.items():
            drawn = replace(pool, questions=tuple(draw_questions(pool.questions, experiment.n, seed)))
            _one_seed(runs, out / part, part, drawn, seed)
            progress(len(runs.curves))
    return runs


def _claim(out: Path, experiment: Experiment, pools: Mapping[str, Task]) -> None:
    """Write ``experiment.json``, or refuse a directory that belongs to another experiment.

    More seeds than before are no other experiment: the earlier ones are kept.
    """
    names = {part: [question.name for question in pool.questions] for part, pool in pools.items()}
    content = json.loads(json.dumps({**asdict(experiment), "questions": names}))
    path = out / "experiment.json"
    if path.exists():
        try:
            found = json.loads(path.read_text())
            differing = [key for key in content if key != "seeds" and found.get(key) != content[key]]
        except (OSError, ValueError, AttributeError):
            differing = ["experiment.json"]
        if differing:
            remedy = "choose another directory, or the same settings to go on"
            raise expected("output directory", str(out), f"that of this experiment; {differing[0]} differs", remedy)
    write_json(path, content)


def _one_seed(runs: Runs, folder: Path, part: str, task: Task, seed: int) -> None:
    """All runs of one part and seed: std, and no_std in every pairing."""
    experiment = runs.experiment
    prepare_directory(folder)
    problem = _problem(experiment, task, seed, folder / f"bandit-{seed}.npz")
    runs.x_max_sq[part, seed] = problem.x_max_sq
    for label in ("std", *experiment.pairings):
        key = (part, label, seed)
        eta = experiment.eta * (1.0 if label == "std" else _ratio(experiment, label, problem))
        path = folder / f"{label}-{seed}.npz"
        if not path.exists():
            _curve(experiment, label, eta, task, seed).save(path)
        runs.etas[key], runs.curves[key] = eta, Curve.load(path)
        # A step far too large for the bandit overflows; its curve is then NaN, which is what there is to say.
        with np.errstate(all="ignore"):
            runs.predicted[key] = predicted_curve(
                problem, experiment.rule(label), eta, experiment.steps, experiment.every, seed, experiment.schedule
            )


def _ratio(experiment: Experiment, label: str, problem: Problem) -> float:
    """Step size of no_std over that of std."""
    fixed = PAIRINGS[label]
    if fixed is not None:
        return fixed
    return matched_ratio(problem, experiment.expected_rule("std"), experiment.expected_rule("no_std"))


def _curve(experiment: Experiment, label: str, eta: float, task: Task, seed: int) -> Curve:
    """Run the model."""
    loaded, batch = _fresh(experiment, task, seed)
    rule = experiment.rule(label)
    if isinstance(rule, Rule):
        return exact_curve(loaded, batch, rule, eta, experiment.steps, experiment.every, seed)
    return sampled_curve(loaded, task, batch, experiment.settings(label, eta, seed), experiment.every)


def _fresh(experiment: Experiment, task: Task, seed: int) -> tuple[LoadedModel, AnswerBatch]:
    """The model before its first step, with the seed's adapter, and the questions as it reads them."""
    loaded = load_model(experiment.model, dtype=experiment.dtype, lora=LoraSettings(seed=seed))
    prompts = exact_prompts(task.questions)
    return loaded, AnswerBatch.of(prompts, loaded.tokenizer)


def _problem(experiment: Experiment, task: Task, seed: int, path: Path) -> Problem:
    """The linearised model, measured once and kept."""
    if not path.exists():
        linearised(*_fresh(experiment, task, seed)).save(path)
    return load_problem(path)
