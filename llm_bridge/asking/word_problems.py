r"""GSM8K and MATH in their published JSONL schemas, from a file, from the samples that ship, or from the hub's cache.

GSM8K lines hold ``question`` and ``answer``, which ends in ``#### 18``; the numbers of completion and answer must be
equal (the rule is in ``asking.matching``). MATH lines hold ``problem``, ``solution`` with ``\boxed{}``, ``level``
("Level 2") and ``type``, or an ``answer`` in place of the boxed solution. A completion's ``\boxed{}`` must equal it
mathematically; where there is none, what math-verify finds in the completion.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llm_bridge.asking.finite_sets import numeric_reward
from llm_bridge.asking.hub import HubSource, hub_lines
from llm_bridge.asking.items import SAMPLES, Item, completion_text, need_package
from llm_bridge.asking.jsonl import read_lines
from llm_bridge.asking.matching import boxed, equal_answers, number_of
from llm_bridge.asking.questions import RewardFunction
from theory.errors import expected

__all__ = ["gsm8k", "math"]

_GSM8K = HubSource("openai/gsm8k", ("main",), "github.com/openai/grade-school-math (train.jsonl)")
_MATH = HubSource(
    "EleutherAI/hendrycks_math",
    (
        "algebra",
        "counting_and_probability",
        "geometry",
        "intermediate_algebra",
        "number_theory",
        "prealgebra",
        "precalculus",
    ),
    "github.com/hendrycks/math (one JSON object a line)",
)

Line = tuple[str, Mapping[str, Any]]


def _lines(argument: str, options: Mapping[str, Any], kind: str, source: HubSource, keys: Mapping[str, Any]) -> Any:
    """``(name, content)`` of every line of a source."""
    if not argument:
        raise expected("task", kind, f"{kind}:FILE.jsonl, {kind}:sample or {kind}:hub", "name a file")
    if argument == "hub":
        return hub_lines(source, str(options.get("fold", "train")), keys)
    if "fold" in options:
        raise expected("fold", options["fold"], "no fold with a file", f"name the fold's file, or use {kind}:hub")
    path = SAMPLES / f"{kind}.jsonl" if argument == "sample" else Path(argument)
    return ((f"{path.name}:{number}", content) for number, content in read_lines(path, keys))


def gsm8k(argument: str, options: Mapping[str, Any]) -> tuple[Sequence[Item], RewardFunction]:
    """Items of a GSM8K file.

    Raises:
        InputError: the file cannot be used, or an answer has no number behind ``####``.
    """
    lines: Iterable[Line] = _lines(argument, options, "gsm8k", _GSM8K, {"question": str, "answer": str})
    return [_gsm8k_item(name, line) for name, line in lines], gsm8k_reward


def _gsm8k_item(name: str, line: Mapping[str, Any]) -> Item:
    if "####" not in line["answer"] or number_of(line["answer"]) is None:
        raise expected(f"answer of {name}", line["answer"][-60:], "an end such as '#### 18'", "correct that line")
    question = line["question"].strip()
    chat = f"{question}\nThink step by step, and end with the answer in the form '#### NUMBER'."
    return Item(name, f"Question: {question}\nAnswer:", chat, dict(line))


# The published answer holds its number behind ####, which the numeric rule reads as it reads a completion's.
gsm8k_reward = numeric_reward


def math(argument: str, options: Mapping[str, Any]) -> tuple[Sequence[Item], RewardFunction]:
    r"""Items of a MATH file, with ``level`` and ``type`` to choose by; the paper trains on level 2.

    Raises:
        InputError: math-verify is missing, the file cannot be used, a line has neither answer nor ``\boxed{}``, or
            nothing fits level and type.
    """
    need_package("math_verify", "tasks")
    lines: Iterable[Line] = _lines(argument, options, "math", _MATH, {"problem": str})
    items = [_math_item(name, line) for name, line in lines if _wanted(name, line, options)]
    if not items:
        asked = {key: options[key] for key in ("level", "type") if key in options}
        raise expected("math", asked, "a level and type that some line has", "choose others")
    return items, math_reward


def _wanted(name: str, line: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    for key in ("level", "type"):
        if key in options:
            if key not in line:
                raise expected(name, sorted(line), f"a line with the key {key!r}", f"add it, or choose without {key}")
            if _plain(line[key]) != _plain(options[key]):
                return False
    return True


def _plain(value: Any) -> str:
    """``Level 2``, ``level 2`` and 2 are one, and so are ``Number Theory`` and ``number_theory``."""
    return str(value).lower().replace("_", " ").removeprefix("level").strip()


def _math_item(name: str, line: Mapping[str, Any]) -> Item:
    target = line["answer"] if isinstance(line.get("answer"), str) else boxed(str(line.get("solution", "")))
    if not target:
        raise expected(f"solution of {name}", line.get("solution"), "a \\boxed{} answer, or a key 'answer'", "add it")
    problem = line["problem"].strip()
    chat = f"{problem}\nReason step by step, and put your final answer within \\boxed{{}}."
    return Item(name, f"Problem: {problem}\nSolution:", chat, {**line, "target": target})


def math_reward(*, completions: Sequence[Any], target: Sequence[str], **columns: Any) -> list[float]:
    """1 where a completion's final answer equals the target mathematically."""
    return [float(equal_answers(completion_text(c), right)) for c, right in zip(completions, target, strict=True)]
