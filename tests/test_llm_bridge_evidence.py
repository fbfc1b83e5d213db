"""The table of evidence: verdicts follow from intervals and fixed rules, and change with them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from llm_bridge.comparing.evidence import consistency_row, evidence_rows
from llm_bridge.comparing.evidence_row import decide, share_over_prompts

_COSINES = {
    "cosine_mean": 0.01, "cosine_std": 0.05, "cosine_small_share": 0.95, "no_m_share": 0.0,
    "intervals": {"cosine_small_share": [0.9, 0.99], "cosine_std": [0.04, 0.06], "no_m_share": [0.0, 0.1]},
}  # fmt: skip
_STATISTIC = {"cosine_small_share": 1.0, "cosine_std": 0.05}
_STEP = {
    "step": "directional", "rule": "grpo", "steps": 5, "times_theorem_median": 40.0,
    "steps_that_lowered_the_drawn_J": 0, "largest_fall_in_a_step": 0.0, "mean_J_start": 0.1, "mean_J_end": 0.2,
}  # fmt: skip


def _content() -> dict[str, Any]:
    late = copy.deepcopy(_COSINES) | {"cosine_std": 0.2}
    late["intervals"]["cosine_std"] = [0.15, 0.25]
    near = [0.95, 0.92, 0.97]
    hidden = {"mean": {kind: {"below": near, "mean": near, "std": near} for kind in ("raw", "centred")}}
    entry = {"value": 0.5, "low": 0.2, "high": 0.7, "p": 0.001}
    different = {"value": 0.01, "low": -0.2, "high": 0.19, "p": 0.6}
    fisher = {"pearson": {"same": entry, "different": different}, "prompts": 9, "checkpoints": 4}
    prediction = {"period": 5, "largest_error": 0.01, "mean_error": 0.001, "skill": 0.99, "first_break": None}
    own = {"value": 120.0, "open_end": False, "tried": 9}
    gap = {
        "step": 0, "rule": "grpo", "x_max_sq": 4.0, "epoch_own": None,
        "prompts": [{"linear": None, "own": own}, {"linear": 300.0, "own": {**own, "value": 90.0}}],
    }  # fmt: skip
    sampled = {
        "rule": "paper:8", "seeds": 4, "bandit": [0.1, 0.2], "expected_rule": [0.1, 0.2], "measured": [0.1, 0.2],
        "measured_half_width": [0.0, 0.1], "largest_error_of_expected_rule": 0.01, "share_within_interval": 1.0,
        "step": "5 times the step size of exact GRPO's theorem; no theorem covers paper:8",
    }  # fmt: skip
    return {
        "measured": {
            "hidden": hidden, "fisher": fisher, "interactions": {"0": copy.deepcopy(_COSINES), "40": late},
            "linearised_cosines": {"0": _STATISTIC, "40": _STATISTIC},
        },
        "comparison": {"predictions": [prediction], "tolerance": 0.05, "steps": 40},
        "gaps": [gap],
        "step_rules": [_STEP],
        "sampled": sampled,
    }  # fmt: skip


def _verdicts(content: dict[str, Any], experiment: Any = None) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in evidence_rows(content, experiment):
        found.setdefault(row.id, []).append(row.verdict)
    return found


@pytest.mark.parametrize(
    ("interval", "relation", "verdict"),
    [
        ([0.95, 0.91, 1.0], "above", "supported"),
        ([0.95, 0.9, 1.0], "above", "undecided"),
        ([0.9, 0.9, 0.9], "above", "undecided"),
        ([0.9, 0.9, 0.9], "below", "undecided"),
        ([0.7, 0.6, 0.89], "above", "refuted"),
        ([0.9, 0.8, 0.95], "above", "undecided"),
        ([0.1, 0.05, 0.2], "below", "supported"),
        ([0.95, 0.91, 1.0], "below", "refuted"),
        ([0.95, None, None], "above", "undecided"),
        (None, "above", "undecided"),
    ],
)
def test_an_interval_decides_only_if_all_of_it_lies_on_one_side(interval: Any, relation: Any, verdict: str) -> None:
    assert decide(interval, 0.9, relation) == verdict


def test_every_empirical_row_is_there_and_what_was_not_measured_is_undecided() -> None:
    found = _verdicts(_content())
    assert found["E-FIG1"] == ["supported"]
    assert found["E-TAB1"] == ["supported"]
    assert found["E-TAB3"] == ["supported", "supported"]
    assert found["E-ASM4"] == ["supported"]
    assert found["E-FIG3"] == ["undecided", "undecided"]
    assert found["E-FIG5"] == ["undecided"]
    assert found["E-CONSISTENT"] == ["refuted"]
    rows = {row.id: row for row in evidence_rows(_content())}
    assert rows["E-FIG5"].here == "not measured here"
    assert rows["E-FIG1"].here == "reproduced in kind"


def test_one_pair_without_m_refutes_assumption_4() -> None:
    content = _content()
    content["measured"]["interactions"]["40"]["no_m_share"] = 0.02
    assert _verdicts(content)["E-ASM4"] == ["refuted"]


def test_a_correlation_across_iterations_refutes_table_1() -> None:
    content = _content()
    different = content["measured"]["fisher"]["pearson"]["different"]
    different["high"] = 0.3
    assert _verdicts(content)["E-TAB1"] == ["undecided"]
    different.update(value=0.2, low=0.01)
    assert _verdicts(content)["E-TAB1"] == ["refuted"]
    content["measured"]["fisher"]["pearson"] = {"same": None, "different": None}
    assert _verdicts(content)["E-TAB1"] == ["undecided"]


@pytest.mark.parametrize(("every", "words"), [(True, "; p over all 24 orders"), (False, "; p over 24 random orders")])
def test_the_row_on_table_1_says_which_orders_its_p_values_are_from(every: bool, words: str) -> None:
    content = _content()
    before = next(row.remark for row in evidence_rows(content) if row.id == "E-TAB1")
    content["measured"]["fisher"]["permutations"] = {"orders": 24, "all": every}
    after = next(row.remark for row in evidence_rows(content) if row.id == "E-TAB1")
    assert after == f"{before}{words} of the prompts"


def test_fewer_than_six_prompts_decide_nothing_by_intervals() -> None:
    content = _content()
    content["measured"]["fisher"]["prompts"] = 5
    found = _verdicts(content)
    assert (found["E-FIG1"], found["E-TAB1"], found["E-TAB3"]) == (["undecided"], ["undecided"], ["undecided"] * 2)


@pytest.mark.parametrize(("prompts", "least"), [(6, 0.2924), (8, 0.3976), (72, 0.9026)])
def test_a_share_of_all_pairs_is_as_sure_as_independent_pairs_make_it(prompts: int, least: float) -> None:
    """Clopper and Pearson's bound of m successes in m, 0.025^(1/m), m = prompts // 2."""
    value, low, high = share_over_prompts([1.0, 1.0, 1.0], prompts)
    assert (value, high) == (1.0, 1.0)
    assert low == pytest.approx(least, abs=1e-4)
    assert low == pytest.approx(0.025 ** (1 / (prompts // 2)))
    assert share_over_prompts([0.0, 0.0, 0.0], prompts) == pytest.approx([0.0, 0.0, 1 - low])
    assert share_over_prompts([0.9, 0.5, 1.0], prompts) == [0.9, 0.5, 1.0]


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [
        ((0.02, 0.1), "supported"),
        ((-0.1, -0.05), "refuted"),
        ((-0.01, 0.1), "undecided"),
        # Runs that are all solved, or that never moved, end at the same place: that was told as a lead of std.
        ((0.0, 0.0), "undecided"),
        ((0.0, 0.1), "undecided"),
        # The experiment calls these open; here the one was supported and the other refuted.
        ((1e-8, 2e-8), "undecided"),
        ((-2e-8, -1e-8), "undecided"),
    ],
)
def test_the_experiment_decides_the_rows_on_accuracy(ends: tuple[float, float], verdict: str) -> None:
    found = {"end_difference": [sum(ends) / 2, *ends], "mean_difference": [0.0, -0.1, 0.1]}
    part = {"pairings": {"same": {"measured": found, "linearised": found}}}
    assert _verdicts(_content(), {"parts": {"easy": part}})["E-FIG3"] == [verdict, "undecided"]


def test_rows_on_the_model_follow_its_numbers() -> None:
    content = _content()
    assert _verdicts(content)["P-T32-DESCENT-FIXED"] == ["supported"]
    assert _verdicts(content)["X-DIRECTIONAL-GRPO"] == ["supported"]
    assert _verdicts(content)["sampled groups"] == ["supported"]
    assert "no theorem covers paper:8" in next(
        row.remark for row in evidence_rows(content, None) if row.id == "sampled groups"
    )
    assert _verdicts(content)["linear picture"] == ["supported"]
    content["gaps"][0]["prompts"][1]["own"]["value"] = 0.5
    content["step_rules"][0]["steps_that_lowered_the_drawn_J"] = 1
    content["sampled"]["share_within_interval"] = 0.3
    content["comparison"]["predictions"][0]["largest_error"] = 0.2
    found = _verdicts(content)
    assert [
        found[name] for name in ("P-T32-DESCENT-FIXED", "X-DIRECTIONAL-GRPO", "sampled groups", "linear picture")
    ] == [["refuted"]] * 4


@pytest.mark.parametrize(("inside", "verdict"), [(1.0, "supported"), (0.6, "undecided"), (0.4, "refuted")])
def test_paired_differences_decide_the_row_on_groups_where_they_were_kept(inside: float, verdict: str) -> None:
    content = _content()
    (before,) = (row for row in evidence_rows(content) if row.id == "sampled groups")
    assert before.remark.startswith("within the 95% interval of the mean at 100% of the steps;")
    content["sampled"] |= {
        "over_expected_rule": [0.0, 0.02], "over_expected_rule_half_width": [0.0, 0.03],
        "share_within_paired_interval": inside,
    }  # fmt: skip
    (row,) = (row for row in evidence_rows(content) if row.id == "sampled groups")
    assert row.verdict == verdict
    assert row.model == f"{before.model}; over the weight's, seed by seed, 0.020 [-0.010, 0.050]"
    assert row.remark.startswith(f"the 95% interval of the difference, each step for itself, holds 0 at {inside:.0%}")


def test_the_row_on_consistency_names_what_disagrees_within_the_paper() -> None:
    row = consistency_row()
    assert row.verdict == "refuted"
    assert "M, step 260" in row.remark
    assert "LoRA rank" not in row.remark
