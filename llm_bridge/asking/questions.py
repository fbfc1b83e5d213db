"""Questions, tasks and checked rewards: what a language model is asked, and what its completions are worth.

A task is a tuple of questions and one reward function with the signature that users of TRL know. ``get_task`` makes one
from a name; ``llm_bridge.asking.datasets`` holds the kinds of tasks. Nothing here needs torch.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from theory.errors import InputError, expected

# Names that TRL keeps for itself.
_TAKEN = {"prompt", "prompts", "completion", "completions", "completion_ids"}

__all__ = ["Message", "Question", "RewardFunction", "Task", "get_task", "rewards_of"]

Message: TypeAlias = Mapping[str, str]
# f(prompts=, completions=, completion_ids=, **columns) -> one reward per completion, None for "cannot say".
RewardFunction: TypeAlias = Callable[..., Sequence[float | None]]


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        name: short and unique within its task; also the key of ``whynorm bridge split``.
        prompt: plain text that the model goes on from, or the messages of a chat; if the last of these is the
            assistant's, the model goes on with that reply.
        columns: what the reward function gets besides prompts and completions (``answer``, ...); for a finite answer
            set ``answers`` holds the tuple of all answers.
    """

    name: str
    prompt: str | tuple[Message, ...]
    columns: Mapping[str, Any] = field(default_factory=dict)

    @property
    def form(self) -> str:
        """How it is put: ``plain``, ``chat``, or ``begun`` where the reply is."""
        if isinstance(self.prompt, str):
            return "plain"
        return "begun" if self.prompt and self.prompt[-1]["role"] == "assistant" else "chat"


@dataclass(frozen=True)
class Task:
    """Questions and what a completion earns.

    Raises:
        InputError: there is no question, or two questions have one name.
    """

    name: str
    questions: tuple[Question, ...]
    reward: RewardFunction

    def __post_init__(self) -> None:
        """Check the questions; see the class for what holds afterwards."""
        if not self.questions:
            raise expected(f"number of questions of {self.name}", 0, "at least 1", "widen the choice or the file")
        names = [question.name for question in self.questions]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise expected(f"question of {self.name}", twice, "a name that no other question has", "rename one")

    @property
    def form(self) -> str:
        """How its questions are put: ``plain``, ``chat`` or ``begun``, or several of these in their order."""
        return "+".join(dict.fromkeys(question.form for question in self.questions))


def get_task(name: str, *, tokenizer: Any = None, form: str = "auto", **options: Any) -> Task:
    """The task called ``name``: ``KIND[:ARGUMENT][,KEY=VALUE...]``, e.g. ``gsm8k:train.jsonl,limit=100,form=chat``.

    Args:
        name: see ``whynorm bridge tasks`` for the kinds and their keys.
        tokenizer: that of the model the task is for; decides the form ``auto``.
        form: ``plain`` (text to go on from), ``chat`` (messages), ``begun`` (messages, and the reply begun, where the
            kind knows how), or ``auto``: chat where the tokenizer has a chat template, plain where it has none or no
            tokenizer is given.
        options: the same keys as in the name; those in the name win.

    Raises:
        InputError: unknown kind or key, or the kind's file, package or values cannot be used.
    """
    from llm_bridge.asking.datasets import build_task

    return build_task(name, tokenizer=tokenizer, form=form, **options)


def rewards_of(
    task: Task,
    questions: Sequence[Question],
    group: int,
    texts: Sequence[str],
    completion_ids: Sequence[Sequence[int]],
) -> npt.NDArray[np.float64]:
    """Checked rewards ``(N, G)`` of N questions with G completions each, all 0 or 1.

    The task's function is called once, as TRL's GRPOTrainer calls it: one entry per completion, row ``i G + g``; for a
    chat prompt a completion is ``[{"role": "assistant", "content": text}]``, for a plain one the text.

    Args:
        task: its reward function is called.
        questions: N of them.
        group: G.
        texts: ``N G`` completions.
        completion_ids: their tokens.

    Raises:
        InputError: sizes do not fit, the function raises, or a reward is missing, None, not finite, or not 0 or 1.
    """
    rows = [question for question in questions for _ in range(group)]
    if not rows or len(texts) != len(rows) or len(completion_ids) != len(rows):
        sizes = (len(texts), len(completion_ids))
        raise expected("number of completions", sizes, f"{len(rows)} texts and tokens", "give G for each question")
    chats = [not isinstance(question.prompt, str) for question in rows]
    completions = [
        [{"role": "assistant", "content": text}] if chat else text for text, chat in zip(texts, chats, strict=True)
    ]
    # Messages as lists of dicts, which is what functions written for TRL index and copy.
    prompts = [row.prompt if isinstance(row.prompt, str) else [dict(m) for m in row.prompt] for row in rows]
    values = _call(task, prompts, completions, [list(ids) for ids in completion_ids], _columns(task, rows))
    if len(values) != len(rows):
        raise expected(f"number of rewards of {task.name}", len(values), f"{len(rows)}", "return one per completion")
    checked = [_checked(value, row, task) for value, row in zip(values, rows, strict=True)]
    return np.array(checked, dtype=np.float64).reshape(len(questions), group)


def _columns(task: Task, rows: Sequence[Question]) -> dict[str, list[Any]]:
    names = list(rows[0].columns)
    for row in rows:
        if set(row.columns) != set(names):
            raise expected(f"columns of {row.name}", sorted(row.columns), f"those of {rows[0].name}", "add the others")
    return {name: [row.columns[name] for row in rows] for name in names if name not in _TAKEN}


def _call(task: Task, prompts: list[Any], completions: list[Any], ids: list[Any], columns: dict[str, Any]) -> list[Any]:
    """What the reward function returns, as a list."""
    try:
        values = task.reward(prompts=prompts, completions=completions, completion_ids=ids, **columns)
        if inspect.isawaitable(values):
            values = asyncio.run(_awaited(values))
        return list(values)
    except InputError:
        raise
    except Exception as error:
        # Whatever a user's function may raise; where it did is in the traceback that is chained to this line.
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        raise expected(
            f"reward function of {task.name}", reason, "a list of rewards", "correct the function"
        ) from error


async def _awaited(values: Any) -> Any:
    return await values


def _checked(value: Any, question: Question, task: Task) -> float:
    name = f"reward of question {question.name!r} in {task.name}"
    remedy = "the theory is about rewards 0 and 1; threshold it in the function"
    if value is None:
        raise expected(name, None, "0 or 1", "return a reward for every completion")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise expected(name, value, "0 or 1", remedy) from None
    except OverflowError:
        # An integer of more digits than Python prints: the value itself cannot be shown.
        raise expected(name, "too large for a float", "0 or 1", remedy) from None
    if number not in (0.0, 1.0):
        raise expected(name, number, "0 or 1", remedy)
    return number
