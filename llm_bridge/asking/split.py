"""Easy and hard questions by an evaluator model's pass rate, as in section 4.4 and Appendix G of the paper.

The paper partitions the 7,473 training questions of GSM8K with Qwen2-7B-Instruct as the evaluator into 4,695 easy and
1,909 hard ones, so that 869 are in neither part. It prints neither the thresholds nor the number of samples per
question, so here both are settings: each part is a range of pass rates, and what lies in none is ``neither``.

A directory holds ``settings.json`` (what the rates depend on), ``rates.jsonl`` (a line per question, appended as it is
measured, so that a split goes on where it was killed) and, once all are measured, ``split.jsonl`` with the parts. Other
ranges for the same rates need no new measurement.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from llm_bridge.asking.jsonl import append_line, drop_torn_line, read_lines
from llm_bridge.asking.questions import Question, Task, rewards_of
from simulator.files import prepare_directory, write_json, write_text
from theory.errors import expected

__all__ = [
    "INTERVALS",
    "PARTS",
    "PassRate",
    "Ranges",
    "Sampler",
    "measure_rate",
    "parse_range",
    "parts_of",
    "questions_digest",
    "read_split",
    "split_task",
    "within",
]

PARTS = ("easy", "hard", "neither")
INTERVALS = {"wilson": "wilson", "clopper-pearson": "exact"}
# From a question, the number of samples and a seed to texts and tokens.
Sampler = Callable[[Question, int, int], tuple[Sequence[str], Sequence[Sequence[int]]]]


@dataclass(frozen=True)
class PassRate:
    """How often the evaluator solves a question.

    Attributes:
        name: of the question.
        rate: share of right completions, or the exact probability of a right answer.
        low, high: confidence interval; both are the rate where it is exact.
        successes, samples: what a sampled rate was counted from; None where it is exact.
    """

    name: str
    rate: float
    low: float
    high: float
    successes: int | None = None
    samples: int | None = None

    @classmethod
    def counted(cls, name: str, successes: int, samples: int, interval: str, confidence: float) -> PassRate:
        """From counts, with a Wilson or Clopper-Pearson interval."""
        result = binomtest(successes, samples).proportion_ci(confidence, method=INTERVALS[interval])
        return cls(name, successes / samples, float(result.low), float(result.high), successes, samples)


@dataclass(frozen=True)
class Ranges:
    """Pass rates of the two parts: ``LOW <= rate < HIGH``, where HIGH = 1 includes 1.

    Attributes:
        easy, hard: the ranges.
        certain: put a question into a part only if its whole confidence interval lies in the range.

    Raises:
        InputError: a range is empty or not within [0, 1], or the two overlap.
    """

    easy: tuple[float, float] = (0.5, 1.0)
    hard: tuple[float, float] = (0.0, 0.5)
    certain: bool = False

    def __post_init__(self) -> None:
        """Check the ranges; see the class for what holds afterwards."""
        for name, span in (("easy", self.easy), ("hard", self.hard)):
            _check_range(name, span)
        if self.hard[1] > self.easy[0]:
            raise expected("hard", self.hard, f"a range below that of easy, {self.easy}", "let them not overlap")

    def part(self, rate: PassRate) -> str:
        """``easy``, ``hard`` or ``neither``."""
        ends = (rate.low, rate.high) if self.certain else (rate.rate,)
        for name, span in (("easy", self.easy), ("hard", self.hard)):
            if all(within(span, end) for end in ends):
                return name
        return "neither"


def within(span: tuple[float, float], rate: float) -> bool:
    """Whether ``LOW <= rate < HIGH``, where HIGH = 1 includes 1."""
    return span[0] <= rate and (rate < span[1] or span[1] == 1)


def parse_range(name: str, text: str) -> tuple[float, float]:
    """``LOW:HIGH`` as a range of pass rates.

    Raises:
        InputError: it is none.
    """
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        raise expected(name, text, "LOW:HIGH, a range of pass rates", "e.g. 0.5:1") from None
    _check_range(name, (low, high))
    return low, high


def _check_range(name: str, span: tuple[float, float]) -> None:
    if not 0 <= span[0] < span[1] <= 1:
        raise expected(name, span, "LOW:HIGH with 0 <= LOW < HIGH <= 1", "e.g. 0.5:1")


def measure_rate(
    task: Task, question: Question, sampler: Sampler, samples: int, seed: int, interval: str, confidence: float
) -> PassRate:
    """Pass rate of one question from ``samples`` completions, drawn with ``seed``."""
    texts, tokens = sampler(question, samples, seed)
    rewards = rewards_of(task, [question], samples, texts, tokens)
    return PassRate.counted(question.name, int(rewards.sum()), samples, interval, confidence)


def split_task(
    task: Task,
    rate: Callable[[int, Question], PassRate],
    ranges: Ranges,
    out: Path,
    settings: Mapping[str, Any],
    progress: Callable[[int], Any] = lambda done: None,
) -> list[tuple[PassRate, str]]:
    """Measure what is not yet measured, write ``split.jsonl`` and return all rates with their parts.

    Args:
        task: its questions are split.
        rate: from a question's index and the question to its rate.
        ranges: of the parts.
        out: directory; an earlier, unfinished split in it goes on.
        settings: everything that the rates depend on, ready for JSON.
        progress: called with the number of questions done.

    Raises:
        InputError: the directory holds a split with other settings or a damaged file, or cannot be written.
    """
    prepare_directory(out)
    settings = {**settings, "questions": questions_digest(task)}
    rates = _earlier(out, settings)
    for index, question in enumerate(task.questions):
        if question.name not in rates:
            rates[question.name] = rate(index, question)
            # Only now: a model that cannot be asked leaves nothing behind.
            if not (out / "settings.json").exists():
                write_json(out / "settings.json", settings)
            append_line(out / "rates.jsonl", asdict(rates[question.name]))
        progress(index + 1)
    rows = parts_of([rates[question.name] for question in task.questions], ranges)
    lines = [json.dumps({"name": each.name, "part": part, **asdict(each)}) for each, part in rows]
    write_text(out / "split.jsonl", "\n".join(lines) + "\n")
    return rows


def questions_digest(task: Task) -> str:
    """Changes with every question and with what is right, as a file may between two calls."""
    asked = [(question.name, question.prompt, _texts(question)) for question in task.questions]
    return hashlib.sha256(json.dumps(asked, default=dict).encode()).hexdigest()[:16]


def _texts(question: Question) -> dict[str, Any]:
    """The columns that are texts, or several: which answer is right is one of them, and a text is the same anywhere."""
    columns = {key: [value] if isinstance(value, str) else value for key, value in question.columns.items()}
    return {
        key: list(value)
        for key, value in columns.items()
        if isinstance(value, (list, tuple)) and all(isinstance(each, str) for each in value)
    }


def parts_of(rates: Sequence[PassRate], ranges: Ranges) -> list[tuple[PassRate, str]]:
    """Every rate with its part."""
    return [(rate, ranges.part(rate)) for rate in rates]


def read_split(path: Path) -> list[tuple[PassRate, str]]:
    """Rates and parts of a ``split.jsonl``.

    Raises:
        InputError: the file is none.
    """
    return [(_rate(path, number, line), line["part"]) for number, line in read_lines(path, {**_KEYS, "part": str})]


_KEYS: dict[str, Any] = {"name": str, "rate": (int, float), "low": (int, float), "high": (int, float)}


def _rate(path: Path, number: int, line: Mapping[str, Any]) -> PassRate:
    if not 0 <= line["low"] <= line["rate"] <= line["high"] <= 1:
        raise expected(f"line {number} of {path}", line["rate"], "a rate within its interval, in [0, 1]", "remove it")
    return PassRate(line["name"], line["rate"], line["low"], line["high"], line.get("successes"), line.get("samples"))


def _earlier(out: Path, settings: Mapping[str, Any]) -> dict[str, PassRate]:
    """Rates that an earlier call has measured in this directory."""
    file, rates = out / "settings.json", out / "rates.jsonl"
    wanted = json.loads(json.dumps(dict(settings)))
    if not file.exists():
        if rates.exists():
            raise expected("output directory", str(out), "one with settings.json beside rates.jsonl", "choose another")
        return {}
    try:
        # Earlier versions wrote no form; the digest of the questions changes with it.
        found = {"form": wanted.get("form"), **json.loads(file.read_text())}
        differing = sorted(key for key in {*wanted, *found} if found.get(key) != wanted.get(key))
    except (OSError, ValueError, TypeError, AttributeError):
        differing = ["settings.json"]
    if differing:
        raise expected("output directory", str(out), f"that of this split; {differing[0]} differs", "choose another")
    drop_torn_line(rates)
    if not rates.exists() or rates.stat().st_size == 0:
        return {}
    return {line["name"]: _rate(rates, number, line) for number, line in read_lines(rates, _KEYS)}
