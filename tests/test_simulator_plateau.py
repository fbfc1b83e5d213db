"""Escape and tail: golden recursions, enclosures that hold the counted steps, exponents, and mutants of the claims."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import assert_agree

from simulator.checks import build_context, trajectory_check
from simulator.expectations import prompt_paths
from simulator.plateau import count_steps, enclose_steps, tail_path
from simulator.plateau_groups import sampled_escape
from simulator.plateau_study import STARTS, Study, plateau_study
from theory.advantages import PRESETS
from theory.claim import Claim
from theory.claims import load_registry
from theory.claims.power import ALPHAS, power_step
from theory.errors import InputError
from theory.groups import Group, group_rule
from theory.instances import Instance
from theory.rules import GRPO, REINFORCE, Rule, power
from theory.search import property_check
from whynorm.figures import save_png
from whynorm.figures_plateau import escape_figure, tail_figure

REGISTRY = load_registry()
IDS = ["X-PLATEAU-0", "X-PLATEAU-50", "X-PLATEAU-100", "X-PLATEAU-GROUP"]
CASES: list[tuple[Rule, float]] = [(power(a), 1 - a) for a in ALPHAS] + [(group_rule(g), 1.0) for g in (2, 3, 8, 20)]


@cache
def _study() -> Study:
    return plateau_study(groups=(8,), limit=3000, horizon=3000)


def test_steps_of_log_odds_ascent_are_those_of_division() -> None:
    """L moves by c a step: from -log(999) in steps of 1/2, 14 steps."""
    assert count_steps(power(1.0), 0.5, 1e-3, 100) == 14
    assert enclose_steps(power(1.0), 0.5, 1e-3, 0.0) == (14, 14)


def test_one_recursion_step_is_one_step_of_the_simulator() -> None:
    """Tabular, two outputs: |gap|^2 = 2, so c = 2 eta; the counted step is the first with p >= 1/2."""
    features, theta = np.eye(2)[None], np.array([log(1e-3 / (1 - 1e-3)), 0.0])
    for rule, eta in ((REINFORCE, 1.0), (GRPO, 0.5), (group_rule(8), 0.5)):
        counted = count_steps(rule, 2 * eta, 1e-3, 2000)
        assert counted is not None
        p = prompt_paths(features, np.array([0]), theta, rule, eta, counted).p[:, 0]
        assert p[counted] >= 0.5 > p[counted - 1]


@pytest.mark.parametrize(("rule", "s"), CASES, ids=lambda case: getattr(case, "name", ""))
@pytest.mark.parametrize("c", [0.25, 2.0, 6.0])
def test_enclosures_hold_what_is_counted(rule: Rule, s: float, c: float) -> None:
    for p0 in (0.4, 0.1, 1e-2, 3e-4):
        low, high = enclose_steps(rule, c, p0, s)
        counted = count_steps(rule, c, p0, 60_000)
        assert counted is not None
        assert low <= counted <= high
        # In units of steps: the width is s times the logarithm that is climbed, and one.
        assert high - low <= 2 + 2 * s * log(1 / p0) * np.exp(c)


@pytest.mark.parametrize(
    ("alpha", "time"),
    [
        (0.0, lambda p: (1 - p) / p - p / (1 - p) + 2 * log((1 - p) / p)),
        (0.5, lambda p: 2 * ((1 - p) / p) ** 0.5 - 2 * (p / (1 - p)) ** 0.5),
        (1.0, lambda p: log((1 - p) / p)),
    ],
)
@pytest.mark.parametrize("p0", [0.2, 1e-6, 1e-12])
def test_the_lower_end_is_the_time_of_the_flow_in_closed_form(alpha: float, time: Any, p0: float) -> None:
    c = 2 * power_step(alpha, 1.0)
    low, _ = enclose_steps(power(alpha), c, p0, 1 - alpha)
    assert abs(low - time(p0) / c) <= 1 + 1e-10 * low


def test_exponents_are_those_of_the_claims() -> None:
    """0, 1/4, 1/2, 3/4 and 1 in the family; groups fall back to 1 and to a tail of 1/t."""
    for fit in _study().fits:
        tolerance = {"escape": 0.015, "escape, steps": 0.03, "tail": 0.05, "tail, steps": 1e-3}[fit.of]
        assert_agree(fit.slope, fit.predicted, tolerance, f"{fit.rule} {fit.of}")
        assert fit.low <= fit.slope <= fit.high
    assert len(_study().fits) == 2 * (len(ALPHAS) + 1)


def test_a_group_loses_the_square_root_but_keeps_its_constant() -> None:
    """At p0 = 1e-12, c = 1: (q0 / p0) / sqrt(7) steps to leading order, against 2 / sqrt(p0) with exact p."""
    group = next(e for e in _study().escapes if e.rule == "group:8" and e.p0 == 1e-12)
    exact = next(e for e in _study().escapes if e.rule == "power:0.5" and e.p0 == 1e-12)
    assert_agree(group.low, 1e12 / 7**0.5, 1e-6)
    assert_agree(exact.low, 2e6, 1e-6)


def test_the_table_has_every_start_and_counts_where_it_can() -> None:
    escapes = _study().escapes
    assert len(escapes) == len(STARTS) * (len(ALPHAS) + 1)
    assert all(e.low <= (e.counted or e.low) <= e.high for e in escapes)
    assert all((e.counted is None) == (e.low > 3000) for e in escapes)


def test_the_tail_of_reinforce_is_the_inverse_of_its_time() -> None:
    tail = tail_path(power(0.0), 2.0, [1, 10, 1000])
    assert_agree(tail.log_q[-1], np.log10(1 / 2000), 0.002)
    assert tail.log_q[0] > tail.log_q[1] > tail.log_q[2]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: count_steps(GRPO, 1.0, 0.5, 10), "p0 is 0.5"),
        (lambda: enclose_steps(GRPO, 1.0, 0.0), "p0 is 0.0"),
        (lambda: enclose_steps(GRPO, 0.0, 0.1), "above 0"),
        (lambda: plateau_study(p0=(0.1, 0.01)), "at least three starts"),
    ],
)
def test_unusable_input_is_refused(call: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()


def _scaled(claim_id: str, link: int, factor: float) -> Claim:
    claim = REGISTRY[claim_id]
    part = claim.links[link]
    right = part.right
    return replace(
        claim, relation=part.relation, left=part.left, right=lambda run: right(run) * factor, chain=(), proof=None
    )


# Past the largest ratios known: escape at most 1.000, escape at least 0.76, 0.67 and 0.70, tails 0.88 and 0.67.
@pytest.mark.parametrize(
    ("claim_id", "link", "factor"),
    [
        ("X-PLATEAU-0", 0, 1.6),
        ("X-PLATEAU-0", 1, 0.98),
        ("X-PLATEAU-0", 2, 1.25),
        ("X-PLATEAU-0", 3, 0.64),
        ("X-PLATEAU-50", 0, 1.8),
        ("X-PLATEAU-50", 1, 0.98),
        ("X-PLATEAU-50", 2, 1.25),
        ("X-PLATEAU-50", 3, 0.64),
        ("X-PLATEAU-100", 0, 1.2),
        ("X-PLATEAU-100", 1, 0.98),
        ("X-PLATEAU-GROUP", 0, 1.8),
        ("X-PLATEAU-GROUP", 1, 0.98),
        ("X-PLATEAU-GROUP", 2, 1.5),
        ("X-PLATEAU-GROUP", 3, 0.64),
    ],
)
def test_tightened_bounds_are_refuted(claim_id: str, link: int, factor: float) -> None:
    mutant = _scaled(claim_id, link, factor)
    assert property_check(mutant, build_context, 150, seed=1, shrink=False).counterexample is not None


@pytest.mark.parametrize(("claim_id", "other"), [("X-PLATEAU-0", 0.5), ("X-PLATEAU-50", 1.0), ("X-PLATEAU-GROUP", 0.5)])
def test_the_exponent_of_another_rule_is_refuted(claim_id: str, other: float) -> None:
    """A prompt escapes faster than the bound of a smaller alpha allows."""
    mutant = replace(REGISTRY[claim_id], rule=power(other), proof=None)
    assert trajectory_check(mutant).counterexample is not None


@pytest.mark.parametrize("claim_id", IDS)
def test_floats_raise_no_false_alarm_on_runs(claim_id: str) -> None:
    result = trajectory_check(REGISTRY[claim_id])
    assert (result.dismissed, result.undecided, result.counterexample) == (0, 0, None)
    assert result.worst_ratio <= 1


def test_the_figures_show_every_rule(tmp_path: Path) -> None:
    for name, figure in (("escape", escape_figure(_study())), ("tail", tail_figure(_study()))):
        labels = {line.get_label() for line in figure.axes[0].get_lines()}
        assert {"alpha = 1/2 (GRPO)", "alpha = 1 (log-odds)", "GRPO, groups of 8"} <= labels
        save_png(figure, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000


@pytest.mark.parametrize("p0", [0.05, 1e-9])
def test_sampled_escape_of_pairs_has_the_mean_of_its_waiting_times(p0: float) -> None:
    """G = 2: each mixed pair moves L by c / 2, and one is drawn with odds 2 V; 4.5 standard errors of 2000 runs."""
    log_odds, mean = log(p0 / (1 - p0)), 0.0
    while log_odds < 0:
        mean += np.cosh(log_odds / 2) ** 2 * 2
        log_odds += 0.75
    steps = sampled_escape(2, 1.5, p0, 2000, seed=3)
    assert abs(steps.mean() - mean) < 4.5 * steps.std() / 2000**0.5


@pytest.mark.parametrize("size", [4, 8])
def test_sampled_escape_grows_as_the_inverse_of_p0_and_is_no_faster_than_expected(size: int) -> None:
    """Exponent 1 within 0.02; the mean is above the time of the expected update (for G = 8 by 18 percent)."""
    starts = [1e-4, 1e-7, 1e-10]
    means = [sampled_escape(size, 1.0, p0, 1000, seed=4).mean() for p0 in starts]
    slope = np.polyfit(np.log(starts), np.log(means), 1)[0]
    assert_agree(slope, -1.0, 0.02)
    for p0, mean in zip(starts, means, strict=True):
        low, high = enclose_steps(group_rule(size), 1.0, p0)
        assert 1.05 * high < mean < 1.4 * low


def test_a_sampled_run_makes_the_steps_that_the_waiting_times_skip() -> None:
    """Against 400 runs that draw every group, 4.5 standard errors of their difference."""
    rng, c, p0, size = np.random.default_rng(5), 1.0, 0.02, 4
    walked = []
    for _ in range(400):
        log_odds, t = log(p0 / (1 - p0)), 0
        while log_odds < 0:
            rewards = (rng.random((1, size)) < 1 / (1 + np.exp(-log_odds))).astype(float)
            log_odds += c * float((PRESETS["trl"](rewards) * rewards).mean())
            t += 1
        walked.append(t)
    steps = sampled_escape(size, c, p0, 2000, convention=PRESETS["trl"], seed=6)
    error = (np.var(walked) / 400 + steps.var() / 2000) ** 0.5
    assert abs(np.mean(walked) - steps.mean()) < 4.5 * error


@pytest.mark.parametrize(
    "options", [{"p0": 0.5}, {"p0": 1e-16}, {"size": 1}, {"c": 0.0}, {"replicas": 0}], ids=lambda o: next(iter(o))
)
def test_unusable_sampled_escapes_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        sampled_escape(**{"size": 4, "c": 1.0, "p0": 0.01, "replicas": 2, **options})


def test_the_mean_odds_after_a_pair_are_those_by_hand() -> None:
    """K = 2, G = 2, features 1 and -1, p = 1/5: with odds 8/25 the pair is mixed and moves theta by eta (A = +-1)."""
    zeros = np.zeros(1)
    group = Group(Instance(np.array([[[1.0], [-1.0]]]), np.array([0]), np.array([log(0.25) / 2]), zeros, zeros))
    mean = float(group.failure_odds_after(PRESETS["paper"], 0.25)[0])
    assert_agree(mean, 4 * (17 / 25 + 8 / 25 * np.exp(-0.5)), 1e-13)


def test_a_smaller_bound_for_sampled_groups_is_refuted() -> None:
    claim = REGISTRY["X-PLATEAU-SAMPLED"]
    mutant = replace(claim, right=lambda group: claim.right(group) * 0.93, proof=None)
    assert trajectory_check(mutant).counterexample is not None
