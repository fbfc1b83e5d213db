"""The experiment of section 4.4: std against no_std on easy and hard prompts, paired over seeds.

Dividing by the standard deviation multiplies a step by ``1 / sqrt(p q) >= 2``, so whether it helps depends on what it
is compared with. One run of std serves four comparisons; no_std runs with the step size of std times

    same      1: the same learning rate, as in the paper
    theorem   2: each rule at the same multiple of its own theorem's step, 1 / (2 X^2) and 1 / X^2
    best      3 sqrt(3) / 2: each at the same multiple of the best step size that is proved (X-SHARP)
    matched   the ratio at which the first steps are as long on average

``theorem`` and ``best`` are for exact mode only: of sampled groups no step size is proved.

A seed draws the prompts of the part, the adapter's A and the prompt order, all of them the same for every rule. Every
run is one file, named by pairing and seed in the folder of its part, so that a killed experiment goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm_bridge.asking.finite_sets import exact_prompts
from llm_bridge.asking.pass_rates import exact_batch
from llm_bridge.asking.questions import Question, Task, get_task
from llm_bridge.asking.split import questions_digest
from llm_bridge.experiments.normalisation_run import (
    Curve,
    exact_curve,
    linearised,
    matched_ratio,
    predicted_curve,
    sampled_curve,
)
from llm_bridge.experiments.normalisation_settings import PAIRINGS, Experiment
from llm_bridge.models import LoadedModel, LoraSettings, load_model
from llm_bridge.policies import AnswerBatch
from simulator.files import prepare_directory, write_json
from simulator.problems import Problem, load_problem
from simulator.random import FEATURE_STREAM, generator
from theory.errors import expected
from theory.rules import Rule

__all__ = ["Key", "Runs", "draw_questions", "run_experiment"]

# What may be another when an experiment goes on: each run has a file of its own.
_FREE = ("seeds", "pairings")
# Part, ``std`` or the pairing of a no_std run, seed.
Key = tuple[str, str, int]


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
    pools = _pools(experiment, tokenizer, experiment.form)
    for pool in pools.values():
        exact_prompts(draw_questions(pool.questions, experiment.n, 0))
    _claim(out, experiment, pools, tokenizer)
    runs = Runs(experiment)
    # Seeds outside: an unfinished experiment has as many seeds of one part as of another.
    for seed in range(experiment.seeds):
        for part, pool in pools.items():
            drawn = replace(pool, questions=tuple(draw_questions(pool.questions, experiment.n, seed)))
            _one_seed(runs, out / part, part, drawn, seed)
            progress(len(runs.curves))
    return runs


def _pools(experiment: Experiment, tokenizer: Any, form: str) -> dict[str, Task]:
    """The questions of each part, put in a form."""
    return {part: get_task(task, tokenizer=tokenizer, form=form) for part, task in experiment.parts.items()}


def _forms(pools: Mapping[str, Task]) -> dict[str, str]:
    return {part: pool.form for part, pool in pools.items()}


def _claim(out: Path, experiment: Experiment, pools: Mapping[str, Task], tokenizer: Any) -> None:
    """Write ``experiment.json``, or refuse a directory that belongs to another experiment.

    More seeds or pairings than before are no other experiment: the earlier runs are kept. Of the form, what counts is
    how the questions of each part are put in the end, whether it was named or not.
    """
    names = {part: [question.name for question in pool.questions] for part, pool in pools.items()}
    digests = {part: questions_digest(pool) for part, pool in pools.items()}
    named = {**asdict(experiment), "form": _forms(pools)}
    content = json.loads(json.dumps({**named, "questions": names, "digests": digests}))
    path = out / "experiment.json"
    if path.exists():
        try:
            found = json.loads(path.read_text())
            if "form" not in found:
                # Earlier versions knew none but this.
                found["form"] = _forms(_pools(experiment, tokenizer, "auto"))
            # And no digests.
            found = {"digests": content["digests"], **found, **{key: content[key] for key in _FREE}}
            differing = [key for key in content if found.get(key) != content[key]]
        except (OSError, ValueError, TypeError):
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
    return loaded, exact_batch(loaded, task.questions)


def _problem(experiment: Experiment, task: Task, seed: int, path: Path) -> Problem:
    """The linearised model, measured once and kept."""
    if not path.exists():
        linearised(*_fresh(experiment, task, seed)).save(path)
    return load_problem(path)
