"""`whynorm bridge`: measure a model, simulate its bandit, train it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from test_whynorm_cli import Capture, call

from simulator.records import Record
from theory.rules import GRPO


def test_measure_then_simulate_then_train(capsys: Capture, tmp_path: Path) -> None:
    """The way from a language model to its bandit and back, as the README tells it."""
    prompts = ["--prompts", "3+5 6*7 17+26"]
    code, stdout, stderr = call(capsys, "bridge", "measure", *prompts, "--out", tmp_path / "g")
    assert code == 0
    assert stderr == f"measurements and linearised problem: {tmp_path / 'g'}\n"
    assert max(map(len, stdout.splitlines())) <= 80
    geometry = json.loads((tmp_path / "g" / "geometry.json").read_text())
    assert geometry["prompts"] == ["3+5=", "6*7=", "17+26="]
    argv = ["simulate", "--problem", tmp_path / "g" / "problem.npz", "--steps", 3, "--seed", 2, "--record", "full"]
    assert call(capsys, *argv, "--out", tmp_path / "s")[0] == 0
    alone = Record.load(tmp_path / "s")
    np.testing.assert_allclose(alone.J[0], geometry["p"], rtol=1e-9)
    assert alone.eta == pytest.approx(GRPO.step_size(geometry["x_max_sq"]), rel=1e-9)  # type: ignore[misc]
    code, stdout, stderr = call(
        capsys, "bridge", "run", *prompts, "--steps", 3, "--seed", 2, "--json", "--out", tmp_path / "b"
    )
    assert (code, stderr) == (0, f"record, linearised run, geometry and plot: {tmp_path / 'b'}\n")
    content = json.loads(stdout, parse_constant=pytest.fail)
    assert content["model"] == json.loads((tmp_path / "b" / "summary.json").read_text())
    run = ["run", *prompts, "--steps", "3", "--seed", "2", "--json"]
    for written, argv in (("g/measures.json", ["measure", *prompts]), ("b/geometry.json", run)):
        path = tmp_path / written
        # As a shell reads it, prompts with blanks between them are one word; and as the command was called, which is
        # not the command line of this process.
        called = ["whynorm", "bridge", *argv, "--out", str(path.parent)]
        assert shlex.split(json.loads(path.read_text())["command"]) == called
    names = {str(path.relative_to(tmp_path / "b")) for path in (tmp_path / "b").rglob("*") if path.is_file()}
    inside = {"record.npz", "summary.json"}
    assert names == inside | {f"linearised/{name}" for name in inside} | {"geometry.json", "curves.png"}
    model, linear = Record.load(tmp_path / "b"), Record.load(tmp_path / "b" / "linearised")
    # The bandit simulated alone and beside the model is one and the same run.
    np.testing.assert_allclose(linear.J, alone.J, rtol=1e-9)
    assert linear.order.tolist() == model.order.tolist() == alone.order.tolist()
    assert content["largest_prediction_error"] == pytest.approx(abs(model.J - linear.J).max(), abs=0)
    assert content["largest_prediction_error"] < 1e-4
    assert (model.origin, linear.origin) == ("language model", "simulator")


def test_bridge_prints_a_table_and_chooses_prompts(capsys: Capture) -> None:
    code, stdout, stderr = call(capsys, "bridge", "run", "--n", 2, "--steps", 1, "--rule", "power:1", "--eta", "1e-9")
    assert (code, stderr) == (0, "")
    assert "power:1.0 on tiny, step size 1e-09" in stdout
    assert sum("=" in line for line in stdout.splitlines()) == 2
    assert max(map(len, stdout.splitlines())) <= 80
    code, stdout, _ = call(capsys, "bridge", "measure", "--prompts", "3+5=", "--json")
    content = json.loads(stdout, parse_constant=pytest.fail)
    assert (code, content["prompts"], content["cosine_mean"]) == (0, ["3+5="], None)
