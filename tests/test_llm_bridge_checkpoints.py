"""Checkpoints: killed at any moment a run goes on to the last bit; damaged or foreign ones are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llm_bridge.models import LoadedModel, LoraSettings, load_model
from llm_bridge.sampled.checkpoints import load_checkpoint, newest_checkpoint, optimizer_tensors, save_checkpoint
from theory.errors import InputError

HERE = Path(__file__).resolve().parent


def script(name: str, *arguments: object) -> list[dict]:
    """The JSON lines that a script of this folder prints."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("kills", [2, pytest.param(40, marks=pytest.mark.deep)])
def test_killed_at_random_moments_a_run_ends_as_if_nothing_had_been(tmp_path: Path, kills: int) -> None:
    for told in script("killed_training.py", kills, 1, tmp_path, "sgd", "adamw"):
        assert told["kills"] == kills
        assert told["differ"] == []
        assert told["steps"] == 6


def test_two_processes_make_the_run_that_one_makes(tmp_path: Path) -> None:
    (told,) = script("two_processes.py", tmp_path)
    assert told["codes"] == [[0, 0], [0, 0], [0]]
    one, two = ((tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("one", "two"))
    # The run of two was cut after step 2, so accuracy was measured at the same steps: 0, 2 and 3.
    assert len(one) == len(two) == 4
    for first, second in zip(map(json.loads, one), map(json.loads, two), strict=True):
        assert first.keys() == second.keys()
        # None: no two prompts of the step had a gradient.
        assert [name for name in first if first[name] is None] == [name for name in second if second[name] is None]
        for name in (name for name in first if name != "step_time" and first[name] is not None):
            assert first[name] == pytest.approx(second[name], rel=1e-7, abs=1e-12), name
    adapters = [load_file(newest(tmp_path / name) / "adapter.safetensors") for name in ("one", "two")]
    for name, value in adapters[0].items():
        assert torch.allclose(value, adapters[1][name], rtol=1e-8, atol=1e-12), name
    assert (newest(tmp_path / "two") / "random-1.safetensors").exists()


@pytest.mark.deep
def test_the_command_runs_on_two_processes_that_accelerate_launches(tmp_path: Path) -> None:
    options = {"--task": "arithmetic:product", "--rule": "trl:4", "--batch": 3, "--steps": 2, "--max-new-tokens": 4}
    launch = {"--num_processes": 2, "--num_machines": 1, "--mixed_precision": "no", "--dynamo_backend": "no"}
    flags, given = (
        [str(each) for pair in chosen.items() for each in pair] for chosen in (launch, {**options, "--eta": 0.05})
    )
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent), "OMP_NUM_THREADS": "1"}
    told = []
    for start in (["accelerate.commands.launch", "--multi_gpu", *flags, "-m", "whynorm"], ["whynorm"]):
        command = [sys.executable, "-m", *start, "bridge", "train", *given, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        # One process alone prints: this is one JSON document.
        told.append(json.loads(done.stdout)["last"])
    for name in told[0].keys() - {"step_time"}:
        assert told[0][name] == pytest.approx(told[1][name], rel=1e-7), name


def newest(run: Path) -> Path:
    found = newest_checkpoint(run / "checkpoints")
    assert found is not None
    return found


def stepped(optimizer_type: type[torch.optim.Optimizer], **options: float) -> tuple[LoadedModel, torch.optim.Optimizer]:
    loaded = load_model("tiny", dtype="float32")
    optimizer = optimizer_type(loaded.parameters.values(), lr=1e-3, **options)  # type: ignore[call-arg]
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        for value in loaded.parameters.values():
            value.grad = torch.randn(value.shape, generator=generator)
        optimizer.step()
    return loaded, optimizer


@pytest.mark.parametrize(
    ("kind", "options"), [(torch.optim.SGD, {}), (torch.optim.SGD, {"momentum": 0.9}), (torch.optim.AdamW, {})]
)
def test_everything_comes_back_as_it_was(tmp_path: Path, kind: type, options: dict) -> None:
    loaded, optimizer = stepped(kind, **options)
    torch.manual_seed(7)
    save_checkpoint(tmp_path, 2, loaded, optimizer, {"num_tokens": 5}, keep=2)
    wanted = torch.rand(3)
    other = load_model("tiny", dtype="float32")
    again = kind(other.parameters.values(), lr=1e-3, **options)
    assert load_checkpoint(newest_checkpoint(tmp_path), other, again) == (2, {"num_tokens": 5})
    assert torch.equal(torch.rand(3), wanted)
    for name, value in loaded.parameters.items():
        assert torch.equal(other.parameters[name], value)
    (one, numbers), (two, more_numbers) = optimizer_tensors(optimizer), optimizer_tensors(again)
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert json.dumps(numbers) == json.dumps(more_numbers)


def test_only_the_newest_stay_and_unfinished_ones_are_cleared(tmp_path: Path) -> None:
    loaded, optimizer = stepped(torch.optim.SGD)
    (tmp_path / ".unfinished-00000009").mkdir()
    for step in (1, 2, 10):
        save_checkpoint(tmp_path, step, loaded, optimizer, {}, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000002", "step-00000010"]
    assert newest_checkpoint(tmp_path) == tmp_path / "step-00000010"
    assert newest_checkpoint(tmp_path / "nothing") is None


@pytest.mark.parametrize("file", ["adapter.safetensors", "optimizer.safetensors", "random-0.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path: Path, file: str, damage: str) -> None:
    loaded, optimizer = stepped(torch.optim.SGD)
    save_checkpoint(tmp_path, 3, loaded, optimizer, {}, keep=1)
    path = tmp_path / "step-00000003" / file
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        path.unlink()
    before = {name: value.clone() for name, value in loaded.parameters.items()}
    with pytest.raises(InputError, match="step-00000003") as caught:
        load_checkpoint(tmp_path / "step-00000003", loaded, optimizer)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in loaded.parameters.items())


def test_a_checkpoint_of_another_adapter_is_refused(tmp_path: Path) -> None:
    loaded, optimizer = stepped(torch.optim.SGD)
    save_checkpoint(tmp_path, 1, loaded, optimizer, {}, keep=1)
    other = load_model("tiny", dtype="float32", lora=LoraSettings(r=2))
    with pytest.raises(InputError, match="another shape"):
        load_checkpoint(tmp_path / "step-00000001", other, torch.optim.SGD(other.parameters.values(), lr=1e-3))
