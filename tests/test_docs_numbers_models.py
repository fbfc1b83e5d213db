"""The numbers of docs/models.md and docs/trl.md that have a stored result are that result's."""

from __future__ import annotations

import numpy as np
import pytest
from pages import assert_told, holds, numbers, recorded, rows, section, stored

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
