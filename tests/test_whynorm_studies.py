"""``whynorm study speedup``, ``alpha``, ``groups``, ``phases``, ``rates``: their numbers, files, words and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import assert_agree
from test_whynorm_cli import Capture

from simulator.families import make_problem
from simulator.plateau import count_steps
from simulator.reference import simulate
from theory.groups import group_weight
from theory.rules import GRPO, REINFORCE, power
from whynorm.cli import main
from whynorm.studies.alpha import step_of
from whynorm.studies.passage import median_interval
from whynorm.studies.phases import cosines, find_phases
from whynorm.studies.speedup import speed_up
from whynorm.studies.study import STUDIES, load_spec, perform, shipped, study_module

# One prompt of two outputs is a recursion in one number; the readable engine needs no compiler.
SMALL: dict[str, dict[str, Any]] = {
    "speedup": {"p0": [0.02, 0.2], "strengths": [0.5], "threshold": 0.5, "step": "theorem", "n": 1, "outputs": 2},
    "alpha": {"alphas": [0.0, 1.0], "p0": [0.1, 0.3], "threshold": 0.5, "n": 1, "outputs": 2},
    "plateau": {"alphas": [0.0, 0.4, 1.0], "groups": [4], "p0": [1e-4, 1e-5, 1e-6, 0.1], "limit": 100, "horizon": 300},
    "groups": {
        "groups": [2, 4],
        "conventions": ["paper", "rloo"],
        "p0": [0.1, 0.5],
        "updates": 300,
        "start": 0.3,
        "threshold": 0.6,
        "eta": 0.5,
        "n": 2,
        "outputs": 3,
    },
    "phases": {"p0": 0.2, "strength": 1.0, "step": "theorem", "near": 0.02, "share": 0.9, "n": 2, "outputs": 4},
    "rates": {"low": 0.2, "high": 0.5, "strength": 0.5, "n": 2, "outputs": 2},
}
RUNS = {"steps": 600, "replicas": 3, "engine": "reference"}
STEPS = {"rates": 80, "phases": 100, "groups": 200}


def _toml(values: dict[str, Any]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())


def _file(name: str, folder: Path, **more: Any) -> Path:
    path = folder / f"{name}.toml"
    runs = {} if name == "plateau" else {**RUNS, "steps": STEPS.get(name, 600)}
    path.write_text(_toml({**runs, **SMALL[name], **more}))
    return path


def _results(name: str, folder: Path, **more: Any) -> dict[str, Any]:
    return perform(name, load_spec(name, _file(name, folder, **more)))


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_prints_and_writes_what_it_found(name: str, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "new" / name
    assert main(["study", name, "--spec", str(_file(name, tmp_path)), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    results = json.loads((out / "results.json").read_text())
    assert results["study"] == name
    assert results["paragraph"] == printed.strip() == (out / "paragraph.txt").read_text().strip()
    assert study_module(name).paragraph(results) == results["paragraph"]
    drawn = study_module(name).figures(results)
    assert {path.stem for path in out.glob("*.png")} == set(drawn)
    assert all(path.stat().st_size > 5000 for path in out.glob("*.png"))
    assert main(["study", name, "--spec", str(_file(name, tmp_path)), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == results


@pytest.mark.parametrize("name", STUDIES)
def test_the_shipped_specification_is_valid(name: str) -> None:
    assert study_module(name).size(load_spec(name)) > 0
    assert shipped(name).read_text().startswith(f"# whynorm study {name}")


def test_the_speed_up_of_one_prompt_is_that_of_the_recursion(tmp_path: Path) -> None:
    for cell in _results("speedup", tmp_path)["cells"]:
        problem = make_problem("shared-skill", 1, 2, p0=cell["p0"], strength=0.5)
        gap = problem.features[0, problem.answers[0]] - problem.features[0, 1 - problem.answers[0]]
        counts = {}
        for rule in (REINFORCE, GRPO):
            assert_agree(cell["eta"][rule.name], float(rule.step_size(problem.x_max_sq)), 1e-12)  # type: ignore[misc]
            counts[rule.name] = count_steps(rule, cell["eta"][rule.name] * float(gap @ gap), cell["p0"], 600)
            assert cell["steps"][rule.name]["median"] == counts[rule.name]
        assert_agree(cell["ratio"]["median"], counts["reinforce"] / counts["grpo"], 1e-12)  # type: ignore[operator]


def test_alphas_take_the_steps_of_the_recursion(tmp_path: Path) -> None:
    for cell in _results("alpha", tmp_path)["cells"]:
        rule = power(float(cell["alpha"]))
        assert cell["steps"]["median"] == count_steps(rule, 2 * cell["eta"], cell["p0"], 600)


def test_plateaus_are_those_of_the_recursion_and_its_exponents(tmp_path: Path) -> None:
    """Any alpha is studied, under its own name; groups lose what the square root gains."""
    results = _results("plateau", tmp_path, limit=20_000, horizon=3000)
    for cell in results["escapes"]:
        if cell["rule"] == "power:0.4":
            counted = count_steps(power(0.4), 2 * 4**-0.4, cell["p0"], 20_000)
            assert cell["counted"] == counted is not None
    slopes = {(fit["rule"], fit["of"]): fit["slope"] for fit in results["fits"]}
    assert_agree(slopes["power:0.4", "escape"], 0.6, 0.01)
    assert_agree(slopes["power:0.4", "tail"], -1 / 0.6, 0.03)
    assert_agree(slopes["group:4", "escape"], slopes["power:0.0", "escape"], 0.01)
    assert f"alpha = 0.4 {slopes['power:0.4', 'escape']:.5g} (0.6)," in results["paragraph"]


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_scalings_agree_in_log_odds_where_they_say(alpha: float) -> None:
    for scaling, p in (("guaranteed", 0.5), ("same start", 0.07)):
        eta = step_of(scaling, alpha, 0.07, 2.0)
        assert_agree(eta * (p * (1 - p)) ** (1 - alpha), 0.125, 1e-12)


def test_runs_that_do_not_arrive_are_marked(tmp_path: Path) -> None:
    cells = _results("speedup", tmp_path, steps=20)["cells"]
    assert [cell["ratio"]["known"] for cell in cells] == ["unknown", "equal"]
    assert cells[0]["steps"]["grpo"] == {"median": None, "low": None, "high": None, "reached": 0.0}
    assert speed_up(np.array([np.inf, 9.0]), np.array([2.0, 3.0]), 10)["known"] == "at least"
    assert speed_up(np.array([8.0, 9.0]), np.array([2.0, np.inf]), 10)["known"] == "at most"


def test_intervals_of_the_median_cover_it() -> None:
    samples = np.random.default_rng(0).standard_exponential((2000, 25))
    ends = np.array([median_interval(row) for row in samples])
    covered = np.mean((ends[:, 1] <= np.log(2)) & (np.log(2) <= ends[:, 2]))
    assert 0.95 <= covered < 0.985
    assert median_interval(np.array([3.0, 1.0, np.inf])) == (3.0, 1.0, np.inf)


@pytest.mark.deep
def test_measured_weights_are_those_of_the_groups(tmp_path: Path) -> None:
    results = _results("groups", tmp_path, updates=3000)
    for cell in results["cells"]:
        p = np.array(results["spec"]["p0"])
        if cell["convention"] == "paper":
            assert_agree(np.array(cell["weights"]["exact"]), group_weight(p, 1 - p, cell["G"]), 1e-9)
        apart = np.abs(np.subtract(cell["weights"]["measured"], cell["weights"]["exact"]))
        assert (apart < 2.5 * np.array(cell["weights"]["margin"])).all()


def test_phases_follow_one_another() -> None:
    small = np.array([1.0, 0.95, 0.5, 0.95, 0.2, 0.1])
    assert find_phases(small, np.array([1, 0.5, 1, 1, 0.8, 1.0]), 0.9) == ["I", "I", "II", "II", "III", "III"]
    assert find_phases(np.ones(3), np.zeros(3), 0.9) == ["I"] * 3


def test_cosines_are_those_of_the_gradients() -> None:
    problem = make_problem("gaussian", 3, 3, d=9, p0=[0.2, 0.5, 0.7], seed=3)
    gradient = problem.at(problem.theta0).gradient
    unit = gradient / np.linalg.norm(gradient, axis=1, keepdims=True)
    assert_agree(cosines(problem, problem.theta0[None])[0], (unit @ unit.T)[np.triu_indices(3, 1)], 1e-10)


def test_rates_are_those_of_the_runs_and_their_bounds_hold(tmp_path: Path) -> None:
    results = _results("rates", tmp_path)
    first = results["theorems"][0]
    p0 = [results["spec"]["low"], results["spec"]["high"]]
    problem = make_problem("orthogonal", 2, 2, p0=p0)
    squares = [
        simulate(problem, REINFORCE, first["eta"], 80, replica=r, record="full").grad_sq[:-1].sum(axis=0)
        for r in range(3)
    ]
    bound = 2 * 2 * (1 - np.array(p0)) * problem.x_max_sq
    total = next(row for row in first["bounds"] if row["claim"] == "P-T31-SUM")
    assert_agree(total["ratio"][-1], float((bound / np.mean(squares, axis=0)).min()), 1e-9)
    assert {row["claim"][:5] for f in results["theorems"] for row in f["bounds"]} == {f"P-T3{k}" for k in (1, 2, 3, 4)}
    for found in results["theorems"]:
        assert all(min(row["ratio"]) > 1 for row in found["bounds"] if not row["refuted"])


def test_rates_take_the_deviation_of_a_prompt_that_no_order_draws(tmp_path: Path) -> None:
    """From 1/2 on deviations only fall, but not where a prompt stays undrawn: mean and largest C are the first one."""
    found = _results("rates", tmp_path, low=0.5, high=0.7)["theorems"][1]
    printed, repaired = (
        next(row for row in found["bounds"] if row["claim"] == name) for name in ("P-T32-SUM", "P-T32-SUM-FIXED")
    )
    assert_agree(np.array(printed["ratio"]), np.array(repaired["ratio"]), 1e-12)


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("speedup", {"p0": [0.7]}, "p0 is 0.7; expected below the threshold 0.5"),
        ("speedup", {"strengths": []}, "strengths"),
        ("speedup", {"stepz": 3}, "stepz"),
        ("speedup", {"step": "relaxed"}, "step"),
        ("alpha", {"alphas": [1.5]}, "alphas.0"),
        ("groups", {"conventions": ["nobody"]}, "advantage preset is 'nobody'"),
        ("groups", {"conventions": ["trl_batch"]}, "scaled by batch"),
        ("groups", {"p0": [0.5]}, "n = 2 probabilities"),
        ("phases", {"outputs": 3}, "outputs"),
        ("plateau", {"p0": [1e-4, 1e-5, 1e-5]}, "at least three starts of at most 1e-4"),
        ("plateau", {"alphas": [1.5]}, "alphas.0"),
        ("plateau", {"horizon": 10}, "horizon"),
        ("rates", {"low": 0.9}, "at most high"),
        ("rates", {"replicas": 1}, "replicas"),
    ],
)
def test_bad_specifications_are_one_line(
    name: str, more: dict[str, Any], message: str, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    assert main(["study", name, "--spec", str(_file(name, tmp_path, **more)), "--out", str(out)]) == 2
    printed, err = capsys.readouterr()
    assert printed == ""
    assert err.count("\n") == 1
    assert message in err
    assert not out.exists()


def test_a_specification_that_is_missing_or_incomplete_is_refused(tmp_path: Path, capsys: Capture) -> None:
    assert main(["study", "rates", "--spec", str(tmp_path / "none.toml")]) == 2
    assert "readable TOML file" in capsys.readouterr().err
    (tmp_path / "short.toml").write_text("n = 4\n")
    assert main(["study", "rates", "--spec", str(tmp_path / "short.toml")]) == 2
    assert "short.toml is 'missing'; expected a value; add it" in capsys.readouterr().err
