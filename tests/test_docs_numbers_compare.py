"""The numbers of docs/compare.md are those of the stored comparisons, of the sources and of the commands it names."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from pages import assert_told, close, holds, numbers, rows, section, stored

from llm_bridge.comparing import evidence
from theory.consistency import checks, conflicts
from theory.reported import FIGURES

TINY = stored("tiny-compare/comparison.json")
LARGE = stored("smollm2-compare/comparison.json")
FAR = stored("smollm2-compare-far/comparison.json")
FACTORS = ("centring", "worst prompt", "direction", "constants", "left over")


def _gaps(content: dict[str, Any]) -> list[dict[str, Any]]:
    return content["gaps"][0]["prompts"]


PREDICTIONS = [(TINY, "## Predicted and measured", 0), (LARGE, "## A real model", 0), (FAR, "## A real model", 1)]


@pytest.mark.parametrize(("content", "heading", "which"), PREDICTIONS)
def test_tables_of_predictions(content: dict[str, Any], heading: str, which: int) -> None:
    text = section("compare", heading).split("| anchored |")[1 + which]
    told = list(rows(f"| anchored |{text}", "anchored"))
    found = content["comparison"]["predictions"]
    for cells, each in zip(told, found, strict=True):
        assert cells[0] == ("at the start" if each["period"] is None else f"every {each['period']} steps")
        assert_told(cells[1:4], (each["largest_error"], each["mean_error"], each["skill"]), cells[0])
        if each["first_break"] is None:
            assert cells[-1] == "never"
        else:
            assert_told(numbers(cells[-1]), [each["first_break"]], cells[0])
        if len(cells) == 6:
            breaks = [step for stretch in each["breaks"] for step in stretch]
            assert_told(numbers(cells[4]), (sum(step is not None for step in breaks), len(breaks)), cells[0])


def test_what_was_run() -> None:
    run = TINY["comparison"]
    gram = TINY["gaps"][0]
    assert f"--n {len(run['prompts'])} --steps {run['steps']} " in TINY["command"]
    ratio = run["eta"] / gram["eta"]
    holds(
        "compare", "# prompts of 19 answers, # steps at # times the theorem's", len(run["prompts"]), run["steps"], ratio
    )


def test_prose_on_predictions() -> None:
    run = TINY["comparison"]
    measured = np.array(run["curves"]["measured"])
    holds("compare", "The largest move of a success probability in the run is #,", run["largest_move"])
    hardest = int(measured[0].argmin())
    assert hardest == int(np.argmax(run["predictions"][0]["largest_error_of_prompt"]))
    jump = int(np.diff(measured[:, hardest]).argmax())
    holds("compare", "hardest prompt, at its large step from # to #.", *measured[jump : jump + 2, hardest])
    turned = {anchor["step"]: 100 * anchor["features_turned"] for anchor in run["anchors"]}
    holds("compare", "after # steps the centred Gram matrix differs from the first by #%", 10, turned[10])
    holds("compare", "of its size, after # by #%. That the learning", 60, turned[60])


def test_table_of_the_gap() -> None:
    told = list(rows(section("compare", "## The step-size gap"), "prompt (p)"))
    for cells, gap in zip(told, _gaps(TINY), strict=True):
        name, p = re.fullmatch(r"(.+) \((.+)\)", cells[0].replace("\\", "")).groups()  # type: ignore[union-attr]
        assert f"{name}=" == gap["prompt"]
        values = (gap["p"], *(gap["factors"][key] for key in FACTORS), gap["own"]["value"], gap["mean"]["value"])
        assert_told([p, *cells[1:]], values, name)
        assert np.prod([gap["factors"][key] for key in FACTORS]) == pytest.approx(gap["own"]["value"], rel=1e-6)


def test_prose_on_the_gap() -> None:
    start, features = TINY["gaps"][0], TINY["gaps"][0]["features"]
    holds("compare", "So the smallest gap is #, # after # steps and # after #.", *_smallest())
    ends = (start["epoch_own"]["value"], start["epoch_mean"]["value"])
    holds("compare", "up to # times the theorem's step no drawn prompt falls", ends[0])
    holds("compare", "mean of all J ends higher up to # times", ends[1])
    holds("compare", "only #% of the worst prompt's features", 100 * features["common"])
    layer = max(features["layers"].values())
    assert features["layers"]["layer 0"] == layer
    assert features["parts"]["A"] == 0
    assert layer == pytest.approx(3 / 4, abs=0.01)
    holds("compare", "#% of it from one direction", 100 * features["top"])
    holds("compare", "no larger features (correlation #)", features["tokens"])


def _smallest() -> list[float]:
    start, *later = TINY["gaps"]
    return [start["smallest"], *(value for gap in later for value in (gap["smallest"], gap["step"]))]


def test_prose_on_the_linear_picture() -> None:
    gaps = _gaps(TINY)
    bends = [gap["linear"] / gap["own"]["value"] for gap in gaps if gap["linear"] is not None]
    endless = [gap["own"]["value"] for gap in gaps if gap["linear"] is None]
    holds("compare", "It is # to # times the model's own limit", min(bends), max(bends))
    holds("compare", "curvature costs a factor of # to #, no more.", min(bends), max(bends))
    holds("compare", "On # prompts the linear picture has no limit at all", len(endless))
    holds("compare", "all that stops the step, at # and #.", *endless)


STEP_RULES = [(TINY, "## A step size that closes the gap"), (LARGE, "## A real model")]


@pytest.mark.parametrize(("content", "heading"), STEP_RULES)
def test_table_of_step_rules(content: dict[str, Any], heading: str) -> None:
    told = list(rows(section("compare", heading), "step size"))
    for cells, run in zip(told, content["step_rules"], strict=True):
        assert cells[0] == run["step"]
        spread = [run[f"times_theorem_{part}"] for part in ("median", "least", "most")]
        assert_told(numbers(cells[1]), spread[:1] if cells[1] == "1" else spread, cells[0])
        assert_told(numbers(cells[2].replace("0", "no", 1)), (run["steps_that_lowered_the_drawn_J"], run["steps"]), "")
        assert_told(numbers(cells[3]), (run["mean_J_start"], run["mean_J_end"]), cells[0])


def test_prose_on_step_rules() -> None:
    holds("compare", "Runs of # steps on `tiny`", TINY["step_rules"][0]["steps"])


def test_what_the_step_rules_leave() -> None:
    gaps = _gaps(TINY)
    own = [gap["own"]["value"] for gap in gaps]
    holds("compare", "The theorem's step leaves a gap of # to #.", min(own), max(own))
    left = {key: sorted(gap["own"]["value"] / gap[key] for gap in gaps) for key in ("directional", "peak")}
    holds("compare", "`directional` leaves # to #,", left["directional"][0], left["directional"][-1])
    holds("compare", "`peak` leaves # to #: # to #", left["peak"][0], left["peak"][-1], *left["peak"][0:4:3])
    holds("compare", "on # of the # prompts; on the other #,", 4, len(gaps), 4)
    assert left["peak"][4] > 5 * left["peak"][3]


def test_groups() -> None:
    run = TINY["sampled"]
    ends = {key: run[key][-1] for key in ("measured", "measured_half_width", "bandit", "expected_rule")}
    holds("compare", "mean over # seeds ends at # +- #,", run["seeds"], ends["measured"], ends["measured_half_width"])
    holds("compare", "same random words, at #: the paired difference is # (# to #).",
          ends["bandit"], *run["paired_difference_at_end"])  # fmt: skip
    holds("compare", "expected weight ends at #,", ends["expected_rule"])
    outside = 1 - run["share_within_interval"]
    holds("compare", "outside the interval of the model's mean at # steps of #.", 3, 4)
    assert outside == 3 / 4
    end, half = run["over_expected_rule"][-1], run["over_expected_rule_half_width"][-1]
    holds("compare", "# (# to #) at the end, with an interval that holds # at # step of #.",
          end, end - half, end + half, 0, 24 * run["share_within_paired_interval"], run["steps"])  # fmt: skip


def test_what_it_took() -> None:
    cost, total = TINY["cost"], sum(part["seconds"] for part in TINY["cost"].values())
    holds("compare", "It took # seconds beside other work on its # cores,", total, TINY["machine"]["cores"])
    holds("compare", "#% of them for the gaps, in # passes forward and # backward; # and # for the run.",
          100 * cost["gaps"]["seconds"] / total,
          *(cost[part][way] for part in ("gaps", "run") for way in ("forward", "backward")))  # fmt: skip


def test_the_models_column_of_the_evidence() -> None:
    """Numbers of the page's third column, in the rows that the stored evidence measured."""
    measured, lead = TINY["measured"], _leads()
    hidden = [100 * share for share in measured["hidden"]["mean"]["raw"]["below"]]
    pearson = measured["fisher"]["pearson"]
    steps = [measured["interactions"][key] for key in sorted(measured["interactions"], key=int)]
    small = [100 * v for v in (steps[0]["cosine_small_share"], *steps[0]["intervals"]["cosine_small_share"])]
    missing = [100 * each["no_m_share"] for each in steps]
    expected = [
        hidden,
        [pearson[key][part] for key in ("same", "different") for part in ("value", "low", "high", "p")],
        small,
        [steps[0]["cosine_std"], steps[-1]["cosine_std"]],
        [min(missing), max(missing)],
        lead["easy"],
        lead["hard"],
        [],
    ]
    for cells, values in zip(_claims(), expected, strict=True):
        assert_told(numbers(cells[2]), values, cells[0])


def test_the_column_of_what_is_printed() -> None:
    evidence = [row["printed"] for row in TINY["evidence"] if row["id"].startswith("E-")]
    for (claim, written, *_), printed in zip(_claims(), evidence, strict=False):
        if not claim.startswith("E-FIG5"):
            _among(numbers(written), numbers(printed), claim)


def _among(written: list[str], known: list[str], where: str) -> None:
    """Each number is a known one, or its percentage."""
    values = [float(each.replace("−", "-")) for each in known if each[-1].isdigit()]
    for each in written:
        assert any(close(each, scale * value) for scale in (1, 100) for value in values), (where, each)


def test_figures_that_differ_between_paper_and_talk() -> None:
    _, _, text = section("compare", "## E-CONSISTENT: the sources' figures against each other").partition("LoRA rank")
    reasons = " ".join(check.reason for check in conflicts() if check.between_sources).replace("-", " ")
    _among(numbers(text.partition("As the LoRA")[0]), numbers(reasons), "between paper and talk")


def _claims() -> list[list[str]]:
    return list(rows(section("compare", "## What the sources print, and this model"), "claim"))


def _leads() -> dict[str, list[float]]:
    parts = stored("tiny-normalisation/exact/summary.json")["parts"]
    return {name: part["pairings"]["same"]["measured"]["end_difference"] for name, part in parts.items()}


def test_figures_of_the_sources() -> None:
    apart, within = conflicts(), [check for check in conflicts() if not check.between_sources]
    holds("compare", "`theory.reported` holds # printed figures", len(FIGURES))
    holds("compare", "# comparisons, # that cannot all be true, # of these within the paper",
          len(checks()), len(apart), len(within))  # fmt: skip
    reasons = {check.title: check.reason for check in checks()}
    title = "Assumption 4 with a finite M for all pairs, step "
    most, least = map(float, re.findall(r"at (?:most|least) (\S+?\d)\b", reasons[f"{title}500"])[:2])
    holds("compare", "could be at most # at step 500; Table 3's mean and std make it at least #.", most, least)
    zeros, pairs = map(int, re.findall(r"(\d+) of (\d+) cosines", reasons[f"{title}260"])[0])
    holds("compare", "if at least # of # cosines are exactly 0", zeros, pairs)


@pytest.mark.parametrize("name", ["tiny-compare", "smollm2-compare", "smollm2-compare-far"])
def test_stored_verdicts_follow_from_stored_measurements(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The E rows; those on the model's own run are not told from what older files hold of it."""
    monkeypatch.setattr(evidence, "model_rows", lambda content: [])
    content = stored(f"{name}/comparison.json")
    experiment = stored("tiny-normalisation/exact/summary.json") if name == "tiny-compare" else None
    rows = [row.to_json() for row in evidence.evidence_rows(content, experiment)]
    assert len(rows) > 5
    assert content["evidence"][: len(rows)] == rows
