"""`whynorm bridge train`: what it prints, writes, refuses and resumes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_whynorm_cli import Capture, call

import llm_bridge.sampled.updating as module
from llm_bridge.sampled.metrics import read_metrics
from whynorm.figures_training import column, reward_figure, theory_figure

QUICK = ["bridge", "train", "--dtype", "float32", "--batch", 2, "--rule", "trl:4", "--max-new-tokens", 4, "--eta", 0.05]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from whynorm.cli import main

    out = tmp_path_factory.mktemp("train") / "run"
    argv = [*QUICK, "--steps", 2, "--diagnostics", "--eval-task", "arithmetic:sum,limit=3", "--eval-every", 2]
    assert main([str(each) for each in [*argv, "--out", out]]) == 0
    return out


def test_a_run_leaves_metrics_checkpoints_adapter_and_plots(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {
        *("run.json", "metrics.jsonl", "metrics.parquet", "summary.json", "checkpoints", "adapter"),
        *("reward.png", "theory.png"),
    }
    summary = json.loads((finished / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary["steps"] == 2
    assert [step for step, _ in summary["eval_reward"]] == [0, 2]
    assert summary["last"]["step"] == 2
    assert (summary["settings"]["rule"], summary["settings"]["lora_r"]) == ("trl:4", 8)
    assert "theory/cosine_mean" in summary["last"]


def test_a_finished_run_resumes_with_more_steps_and_prints_a_table(capsys: Capture, finished: Path) -> None:
    first = (finished / "metrics.jsonl").read_bytes()
    argv = [*QUICK, "--steps", 4, "--eval-task", "arithmetic:sum,limit=3", "--eval-every", 2, "--out", finished]
    code, stdout, stderr = call(capsys, *argv, "--resume")
    assert (code, stderr) == (0, f"metrics, checkpoints, adapter and plots: {finished}\n")
    assert "trl:4 on tiny, arithmetic:sum, step size 0.05" in stdout
    assert "eval_reward" in stdout
    assert max(map(len, stdout.splitlines())) <= 80
    assert (finished / "metrics.jsonl").read_bytes().startswith(first)
    assert [row["step"] for row in read_metrics(finished / "metrics.jsonl")] == [0, 1, 2, 3, 4]
    code, stdout, stderr = call(capsys, *argv)
    assert (code, stdout) == (2, "")
    assert "--resume" in stderr
    code, _, stderr = call(capsys, *argv, "--resume", "--seed", 3)
    assert code == 2
    assert stderr.startswith("whynorm: seed is 3; expected 0 as in the run")


def test_a_complete_run_keeps_its_summary(capsys: Capture, tmp_path: Path) -> None:
    """It was written anew, with settings that no step was taken with."""
    argv = [*QUICK, "--out", tmp_path / "run"]
    file = tmp_path / "run" / "summary.json"
    assert call(capsys, *argv, "--steps", 1)[0] == 0
    first = file.read_bytes()
    other = ["--steps", 1, "--resume", "--split-half", "--checkpoint-every", 3]
    code, _, stderr = call(capsys, *argv, *other)
    assert (code, file.read_bytes()) == (0, first)
    assert "the run is complete: no step was left of 1" in stderr
    code, stdout, _ = call(capsys, *argv, *other, "--json")
    assert (code, json.loads(stdout), file.read_bytes()) == (0, json.loads(first), first)
    # Killed between the last checkpoint and the summary, a run has that of an earlier stretch, half of one, or none.
    for left in ('{"last": {"step": 0}}', "{", None):
        file.unlink() if left is None else file.write_text(left)
        assert call(capsys, *argv, "--steps", 1, "--resume")[0] == 0
        summary = json.loads(file.read_text())
        assert (summary["last"]["step"], summary["resumed_at"]) == (1, 1)
    assert "the run is complete" not in call(capsys, *argv, "--steps", 2, "--resume")[2]
    assert json.loads(file.read_text())["steps"] == 2


def test_json_goes_to_stdout_and_nothing_else_does(capsys: Capture) -> None:
    code, stdout, stderr = call(capsys, *QUICK, "--steps", 1, "--json", "--preset", "talk", "--model", "tiny")
    content = json.loads(stdout, parse_constant=pytest.fail)
    assert code == 0
    assert content["settings"]["lora_r"] == 16
    assert content["first"] == content["last"]
    assert "does not print" in stderr


def test_a_run_starts_from_the_adapter_of_another(capsys: Capture, finished: Path, tmp_path: Path) -> None:
    argv = [*QUICK, "--steps", 1, "--log-completions", "--out", tmp_path / "more", "--adapter"]
    assert call(capsys, *argv, finished / "adapter")[0] == 0
    assert (tmp_path / "more" / "completions.jsonl").read_text().count("\n") == 1
    digests = [json.loads((path / "run.json").read_text())["identity"] for path in (finished, tmp_path / "more")]
    assert digests[0]["model_digest"] != digests[1]["model_digest"]
    code, _, stderr = call(capsys, *argv, tmp_path)
    assert (code, stderr.count("\n")) == (2, 1)


def test_split_half_tells_the_noise_apart(capsys: Capture, tmp_path: Path) -> None:
    argv = [*QUICK, "--rule", "paper:8", "--batch", 4, "--temperature", 1.5, "--steps", 3, "--json", "--split-half"]
    code, stdout, _ = call(capsys, *argv, "--out", tmp_path / "run")
    content = json.loads(stdout, parse_constant=pytest.fail)
    assert code == 0
    assert {"theory/cosine_mean", "theory/split_half_reliability"} <= set(content["last"])
    told = content["over_steps"]
    assert list(told) == ["cosine_weighted", "cosine_weighted_corrected", "split_half_reliability"]
    # Three steps are too few for an interval.
    assert all(low is high is None for _, low, high in told.values())
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    squares = [
        [row[f"theory/{name}"] for row in rows if row["theory/log_odds_sq"] is not None]
        for name in ("log_odds_sq", "log_odds_sq_corrected")
    ]
    assert told["split_half_reliability"][0] == pytest.approx(sum(squares[1]) / sum(squares[0]))


REWARD = """
def bad(completions, **kwargs):
    return [float("nan")] * len(completions)

def half(completions, **kwargs):
    return [0.5] * len(completions)
"""


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--rule", "paper:1"], "group size G is 1"),
        (["--batch", "0"], "batch is 0"),
        (["--rule", "grpo"], "a sampled rule with its group size"),
        (["--eta", "0"], "eta is 0.0"),
        (["--steps", "0"], "steps is 0"),
        (["--temperature", "0"], "temperature is 0.0"),
        (["--max-new-tokens", "100"], "longest sequence is 104"),
        (["--reward", "REWARD:bad"], "reward of question"),
        (["--reward", "REWARD:half"], "0 or 1"),
        (["--task", "nonsense"], "nonsense"),
        (["--model", "no/such"], "no/such"),
        (["--preset", "none"], "preset is 'none'"),
        (["--resume"], "pass --out DIR"),
        (["--track", "tensorboard"], "pass --out DIR"),
        (["--track", "papers", "--out", "OUT"], "track is 'papers'"),
        (["--eval-every", "2"], "--eval-task"),
        (["--threads", "0"], "threads is 0"),
        (["--checkpoint-every", "0", "--out", "OUT"], "checkpoint-every is 0"),
        (["--device", "cuda:77"], "device is 'cuda:77'"),
        (["--split-half", "--rule", "paper:5", "--out", "OUT"], "group size G is 5; expected even and at least 4"),
        (["--diagnostics-every", "0", "--out", "OUT"], "diagnostics-every is 0"),
        (["--lora-r", "0"], "LoRA rank r is 0"),
        (["--order", "uniform", "--batch", "500"], "minibatch size B is 500"),
    ],
)
def test_bad_input_gets_one_line(capsys: Capture, tmp_path: Path, argv: list[str], said: str) -> None:
    (tmp_path / "reward.py").write_text(REWARD)
    places = {"REWARD": str(tmp_path / "reward.py"), "OUT": str(tmp_path / "out")}
    for name, place in places.items():
        argv = [each.replace(name, place) for each in argv]
    code, stdout, stderr = call(capsys, *QUICK, "--steps", 1, *argv)
    assert (code, stdout) == (2, "")
    assert said in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_out_of_memory_is_one_line_and_the_run_can_go_on(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = module.step_gradients
    calls: list[int] = []

    def full(*args: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB. GPU 0 has 8 GiB.")
        return gradients(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "step_gradients", full)
    argv = [*QUICK, "--steps", 2, "--checkpoint-every", 1, "--out", tmp_path / "run"]
    code, stdout, stderr = call(capsys, *argv)
    assert (code, stdout, stderr.count("\n")) == (2, "", 1)
    assert "memory is" in stderr
    assert [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1]
    assert call(capsys, *argv, "--resume")[0] == 0
    assert [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1, 2]


def test_figures_show_what_has_values() -> None:
    rows = [
        {"step": t, "reward": 0.1 * t, "frac_reward_zero_std": 0.5, "grad_norm": 1.0, "theory/m": None} for t in (1, 2)
    ]
    rows.append({"step": 3, "reward": 0.5, "frac_reward_zero_std": 0.0, "theory/m": 10.0, "eval_reward": 0.5})
    assert column(rows, "theory/m")[1].tolist() == [10.0]
    assert len(column(rows, "nothing")[0]) == 0
    (axes,) = reward_figure(rows, "a $ title").axes
    assert axes.get_legend_handles_labels()[1][-1] == "held out"
    assert [axes.get_title("left") for axes in theory_figure(rows, "title").axes] == ["grad norm", "m"]
