"""Reward functions of one's own, as TRL users write them, from files and modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_bridge.asking.questions import get_task, rewards_of
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
