"""The numbers of docs/models.md and docs/trl.md that have a stored result are that result's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pages import assert_told, holds, numbers, page, recorded, rows, said, section, stored

RUNS = {"the theorem's": "theorem", "100 times it": "times100"}


@pytest.mark.parametrize(("told", "folder"), list(RUNS.items()))
def test_a_run_on_the_real_model(told: str, folder: str) -> None:
    table = rows(section("models", "## A run on the real model"), "step")
    (cells,) = (cells for cells in table if cells[0].startswith(f"{told}, "))
    measured, predicted = (recorded(f"smollm2-exact/{folder}{part}") for part in ("", "/linearised"))
    errors = np.abs(measured - predicted).max(axis=1)
    x_max_sq = stored(f"smollm2-exact/{folder}/summary.json")["x_max_sq"]
    beyond = np.flatnonzero(errors > 0.03)
    assert cells[0] == f"{told}, {len(measured) - 1} steps"
    assert cells[1] == f"{x_max_sq:.2e}".replace("e+0", "e")
    assert_told(cells[2:4], (np.abs(measured - measured[0]).max(), errors.max()), cells[0])
    assert cells[4] == (str(beyond[0] - 1) if len(beyond) else "the end")


def test_what_that_run_was() -> None:
    large = recorded("smollm2-exact/times100")
    means = large.mean(axis=1)
    holds("models", "Mean success goes from # to # at # times the theorem's step", means[0], means[-1], 100)
    seconds = stored("smollm2-exact/run.json")["runs"]["times100"]["processor_seconds"]
    prompts, steps = large.shape[1], len(large) - 1
    holds("models", "# chat prompts, # steps at # times the theorem's step: # minutes on one core.",
          prompts, steps, 100, round(seconds / 60))  # fmt: skip


def test_what_the_smollm2_of_the_readme_ran() -> None:
    holds("README", "with LoRA, # sums, exact GRPO at # times", recorded("smollm2-exact/times100").shape[1], 100)


def test_what_the_form_of_a_prompt_does() -> None:
    found = stored("smollm2_prompts.json")
    forms = found["forms"]
    assert forms["auto"] == forms["chat"]
    told = list(rows(section("models", "## Prompts for a chat model"), "form"))
    assert_told([cells[-1] for cells in told], [forms[name]["mean"] for name in ("plain", "chat", "begun")], "forms")
    assert f"mean p over {found['sums']} one-digit sums" in page("models")
    holds("models", '(#% of all replies to "3 + 5" are one of the #)', 100 * found["replies_among_answers"], 19)
    holds("models", "little above 1/19: from # to #,", forms["chat"]["least"], forms["chat"]["most"])
    easy = stored("smollm2-normalisation/sampled/summary.json")["parts"]["easy"]["completions"]
    holds("models", "#% of the completions were right where the answer sets said #%.",
          100 * easy["right"], 100 * easy["answer_set"])  # fmt: skip
    holds("models", "less than half of ln #, # nats a token", 49152, math.log(49152) / 2)


def test_what_sharing_and_bfloat16_do() -> None:
    found = stored("smollm2_prompts.json")
    seconds, half = found["seconds"], found["bfloat16"]
    ratios = [round(seconds[f"{name}_apart"] / seconds[f"{name}_shared"]) for name in ("forward", "backward")]
    (told,) = said("models", "to rounding, # times faster forward and backward on smollm2.")
    assert_told([told, told], ratios, "sharing")
    holds("models", "log-probabilities by # in the median, at most by #,", half["median_error"], half["largest_error"])
    assert half["median_between_passes"] > half["median_error"] / 2
    holds("models", "p of # in float32 is # there.", half["p_float32"], half["p_bfloat16"])


def test_speed_beside_trl() -> None:
    """Rates and ratios are held in test_readme_numbers.py; here each row's sizes and what diagnostics cost."""
    told = list(rows(section("trl", "## Speed"), "model, prompts x completions, longest"))
    for cells, name in zip(told, ("smollm2", "tiny_wide", "tiny"), strict=True):
        content = stored(f"bridge_{name}.json")
        work, ratios = content["work"], content["ratios"]
        size = (work["prompts"], work["group"], work["longest"], len(content["rows"][0]["steps"]))
        assert_told(numbers(cells[0].partition(", ")[2]), size, name)
        for cell, peer in zip(cells[4:], ("whynorm", "trl"), strict=True):
            assert_told(numbers(cell), [100 * ratios[f"cost of diagnostics in {peer}, tokens_per_second"]], name)


def test_other_runs_beside_trl() -> None:
    small, wide = (stored(f"bridge_{name}.json")["other_ratios"] for name in ("tiny", "tiny_wide"))
    speeds = sorted(run["speedup, tokens_per_second"] for run in small)
    holds("trl", "with 4 x 8 on `tiny` just so: the two other runs gave # and #.", *speeds)
    for runs, words in ((small, "the two others gave # and #% with 4 x 8,"), (wide, "and # and #% with 32 x 16;")):
        holds("trl", words, *sorted(100 * run["cost of diagnostics in whynorm, tokens_per_second"] for run in runs))
