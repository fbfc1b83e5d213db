"""The numbers of docs/normalisation.md on SmolLM2 with its reply begun are those of the stored experiments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pages import holds, page, pass_rates, rows, section, stored

from llm_bridge.measurement.intervals import student_interval
from whynorm.commands.bridge_experiment import experiment_rows

FOLDER = "smollm2-normalisation"
RUNS = tuple(f"{FOLDER}/begun/{name}" for name in ("sampled", "sampled-hard", "exact"))
HEADINGS = ("### With the reply begun", "#### Hard prompts", "#### The same prompts in exact mode")
BEGUN, BEGUN_HARD, BEGUN_EXACT = (stored(f"{name}/summary.json") for name in RUNS)


def _leads(summary: dict[str, Any], kind: str = "measured") -> list[float]:
    """Lead of std at the same step size, part by part."""
    return [part["pairings"]["same"][kind]["mean_difference"][0] for part in summary["parts"].values()]


@pytest.mark.parametrize(("name", "heading"), list(zip(RUNS, HEADINGS, strict=True)))
def test_tables(name: str, heading: str) -> None:
    told = list(rows(section("normalisation", heading), "part | no_std's step"))
    assert told == [list(row.values())[:-1] for row in experiment_rows(stored(f"{name}/summary.json"))]


def test_completions_of_begun_replies_are_those_of_the_answer_sets() -> None:
    exact, spoken = pass_rates(f"{FOLDER}/begun/split"), pass_rates(f"{FOLDER}/begun/spoken")
    pairs = np.array([[exact[name], rate] for name, rate in spoken.items()])
    samples = stored("smollm2-normalisation/begun/spoken/settings.json")["samples"]
    means = 100 * pairs.mean(axis=0)
    holds("normalisation", "of # one-digit questions #% of the completions were right, where the answer sets say #%, "
          "question by question with a correlation of # (# completions each)", len(pairs), means[1], means[0],
          np.corrcoef(pairs.T)[0, 1], samples)  # fmt: skip
    # No more than chance leaves of as many completions.
    noise = np.sqrt((pairs[:, 0] * (1 - pairs[:, 0]) / samples).sum()) / len(pairs)
    assert abs(np.subtract(*pairs.mean(axis=0))) < 2 * noise
    ((name, rate),) = pass_rates(f"{FOLDER}/begun/spoken-9x7").items()
    holds("normalisation", "9 * 7 the right one has #, and #% of # completions were right.", exact[name], 100 * rate,
          stored("smollm2-normalisation/begun/spoken-9x7/settings.json")["samples"])  # fmt: skip


def test_sampled_groups_on_a_real_model() -> None:
    settings, content = stored(f"{RUNS[0]}/experiment.json"), BEGUN["parts"]["easy"]
    exact, found = pass_rates(f"{FOLDER}/begun/split"), content["completions"]
    assert settings["form"] == {"easy": "begun"}
    assert settings["eta"] == stored(f"{FOLDER}/exact/experiment.json")["eta"]
    holds("normalisation", "groups of # on this model: # prompts, # steps, # seeds, the", settings["group"],
          settings["n"], settings["steps"], settings["seeds"])  # fmt: skip
    holds("normalisation", "from # of # one-digit questions in which", len(settings["questions"]["easy"]), len(exact))
    assert not found["differ"]
    holds("normalisation", "**#% of the completions were right, where the answer set says #%**, or #% for the prompts "
          "that were drawn, and #% of the groups had no",
          *(100 * found[key] for key in ("right", "answer_set", "drawn", "zero_variance")))  # fmt: skip
    same = content["pairings"]["same"]
    holds("normalisation", "std is ahead by #** (# to #), and the linearised model predicts #:",
          *same["measured"]["mean_difference"], same["linearised"]["mean_difference"][0])  # fmt: skip
    assert same["measured"]["ahead"] == "std"
    low, high = same["measured"]["mean_difference"][1:]
    assert low < same["linearised"]["mean_difference"][0] < high
    matched = content["pairings"]["matched"]
    holds("normalisation", "next to nothing is left**: # (# to #), where # was predicted, just outside. So",
          *matched["measured"]["mean_difference"], matched["linearised"]["mean_difference"][0])  # fmt: skip
    assert matched["measured"]["ahead"] == "std"
    assert matched["measured"]["mean_difference"][1] > matched["linearised"]["mean_difference"][0]
    holds("normalisation", "a size within the interval. Its steps are # times as long", same["move_ratio"])
    holds("README", "it is right in #%, and with groups of # std leads by # on easy prompts, where # was predicted "
          "(# seeds)",
          100 * found["right"], settings["group"], same["measured"]["mean_difference"][0],
          same["linearised"]["mean_difference"][0], settings["seeds"])  # fmt: skip


def test_sampled_groups_on_hard_prompts_of_a_real_model() -> None:
    settings, content = stored(f"{RUNS[1]}/experiment.json"), BEGUN_HARD["parts"]["hard"]
    exact, found = pass_rates(f"{FOLDER}/begun/split"), content["completions"]
    assert len(settings["questions"]["hard"]) == sum(0.02 <= p < 0.2 for p in exact.values())
    holds("normalisation", "The same on # of the # questions", len(settings["questions"]["hard"]), len(exact))
    assert not found["differ"]
    holds("normalisation", "#% of the completions were right, where the answer set says #%, and #% of the groups had "
          "no variance. **Both", *(100 * found[key] for key in ("right", "answer_set", "zero_variance")))  # fmt: skip
    same, matched = (content["pairings"][name] for name in ("same", "matched"))
    holds("normalisation", "std is ahead by # (# to #; predicted #) at one learning rate, with steps # times as long",
          *same["measured"]["mean_difference"], same["linearised"]["mean_difference"][0],
          same["move_ratio"])  # fmt: skip
    holds("normalisation", "at matched steps, # (# to #; predicted #).",
          *matched["measured"]["mean_difference"], matched["linearised"]["mean_difference"][0])  # fmt: skip
    assert (same["measured"]["ahead"], matched["measured"]["ahead"]) == ("std", "open")
    for pair in (same, matched):
        low, high = pair["measured"]["mean_difference"][1:]
        assert low < pair["linearised"]["mean_difference"][0] < high
    assert found["zero_variance"] > 0.5


def test_exact_mode_beside_sampled_groups_on_a_real_model() -> None:
    exact, sampled = stored(f"{RUNS[2]}/experiment.json"), [stored(f"{name}/experiment.json") for name in RUNS[:2]]
    for key in ("n", "steps", "every", "eta", "seeds", "dtype"):
        assert all(each[key] == exact[key] for each in sampled), key
    assert exact["digests"] == {name: digest for each in sampled for name, digest in each["digests"].items()}
    easy, hard = _leads(BEGUN_EXACT)
    easy_said, hard_said = _leads(BEGUN_EXACT, "linearised")
    holds("normalisation", "std is ahead by # on easy prompts and by # on hard ones (# and # predicted). - **With",
          easy, hard, easy_said, hard_said)  # fmt: skip
    ((grouped,), (grouped_said,)) = (_leads(BEGUN_HARD, kind) for kind in ("measured", "linearised"))
    ((light,), (light_said,)) = (_leads(BEGUN, kind) for kind in ("measured", "linearised"))
    holds("normalisation", "**Groups of # leave # of the lead on hard prompts** (# predicted): they take #% of it, "
          "where #% was predicted.", sampled[0]["group"], grouped, grouped_said,
          100 * (1 - grouped / hard), 100 * (1 - grouped_said / hard_said))  # fmt: skip
    holds("normalisation", "On easy ones they leave # of # (# predicted", light, easy, light_said)
    errors = [each["prediction_error"] for run in (BEGUN_HARD, BEGUN_EXACT)
              for each in run["parts"]["hard"]["pairings"].values()]  # fmt: skip
    holds("normalisation", "These are # seeds of # prompts each from # and # questions;", exact["seeds"], exact["n"],
          *(len(asked) for asked in exact["questions"].values()))  # fmt: skip
    holds("normalisation", "single success probabilities are predicted with errors up to #.", max(errors))
    holds("README", "was predicted (# seeds), and by # on hard ones (#); with exact gradients by # and # (# and #).",
          exact["seeds"], grouped, grouped_said, easy, hard, easy_said, hard_said)  # fmt: skip
    holds("README", "and groups of # take #% of that.", sampled[0]["group"], 100 * (1 - grouped / hard))


def test_what_matched_first_steps_leave_on_a_real_model() -> None:
    """The sign that is predicted, in intervals that leave out 0; also by the seeds that were added to see."""
    pairs = {part: content["pairings"]["matched"] for part, content in BEGUN_EXACT["parts"].items()}
    easy, hard = (pairs[part]["measured"]["mean_difference"] for part in ("easy", "hard"))
    easy_said, hard_said = (pairs[part]["linearised"]["mean_difference"][0] for part in ("easy", "hard"))
    holds("normalisation", "ahead on easy prompts, by # (# to #; predicted #), and behind on hard ones, by # (# to #; "
          "predicted #)**", *easy, easy_said, -hard[0], -hard[2], -hard[1], -hard_said)  # fmt: skip
    holds("normalisation", "The flow of a single prompt says so, too (#).", pairs["hard"]["flow_speed_up"])
    assert [pairs[part]["measured"]["ahead"] for part in ("easy", "hard")] == ["std", "no_std"]
    holds("README", "# on easy prompts, and on hard ones no_std is ahead by # (# predicted)",
          easy[0], -hard[0], -hard_said)  # fmt: skip
    found = {part: np.array(pairs[part]["measured"]["seed_differences"]) for part in pairs}
    first = student_interval(found["hard"][:3]).to_json()
    holds("normalisation", "both differences at matched steps held 0 (# to # on hard prompts)", *first[1:])
    assert student_interval(found["easy"][:3]).to_json()[1] < 0
    said = np.mean(pairs["hard"]["linearised"]["seed_differences"][3:])
    added = [student_interval(found[part][3:]).to_json() for part in ("hard", "easy")]
    holds("normalisation", "These five alone say # (# to #) there, where # was predicted for them, and # (# to #) on "
          "easy", *added[0], said, *added[1])  # fmt: skip
    hardest = stored("tiny-normalisation/exact/summary.json")["parts"]["hardest"]["pairings"]["matched"]
    holds("normalisation", "std stayed ahead at matched steps (#, see above), where # was predicted.",
          *(hardest[kind]["mean_difference"][0] for kind in ("measured", "linearised")))  # fmt: skip


def test_best_steps_on_a_real_model() -> None:
    parts = [BEGUN_EXACT["parts"][part] for part in ("hard", "easy")]
    best = [part["pairings"]["best"] for part in parts]
    hard, easy = ([*one["measured"]["mean_difference"], one["linearised"]["mean_difference"][0]] for one in best)
    holds("normalisation", "std is ahead on hard prompts, by #** (# to #; predicted #), and on easy ones nothing can "
          "be told from 0, # (# to #; predicted #).", *hard, *easy)  # fmt: skip
    means = [part["weighted_mean_std"][0] for part in parts]
    holds("normalisation", "standard deviation is #, below #; on easy ones, #, it says std, too", means[0],
          BEGUN_EXACT["compare_threshold"], means[1])  # fmt: skip
    holds("README", "With best steps the lead on hard prompts is # (# predicted)", hard[0], hard[3])
    every = [pair for part in parts for pair in part["pairings"].values()]
    ends = np.array([pair["measured"]["mean_difference"] for pair in every])
    said = np.array([pair["linearised"]["mean_difference"][0] for pair in every])
    assert (np.sign(ends[:, 0]) == np.sign(said)).all()
    left_out = int(((ends[:, 1] > 0) | (ends[:, 2] < 0)).sum())
    assert (len(every), left_out) == (6, 5)
    assert "all six differences have the sign that was predicted, and five of" in " ".join(
        page("normalisation").split()
    )
