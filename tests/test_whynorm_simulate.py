"""`whynorm simulate`: files, streams, and that a problem file gives what Python gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_whynorm_cli import Capture, call

from simulator.families import make_problem, success_targets
from simulator.problems import Problem
from simulator.records import Record
from simulator.reference import simulate
from theory.rules import get_rule

PNG = b"\x89PNG\r\n\x1a\n"


def _problem(order: list[int] | None = None) -> Problem:
    problem = make_problem("orthogonal", 3, 4, p0=success_targets(3, 0.1, 0.6), seed=4)
    return problem if order is None else problem.with_order(order)


def test_simulate_leaves_record_summary_and_plots(capsys: Capture, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "down"
    code, stdout, stderr = call(capsys, "simulate", "--n", 3, "--k", 4, "--steps", 40, "--record", "full", "--out", out)
    assert code == 0
    assert stderr == f"record, summary and plots: {out}\n"
    assert max(map(len, stdout.splitlines())) <= 80
    names = {path.name for path in out.iterdir()}
    assert names == {"record.npz", "summary.json", "curves.png", "bound.png", "gain.png"}
    assert all((out / name).read_bytes().startswith(PNG) for name in names if name.endswith(".png"))
    with np.load(out / "record.npz") as arrays:
        assert arrays["J"].shape == arrays["grad_sq"].shape == (41, 3)
        assert arrays["theta"].shape == (41, 12)
        assert arrays["t"].tolist() == list(range(41))
        assert arrays["order"].shape == (40,)
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["steps"], summary["prompts"], summary["rule"]) == (40, 3, "grpo")


def test_snapshots_are_thinned_unless_all_are_asked_for(capsys: Capture, tmp_path: Path) -> None:
    assert call(capsys, "simulate", "--steps", 300, "--out", tmp_path)[0] == 0
    times = Record.load(tmp_path).t
    assert (times[0], times[-1]) == (0, 300)
    assert len(times) < 60


def test_json_is_all_that_stdout_holds(capsys: Capture, tmp_path: Path) -> None:
    code, stdout, stderr = call(capsys, "simulate", "--steps", 30, "--json", "--out", tmp_path)
    assert code == 0
    assert json.loads(stdout, parse_constant=pytest.fail) == json.loads((tmp_path / "summary.json").read_text())
    assert stderr.count("\n") == 1


@pytest.mark.parametrize("rule", ["reinforce", "grpo", "power:0.3"])
def test_a_problem_file_gives_what_python_gives(rule: str, capsys: Capture, tmp_path: Path) -> None:
    problem = _problem()
    problem.save(tmp_path / "mine.npz")
    argv = ["--rule", rule, "--eta", 0.05, "--steps", 60, "--seed", 7, "--record", "full", "--out", tmp_path / "d"]
    assert call(capsys, "simulate", "--problem", tmp_path / "mine.npz", *argv)[0] == 0
    found = Record.load(tmp_path / "d")
    expected = simulate(problem, get_rule(rule), 0.05, 60, seed=7, record="full")
    assert (found.problem, found.rule, found.eta) == ("mine", rule, 0.05)
    for name in ("order", "t", "J", "q", "grad_sq", "theta", "step_gain"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


def test_the_default_step_size_is_the_theorems(capsys: Capture, tmp_path: Path) -> None:
    problem = _problem()
    problem.save(tmp_path / "mine.npz")
    for rule, scale in (("reinforce", 1.0), ("grpo", 0.5)):
        argv = ["simulate", "--problem", tmp_path / "mine.npz", "--rule", rule, "--steps", 5, "--json"]
        assert json.loads(call(capsys, *argv)[1])["eta"] == pytest.approx(scale / problem.x_max_sq, rel=1e-12)


def test_the_prompt_order_of_the_file_is_kept(capsys: Capture, tmp_path: Path) -> None:
    order = [2, 2, 0, 1, 0, 0, 2]
    _problem(order).save(tmp_path / "mine.npz")
    argv = ["simulate", "--problem", tmp_path / "mine.npz", "--steps", 6, "--record", "full", "--out", tmp_path / "d"]
    assert call(capsys, *argv)[0] == 0
    record = Record.load(tmp_path / "d")
    assert record.order.tolist() == order[:6]
    # Orthogonal prompts: nobody but the drawn prompt moves.
    moved = np.diff(record.J, axis=0) != 0
    assert [np.flatnonzero(row).tolist() for row in moved] == [[i] for i in order[:6]]


def test_the_seed_names_the_run(capsys: Capture) -> None:
    outputs = [call(capsys, "simulate", "--steps", 20, "--json", "--seed", seed)[1] for seed in (1, 1, 2)]
    assert outputs[0] == outputs[1] != outputs[2]


@pytest.mark.parametrize("name", ["a[b] [red]x$^$", "-a:smile:\u6570\u636e"])
def test_odd_file_names_are_shown_as_they_are(
    name: str, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _problem().save(Path(f"./{name}.npz"))
    code, stdout, stderr = call(capsys, "simulate", f"--problem=./{name}.npz", "--steps", 3, "--out", f"./{name}")
    assert code == 0
    assert stdout.splitlines()[0].strip() == f"grpo on {name}"
    assert stderr == f"record, summary and plots: {name}\n"


def test_a_long_path_stays_on_one_line(capsys: Capture, tmp_path: Path) -> None:
    out = tmp_path / ("long" * 40)
    assert call(capsys, "simulate", "--steps", 3, "--out", out)[2] == f"record, summary and plots: {out}\n"


@pytest.mark.parametrize(
    "argv",
    [
        ["--n", "1", "--k", "2", "--steps", "1"],
        ["--family", "gaussian", "--rule", "reinforce"],
        ["--family", "tabular", "--rule", "power:1", "--eta", "0.1", "--n", "15"],
        ["--eta", "1e300"],
        ["--p0", "1e-320:0.9999999999999999"],
    ],
)
def test_extreme_runs_end_well(argv: list[str], capsys: Capture, tmp_path: Path) -> None:
    """Warnings are errors here, so none of these may divide by zero on its way."""
    code, stdout, _ = call(capsys, "simulate", "--steps", 50, *argv, "--json", "--out", tmp_path)
    assert code == 0
    summary = json.loads(stdout, parse_constant=pytest.fail)
    assert all(0 <= value <= 1 for value in summary["J_end"])
    code, stdout, _ = call(capsys, "simulate", "--steps", 50, *argv)
    assert (code, "nan" in stdout) == (0, False)
    assert max(map(len, stdout.splitlines())) <= 80


def test_the_table_says_how_many_prompts_it_leaves_out(capsys: Capture) -> None:
    assert "and 3 more" in " ".join(
        call(capsys, "simulate", "--n", 15, "--k", 2, "--steps", 2)[1].replace("│", " ").split()
    )
    assert "more" not in call(capsys, "simulate", "--n", 12, "--k", 2, "--steps", 2)[1]


def test_the_cumulative_bound_is_drawn_at_the_theorems_step_only(capsys: Capture, tmp_path: Path) -> None:
    """At other steps the theorem is silent, and a curve above its line would refute nothing."""
    Problem(np.zeros((2, 3, 4)), np.array([0, 1]), np.zeros(4)).save(tmp_path / "zero.npz")
    for argv in (["--rule", "reinforce", "--eta", "0.01"], ["--problem", tmp_path / "zero.npz", "--eta", 1]):
        assert call(capsys, "simulate", *argv, "--steps", 5, "--out", tmp_path / "d")[0] == 0
        assert (tmp_path / "d" / "curves.png").exists()
        assert not (tmp_path / "d" / "bound.png").exists()


@pytest.mark.parametrize(
    "argv",
    [
        ["--rule", "trl:4", "--eta", "0.3"],
        ["--rule", "dapo:2", "--eta", "0.3", "--schedule", "minibatch:3"],
        ["--rule", "plain:4", "--eta", "0.3", "--family", "conflicting", "--strength", "1.5"],
        ["--rule", "trl_batch:8", "--eta", "0.3", "--schedule", "all", "--p0", "hard"],
        ["--family", "drifting", "--p0", "easy", "--schedule", "cyclic"],
        ["--family", "gaussian", "--strength", "0.9", "--p0", "loguniform:1e-12,0.5"],
        ["--eta", "best", "--p0", "beta:2,5"],
        ["--schedule", "all", "--rule", "reinforce"],
    ],
    ids=" ".join,
)
def test_options_name_what_runs(argv: list[str], capsys: Capture, tmp_path: Path) -> None:
    code, stdout, _ = call(capsys, "simulate", "--steps", 60, *argv, "--json", "--out", tmp_path)
    assert code == 0
    summary = json.loads(stdout, parse_constant=pytest.fail)
    options = dict(zip(argv[::2], argv[1::2], strict=True))
    assert summary["rule"] == options.get("--rule", "grpo")
    assert summary["schedule"] == options.get("--schedule", "uniform")
    assert summary["problem"] == options.get("--family", "orthogonal")
    record = Record.load(tmp_path)
    assert record.order.shape == {"all": (60, 4), "minibatch:3": (60, 3)}.get(summary["schedule"], (60,))
    # A figure of gains over guarantees only where the one-step theorem speaks.
    exact = ":" not in summary["rule"]
    assert (tmp_path / "gain.png").exists() == (exact and record.order.ndim == 1)
    code, table, _ = call(capsys, "simulate", "--steps", 60, *argv)
    assert (code, "C(T)" in table, "nan" in table) == (0, True, False)
    assert max(map(len, table.splitlines())) <= 80


def test_the_strength_reaches_the_family(capsys: Capture) -> None:
    found = json.loads(call(capsys, "simulate", "--family", "conflicting", "--strength", 2, "--json", "--steps", 3)[1])
    assert found["x_max_sq"] == pytest.approx(5.0)
    assert found["constants"]["orthogonality_defect"] == pytest.approx(4 / (3 * (8 + 4)))
    assert found["constants"]["M"] is None


def test_constants_are_in_the_summary_and_their_bounds_in_the_table(capsys: Capture, tmp_path: Path) -> None:
    _, table, _ = call(capsys, "simulate", "--steps", 40, "--rule", "reinforce", "--out", tmp_path)
    constants = json.loads((tmp_path / "summary.json").read_text())["constants"]
    assert {row["claim"] for row in constants["bounds"]} == {"P-T31-DESCENT-FIXED", "P-T31-SUM", "P-T31-MIN"}
    for row in constants["bounds"]:
        assert f"{row['largest_ratio']:.4g}" in table
    assert f"M 1, R1 {constants['R1']:.4g}" in table


def test_the_list_names_every_choice(capsys: Capture) -> None:
    from simulator.families import FAMILIES
    from simulator.sampled import RULE_FORMS

    code, text, _ = call(capsys, "simulate", "--list")
    assert code == 0
    for name in (*FAMILIES, *RULE_FORMS, "minibatch:B", "loguniform:LOW,HIGH", "best"):
        assert f"  {name}: " in text
    data = json.loads(call(capsys, "simulate", "--list", "--json")[1])
    assert data["families"]["conflicting"]["assumptions"]["A4"] == "fails"
    assert data["families"]["tabular"]["constants"]["X_max^2"] == "1"
    assert data["families"].keys() == FAMILIES.keys()
