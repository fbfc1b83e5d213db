"""Tasks by name: ``KIND[:ARGUMENT][,KEY=VALUE...]``.

A kind turns its argument into items, each worded as plain text that a model goes on from and as a chat message, and
some with the beginning of a reply to it.
Which wording becomes the prompt, and which part of the questions is taken, is decided here, once for all kinds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from llm_bridge.asking.finite_sets import arithmetic, choices
from llm_bridge.asking.generators import reasoning_gym
from llm_bridge.asking.items import Item, Kind, whole_number
from llm_bridge.asking.questions import Task
from llm_bridge.asking.split import PARTS, parse_range, read_split, within
from llm_bridge.asking.word_problems import gsm8k, math
from llm_bridge.chat import FORMS
from theory.errors import expected

__all__ = ["COMMON_KEYS", "KINDS", "build_task", "spread"]

_PAIR = re.compile(r"[a-z_]+=", flags=re.ASCII)
# Keys that every kind has, besides the wording ``form``.
COMMON_KEYS = {
    "form": "plain, chat, begun (chat, the reply begun), or auto: chat where the tokenizer has a chat template",
    "limit": "at most so many questions, evenly spaced over all",
    "split": "a file of whynorm bridge split",
    "part": "easy, hard or neither of that split, or a range of pass rates LOW:HIGH",
}
_FOLD = {"fold": "train or test, of the hub's"}
KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "arithmetic",
            "KIND, several, or '3+5 17+26'",
            "sums, differences and products, with finite answer sets",
            "nothing",
            "arithmetic:sum",
            arithmetic,
        ),
        Kind(
            "choices",
            "FILE.jsonl or sample",
            "finite answer sets of your own: question, answers, correct (one or several), begun",
            "the file",
            "choices:sample",
            choices,
        ),
        Kind(
            "gsm8k",
            "FILE.jsonl, sample or hub",
            "GSM8K: question, answer ending in '#### 18'; numeric match",
            "the file, or the hub's cache",
            "gsm8k:sample",
            gsm8k,
            _FOLD,
        ),
        Kind(
            "math",
            "FILE.jsonl, sample or hub",
            "MATH: problem, solution, level, type; mathematical equality of \\boxed{}",
            "the extra tasks, and the file or the hub's cache",
            "math:sample",
            math,
            {"level": "1 to 5; the paper takes 2", "type": "such as algebra", **_FOLD},
        ),
        Kind(
            "reasoning_gym",
            "NAME",
            "a generator of reasoning-gym; its score, thresholded to 0 or 1",
            "the extra tasks",
            "reasoning_gym:chain_sum",
            reasoning_gym,
            {"size": "questions", "seed": "of the generator", "threshold": "least score that earns 1", "*": "its own"},
        ),
    )
}


def build_task(name: str, *, tokenizer: Any = None, form: str = "auto", **options: Any) -> Task:
    """The task of a name; see :func:`llm_bridge.asking.questions.get_task`."""
    kind, argument, named = _parsed(name)
    wanted = {"form": form, **options, **named}
    unknown = sorted(set(wanted) - set(COMMON_KEYS) - set(kind.keys))
    if unknown and "*" not in kind.keys:
        keys = ", ".join([*COMMON_KEYS, *kind.keys])
        raise expected(f"option of {kind.name}", unknown[0], f"one of {keys}", "correct it")
    chosen = _form(str(wanted["form"]), tokenizer)
    own = {key: value for key, value in wanted.items() if key not in COMMON_KEYS and value is not None}
    items, reward = kind.build(argument, own)
    items = _part(items, wanted.get("split"), wanted.get("part"))
    if wanted.get("limit") is not None:
        items = spread(items, whole_number("limit", wanted["limit"], 1))
    return Task(name, tuple(item.question(chosen) for item in _same_columns(items)), reward)


def spread(items: Sequence[Item], limit: int) -> Sequence[Item]:
    """At most ``limit`` of the items, evenly spaced over all."""
    count = min(limit, len(items))
    return [items[index * len(items) // count] for index in range(count)]


def _parsed(name: str) -> tuple[Kind, str, dict[str, str]]:
    """Kind, argument and options of a name; an argument may hold commas, as file names do."""
    words = name.split(",")
    pairs: dict[str, str] = {}
    while len(words) > 1 and _PAIR.match(words[-1]):
        key, _, value = words.pop().partition("=")
        pairs.setdefault(key, value)
    kind, _, argument = ",".join(words).partition(":")
    if kind not in KINDS:
        raise expected("task", name, f"one of {', '.join(KINDS)}", "see whynorm bridge tasks")
    return KINDS[kind], argument, pairs


def _form(form: str, tokenizer: Any) -> str:
    if form not in FORMS:
        raise expected("form", form, f"one of {', '.join(FORMS)}", "pick one")
    template = getattr(tokenizer, "chat_template", None)
    if form in ("chat", "begun") and tokenizer is not None and not template:
        raise expected("form", form, "plain, as the tokenizer has no chat template", "choose plain or auto")
    return form if form != "auto" else ("chat" if template else "plain")


def _part(items: Sequence[Item], split: Any, part: Any) -> Sequence[Item]:
    """The items that a split puts into one part, or whose pass rate lies in a range."""
    if split is None and part is None:
        return items
    if split is None or part is None:
        raise expected("part of a split", (split, part), "split=FILE and part=PART", "give both")
    rows = read_split(Path(split))
    if part in PARTS:
        named = {rate.name for rate, of in rows if of == part}
    else:
        span = parse_range("part", str(part))
        named = {rate.name for rate, _ in rows if within(span, rate.rate)}
    chosen = [item for item in items if item.name in named]
    if not chosen:
        raise expected(f"part {part} of {split}", 0, "at least one question of this task", "check task and file")
    return chosen


def _same_columns(items: Sequence[Item]) -> list[Item]:
    """Every column in every item; what a line of a file lacks is None, as in tables of the hub."""
    names = list(dict.fromkeys(name for item in items for name in item.columns))
    return [replace(item, columns={name: item.columns.get(name) for name in names}) for item in items]
