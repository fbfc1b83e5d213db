"""What a sampled run keeps in its directory: resumed, extended, refused to another run, never half."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from compare import assert_agree
from group_runs import SETTINGS, TASK, finished_run, fresh, settings, timeless, vector
from peft import PeftModel
from perturbing import perturb
from transformers import AutoModelForCausalLM

from llm_bridge.asking.questions import Task, get_task, rewards_of
from llm_bridge.models import TINY_FOLDER, LoadedModel
from llm_bridge.sampled.group_settings import question_order
from llm_bridge.sampled.group_training import GroupRun, train_groups
from llm_bridge.sampled.metrics import MetricsFile, read_metrics
from llm_bridge.sampled.run_folder import RunFolder, save_adapter
from llm_bridge.weights.adapters import load_adapter
from theory.errors import InputError


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GroupRun, torch.Tensor]:
    return finished_run(tmp_path_factory.mktemp("run"))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_run_that_is_cut_and_extended_is_the_run_in_one_go(tmp_path: Path, optimizer: str) -> None:
    chosen = settings(steps=5, optimizer=optimizer, eta=0.05 if optimizer == "sgd" else 1e-3)
    whole = fresh()
    one = train_groups(whole, TASK, chosen)
    train_groups(fresh(), TASK, settings(**{**chosen.__dict__, "steps": 2}), folder=RunFolder(tmp_path, every=2))
    parts = fresh()
    two = train_groups(parts, TASK, chosen, folder=RunFolder(tmp_path, resume=True, every=2))
    assert two.resumed_at == 2
    assert timeless(two.rows) == timeless(one.rows)
    assert torch.equal(vector(parts), vector(whole))
    again = train_groups(fresh(), TASK, chosen, folder=RunFolder(tmp_path, resume=True, every=2))
    assert (again.resumed_at, again.rows) == (5, two.rows)
    with pytest.raises(InputError, match="steps is 4; expected at least 5"):
        train_groups(fresh(), TASK, settings(**{**chosen.__dict__, "steps": 4}), folder=RunFolder(tmp_path, True))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_adapter_is_left_in_pefts_own_format(finished: tuple) -> None:
    path, _, theta = finished
    base = AutoModelForCausalLM.from_pretrained(str(TINY_FOLDER), dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(path / "adapter"), is_trainable=True)
    loaded = torch.cat([value.detach().reshape(-1) for value in model.parameters() if value.requires_grad])
    assert torch.equal(loaded, theta)


def bytes_below(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("changes", "lora", "task", "said"),
    [
        ({"eta": 0.06}, {}, "arithmetic:product,limit=12", "eta is 0.06; expected 0.05"),
        ({"rule": "no_std:4"}, {}, "arithmetic:product,limit=12", "rule is 'no_std:4'"),
        ({"seed": 9}, {}, "arithmetic:product,limit=12", "seed is 9"),
        ({"eval_every": 1}, {}, "arithmetic:product,limit=12", "eval-every is 1"),
        ({}, {"r": 4}, "arithmetic:product,limit=12", "lora-r is 4; expected 8"),
        ({}, {"seed": 4}, "arithmetic:product,limit=12", "lora-seed is 4; expected 0 as in the run"),
        ({}, {}, "arithmetic:product,limit=11", "task is"),
    ],
)
def test_a_directory_of_another_run_is_refused_and_left_alone(
    finished: tuple, changes: dict, lora: dict, task: str, said: str
) -> None:
    path = finished[0]
    before = bytes_below(path)
    chosen = settings(**{"eval_every": 2, **changes})
    for resume in (True, False):
        with pytest.raises(InputError, match=said) as caught:
            train_groups(
                fresh(**lora),
                get_task(task),
                chosen,
                held_out=get_task("arithmetic:sum,limit=6"),
                folder=RunFolder(path, resume=resume),
            )
        assert "\n" not in str(caught.value)
    assert bytes_below(path) == before


def test_the_same_run_again_needs_the_word_resume(finished: tuple) -> None:
    before = bytes_below(finished[0])
    with pytest.raises(InputError, match="pass --resume"):
        train_groups(
            fresh(),
            TASK,
            settings(eval_every=2),
            held_out=get_task("arithmetic:sum,limit=6"),
            folder=RunFolder(finished[0]),
        )
    assert bytes_below(finished[0]) == before


def test_the_seed_of_the_adapter_counts_only_where_the_model_differs(tmp_path: Path) -> None:
    def resumed(loaded: LoadedModel) -> GroupRun:
        return train_groups(loaded, TASK, SETTINGS, folder=RunFolder(tmp_path / "run", resume=True))

    save_adapter(perturb(fresh()), tmp_path / "adapter")
    resumed(load_adapter(fresh(), tmp_path / "adapter"))
    # The numbers of A are those of the saved adapter, whatever the seed.
    assert resumed(load_adapter(fresh(seed=4), tmp_path / "adapter")).resumed_at == SETTINGS.steps
    with pytest.raises(InputError, match="adapter is 'a new adapter'; expected a saved adapter, at which the run in"):
        resumed(fresh())
    shutil.rmtree(tmp_path / "run")
    resumed(fresh())
    with pytest.raises(InputError, match=r"expected a new adapter, at which .* leave --adapter out"):
        resumed(load_adapter(fresh(), tmp_path / "adapter"))
    file = tmp_path / "run" / "run.json"
    told = json.loads(file.read_text())
    # Earlier versions wrote no seed.
    assert told["identity"].pop("lora_seed") == 0
    file.write_text(json.dumps(told))
    with pytest.raises(InputError, match="model-digest is"):
        resumed(fresh(seed=4))
    assert resumed(fresh()).resumed_at == SETTINGS.steps


def test_a_bad_reward_leaves_what_was_done(tmp_path: Path) -> None:
    calls = []

    def breaks(completions: list[str], **_: object) -> list[float]:
        calls.append(1)
        return [float("nan") if len(calls) == 3 else float(len(text) % 2) for text in completions]

    with pytest.raises(InputError, match="reward of question"):
        train_groups(fresh(), Task("breaks", TASK.questions, breaks), SETTINGS, folder=RunFolder(tmp_path, every=1))
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]
    assert (tmp_path / "checkpoints" / "step-00000002").is_dir()


def test_a_run_that_did_nothing_does_not_occupy_its_directory(tmp_path: Path) -> None:
    task = Task("bad", TASK.questions, lambda completions, **_: [0.5 for _ in completions])
    with pytest.raises(InputError, match="0 or 1"):
        train_groups(fresh(), task, SETTINGS, folder=RunFolder(tmp_path))
    run = train_groups(fresh(), TASK, settings(steps=1, eta=0.01), folder=RunFolder(tmp_path))
    assert len(run.rows) == 1


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_anew(tmp_path: Path) -> None:
    """Its accuracy at step 0 was once logged twice."""
    chosen, held_out = settings(steps=1, eval_every=1), get_task("arithmetic:sum,limit=3")
    whole = train_groups(fresh(), TASK, chosen, held_out=held_out, folder=RunFolder(tmp_path))
    for name in ("checkpoints", "adapter"):
        shutil.rmtree(tmp_path / name)
    again = train_groups(fresh(), TASK, chosen, held_out=held_out, folder=RunFolder(tmp_path, resume=True))
    assert again.resumed_at == 0
    assert timeless(again.rows) == timeless(whole.rows) == timeless(read_metrics(tmp_path / "metrics.jsonl"))


def test_completions_are_logged_once_also_when_a_run_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "completions.jsonl"
    train_groups(fresh(), TASK, settings(steps=2), folder=RunFolder(tmp_path, every=2, completions=True))
    path.write_text(path.read_text() + '{"step": 3, "completions": []}\n{"st')
    run = train_groups(fresh(), TASK, SETTINGS, folder=RunFolder(tmp_path, True, 2, 2, completions=True))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    order = question_order(SETTINGS, len(TASK.questions))
    for line, row, chosen in zip(lines, run.rows, order, strict=True):
        assert [each["question"] for each in line["completions"]] == [TASK.questions[i].name for i in chosen]
        rewards = np.array([each["rewards"] for each in line["completions"]])
        assert rewards.mean() == row["reward"]
        assert_agree([each["advantages"] for each in line["completions"]], SETTINGS.sampled_rule.convention(rewards), 0)
        texts = [text for each in line["completions"] for text in each["texts"]]
        again = rewards_of(TASK, [TASK.questions[i] for i in chosen], 4, texts, [[0]] * 16)
        assert (again == rewards).all()


def test_two_runs_in_one_directory_at_once_are_refused(tmp_path: Path) -> None:
    with RunFolder(tmp_path).held(), pytest.raises(InputError, match="no other process"):
        train_groups(fresh(), TASK, settings(steps=1), folder=RunFolder(tmp_path))


def test_metrics_of_later_steps_and_torn_lines_are_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsFile(path) as file:
        for step in (1, 2, 3):
            file.append({"step": step, "reward": 0.5 * step, "bad": float("nan"), "none": None})
    assert json.loads(path.read_text().splitlines()[0]) == {"step": 1, "reward": 0.5, "bad": None, "none": None}
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"step": 4, "rew')
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]
    path.write_bytes(whole + b"\x00\x00\n")
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]
    with MetricsFile(path, 2) as file:
        file.append({"step": 3})
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]
    path.write_bytes(b"nonsense\n" + whole)
    with pytest.raises(InputError, match="line 1"):
        read_metrics(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="every step up to 2"):
        MetricsFile(path, 2)
