"""`whynorm simulate --replicas`: the table, the files, and that they say what the runs say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_whynorm_cli import Capture, call

from simulator.engines.ensemble import Ensemble
from simulator.engines.run import simulate_many
from simulator.families import make_problem, success_targets
from simulator.reference import simulate
from theory.rules import GRPO
from whynorm.figures_ensemble import ensemble_figure

SMALL = ("--n", 3, "--k", 4, "--steps", 40)
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("engine", ["lanes", "torch", "reference"])
def test_every_engine_leaves_ensemble_summary_and_figure(engine: str, capsys: Capture, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "down"
    argv = ["simulate", *SMALL, "--replicas", 6, "--engine", engine, "--seed", 4, "--out", out]
    code, stdout, stderr = call(capsys, *argv)
    assert code == 0
    assert stderr.splitlines()[-1] == f"ensemble, summary and plots: {out}"
    assert max(map(len, stdout.splitlines())) <= 80
    assert {path.name for path in out.iterdir()} == {"ensemble.npz", "summary.json", "curves.png"}
    assert (out / "curves.png").read_bytes().startswith(PNG)
    found = Ensemble.load(out)
    problem = make_problem("orthogonal", 3, 4, p0=success_targets(3, 0.05, 0.6), seed=4)
    for replica in (0, 5):
        wanted = simulate(problem, GRPO, float(found.eta[0]), 40, seed=4, replica=replica)
        np.testing.assert_allclose(found.J[replica], wanted.J, rtol=1e-12)


def test_the_table_shows_the_summary(capsys: Capture, tmp_path: Path) -> None:
    argv = ["simulate", *SMALL, "--replicas", 30, "--engine", "reference", "--rule", "reinforce"]
    code, table, _ = call(capsys, *argv, "--out", tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)
    end, (bound,) = summary["mean_J_end"], summary["bounds"]
    assert code == 0
    assert f"{end['mean']:.4f} ({end['low']:.4f} to {end['high']:.4f})" in table
    assert ", ".join(f"{value:.4f}" for value in summary["mean_J_end_quantiles"].values()) in table
    assert (bound["claim"], bound["outcome"]) == ("P-T31-SUM", "below")
    assert "below the bound" in table
    assert f"bound {bound['bound']:.3g}" in " ".join(table.replace("│", " ").split())
    assert summary["speed"]["runs_per_second"] > 0


def test_json_is_all_that_stdout_holds(capsys: Capture, tmp_path: Path) -> None:
    argv = ["simulate", *SMALL, "--replicas", 3, "--engine", "reference", "--json", "--out", tmp_path]
    code, stdout, _ = call(capsys, *argv)
    assert code == 0
    assert json.loads(stdout, parse_constant=pytest.fail) == json.loads((tmp_path / "summary.json").read_text())


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--rule", "trl:4", "--eta", "0.3"], "no theorem"),
        (["--family", "gaussian"], "prompts interact"),
        (["--schedule", "minibatch:2"], "minibatch:2"),
        (["--n", "14"], "P-T32-SUM-FIXED"),
        (["--replicas", "1"], "undecided"),
        (["--record", "full"], "P-T32-SUM-FIXED"),
    ],
    ids=" ".join,
)
def test_other_runs_end_well(argv: list[str], words: str, capsys: Capture, tmp_path: Path) -> None:
    common = ["simulate", *SMALL, "--replicas", 3, "--engine", "reference", "--out", tmp_path]
    code, table, _ = call(capsys, *common, *argv)
    assert (code, "nan" in table) == (0, False)
    assert words in " ".join(table.replace("│", " ").split())
    assert max(map(len, table.splitlines())) <= 80


def test_one_replica_without_an_engine_is_the_single_run(capsys: Capture) -> None:
    outputs = [call(capsys, "simulate", *SMALL, "--json", *more)[1] for more in ((), ("--replicas", 1))]
    assert outputs[0] == outputs[1]
    assert "constants" in json.loads(outputs[0])


def test_an_interrupt_is_heard_between_chunks_and_leaves_nothing(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simulator.engines import run

    done, reference = [], run.ENGINES["reference"]

    def interrupted(plan: Any) -> Any:
        done.append(plan.replicas)
        if len(done) == 5:
            raise KeyboardInterrupt
        return reference(plan)

    monkeypatch.setitem(run.ENGINES, "reference", interrupted)
    argv = ["simulate", *SMALL, "--replicas", 3, "--engine", "reference", "--out", tmp_path / "new"]
    code, stdout, stderr = call(capsys, *argv)
    assert (code, stdout, stderr) == (130, "", "whynorm: interrupted\n")
    # Three runs of one step to compile what there is to compile, then the runs asked for, one by one.
    assert done == [range(0, 1), range(1, 2), range(2, 3), range(0, 1), range(1, 2)]
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("n", [3, 13])
def test_the_figure_draws_means_and_bands(n: int) -> None:
    problem = make_problem("tabular", n, 3, p0=success_targets(n, 0.1, 0.6), seed=1)
    many = simulate_many(problem, GRPO, 0.5, 30, engine="reference", replicas=7)
    axes = ensemble_figure(many).axes[0]
    values = many.J if n == 3 else many.J.mean(axis=2, keepdims=True)
    lines = [np.asarray(line.get_ydata()) for line in axes.lines if len(line.get_xdata())]  # type: ignore[arg-type]
    assert len(lines) == values.shape[2]
    for i, line in enumerate(lines):
        np.testing.assert_allclose(line, values[:, :, i].mean(axis=0))
    low, high = np.quantile(values[:, :, 0], [0.05, 0.95], axis=0)
    band = axes.collections[0].get_paths()[0].vertices
    assert set(np.round(np.asarray(band)[:, 1], 12)) == set(np.round(np.concatenate([low, high]), 12))
    assert str(n) in axes.get_title(loc="left")
