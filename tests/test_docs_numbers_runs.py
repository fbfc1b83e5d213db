"""Numbers of the pages whose runs are not stored: the commands are run again, which takes some 10 s each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pages import close, holds, page, rows, said, section

from simulator.engines.run import simulate_many
from simulator.families import make_problem
from simulator.sampled import SampledRule, get_any_rule
from theory.rules import REINFORCE

pytest.importorskip("torch")

from llm_bridge.comparing.directional_runs import step_rule_runs
from llm_bridge.comparing.sampled_comparison import compare_sampled
from llm_bridge.experiment import BridgeSettings, run_bridge

pytestmark = pytest.mark.deep


@pytest.fixture(scope="module")
def at_the_theorems_step() -> tuple[Any, Any]:
    """Model and linearisation under `whynorm bridge run --rule grpo`, 60 steps."""
    found = run_bridge(BridgeSettings(rule="grpo", eta_scale=1.0))
    return found.model.J, found.surrogate.J


def test_the_theorems_own_step_on_the_readme(at_the_theorems_step: tuple[Any, Any]) -> None:
    measured, predicted = at_the_theorems_step
    holds("README", "At the theorem's own step the two agree to #, and", np.abs(measured - predicted).max())
    told = {cells[0]: cells[1] for cells in rows(section("README", "## On real language models"), "question")}
    moves, steps = told["what the theorem's own step does"].removeprefix("moves p by ").split(" in ")
    moved = np.abs(measured[: int(steps.split()[0]) + 1] - measured[0]).max()
    assert close(moves, moved)


def test_the_theorems_own_step_on_the_page_on_comparison(at_the_theorems_step: tuple[Any, Any]) -> None:
    measured, predicted = (curve[:41] for curve in at_the_theorems_step)
    error, move = measured - predicted, measured - measured[0]
    assert "At the theorem's own step (6 prompts, 40 steps) the error stays below 0.0002," in page("compare")
    assert np.abs(error).max() < 0.0002
    holds("compare", "but the largest move is #:", np.abs(move).max())
    holds("compare", "Its skill is #:", 1 - (error**2).sum() / (move**2).sum())


def test_the_peak_step_that_lowered_its_prompt() -> None:
    found = (run.to_json() for run in step_rule_runs(BridgeSettings(rule="grpo", steps=24)))
    runs = {run["step"]: run for run in found}
    fell = runs["peak"]
    count, largest = fell["steps_that_lowered_the_drawn_J"], fell["largest_fall_in_a_step"]
    holds("compare", "in another run (6 prompts, # steps) # of # peak steps lowered its prompt, by #.",
          24, count, 24, largest)  # fmt: skip
    assert runs["directional"]["steps_that_lowered_the_drawn_J"] == 0


def test_the_expected_weight_at_a_small_step() -> None:
    words = "At # times the theorem's step (# seeds) the expected weight was within both intervals throughout."
    scale, seeds = map(int, said("compare", words))
    rule = get_any_rule("paper:8")
    assert isinstance(rule, SampledRule)
    found = compare_sampled(BridgeSettings(rule="grpo", n=8, eta_scale=scale, steps=24), rule, seeds)
    told = found.to_json()
    assert (told["share_within_interval"], told["share_within_paired_interval"]) == (1, 1)


def test_digits_that_engines_agree_to() -> None:
    """From p0 = 1e-12 a step of REINFORCE moves theta by little more than its rounding."""
    problem = make_problem("orthogonal", 4, 8, p0=[1e-12] * 4, seed=0)
    eta = 3 * 3**0.5 / problem.x_max_sq
    digits = []
    for steps in (60, 100_000):
        fast, plain = (
            simulate_many(problem, REINFORCE, eta, steps, engine=engine, replicas=1, record="ends")
            for engine in ("lanes", "reference")
        )
        digits.append(
            -np.log10(max(np.abs(fast.J / plain.J - 1).max(), np.abs(fast.grad_sq / plain.grad_sq - 1).max()))
        )
    short, long = map(
        int, said("README", "to # digits over 60 steps (from p0 = 1e-12 rounding adds up: # digits after")
    )
    assert short <= digits[0]
    assert long <= digits[1] < long + 1
