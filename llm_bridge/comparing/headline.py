"""``whynorm bridge compare``: everything that sets the theory beside one model, in one training run and its branches.

One run by an exact rule gives predictions (``comparison``), step-size gaps at its start, middle and end (``step_gap``),
and what Tables 1 and 3 are about at every anchor. Beside it go runs under the state-dependent step sizes
(``directional_runs``) and, if asked for, groups of sampled answers (``sampled_comparison``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from llm_bridge.comparing.comparison import PERIODS, TOLERANCE, Comparison, compare_run
from llm_bridge.comparing.directional_runs import StepRuleRun, step_rule_runs
from llm_bridge.comparing.sampled_comparison import SampledComparison, check_sampled, compare_sampled
from llm_bridge.comparing.step_gap import StepGap, measure_gap
from llm_bridge.costs import Costs
from llm_bridge.experiment import BridgeSettings
from llm_bridge.measurement.fisher import fisher_against_variance, fisher_traces
from llm_bridge.measurement.gram import AnswerGram
from llm_bridge.measurement.hidden_states import hidden_cosines, hidden_states
from llm_bridge.measurement.interactions import interactions
from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch
from simulator.reference import simulate
from simulator.sampled import SampledRule, get_any_rule
from theory.cosines import cosine_statistics, gradient_cosines
from theory.errors import InputError, expected
from theory.rules import Rule, get_rule

__all__ = ["CompareOptions", "Headline", "amounts", "compare"]


@dataclass(frozen=True)
class CompareOptions:
    """What to compare.

    Attributes:
        periods: steps between anchors.
        tolerance: error in a success probability from which a prediction counts as broken.
        checkpoints: how many step-size gaps: 0 none, 1 at the start, 2 also at the end, 3 also in the middle.
        whole: also the mean over the prompts and whole epochs.
        step_rule_steps: updates of the runs under state-dependent step sizes; 0 for none.
        sampled: a sampled rule, e.g. ``paper:8``; empty for none.
        seeds: of the sampled runs.
        sampled_steps: updates of each.
        resamples: of every interval.
    """

    periods: tuple[int, ...] = PERIODS
    tolerance: float = TOLERANCE
    checkpoints: int = 3
    whole: bool = True
    step_rule_steps: int = 0
    sampled: str = ""
    seeds: int = 6
    sampled_steps: int = 24
    resamples: int = 999


@dataclass(frozen=True, eq=False)
class Headline:
    """What was found; ``cost`` is that of each part, see ``compare`` and ``llm_bridge.costs``."""

    comparison: Comparison
    gaps: tuple[StepGap, ...] = ()
    step_rules: tuple[StepRuleRun, ...] = ()
    sampled: SampledComparison | None = None
    measured: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, dict[str, Any]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "comparison": self.comparison.to_json(),
            "gaps": [gap.to_json() for gap in self.gaps],
            "step_rules": [run.to_json() for run in self.step_rules],
            "sampled": None if self.sampled is None else self.sampled.to_json(),
            "measured": self.measured,
            "cost": self.cost,
        }


def amounts(settings: BridgeSettings, options: CompareOptions) -> dict[str, int]:
    """How much of each part :func:`compare` reports in all: steps, prompts of each gap, steps, seeds.

    Raises:
        InputError: checkpoints out of range.
    """
    looks = len(_looks(options.checkpoints, settings.steps))
    return {
        "run": settings.steps,
        "gaps": looks * _units_of_gap(len(settings.prompts) or settings.n, options),
        "step rules": 3 * options.step_rule_steps,
        "sampled": options.seeds if options.sampled else 0,
    }


def _units_of_gap(n: int, options: CompareOptions) -> int:
    return n + options.whole


def compare(
    settings: BridgeSettings,
    options: CompareOptions,
    progress: Callable[[str, int], Any] = lambda part, done: None,
    known: Callable[[Headline], Any] = lambda headline: None,
) -> Headline:
    """Run and measure all of it.

    Args:
        settings: of the run; the rule is exact.
        options: what to compare.
        progress: called with the name of a part (``run``, ``gaps``, ``step rules``, ``sampled``) and how much of it
            is done, see :func:`amounts`.
        known: called with what is known after each part, so that it can be kept if a later one is cut off.

    Returns:
        All of it, with the cost of ``run`` (the prompts' choice and the predictions in it), of the Gram matrices at its
        anchors (``gram``, with the ``bytes`` of rows held at most), of what is ``measured`` there, of ``gaps``,
        ``step rules`` and ``sampled``.

    Raises:
        InputError: settings or options out of range.
    """
    sampled = _sampled_rule(settings, options)
    rule, looks = get_rule(settings.rule), _looks(options.checkpoints, settings.steps)
    _check_covered(rule, options)
    costs = Costs()
    visit = _Visits(settings, options, rule, looks, costs, progress)
    with costs.part("run"):
        found = compare_run(
            settings,
            periods=options.periods,
            tolerance=options.tolerance,
            also=(0, settings.steps // 2, settings.steps),
            progress=lambda step: progress("run", step),
            visit=visit,
        )
    with costs.part("measured"):
        measured = _tables(found, visit, options)

    def tell(headline: Headline) -> Headline:
        cost = costs.to_json()
        cost["gram"]["bytes"] = max(anchor.gram.cost["bytes"] for anchor in found.anchors)
        headline = replace(headline, cost=cost)
        known(headline)
        return headline

    # The prompts are chosen; choosing them again would score the whole pool again.
    settings = replace(settings, prompts=found.prompts)
    headline = tell(Headline(found, tuple(_named(gap, found.prompts) for gap in visit.gaps), measured=measured))
    if options.step_rule_steps:
        shorter = replace(settings, steps=options.step_rule_steps)
        with costs.part("step rules"):
            runs = step_rule_runs(shorter, lambda done: progress("step rules", done))
        headline = tell(replace(headline, step_rules=runs))
    if sampled is not None:
        shorter = replace(settings, steps=options.sampled_steps)
        with costs.part("sampled"):
            drawn = compare_sampled(shorter, sampled, options.seeds, lambda done: progress("sampled", done))
        headline = tell(replace(headline, sampled=drawn))
    return headline


@dataclass
class _Visits:
    """What is looked at wherever the run stops at an anchor, and what was found there."""

    settings: BridgeSettings
    options: CompareOptions
    rule: Rule
    looks: tuple[int, ...]
    costs: Costs
    progress: Callable[[str, int], Any]
    gaps: list[StepGap] = field(default_factory=list)
    tables: dict[int, dict[str, Any]] = field(default_factory=dict)
    hidden: dict[str, Any] = field(default_factory=dict)
    traces: list[tuple[Any, Any]] = field(default_factory=list)

    def __call__(self, step: int, loaded: LoadedModel, batch: AnswerBatch, gram: AnswerGram) -> None:
        with self.costs.part("measured"):
            self._measure(step, loaded, batch, gram)
        if step in self.looks:
            before, whole = len(self.gaps) * _units_of_gap(gram.n, self.options), self.options.whole
            names = tuple(str(i) for i in range(gram.n))
            report = lambda done: self.progress("gaps", before + done)  # noqa: E731
            with self.costs.part("gaps"):
                gap = measure_gap(loaded, batch, self.rule, gram, names, step=step, whole=whole, progress=report)
            self.gaps.append(gap)

    def _measure(self, step: int, loaded: LoadedModel, batch: AnswerBatch, gram: AnswerGram) -> None:
        state, seeded = gram.odds, {"resamples": self.options.resamples, "seed": self.settings.seed}
        self.traces.append((fisher_traces(gram), state.p * state.q))
        if not step:
            self.hidden.update(hidden_cosines(hidden_states(loaded, batch), **seeded))
        if step in (0, self.settings.steps // 2, self.settings.steps):
            self.tables[step] = interactions(gram, **seeded)["all"]


def _tables(found: Comparison, seen: _Visits, options: CompareOptions) -> dict[str, Any]:
    """What Fig. 1 and Tables 1 and 3 are about, as plain data."""
    traces, variances = map(np.array, zip(*seen.traces, strict=True))
    chance = {"resamples": options.resamples, "seed": seen.settings.seed}
    return {
        "hidden": seen.hidden,
        "fisher": fisher_against_variance(traces, variances, **chance),
        "interactions": {str(step): table for step, table in sorted(seen.tables.items())},
        "linearised_cosines": _linearised_cosines(found),
    }


def _check_covered(rule: Rule, options: CompareOptions) -> None:
    """Refuse, before the run, numbers of what comes after it, and what needs a theorem where there is none."""
    if not 0 <= options.step_rule_steps <= 2**53:
        raise expected("step-rules", options.step_rule_steps, "0 to 2^53 updates", "0 leaves these runs out")
    for option, number in (("checkpoints", options.checkpoints), ("step-rules", options.step_rule_steps)):
        if number and rule.step_size is None:
            raise expected(option, number, f"0, as no theorem covers {rule.name}", "pass 0")


def _sampled_rule(settings: BridgeSettings, options: CompareOptions) -> SampledRule | None:
    if not options.sampled:
        return None
    try:
        rule = get_any_rule(options.sampled)
        if isinstance(rule, SampledRule):
            rule.expected_rule()
    except InputError as error:
        # It speaks of a rule, which is another option.
        raise InputError(f"sampled: {error}") from None
    if not isinstance(rule, SampledRule):
        raise expected("sampled", options.sampled, "a sampled rule, such as paper:8", "exact rules go by --rule")
    check_sampled(rule, options.seeds)
    if settings.seed + options.seeds > 2**64:
        raise expected("seed", settings.seed, f"room for {options.seeds} seeds below 2^64", "choose a smaller one")
    return rule


def _looks(checkpoints: int, steps: int) -> tuple[int, ...]:
    if not 0 <= checkpoints <= 3:
        raise expected("checkpoints", checkpoints, "0 to 3", "3 takes the start, the middle and the end")
    return ((), (0,), (0, steps), (0, steps // 2, steps))[checkpoints]


def _named(gap: StepGap, names: tuple[str, ...]) -> StepGap:
    return replace(gap, prompts=tuple(replace(each, prompt=names[int(each.prompt)]) for each in gap.prompts))


def _linearised_cosines(found: Comparison) -> dict[str, dict[str, float | None]]:
    """Gradient cosines of the bandit anchored at the start, at its start and its end."""
    problem, record = found.anchors[0].problem, found.measured
    with np.errstate(all="ignore"):
        run = simulate(
            problem.with_order(record.order), get_rule(record.rule), record.eta, len(record.order), record="ends"
        )
    ends = {"0": run.theta[0], str(len(record.order)): run.theta[-1]}
    return {name: cosine_statistics(gradient_cosines(problem.at(theta).gap)) for name, theta in ends.items()}
