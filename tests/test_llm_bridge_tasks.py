"""Tests of llm_bridge.tasks: answer sets, name parsing, and the choice of a spread of difficulties."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
from typing import Any

import pytest

from llm_bridge.tasks import KINDS, K, Prompt, arithmetic_prompts, prompts_from_names, spread_prompts
from theory.errors import InputError

COUNTS = {"sum": 100, "difference": 145, "product": 100, "two_digit_sum": 8100}


@pytest.mark.parametrize("kind", KINDS)
def test_every_prompt_has_nineteen_answers_and_the_marked_one_is_right(kind: str) -> None:
    prompts = arithmetic_prompts(kind)
    assert len(prompts) == len({prompt.question for prompt in prompts}) == COUNTS[kind]
    for prompt in prompts:
        left, sign, right = re.fullmatch(r"(\d+)([-+*])(\d+)=", prompt.question).groups()  # type: ignore[union-attr]
        value = {"+": int(left) + int(right), "-": int(left) - int(right), "*": int(left) * int(right)}[sign]
        assert prompt.answers[prompt.correct] == str(value)
        assert len(set(prompt.answers)) == K == 19
        assert [str(int(answer)) for answer in prompt.answers] == list(prompt.answers)
        assert min(map(int, prompt.answers)) >= 0


def test_answer_sets_are_the_documented_ones() -> None:
    seventeen, fifteen, six = prompts_from_names(["17+26", "15-8", "6*7"])
    assert seventeen.answers == tuple(str(value) for value in range(34, 53))
    assert fifteen.answers == tuple(str(value) for value in range(19))
    assert {"42", "40", "45", "48", "36", "35", "49"} <= set(six.answers)
    assert all(any(int(answer) == a * b for a in range(10) for b in range(10)) for answer in six.answers)


def test_limit_takes_an_evenly_spaced_part() -> None:
    every = arithmetic_prompts("two_digit_sum")
    assert arithmetic_prompts("two_digit_sum", limit=81) == every[::100]
    assert arithmetic_prompts("sum", limit=1000) == arithmetic_prompts("sum")
    with pytest.raises(InputError, match="limit is 0"):
        arithmetic_prompts("sum", limit=0)


def test_unknown_kind_is_named() -> None:
    with pytest.raises(InputError, match=r"'quotient'.*two_digit_sum"):
        arithmetic_prompts("quotient")


def test_names_give_the_same_prompts_as_the_kinds() -> None:
    every = {prompt.question: prompt for kind in KINDS for prompt in arithmetic_prompts(kind)}
    assert len(every) == sum(COUNTS.values())
    assert prompts_from_names([question.rstrip("=") for question in every]) == tuple(every.values())
    assert prompts_from_names([" 3+5= "]) == prompts_from_names(["3+5"])


@pytest.mark.parametrize(
    "name", ["", "3", "3+", "+5", "3+15", "12*3", "3-5", "19-3", "03+5", "3/5", "3+5+1", "100+10", "٣+٥", "3 + 5", 7]
)
def test_malformed_names_are_refused_and_named(name: Any) -> None:
    with pytest.raises(InputError, match=re.escape(repr(name))):
        prompts_from_names(["3+5", name])


@pytest.mark.parametrize("names", [[], "3+5"])
def test_names_must_be_a_list_with_something_in_it(names: Any) -> None:
    with pytest.raises(InputError, match="prompt names"):
        prompts_from_names(names)


@pytest.mark.parametrize(
    ("question", "answers", "correct", "message"),
    [
        ("", ("1", "2"), 0, "question"),
        ("1=", ("1",), 0, "two or more"),
        ("1=", (), 0, "two or more"),
        ("1=", ("1", ""), 0, "non-empty"),
        ("1=", ("1", "2", "1"), 0, "no answer twice"),
        ("1=", "12", 0, "tuple"),
        ("1=", ["1", "2"], 0, "tuple"),
        ("1=", ("1", 2), 0, "tuple"),
        ("1=", ("1", "2"), 2, "correct is 2"),
        ("1=", ("1", "2"), -1, "correct is -1"),
        ("1=", ("1", "2"), True, "correct is True"),
        ("1=", ("1", "2"), 0.0, "correct is 0.0"),
    ],
)
def test_bad_prompts_raise(question: Any, answers: Any, correct: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        Prompt(question, answers, correct)
    assert "\n" not in str(caught.value)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_spread_minimises_the_total_distance_without_repeats() -> None:
    prompts = arithmetic_prompts("sum", limit=7)
    p = [0.5, 0.03, 0.97, 0.52, 0.2, 0.021, 0.9]
    chosen = spread_prompts(prompts, p, 4, low=0.02, high=0.95)
    step = (logit(0.95) - logit(0.02)) / 3
    targets = [logit(0.02) + step * index for index in range(4)]

    def cost(indices: tuple[int, ...]) -> float:
        return sum(abs(target - logit(p[index])) for target, index in zip(targets, indices, strict=True))

    best = min(itertools.permutations(range(7), 4), key=cost)
    assert len(set(chosen)) == 4
    assert cost(tuple(prompts.index(prompt) for prompt in chosen)) == pytest.approx(cost(best), abs=1e-12)
    assert chosen == spread_prompts(prompts, p, 4, low=0.02, high=0.95)


def test_spread_orders_from_hard_to_easy_and_one_prompt_sits_in_the_middle() -> None:
    prompts = arithmetic_prompts("sum", limit=5)
    p = [0.99, 0.01, 0.5, 0.9, 0.1]
    order = [p[prompts.index(prompt)] for prompt in spread_prompts(prompts, p, 5, low=0.01, high=0.99)]
    assert order == sorted(p)
    assert spread_prompts(prompts, p, 1, low=0.1, high=0.9) == (prompts[2],)


def test_spread_survives_saturated_p() -> None:
    prompts = arithmetic_prompts("sum", limit=4)
    assert spread_prompts(prompts, [0.0, 1.0, 0.3, 0.7], 2, low=0.3, high=0.7) == (prompts[2], prompts[3])


@pytest.mark.parametrize(
    ("p", "n", "low", "high", "message"),
    [
        ([0.1, 0.2], 1, 0.1, 0.9, "shape"),
        ([0.1, 0.2, 1.5], 1, 0.1, 0.9, "within"),
        ([0.1, 0.2, float("nan")], 1, 0.1, 0.9, "within"),
        ([0.1, 0.2, 0.3], 4, 0.1, 0.9, "n is 4"),
        ([0.1, 0.2, 0.3], 0, 0.1, 0.9, "n is 0"),
        ([0.1, 0.2, 0.3], 2, 0.9, 0.1, "low < high"),
        ([0.1, 0.2, 0.3], 2, 0.0, 0.9, "low < high"),
    ],
)
def test_spread_refuses_bad_input(p: list[float], n: int, low: float, high: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        spread_prompts(arithmetic_prompts("sum", limit=3), p, n, low=low, high=high)


def test_tasks_do_not_import_torch() -> None:
    code = "import sys, llm_bridge.tasks; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
