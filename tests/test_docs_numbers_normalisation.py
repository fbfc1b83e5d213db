"""The numbers of docs/normalisation.md are those of the stored experiments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pages import RESULTS, holds, page, pass_rates, rows, section, stored

from whynorm.commands.bridge_experiment import experiment_rows

RUNS = (
    "tiny-normalisation/exact",
    "tiny-normalisation/sampled",
    "smollm2-normalisation/exact",
)
HEADINGS = (
    "## What it is compared with decides",
    "## With sampled groups",
    "## On a real model",
)
EXACT, SAMPLED, LARGE = (stored(f"{name}/summary.json") for name in RUNS)
PARTS = ("easy", "hard", "hardest")


def _of(summary: dict[str, Any], pairing: str, kind: str = "measured") -> list[list[float]]:
    """Lead of std and its interval, part by part."""
    return [part["pairings"][pairing][kind]["mean_difference"] for part in summary["parts"].values()]


def _leads(summary: dict[str, Any], pairing: str, kind: str = "measured") -> list[float]:
    return [lead[0] for lead in _of(summary, pairing, kind)]


@pytest.mark.parametrize(("name", "heading"), list(zip(RUNS, HEADINGS, strict=True)))
def test_tables(name: str, heading: str) -> None:
    told = list(rows(section("normalisation", heading), "part | no_std's step"))
    assert told == [list(row.values())[:-1] for row in experiment_rows(stored(f"{name}/summary.json"))]


def test_what_was_run() -> None:
    settings = stored(f"{RUNS[0]}/experiment.json")
    starts = [part["p0"]["mean"] for part in EXACT["parts"].values()]
    holds("normalisation", "on questions that start at # (easy) and # (hard)", *starts[:2])
    holds("normalisation", "hardest, that starts at #.", starts[2])
    holds("normalisation", "# prompts, # steps of one prompt each, # seeds.",
          settings["n"], settings["steps"], settings["seeds"])  # fmt: skip
    holds("normalisation", "a time from pools of #, # and #;", *(len(pool) for pool in settings["questions"].values()))
    ratios = {name: pairing["step_ratio"] for name, pairing in EXACT["parts"]["easy"]["pairings"].items()}
    holds("normalisation", "- **best** (#): each rule", ratios["best"])
    holds("normalisation", "until the mean success of the prompts is #;", EXACT["threshold"])


def test_at_the_same_learning_rate() -> None:
    leads = _leads(EXACT, "same")
    assert leads == sorted(leads)
    holds("normalisation", "by #, # and # of mean success.", *leads)
    moves = [part["pairings"]["same"]["move_ratio"] for part in EXACT["parts"].values()]
    holds("normalisation", "its steps are also #, # and # times as long on average", *moves)


def test_with_fair_steps() -> None:
    fair = [each[:2] for each in (_of(EXACT, "best"), _of(EXACT, "matched"))]
    near = [lead for pairing in fair for lead in pairing]
    holds("normalisation", "left on easy and hard**: # to # of mean success.",
          min(lead[0] for lead in near), max(lead[0] for lead in near))  # fmt: skip
    assert all(low > 0 for _, low, _ in near)
    ratios = {key: [part["pairings"][key]["measured"]["speed_up"] for part in EXACT["parts"].values()]
              for key in ("best", "matched")}  # fmt: skip
    assert all(low < 1 < high for pairing in ratios.values() for _, low, high in pairing[:2])
    holds("normalisation",
          "the lead stays**: # (best) and # (matched), and no_std needs at least # and # times as many",
          _leads(EXACT, "best")[2], _leads(EXACT, "matched")[2], ratios["best"][2][0],
          ratios["matched"][2][0])  # fmt: skip


def test_where_the_theory_says() -> None:
    holds("normalisation", "standard deviation over the run is below #.", EXACT["compare_threshold"])
    means = [part["weighted_mean_std"][0] for part in EXACT["parts"].values()]
    holds("normalisation", "It is #, # and #, so std should be ahead", *means)
    assert max(means) < EXACT["compare_threshold"]


def test_what_the_linearised_model_predicts() -> None:
    pairs = [(_leads(EXACT, key), _leads(EXACT, key, "linearised")) for key in ("same", "best", "matched")]
    signs = [
        np.sign(one) == np.sign(two)
        for measured, predicted in pairs
        for one, two in zip(measured, predicted, strict=True)
    ]
    assert all(signs)
    assert len(signs) == 9
    (same, same_p), (best, best_p), (matched, matched_p) = pairs
    holds("normalisation", "# for # and # for # on the hardest part, # for # on hard.",
          same_p[2], same[2], best_p[2], best[2], same_p[1], same[1])  # fmt: skip
    holds("normalisation", "matched steps on the hardest part, # for #: its own interval, # to #,",
          matched_p[2], matched[2], *_of(EXACT, "matched", "linearised")[2][1:])  # fmt: skip


def test_the_flow_of_a_single_prompt() -> None:
    flow = {key: [part["pairings"][key]["flow_speed_up"] for part in EXACT["parts"].values()]
            for key in ("same", "best", "matched")}  # fmt: skip
    found = {key: [part["pairings"][key]["measured"]["speed_up"][0] for part in EXACT["parts"].values()]
             for key in ("same", "matched")}  # fmt: skip
    holds("normalisation",
          "not the size**: #, # and # times fewer steps at the same step size, where #, # and at least # were",
          *flow["same"], *found["same"])  # fmt: skip
    holds("normalisation", "measured; #, # and # at best steps", *flow["best"])
    holds(
        "normalisation", "sign wrong: #, no_std faster, where at least # was", flow["matched"][2], found["matched"][2]
    )
    ratio = EXACT["parts"]["hardest"]["pairings"]["matched"]["step_ratio"]
    holds(
        "normalisation",
        "matched at p = # is # times as large a step size",
        EXACT["parts"]["hardest"]["p0"]["mean"],
        ratio,
    )
    # Its update over that of std at p = 1/2, where the standard deviation is 1/2.
    holds("normalisation", "an update almost # times as long", round(ratio / 2))


def test_groups_without_variance() -> None:
    starts = [100 * part["zero_variance"]["std"][0] for part in EXACT["parts"].values()]
    ends = [100 * each[-1] for part in EXACT["parts"].values() for each in part["zero_variance"].values()]
    holds("normalisation",
          "of groups of #, #% would have no variance at the start of the hardest part (#% on hard, #% on easy)",
          EXACT["group"], starts[2], starts[1], starts[0])  # fmt: skip
    holds("normalisation", "and #% to #% at the end of the runs", min(ends), max(ends))


def test_sampled_groups() -> None:
    same, matched = _of(SAMPLED, "same"), _of(SAMPLED, "matched")
    predicted, hardest = _leads(SAMPLED, "same", "linearised"), SAMPLED["parts"]["hardest"]
    flows = [part["pairings"]["same"]["flow_speed_up"] for part in (hardest, EXACT["parts"]["hardest"])]
    holds("normalisation", "falls from # to #, as predicted** (linearised model #; flow # in place of #)",
          _leads(EXACT, "same")[2], same[2][0], predicted[2], *flows)  # fmt: skip
    early = [share for t, share in zip(hardest["t"], hardest["zero_variance"]["std"], strict=True) if t < 20]
    holds("normalisation", "#% of the groups would have no variance in the first # steps", 100 * np.mean(early), 20)
    holds("normalisation", "nothing is left: #, with an interval from # to #.", *matched[2])
    holds("normalisation", "largest in the middle**, # on hard (# predicted)", same[1][0], predicted[1])
    holds("normalisation", "On easy there is none: #, from # to #, where # was predicted.", *same[0], predicted[0])
    holds("normalisation", "the leads are #, # and #, and only that on hard leaves out # (from #).",
          *(lead[0] for lead in matched), 0, matched[1][1])  # fmt: skip
    assert [low > 0 for _, low, _ in matched] == [False, True, False]


def test_a_real_model() -> None:
    same, best = _of(LARGE, "same"), _of(LARGE, "best")
    predicted = {key: _leads(LARGE, key, "linearised") for key in ("same", "best")}
    settings, split = stored(f"{RUNS[2]}/experiment.json"), RESULTS / "smollm2-normalisation" / "split" / "split.jsonl"
    holds(
        "normalisation", "exact mode: # prompts, # steps, # seeds", settings["n"], settings["steps"], settings["seeds"]
    )
    easy, hard = (len(settings["questions"][part]) for part in ("easy", "hard"))
    holds("normalisation", "of cases: # of # sums", easy, len(split.read_text().splitlines()))
    holds("normalisation", "and hard ones (#, in", hard)
    holds("normalisation", "on easy prompts**, by # (# predicted). On hard ones # was measured and # predicted,",
          same[0][0], predicted["same"][0], same[1][0], predicted["same"][1])  # fmt: skip
    assert same[1][1] < 0 < same[1][2]
    holds("normalisation", "behind on easy prompts**, by # (# to #), and the linearised model predicts #.",
          -best[0][0], -best[0][2], -best[0][1], -predicted["best"][0])  # fmt: skip
    means = [part["weighted_mean_std"] for part in LARGE["parts"].values()]
    holds(
        "normalisation",
        "standard deviation is # there (# to #), and above # the",
        *means[0],
        LARGE["compare_threshold"],
    )
    holds("normalisation", "On hard ones it is #, and std is ahead by # (# to #): open.", means[1][0], *best[1])


def test_what_it_does_not_show() -> None:
    parts = EXACT["parts"].values()
    times = [each for part in parts for each in part["times_theorem"]]
    holds("normalisation", "The step sizes are # to # times the theorem's own", min(times), max(times))
    errors = [
        [pairing["prediction_error"] for part in summary["parts"].values() for pairing in part["pairings"].values()]
        for summary in (EXACT, SAMPLED)
    ]
    holds(
        "normalisation",
        "at any step, is # to # (with groups # to #)",
        *(end for each in errors for end in (min(each), max(each))),
    )
    assert "a model of 0.3 million parameters" in page("normalisation")


def test_sampled_completions_of_the_real_model() -> None:
    """What completions say and what the answer set says; the table of that run has no predictions."""
    found, tiny = (
        [part["completions"] for part in stored(f"{name}-normalisation/sampled/summary.json")["parts"].values()]
        for name in ("smollm2", "tiny")
    )
    assert all(each["differ"] for each in found)
    assert not any(each["differ"] for each in tiny)
    percent = [100 * found[i][key] for key in ("right", "answer_set") for i in (0, 1)]
    holds("normalisation", "#% of the completions were right on easy questions and #% on hard ones, where the answer "
          "set says #% and #%.", *percent)  # fmt: skip
    holds("README", "`smollm2` is right in #% of its completions on the easy questions", percent[0])
    # A group has variance only if one of its completions is right, so no more than G times the rate have any.
    group = stored("smollm2-normalisation/sampled/experiment.json")["group"]
    assert [group * share < most for share, most in zip(percent[:2], (10, 5), strict=True)] == [True, True]
    holds("normalisation", "so at most #% of the groups on easy questions and #% on hard ones had any", 10, 5)
    free = {tokens: pass_rates(f"smollm2-normalisation/free/{tokens}") for tokens in (6, 32)}
    means = {tokens: 100 * np.mean([*rates.values()]) for tokens, rates in free.items()}
    holds("normalisation", "cut off after # tokens, but with # it is right in only #% of its replies to the easy "
          "questions (#% with #, before", *free, means[32], means[6], 6)  # fmt: skip
    holds("normalisation", "is right in #, # and # of its completions, where its answer sets say #, # and #",
          *(each[key] for key in ("right", "answer_set") for each in tiny))  # fmt: skip
