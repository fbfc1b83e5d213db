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

from benchmarks import bridge, growth, main_job, smollm2_exact, smollm2_prompts, sweeps
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


def test_the_main_job_is_timed_over_all_its_processes(tmp_path: Path, monkeypatch: Monkey) -> None:
    """The settings that are not its own go to the job, of which none of the files stay."""
    called: list[list[str]] = []
    monkeypatch.setattr(main_job, "machine", dict)
    monkeypatch.setattr(main_job.subprocess, "run", lambda argv, check: called.append([*argv, str(check)]))
    used = iter([10.0, 250.0])
    monkeypatch.setattr(main_job, "_used", lambda: next(used))
    out = tmp_path / "main.json"
    assert main_job.main(["--out", str(out), "--steps", "2"]) == 0
    written = json.loads(out.read_text())
    assert written["processor_seconds"] == 240.0
    assert shlex.split(written["command"])[-4:] == ["--out", str(out), "--steps", "2"]
    ((_, *job),) = called
    assert [*job[:4], *job[5:]] == ["-m", "whynorm", "reproduce", "--out", "--steps", "2", "True"]
    assert not Path(job[4]).exists()


def test_the_forms_of_prompts_end_to_end_on_the_packaged_model(tmp_path: Path, monkeypatch: Monkey) -> None:
    monkeypatch.setattr(smollm2_prompts, "machine", dict)
    monkeypatch.setattr(smollm2_prompts, "FORMS", ("plain",))
    monkeypatch.setattr(smollm2_prompts, "weights_origin", lambda name: {})
    out = tmp_path / "out.json"
    assert smollm2_prompts.main(["--model", "tiny", "--sums", "3", "--rounds", "2", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    plain, half = found["forms"]["plain"], found["bfloat16"]
    assert 0 < plain["least"] <= plain["mean"] <= plain["most"] < 1
    assert 0 < found["replies_among_answers"] <= 1.0001
    assert 0 < half["median_error"] < half["largest_error"] < 1
    assert set(found["seconds"]) == {f"{way}_{how}" for way in ("forward", "backward") for how in ("shared", "apart")}


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
