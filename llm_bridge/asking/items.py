"""What kinds of tasks are made of: items worded twice, and the description of a kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from llm_bridge.asking.questions import Question, RewardFunction
from llm_bridge.chat import chat_messages
from theory.errors import expected

__all__ = ["SAMPLES", "Item", "Kind", "answer_text", "completion_text", "need_package", "whole_number"]

# Small files in the published schemas, with questions of our own; ``KIND:sample`` stands for them.
SAMPLES = Path(__file__).resolve().parent / "samples"


@dataclass(frozen=True)
class Item:
    """A question in its wordings: ``plain`` is text to go on from, ``chat`` what a user would say.

    ``begun`` is how the reply to the chat may be begun, so that the answer is all that is missing, or None.
    """

    name: str
    plain: str
    chat: str
    columns: Mapping[str, Any]
    begun: str | None = None

    def question(self, form: str) -> Question:
        """The question in one wording, ``plain``, ``chat`` or ``begun``.

        Raises:
            InputError: ``begun``, and the reply has no beginning.
        """
        if form == "begun" and self.begun is None:
            wanted = f"chat or plain, as {self.name} has no begun reply"
            raise expected("form", form, wanted, "choose one of these, or a task that has it, such as arithmetic")
        chat = chat_messages(self.chat, self.begun if form == "begun" else None)
        return Question(self.name, self.plain if form == "plain" else chat, self.columns)


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    Attributes:
        name: what stands before the colon.
        argument: what stands behind it.
        summary: one line.
        needs: what has to be there.
        example: a task of this kind that ships, or that needs its package only.
        build: from the argument and the kind's own options to items and the reward function.
        keys: options of its own, with a few words each; ``*`` stands for any.
    """

    name: str
    argument: str
    summary: str
    needs: str
    example: str
    build: Callable[[str, Mapping[str, Any]], tuple[Sequence[Item], RewardFunction]]
    keys: Mapping[str, str] = field(default_factory=dict)


def completion_text(completion: Any) -> str:
    """The text of a completion as TRL hands it over: itself, or the content of the last message of a chat."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def answer_text(completion: Any) -> str:
    """What stands between the last ``<answer>`` and ``</answer>``, or all of the text; without white space around."""
    text = completion_text(completion)
    before, opened, _ = text.rpartition("</answer>")
    inner = before.rpartition("<answer>") if opened else ("", "", "")
    return (inner[2] if inner[1] else text).strip()


def need_package(name: str, extra: str) -> None:
    """Raise InputError, naming the extra, unless a package is installed."""
    if find_spec(name) is None:
        raise expected("missing package", name, f"the extra {extra}", f"run pip install 'whynorm[{extra}]'")


def whole_number(key: str, value: Any, least: int = 0) -> int:
    """An option as an integer of at least ``least``.

    Raises:
        InputError: it is none.
    """
    text = str(value)
    if not text.isascii() or not text.isdigit() or len(text) > 18 or int(text) < least:
        raise expected(key, value, f"an integer of at least {least}", f"write for example {key}={max(least, 1)}")
    return int(text)
