"""Rewards: functions of one's own, as TRL users write them, and what is checked before they are learned from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm_bridge.asking.questions import Question, Task, get_task, rewards_of
from llm_bridge.asking.rewards import load_reward, with_reward
from theory.errors import InputError

FILE = '''
import asyncio
from dataclasses import dataclass

@dataclass
class Limit:
    length: int = 3

def short(completions, **kwargs):
    """The shortest signature that TRL's examples use."""
    return [1.0 if len(each) <= Limit().length else 0.0 for each in completions]

def by_answer(prompts, completions, completion_ids, answer, trainer_state=None):
    return [float(completion == right) for completion, right in zip(completions, answer)]

async def slow(completions, **kwargs):
    await asyncio.sleep(0)
    return [0.0 for _ in completions]

def narrow(completions):
    return [0.0]

number = 3
'''


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(("name", "values"), [("short", [1, 0]), ("slow", [0, 0])])
def test_a_function_of_a_file(path: Path, name: str, values: list[float]) -> None:
    task = with_reward(get_task("arithmetic:3+5"), f"{path}:{name}")
    assert rewards_of(task, task.questions, 2, ["8", "long"], [[1], [2]]).tolist() == [values]


def test_a_function_that_names_a_column_but_takes_no_others(path: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    own.write_text('{"question": "q", "answer": "#### 4"}')
    task = with_reward(get_task(f"gsm8k:{own}"), f"{path}:by_answer")
    with pytest.raises(InputError, match="unexpected keyword argument 'question'"):
        rewards_of(task, task.questions, 1, ["4"], [[1]])


def test_a_function_of_a_module() -> None:
    task = with_reward(get_task("arithmetic:3+5"), "llm_bridge.asking.finite_sets:numeric_reward")
    assert rewards_of(task, task.questions, 1, ["= 8"], [[1]]).tolist() == [[1.0]]


def test_no_function_is_the_tasks_own() -> None:
    task = get_task("arithmetic:3+5")
    assert with_reward(task, None) is task


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("{path}", "name the function behind a colon"),
        ("{path}:none", "it has dataclass, short, by_answer, slow, narrow"),
        ("{path}:number", "number is a int"),
        ("{path}:narrow", "let it take prompts, or **columns"),
        ("{path}x.py:f", "a Python file that is there"),
        ("no_such_module_at_all:f", "ModuleNotFoundError"),
        ("json:nothing", "a function of json"),
    ],
)
def test_a_bad_place_is_one_clear_line(path: Path, place: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_reward(place.format(path=path))
    text = str(caught.value)
    assert "\n" not in text
    assert message in text


@pytest.mark.parametrize("code", ["1 / 0", "def f(:", "raise SystemError('so\\nit is')"])
def test_a_file_that_fails(tmp_path: Path, code: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(code)
    with pytest.raises(InputError, match="Python code that can be imported"):
        load_reward(f"{path}:f")


def test_the_function_is_called_as_by_trl() -> None:
    seen: dict[str, Any] = {}

    def record(prompts: Any, completions: Any, completion_ids: Any, **columns: Any) -> list[float]:
        seen.update(columns, prompts=prompts, completions=completions, completion_ids=completion_ids)
        return [1.0, 0.0, True, 0]  # type: ignore[list-item]

    messages = ({"role": "user", "content": "b?"},)
    questions = (Question("a", "a?", {"x": 1, "completions": 0}), Question("b", messages, {"x": 2, "completions": 0}))
    rewards = rewards_of(Task("t", questions, record), questions, 2, ["p", "q", "r", "s"], [[1], [2], [3], (4,)])
    assert rewards.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert rewards.dtype == np.float64
    assert seen["prompts"] == ["a?", "a?", [dict(messages[0])], [dict(messages[0])]]
    assert seen["completions"][:2] == ["p", "q"]
    assert seen["completions"][3] == [{"role": "assistant", "content": "s"}]
    assert seen["completion_ids"] == [[1], [2], [3], [4]]
    assert seen["x"] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, None], "reward of question 'b' in t is None"),
        ([1.0, float("nan")], "reward of question 'b' in t is nan"),
        ([1.0, 10**400], "reward of question 'b' in t is 'too large for a float'"),
        ([-(10**5000), 1.0], "reward of question 'a' in t is 'too large for a float'"),
        ([0.5, 1.0], "reward of question 'a' in t is 0.5"),
        ([1.0, "yes"], "reward of question 'b' in t is 'yes'"),
        ([1.0], "number of rewards of t is 1"),
        (7, "reward function of t is"),
    ],
)
def test_a_bad_reward_names_question_and_value(values: Any, message: str) -> None:
    questions = (Question("a", "a?"), Question("b", "b?"))
    with pytest.raises(InputError) as caught:
        rewards_of(Task("t", questions, lambda **_: values), questions, 1, ["x", "y"], [[1], [2]])
    assert message in str(caught.value)


def test_a_reward_that_raises() -> None:
    def broken(**_: Any) -> list[float]:
        raise RuntimeError("no\nservice")

    question = Question("a", "a?")
    with pytest.raises(InputError, match="RuntimeError: no service"):
        rewards_of(Task("t", (question,), broken), [question], 1, ["x"], [[1]])


def test_a_coroutine_is_awaited() -> None:
    async def slow(**_: Any) -> list[float]:
        return [1.0]

    question = Question("a", "a?")
    assert rewards_of(Task("t", (question,), slow), [question], 1, ["x"], [[1]]).tolist() == [[1.0]]  # type: ignore[arg-type]


def test_sizes_that_do_not_fit() -> None:
    task = get_task("arithmetic:3+5")
    for texts, tokens in ((["8"], [[1]]), (["8", "8"], [[1]])):
        with pytest.raises(InputError, match="number of completions"):
            rewards_of(task, task.questions, 2, texts, tokens)
