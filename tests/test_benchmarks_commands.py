"""The command in a result is one that a shell reads as it was given; nothing is timed."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import bridge, growth, smollm2_exact, sweeps
from benchmarks.bridge_peers import StepTime
from benchmarks.commands import module_command

Monkey = pytest.MonkeyPatch


def test_arguments_are_quoted() -> None:
    given = ["--out", "two words/it's $HOME.json", "--runs", 5]
    assert shlex.split(module_command("sweeps", given)) == ["python", "-m", "benchmarks.sweeps", *map(str, given)]


def _growth(patch: Monkey) -> Callable[[], Any]:
    patch.setattr(growth, "measure", lambda calls: [])
    patch.setattr(growth, "machine", dict)
    return growth.main


def _sweeps(patch: Monkey) -> Callable[[], Any]:
    patch.setattr(sweeps, "measure", lambda runs: dict.fromkeys(sweeps.LIMITS, 0.0))
    return sweeps.main


@pytest.mark.parametrize(
    ("name", "prepare", "more"), [("growth", _growth, ["--quick"]), ("sweeps", _sweeps, ["--runs", "7"])]
)
def test_a_result_names_its_command(
    name: str, prepare: Callable[[Monkey], Callable[[], Any]], more: list[str], tmp_path: Path, monkeypatch: Monkey
) -> None:
    out = tmp_path / "it's here.json"
    monkeypatch.setattr("sys.argv", [name, *more, "--out", str(out)])
    main = prepare(monkeypatch)
    with contextlib.suppress(SystemExit):
        main()
    written = json.loads(out.read_text())["command"]
    assert shlex.split(written) == ["python", "-m", f"benchmarks.{name}", *more, "--out", str(out)]


def test_the_command_of_the_bridge_holds_all_choices(tmp_path: Path, monkeypatch: Monkey) -> None:
    step = StepTime(seconds=1.0, processor=1.0, rollout=0.5, tokens=10)
    monkeypatch.setattr(bridge, "time_steps", lambda work, peers, rounds, folder: {name: [step] for name in peers})
    monkeypatch.setattr(bridge, "machine", dict)
    pytest.importorskip("trl")
    peers = ["whynorm", "whynorm with diagnostics"]
    given = ["--model", "my models/tiny", "--rounds", "3", "--peers", *peers]
    assert bridge.main([*given, "--out", str(tmp_path / "out.json")]) == 0
    written = shlex.split(json.loads((tmp_path / "out.json").read_text())["command"])
    assert written[:5] == ["python", "-m", "benchmarks.bridge", "--model", "my models/tiny"]
    assert written[written.index("--rounds") + 1] == "3"
    assert written[written.index("--peers") + 1 :] == peers


def test_the_commands_of_the_real_models_runs(monkeypatch: Monkey) -> None:
    class Found:
        J = np.zeros((2, 1))

    monkeypatch.setattr(smollm2_exact.Record, "load", lambda path: Found())
    monkeypatch.setattr(smollm2_exact, "machine", dict)
    monkeypatch.setattr(smollm2_exact, "weights_origin", lambda name: {})
    out = Path("it's here")
    told = smollm2_exact.describe(out, dict.fromkeys(smollm2_exact.RUNS, 1.0))
    for name, run in told["runs"].items():
        assert shlex.split(run["command"]) == ["whynorm", *smollm2_exact.command(name, out)]


def test_the_real_models_runs_end_to_end_on_the_packaged_one(tmp_path: Path, monkeypatch: Monkey) -> None:
    def on_tiny(name: str, out: Path, most: int | None = None) -> list[str]:
        chosen = real(name, out, most)
        chosen[chosen.index("smollm2")] = "tiny"
        return chosen

    real = smollm2_exact.command
    monkeypatch.setattr(smollm2_exact, "command", on_tiny)
    monkeypatch.setattr(smollm2_exact, "weights_origin", lambda name: {})
    monkeypatch.setattr(smollm2_exact, "machine", dict)
    out = tmp_path / "two words"
    assert smollm2_exact.main(["--steps", "1", "--out", str(out)]) == 0
    runs = json.loads((out / "run.json").read_text())["runs"]
    assert set(runs) == set(smollm2_exact.RUNS)
    for name, run in runs.items():
        called = ["whynorm", *on_tiny(name, out, 1)]
        assert shlex.split(run["command"]) == called
        # What the run itself says of its command is the same.
        assert shlex.split(json.loads((out / name / "geometry.json").read_text())["command"]) == called
        assert 0 < run["largest_error"] < run["largest_move"] < 1
