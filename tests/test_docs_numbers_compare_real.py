"""The numbers of docs/compare.md on SmolLM2 are those of its stored comparisons."""

from __future__ import annotations

import re

import numpy as np
import pytest
from pages import assert_told, holds, rows, section, stored

LARGE = stored("smollm2-compare/comparison.json")
FAR = stored("smollm2-compare-far/comparison.json")
FACTORS = ("centring", "worst prompt", "direction", "constants", "left over")


def test_the_peak_rule() -> None:
    peak = LARGE["step_rules"][2]
    assert peak["step"] == "peak"
    holds("compare", "takes the mean J from # to #, and no step", peak["mean_J_start"], peak["mean_J_end"])


def test_predictions_of_the_real_model() -> None:
    run, gap = LARGE["comparison"], LARGE["gaps"][0]
    measured, predicted = (np.array(curve) for curve in (run["curves"]["measured"], run["curves"]["predicted"][0]))
    holds("compare", "# one-digit questions of # answers, GRPO at # times the theorem's step, # steps.",
          measured.shape[1], 19, run["eta"] / gap["eta"], run["steps"])  # fmt: skip
    holds("compare", "9+8 goes from # to # where the bandit says #", *measured[[0, -1], 2], predicted[-1, 2])
    turned = {anchor["step"]: anchor for anchor in run["anchors"]}
    holds("compare", "from # to #; the centred Gram matrix turns by #%",
          turned[0]["x_max_sq"], turned[24]["x_max_sq"], 100 * turned[24]["features_turned"])  # fmt: skip
    holds("compare", "But the moves are small, # at most", run["largest_move"])


def test_large_steps_on_the_real_model() -> None:
    run = FAR["comparison"]
    assert run["prompts"] == LARGE["comparison"]["prompts"]
    eta = LARGE["gaps"][0]["eta"]
    holds("compare", "**At # times the theorem's step** the same four", run["eta"] / eta)
    x_max_sq = {anchor["step"]: anchor["x_max_sq"] for anchor in run["anchors"]}
    assert x_max_sq[0] == pytest.approx(LARGE["gaps"][0]["x_max_sq"])
    holds("compare", "`X_max^2` to # in # steps, and three of", x_max_sq[12], 12)
    measured = np.array(run["curves"]["measured"])
    assert sorted(measured[13] >= 0.93) == [False, True, True, True]
    largest = max(x_max_sq, key=x_max_sq.__getitem__)
    growth = x_max_sq[largest] / x_max_sq[0]
    holds("compare", "`X_max^2` is up to # times what it was", growth)
    holds("compare", "was # times the theorem's at the start is # times the theorem's at step #, beyond",
          run["eta"] / eta, run["eta"] / eta * growth, largest)  # fmt: skip
    assert run["eta"] / eta * growth > max(gap["smallest"] for gap in LARGE["gaps"])
    falls = measured[20:-1] - measured[21:]
    assert falls.max() > 0.7


def test_gap_of_the_real_model() -> None:
    start, end = (gap["prompts"] for gap in LARGE["gaps"])
    told = list(rows(section("compare", "## A real model"), "prompt (p)"))
    for cells, gap, later in zip(told, start, end, strict=True):
        name, p = re.fullmatch(r"(.+) \((.+)\)", cells[0].replace("\\", "")).groups()  # type: ignore[union-attr]
        assert f"{name}=" == gap["prompt"]
        assert gap["linear"] is None
        factors = [gap["factors"][key] for key in FACTORS]
        values = (gap["p"], *factors, gap["own"]["value"], later["own"]["value"], gap["directional"], gap["peak"])
        assert_told([p, *cells[1:]], values, name)
    features = LARGE["gaps"][0]["features"]
    holds(
        "compare", "In a pass through all prompts no drawn prompt falls up to #", LARGE["gaps"][0]["epoch_own"]["value"]
    )
    shares = [100 * share for share in (features["top"], features["common"], max(features["layers"].values()))]
    holds(
        "compare", "Of the worst prompt's features #% lie along one direction and #% are the mean feature", *shares[:2]
    )
    holds("compare", "no layer has more than #%.", shares[2])


def test_groups_on_the_real_model() -> None:
    run = LARGE["sampled"]
    ends = [run[key][-1] for key in ("measured", "measured_half_width", "bandit")]
    holds("compare", "(paper:8, # seeds, # steps)", run["seeds"], run["steps"])
    holds("compare", "the mean J ends at # +- #, the bandit with the same random words at #",
          *ends)  # fmt: skip
    holds("compare", "(paired difference #, # to #), the one under X-GROUP's expected weight at #, within the interval",
          *run["paired_difference_at_end"], run["expected_rule"][-1])  # fmt: skip
    holds("compare", "within the interval at # steps of #: three seeds", 24 * run["share_within_interval"], 24)
