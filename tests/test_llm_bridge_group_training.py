"""Training on sampled groups: the update, what is logged, and which settings are refused."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from compare import assert_agree
from group_runs import SETTINGS, TASK, finished_run, fresh, settings, timeless, vector

from llm_bridge.asking.questions import Task
from llm_bridge.models import LoadedModel
from llm_bridge.sampled.distributed import ALONE
from llm_bridge.sampled.group_gradients import step_gradients
from llm_bridge.sampled.group_settings import question_order
from llm_bridge.sampled.group_step import draw_step
from llm_bridge.sampled.group_training import GroupRun, train_groups
from llm_bridge.sampled.metrics import read_metrics
from llm_bridge.sampled.random_states import own_random_states, random_states
from theory.errors import InputError

# Every name that users of TRL look for.
NAMES = {
    "reward",
    "reward_std",
    "frac_reward_zero_std",
    "grad_norm",
    "learning_rate",
    "completions/mean_length",
    "completions/min_length",
    "completions/max_length",
    "completions/mean_terminated_length",
    "completions/clipped_ratio",
    "entropy",
    "num_tokens",
    "step_time",
    "epoch",
}


class _NoModel:
    """Settings are refused before the model is touched."""


_NO_MODEL: LoadedModel = _NoModel()  # type: ignore[assignment]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, GroupRun, torch.Tensor]:
    return finished_run(tmp_path_factory.mktemp("run"))


def expected_step(optimizer: str, **changes: object) -> tuple[torch.Tensor, torch.Tensor]:
    """The adapter after one step, and what it should be by hand."""
    chosen = settings(steps=1, optimizer=optimizer, **changes)
    loaded, twin = fresh(), fresh()
    before = vector(twin)
    drawn = draw_step(twin, TASK, chosen, question_order(chosen, len(TASK.questions))[0], 0, ALONE)
    gradient, _ = step_gradients(twin, drawn, chosen)
    assert gradient.norm() > 0
    if chosen.max_grad_norm is not None:
        gradient = gradient * min(1.0, chosen.max_grad_norm / float(gradient.norm()))
    train_groups(loaded, TASK, chosen)
    if optimizer == "sgd":
        return vector(loaded), before + chosen.eta * gradient
    # The first step of Adam, after its bias correction, is eta times g / (|g| + eps).
    return vector(loaded), before + chosen.eta * gradient / (gradient.abs() + 1e-8)


def test_a_step_of_sgd_is_eta_times_the_mean_gradient() -> None:
    actual, wanted = expected_step("sgd")
    assert_agree(actual, wanted, 1e-6, atol=1e-8)


def test_a_step_of_adamw_and_a_shortened_gradient() -> None:
    actual, wanted = expected_step("adamw", eta=1e-3)
    assert_agree(actual, wanted, 1e-5, atol=1e-6)
    actual, wanted = expected_step("sgd", max_grad_norm=0.5)
    assert_agree(actual, wanted, 1e-5, atol=1e-7)
    assert_agree(torch.linalg.vector_norm(actual - vector(fresh())), 0.5 * SETTINGS.eta, 1e-4, "length")


def test_training_improves_what_it_is_rewarded_for() -> None:
    loaded = fresh()
    task = Task("long", TASK.questions, lambda completion_ids, **_: [float(len(ids) > 3) for ids in completion_ids])
    run = train_groups(loaded, task, settings(rule="no_std:8", steps=12, eta=0.3, temperature=1.0))
    rewards = [row["reward"] for row in run.rows]
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.3


def test_every_step_is_logged_under_the_names_people_know(finished: tuple) -> None:
    path, run, _ = finished
    assert [row["step"] for row in run.rows] == [0, 1, 2, 3]
    assert all(set(row) >= NAMES for row in run.rows[1:])
    assert [row["step"] for row in run.rows if "eval_reward" in row] == [0, 2, 3]
    assert read_metrics(path / "metrics.jsonl") == list(run.rows)
    table = pq.read_table(path / "metrics.parquet").to_pylist()
    assert [row["step"] for row in table] == [0, 1, 2, 3]
    assert table[2]["reward"] == run.rows[2]["reward"]
    assert table[0]["reward"] is None
    assert run.rows[-1]["epoch"] == 1.0
    tokens = [row["num_tokens"] for row in run.rows[1:]]
    assert tokens == sorted(set(tokens))
    assert {"theory/cosine_mean", "theory/m", "theory/no_m_share", "theory/std"} <= set(run.rows[1])


def test_rewards_and_lengths_are_those_of_the_completions() -> None:
    seen: dict[str, list] = {}

    def watched(completions: list[str], completion_ids: list[list[int]], answer: list[str], **_: object) -> list[float]:
        seen["rewards"] = [float(a == b) for a, b in zip(completions, answer, strict=True)]
        seen["lengths"] = [len(ids) for ids in completion_ids]
        return seen["rewards"]

    row = train_groups(fresh(), Task("watched", TASK.questions, watched), settings(steps=1)).rows[0]
    rewards = np.array(seen["rewards"]).reshape(4, 4)
    assert row["reward"] == rewards.mean()
    assert row["reward_std"] == pytest.approx(rewards.std(ddof=1))
    assert row["frac_reward_zero_std"] == np.mean([len(set(group)) == 1 for group in rewards.tolist()])
    assert row["completions/mean_length"] == np.mean(seen["lengths"])
    assert row["completions/max_length"] == max(seen["lengths"])
    assert row["theory/std"] == pytest.approx(rewards.std(axis=1).mean())


def test_observers_get_gradients_and_rewards_and_change_nothing(finished: tuple) -> None:
    calls = []

    def observer(step: int, gradients: torch.Tensor, rewards: np.ndarray) -> dict[str, float]:
        calls.append((step, tuple(gradients.shape), rewards.shape))
        return {"length": float(gradients.mean(dim=0).norm())}

    seen, alone = fresh(), fresh()
    watched = train_groups(seen, TASK, SETTINGS, observers=[observer])
    plain = train_groups(alone, TASK, SETTINGS)
    assert calls == [(step, (4, seen.n_trainable), (4, 4)) for step in (1, 2, 3)]
    for row in watched.rows:
        assert row["theory/length"] == pytest.approx(row["grad_norm"], rel=1e-4)
    assert torch.equal(vector(seen), vector(alone))
    assert torch.equal(vector(alone), finished[2])
    drop = {"theory/length"}
    bare = [{k: v for k, v in row.items() if k not in drop} for row in timeless(watched.rows)]
    assert bare == timeless(plain.rows)


def test_a_run_keeps_to_its_own_random_states() -> None:
    random.seed(1)
    torch.manual_seed(1)
    before = random_states()
    task = Task("noise", TASK.questions, lambda completions, **_: [float(random.random() < 0.5) for _ in completions])
    first = train_groups(fresh(), task, settings(steps=2))
    after = random_states()
    assert all(torch.equal(before[name], after[name]) for name in before)
    random.seed(99)
    assert timeless(train_groups(fresh(), task, settings(steps=2)).rows) == timeless(first.rows)
    with own_random_states(3):
        numbers = random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002
    with own_random_states(3):
        assert numbers == (random.random(), np.random.rand(), torch.rand(1).item())  # noqa: NPY002


def test_a_gradient_that_is_not_finite_stops_the_run() -> None:
    loaded = fresh()
    with pytest.raises(InputError, match="logits of the model is 'not finite'"):
        train_groups(loaded, TASK, settings(eta=1e30, steps=5))
    broken = fresh()
    with torch.no_grad():
        next(iter(broken.parameters.values())).fill_(1e20)
    with pytest.raises(InputError, match="lower"):
        train_groups(broken, TASK, settings(steps=2))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rule": "paper:1"}, "group size G is 1"),
        ({"rule": "grpo"}, "a sampled rule"),
        ({"rule": "nonsense:4"}, "rule is 'nonsense:4'"),
        ({"steps": 0}, "steps is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"eta": 0.0}, "eta is 0.0"),
        ({"eta": float("nan")}, "eta is nan"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"top_p": 2.0}, "top-p is 2.0"),
        ({"optimizer": "adam"}, "optimizer is 'adam'"),
        ({"weight_decay": 0.1}, "weight-decay is 0.1"),
        ({"order": "random"}, "order is 'random'"),
        ({"max_grad_norm": 0.0}, "max-grad-norm is 0.0"),
        ({"eval_group": 0}, "eval-group is 0"),
        ({"eval_every": 2}, "eval-every is 2"),
        ({"order": "uniform", "batch": 13}, "minibatch size B is 13"),
    ],
)
def test_unusable_settings_are_refused(changes: dict, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        train_groups(_NO_MODEL, TASK, settings(**changes))
    assert "\n" not in str(caught.value)


def test_the_example_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "training.md").read_text()
    code = page.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "training.md", "exec"), {})
    assert len(capsys.readouterr().out.split()) == 2
    assert (tmp_path / "run" / "adapter").is_dir()


def test_the_documentation_names_every_metric(finished: tuple) -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "training.md").read_text()
    for name in {name for row in finished[1].rows for name in row} - {"step"}:
        family, _, last = name.rpartition("/")
        starred = any(f"`{family}/{last[:cut]}*`" in page for cut in range(len(last)))
        assert f"`{name}`" in page or f"`{last}`" in page or starred or f"`{family}/...`" in page, name
