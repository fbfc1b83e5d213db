"""std against no_std: the runs are those of Algorithms 1 and 2, resumable; the summary says what the curves say."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compare import assert_agree

from llm_bridge.asking.questions import get_task
from llm_bridge.experiment import BridgeSettings, prepare
from llm_bridge.experiments.normalisation import Runs, draw_questions, run_experiment
from llm_bridge.experiments.normalisation_run import (
    Curve,
    evaluation_times,
    exact_curve,
    linearised,
    matched_ratio,
    predicted_curve,
)
from llm_bridge.experiments.normalisation_settings import PAIRINGS, PROVED, Experiment, pairings_of
from llm_bridge.training import train
from simulator.families import make_problem
from simulator.reference import simulate
from simulator.sampled import get_any_rule
from simulator.step_sizes import resolve_step
from theory.errors import InputError
from theory.rules import GRPO, REINFORCE

SMALL = Experiment(
    "tiny", {"two": "arithmetic:5*7 2+7 17+26"}, n=2, steps=3, every=2, seeds=2, pairings=("same", "matched")
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Runs]:
    out = tmp_path_factory.mktemp("experiment")
    return out, run_experiment(SMALL, out)


def test_a_curve_is_that_of_algorithms_1_and_2() -> None:
    settings = BridgeSettings(prompts=("5*7", "2+7"))
    for rule in (GRPO, REINFORCE):
        loaded, _, batch = prepare(settings)
        curve = exact_curve(loaded, batch, rule, 2e-3, 3, 2, seed=1)
        loaded, _, batch = prepare(settings)
        record = train(loaded, batch, rule, 2e-3, 3, x_max_sq=1.0, seed=1)
        assert curve.t.tolist() == [0, 2, 3]
        assert_agree(curve.J, record.J[[0, 2, 3]], 1e-10)
        # The length of an exact update is eta weight ||grad J||.
        p, q = (values[np.arange(3), record.order] for values in (record.J, record.q))
        assert_agree(curve.move, 2e-3 * rule.weight(p, q) * np.sqrt(record.step_grad_sq), 1e-6)


def test_pairs_share_prompts_adapter_and_order(small: tuple[Path, Runs]) -> None:
    _, runs = small
    for seed in range(2):
        curves = [runs.curves["two", label, seed] for label in ("std", "same", "matched")]
        assert all((curve.J[0] == curves[0].J[0]).all() for curve in curves)
        assert runs.etas["two", "same", seed] == runs.etas["two", "std", seed]
        moves = [curve.move[0] for curve in curves]
        # At the same step size the first step of std is longer by 1 / sqrt(p q), which is at least 2.
        assert moves[0] >= 2 * moves[1]
        assert moves[1] < moves[2]


def test_killed_and_resumed_it_is_the_same(small: tuple[Path, Runs]) -> None:
    out, runs = small
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    gone = [out / "two" / name for name in ("matched-0.npz", "std-1.npz", "bandit-1.npz")]
    for path in gone:
        path.unlink()
    again = run_experiment(SMALL, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    for key, curve in runs.curves.items():
        assert (again.curves[key].J == curve.J).all()
        assert (again.predicted[key].J == runs.predicted[key].J).all()


def test_what_is_there_is_not_run_again(small: tuple[Path, Runs], monkeypatch: pytest.MonkeyPatch) -> None:
    out, _ = small
    monkeypatch.setattr("llm_bridge.experiments.normalisation._curve", None)
    run_experiment(SMALL, out)
    for more in ({"seeds": 3}, {"pairings": ("same", "matched", "best")}):
        with pytest.raises(TypeError):
            run_experiment(replace(SMALL, **more), out)  # type: ignore[arg-type]
    # Fewer are fewer to be told of.
    assert {key[1] for key in run_experiment(replace(SMALL, pairings=("matched",)), out).curves} == {"std", "matched"}


@pytest.mark.parametrize("change", [{"eta": 1e-3}, {"parts": {"two": "arithmetic:sum"}}, {"n": 1}, {"mode": "sampled"}])
def test_another_experiments_directory_is_refused(small: tuple[Path, Runs], change: dict[str, object]) -> None:
    out, _ = small
    before = (out / "experiment.json").read_bytes()
    with pytest.raises(InputError, match="that of this experiment"):
        run_experiment(replace(SMALL, **change), out)  # type: ignore[arg-type]
    assert (out / "experiment.json").read_bytes() == before


def test_a_directory_whose_questions_have_changed_is_refused(tmp_path: Path) -> None:
    """A question of a file is named by its line, whatever stands there: runs of other answers were once taken over."""
    file = tmp_path / "own.jsonl"
    two = [{"question": f"{digit}+5=", "answers": ["7", "8"]} for digit in (2, 3)]
    own = replace(SMALL, parts={"own": f"choices:{file}"}, steps=1, every=1, pairings=("same",))
    for correct in ("7", "8"):
        file.write_text("".join(json.dumps({**line, "correct": correct}) + "\n" for line in two))
        if correct == "7":
            run_experiment(own, tmp_path / "out")
        else:
            with pytest.raises(InputError, match="digests differs"):
                run_experiment(own, tmp_path / "out")


def test_a_damaged_run_is_named(tmp_path: Path) -> None:
    path = tmp_path / "std-0.npz"
    path.write_bytes(b"PK")
    with pytest.raises(InputError, match="std-0"):
        Curve.load(path)
    Curve(np.arange(3), np.ones((2, 1)), np.ones(2)).save(path)
    with pytest.raises(InputError, match="run anew"):
        Curve.load(path)


@pytest.mark.parametrize(
    "change",
    [
        {"n": 0},
        {"seeds": 1},
        {"eta": 0.0},
        {"parts": {}},
        {"pairings": ("none",)},
        {"pairings": ()},
        {"batch": 2},
        {"mode": "sampled", "group": 1},
        {"mode": "sampled", "batch": 9},
        {"mode": "sampled", "pairings": ("same", "best")},
        {"mode": "sampled", "pairings": ("theorem",)},
    ],
)
def test_bad_settings(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match="expected"):
        replace(SMALL, **change)  # type: ignore[arg-type]


def test_no_step_size_of_sampled_groups_is_said_to_be_proved() -> None:
    """Theorem and best were taken in sampled mode too, where no theorem and no proved step size is known."""
    with pytest.raises(InputError, match=r"pairing is \['best'\]; expected some of same, matched in sampled mode"):
        replace(SMALL, mode="sampled", pairings=("same", "best"))
    assert pairings_of("sampled") == ("same", "matched")
    assert pairings_of("exact") == tuple(PAIRINGS)
    # The ratios of the pairings left out are those of step sizes that belong to exact rules.
    for label in PROVED:
        no_std, std = (resolve_step(label, rule, 1.0) for rule in (REINFORCE, GRPO))
        assert PAIRINGS[label] == pytest.approx(no_std / std)
        with pytest.raises(InputError, match="exact rules"):
            resolve_step(label, get_any_rule("paper:8"), 1.0)


def test_a_draw_depends_on_the_seed_only() -> None:
    questions = get_task("arithmetic:sum").questions
    draws = [tuple(q.name for q in draw_questions(questions, 6, seed)) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert len(set(draws[0])) == 6
    with pytest.raises(InputError, match="at most 100"):
        draw_questions(questions, 101, 0)


def test_sampled_mode_runs_the_same_experiment(tmp_path: Path) -> None:
    sampled = replace(SMALL, mode="sampled", group=4, batch=2, steps=2, every=1, pairings=("matched",), dtype="float32")
    runs = run_experiment(sampled, tmp_path)
    for curve in runs.curves.values():
        assert curve.J.shape == (3, 2)
        assert curve.reward.shape == curve.zero_share.shape == curve.move.shape == (2,)
        assert set(curve.zero_share) <= {0.0, 0.5, 1.0}
        # A step all of whose groups lack variance does not move.
        assert ((curve.zero_share == 1) == (curve.move == 0)).all()
    # E no_std:4 has the weight 3/4, so matching takes more than against exact REINFORCE's weight 1.
    assert sampled.expected_rule("no_std").weight(0.3, 0.7) == pytest.approx(0.75)
    assert runs.etas["two", "matched", 0] > 2 * runs.etas["two", "std", 0]


@pytest.mark.parametrize("p", [0.05, 0.5])
def test_matched_steps_of_equal_prompts(p: float) -> None:
    problem = make_problem("orthogonal", 3, 4, p0=p, seed=0)
    assert_agree(matched_ratio(problem, GRPO, REINFORCE), (p * (1 - p)) ** -0.5, 1e-9)
    assert matched_ratio(problem, GRPO, GRPO) == 1.0


def test_the_prediction_is_the_simulators() -> None:
    loaded, _, batch = prepare(BridgeSettings(prompts=("5*7", "2+7")))
    problem = linearised(loaded, batch)
    curve = predicted_curve(problem, GRPO, 1e-3, 5, 2, seed=3)
    record = simulate(problem, GRPO, 1e-3, 5, seed=3, record="full")
    assert curve.t.tolist() == evaluation_times(5, 2).tolist() == [0, 2, 4, 5]
    assert (record.J[[0, 2, 4, 5]] == curve.J).all()
