"""What the runs of std and no_std say, beside the flow of a single prompt."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from compare import assert_agree
from pages import RESULTS
from scipy.integrate import quad
from test_llm_bridge_normalisation import SMALL

from llm_bridge.experiments.normalisation import Runs
from llm_bridge.experiments.normalisation_run import (
    Curve,
    evaluation_times,
)
from llm_bridge.experiments.normalisation_settings import PAIRINGS, Mode
from llm_bridge.experiments.normalisation_summary import (
    completions,
    flow_speed_up,
    passage_times,
    summarise,
    verdict,
    weighted_mean_std,
)
from llm_bridge.measurement.intervals import Interval, student_interval
from simulator.families import make_problem
from simulator.reference import simulate
from simulator.schedules import get_schedule
from theory.claims.sharp_comparison import flow_mean_std
from theory.rules import GRPO, REINFORCE
from whynorm.commands.bridge_experiment import experiment_notes, experiment_rows


def _time(weight: Callable[[float], float], p0: float, p1: float) -> float:
    """Time of ``dL/dt = weight(p) p (1 - p)``, by quadrature over the log-odds."""

    def slowness(log_odds: float) -> float:
        p = 1 / (1 + np.exp(-log_odds))
        return float(1 / (weight(p) * p * (1 - p)))

    ends = [np.log(p / (1 - p)) for p in (p0, p1)]
    return float(quad(slowness, *ends, epsrel=1e-12)[0])


@pytest.mark.parametrize(("p0", "p1"), [(0.01, 0.8), (0.2, 0.8), (0.45, 0.9), (0.6, 0.61)])
def test_the_speed_up_of_the_flow(p0: float, p1: float) -> None:
    plain, normalised = _time(lambda p: 1.0, p0, p1), _time(lambda p: (p * (1 - p)) ** -0.5, p0, p1)
    assert_agree(flow_speed_up(p0, p1, 2.5)[0], plain / normalised / 2.5, 1e-8)
    # Two outputs halve the weight of no_std: E (1/2) sum (r - mean r)(...) = 1/2.
    half = replace(SMALL, mode="sampled", group=2).expected_rule("no_std")
    assert_agree(flow_speed_up(p0, p1, 1.0, REINFORCE, half)[0], 2.0, 1e-12)
    # The time of GRPO's flow is that of the claim's closed form: a mean of sqrt(V) over it.
    assert_agree((np.log(p1 / (1 - p1)) - np.log(p0 / (1 - p0))) / normalised, flow_mean_std(p0, p1), 1e-8)


def test_the_theory_says_where_normalisation_helps() -> None:
    """At equally good steps it helps hard prompts only; at equal first steps on hard prompts no_std is faster."""
    best = PAIRINGS["best"]
    assert best is not None
    assert flow_speed_up(0.02, 0.8, best) > 1.2
    assert flow_speed_up(0.45, 0.8, best) < 1
    assert flow_speed_up(0.02, 0.8, (0.02 * 0.98) ** -0.5) < 1
    assert flow_speed_up(0.5, 0.9, 2.0) > 1


def test_passage_times_are_interpolated() -> None:
    curve = Curve(np.array([0, 10, 20]), np.array([[0.1, 0.3], [0.4, 0.6], [0.9, 0.7]]), np.ones(20))
    assert passage_times(curve, 0.2) == 0.0
    assert_agree(passage_times(curve, 0.35), 5.0, 1e-12)
    assert_agree(passage_times(curve, 0.65), 15.0, 1e-12)
    assert passage_times(curve, 0.9) == float("inf")


def test_the_weighted_mean_std_is_that_of_the_claim() -> None:
    """It was a plain mean over the looks: the end of the run, which the claim leaves out, counted like any other."""
    problem = make_problem("orthogonal", 3, 4, p0=0.2, seed=0)
    record = simulate(problem, GRPO, 2 / problem.x_max_sq, 23, seed=1, record="full")
    std, weight = np.sqrt(record.J * record.q), record.q[0]
    wanted = (weight * std[:-1].mean(axis=0)).sum() / weight.sum()
    assert_agree(weighted_mean_std(record.J[None], np.arange(24)), [wanted], 1e-12)
    # Looks at uneven times: the mean of what is linear between them, over t = 0, ..., 22.
    t = evaluation_times(23, 5)
    between = np.stack([np.interp(np.arange(23), t, each) for each in std[t].T], axis=1)
    wanted = (weight * between.mean(axis=0)).sum() / weight.sum()
    assert_agree(weighted_mean_std(record.J[t][None], t), [wanted], 1e-12)
    # A prompt that is solved at the very last step has had its deviation until then.
    late = np.array([[[0.5], [0.5], [1.0]]])
    assert_agree(weighted_mean_std(late, np.array([0, 9, 10])), [0.5], 1e-12)


def _made(lead: float, seeds: int = 8, mode: Mode = "exact") -> Runs:
    """Runs in which std is ahead of no_std by about ``lead`` at the end, with noise that the pairs share."""
    experiment = replace(SMALL, steps=10, every=5, seeds=seeds, pairings=("same",), mode=mode)
    runs = Runs(experiment)
    for seed in range(seeds):
        noise, own = np.random.default_rng(seed).normal(0, (0.05, 0.001))
        for label, gain in (("std", lead + own), ("same", 0.0)):
            ends = np.array([0.3, 0.5 + noise + gain / 2, 0.7 + noise + gain])
            curve = Curve(np.array([0, 5, 10]), np.stack([ends, ends], axis=1), np.ones(10))
            runs.curves["two", label, seed] = runs.predicted["two", label, seed] = curve
            runs.etas["two", label, seed] = runs.x_max_sq["two", seed] = 1.0
    return runs


@pytest.mark.parametrize(("lead", "ahead"), [(0.1, "std"), (-0.1, "no_std"), (0.0, "open")])
def test_pairing_removes_what_the_pairs_share(lead: float, ahead: str) -> None:
    content = summarise(_made(lead), threshold=0.6)["parts"]["two"]
    measured = content["pairings"]["same"]["measured"]
    assert measured["ahead"] == ahead
    value, low, high = measured["end_difference"]
    assert low < value < high
    assert abs(value - lead) < 0.002
    # A tenth of the spread that the accuracies themselves have.
    assert high - low < 0.2 * (content["accuracy"]["std"]["high"][2] - content["accuracy"]["std"]["low"][2])
    assert_agree(measured["mean_difference"][0], np.mean([0.25, 0.75]) * value, 0.05, atol=1e-3)
    assert_agree(np.mean(measured["seed_differences"]), measured["mean_difference"][0], 1e-12)
    assert_agree(student_interval(np.array(measured["seed_differences"])).to_json(), measured["mean_difference"], 1e-12)
    if lead > 0:
        assert measured["speed_up"][1] > 1
    assert content["pairings"]["same"]["prediction_error"] == 0.0
    assert content["times_theorem"] == [2 * SMALL.eta] * 8
    json.dumps(content, allow_nan=False)


def test_runs_that_diverged_are_told_as_undefined() -> None:
    runs = _made(0.1)
    for seed in range(8):
        runs.curves["two", "same", seed].J[1:] = np.nan
    content = summarise(runs)["parts"]["two"]
    assert content["pairings"]["same"]["measured"]["ahead"] == "open"
    assert content["pairings"]["same"]["measured"]["mean"]["no_std"] is None
    json.dumps(content, allow_nan=False)


def test_verdicts_need_an_interval_that_leaves_out_zero() -> None:
    assert [verdict(Interval(0.1, low, 0.2)) for low in (0.05, -0.05, None)] == ["std", "open", "open"]
    assert verdict(Interval(-0.1, -0.2, -0.05)) == "no_std"


@pytest.mark.parametrize("sign", [1, -1])
def test_a_difference_shown_as_zero_is_no_lead(sign: int) -> None:
    """Runs that hardly move differ by 1e-8 with an interval of 1e-9: that was told as a lead of std."""
    small = [sorted((sign * low, sign * high)) for low, high in ((1e-8, 2e-8), (1e-4, 4.9e-4))]
    assert [verdict(Interval(sum(ends) / 2, *ends)) for ends in small] == ["open", "open"]
    # One end that is shown as another number is enough.
    assert verdict(Interval(sign * 3e-4, *sorted((sign * 1e-4, sign * 6e-4)))) == ("std" if sign > 0 else "no_std")


def test_what_is_stored_tells_the_verdicts_of_its_intervals() -> None:
    files = [
        file for file in RESULTS.glob("*-normalisation/**/summary.json") if "parts" in json.loads(file.read_text())
    ]
    told = [
        compared
        for file in files
        for part in json.loads(file.read_text())["parts"].values()
        for pairing in part["pairings"].values()
        for compared in (pairing["measured"], pairing["linearised"])
    ]
    assert told
    assert all(verdict(Interval(*each["mean_difference"])) == each["ahead"] for each in told)


def test_the_prompts_that_were_drawn_are_those_of_the_order() -> None:
    runs = _made(0.0, mode="sampled")
    for key, curve in runs.curves.items():
        J = np.stack([np.zeros(3), np.array([0.0, 0.5, 1.0])], axis=1)
        runs.curves[key] = replace(curve, J=J, reward=np.ones(10), zero_share=np.zeros(10))
    found = completions(runs, "two")
    assert found is not None
    orders = [get_schedule("minibatch:1").draws(2, 10, seed)[:, 0] for seed in range(8)]
    wanted = np.mean([np.mean(order * np.arange(10) / 10) for order in orders])
    assert_agree(found["drawn"], wanted, 1e-12)


def test_a_sampled_run_is_no_multiple_of_a_theorems_step() -> None:
    assert summarise(_made(0.1, mode="sampled"))["parts"]["two"]["times_theorem"] is None
    assert summarise(_made(0.1))["parts"]["two"]["times_theorem"] == [2 * SMALL.eta] * 8


@pytest.mark.parametrize(("right", "differ"), [(0.5, False), (0.3, False), (0.01, True)])
def test_completions_that_are_not_the_answer_sets_are_noticed(right: float, differ: bool) -> None:
    """A chat model that seldom says one of the answers alone: J is 0.5 among them, and rewards are rare."""
    runs = _made(0.0, mode="sampled")
    for key, curve in runs.curves.items():
        runs.curves[key] = replace(curve, reward=np.full(10, right), zero_share=np.arange(10) / 10)
    summary = summarise(runs)
    found = summary["parts"]["two"]["completions"]
    assert found["differ"] == differ
    assert_agree(found["right"], right, 1e-12)
    assert abs(found["answer_set"] - 0.5) < 0.05
    # Both prompts are alike, so it does not matter which are drawn; what follows the last step is left out.
    assert 0 < found["answer_set"] - found["drawn"] < 0.03
    (row,) = experiment_rows(summary)
    assert (row["predicted"] == "-") == (row["flow"] == "-") == differ
    assert_agree(found["zero_variance"], 0.45, 1e-12)
    (note,) = experiment_notes(summary)
    assert ("says other things than the answers" in note) == differ
    assert note.endswith("45.0% of the groups were without variance.")
    # As summaries of earlier versions are, which do not tell that.
    del found["zero_variance"]
    assert experiment_notes(summary) == [note.removesuffix(" 45.0% of the groups were without variance.")]
    assert experiment_notes(summarise(_made(0.0))) == []
    assert summarise(_made(0.0))["parts"]["two"]["completions"] is None
