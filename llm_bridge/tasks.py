"""Prompts with a finite answer set: the tasks of exact mode. Needs no torch, so a command line can import it cheaply.

Every built-in kind has K = 19 answers, so prompts of different kinds can share one batch:

    sum            "3+5="    one digit plus one digit;                      answers "0" .. "18"
    difference     "15-8="   0..18 minus one digit, result not negative;    answers "0" .. "18"
    product        "6*7="    one digit times one digit;                     the 19 products nearest to the correct one
    two_digit_sum  "23+48="  two digits plus two digits;                    the correct sum -9 .. +9

A chat model is asked "What is 3 + 5? Answer with just the number." instead; the answers are the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from theory.errors import expected

__all__ = ["KINDS", "K", "Prompt", "arithmetic_prompts", "prompts_from_names", "spread_prompts"]

K = 19
KINDS = ("sum", "difference", "product", "two_digit_sum")

# All distinct values of the one-digit multiplication table: wrong answers from it look like real mistakes.
_PRODUCTS = sorted({a * b for a in range(10) for b in range(10)})
# No leading zeros: "03+5" is a different string to the model, one it has never seen.
_NAME = re.compile(r"(0|[1-9][0-9]?)([-+*])(0|[1-9][0-9]?)=?", flags=re.ASCII)


@dataclass(frozen=True)
class Prompt:
    """A question with K possible answers, of which exactly one earns the reward.

    question: the text the model is given, ending where the answer starts ("3+5=").
    answers: K >= 2 different non-empty strings; K is also the size of the policy pi = softmax(z).
    correct: the index of the right answer, 0 <= correct < K.
    chat: what a chat model is asked instead, by its user ("What is 3 + 5? ..."); None if there is no such form.
    begun: how that model's reply may be begun for it ("3 + 5 = "), so that the answer is all that is missing; or None.

    Raises InputError when any of these does not hold.
    """

    question: str
    answers: tuple[str, ...]
    correct: int
    chat: str | None = None
    begun: str | None = None

    def __post_init__(self) -> None:
        """Check the fields; see the class for what holds afterwards."""
        if not isinstance(self.question, str) or not self.question:
            raise expected("question", self.question, "a non-empty string", "write the prompt's text")
        for name, text in (("chat question", self.chat), ("begun reply", self.begun)):
            if text is not None and (not isinstance(text, str) or not text):
                raise expected(name, text, "a non-empty string or None", "write the text or leave it out")
        if self.begun is not None and self.chat is None:
            raise expected("begun reply", self.begun, "None, as there is no chat question", "give that too")
        # A bare string is a sequence of characters too; it would pass as K one-letter answers.
        if not isinstance(self.answers, tuple) or not all(isinstance(answer, str) for answer in self.answers):
            raise expected("answers", self.answers, "a tuple of strings", "wrap the answers in tuple(...)")
        if len(self.answers) < 2 or not all(self.answers):
            raise expected("answers", self.answers, "two or more non-empty strings", "add answers")
        if len(set(self.answers)) < len(self.answers):
            raise expected("answers", self.answers, "no answer twice", "remove the duplicates")
        if isinstance(self.correct, bool) or not isinstance(self.correct, int):
            raise expected("correct", self.correct, "an integer", "give the index of the right answer")
        if not 0 <= self.correct < len(self.answers):
            wanted = f"an index from 0 to {len(self.answers) - 1}"
            raise expected("correct", self.correct, wanted, "give the index of the right answer")


def arithmetic_prompts(kind: str, *, limit: int | None = None) -> tuple[Prompt, ...]:
    """All prompts of one kind, in the order of their operands; with `limit`, an evenly spaced part of them.

    kind: one of KINDS. limit: at most this many prompts (>= 1), spaced evenly over the full list.
    Returns 100 sums, 145 differences, 100 products or 8100 two-digit sums, each with K = 19 answers.
    Raises InputError for another kind or a limit below 1.
    """
    pairs = _operands(kind)
    if limit is not None:
        if limit < 1:
            raise expected("limit", limit, "1 or more", "leave it out to get every prompt")
        count = min(limit, len(pairs))
        pairs = [pairs[index * len(pairs) // count] for index in range(count)]
    return tuple(_prompt(kind, left, right) for left, right in pairs)


def prompts_from_names(names: Sequence[str]) -> tuple[Prompt, ...]:
    """Turn names such as "3+5", "15-8", "6*7" or "17+26" (a final "=" is allowed) into prompts, in the same order.

    Raises InputError, naming the entry, when one is malformed or belongs to none of KINDS; also for an empty list.
    """
    if isinstance(names, str) or len(names) == 0:
        raise expected("prompt names", names, "a list with one name or more", "write for example 3+5 17+26")
    return tuple(_parse(name) for name in names)


def spread_prompts(
    prompts: Sequence[Prompt], p: Sequence[float], n: int, *, low: float = 0.02, high: float = 0.95
) -> tuple[Prompt, ...]:
    """Pick n different prompts whose p lie as near as possible to n values spaced evenly in log-odds.

    Targets t_1 < ... < t_n run evenly in logit(t) = ln(t / (1 - t)) from low to high (for n = 1: their midpoint).
    The choice minimises sum_i |logit p_i - logit t_i| over all assignments without repeats, so it does not depend
    on an order of picking. Returned from the hardest target to the easiest.

    p: the current probability of the correct answer of each prompt, same length as prompts, within [0, 1].
    Raises InputError when lengths differ, n is out of 1..len(prompts), or not 0 < low < high < 1.
    """
    values = np.asarray(p, dtype=np.float64)
    if values.shape != (len(prompts),):
        raise expected("p", f"of shape {values.shape}", f"shape ({len(prompts)},)", "give one p per prompt")
    if not np.all((values >= 0.0) & (values <= 1.0)):
        raise expected("p", values.tolist(), "numbers within [0, 1]", "check the scores")
    if not 1 <= n <= len(prompts):
        raise expected("n", n, f"1 to {len(prompts)}, the number of prompts", "ask for fewer or give more prompts")
    if not 0.0 < low < high < 1.0:
        raise expected("(low, high)", (low, high), "0 < low < high < 1", "correct the range")
    ends = np.array([low, high])
    first, last = np.log(ends) - np.log1p(-ends)
    targets = np.linspace(first, last, n) if n > 1 else np.array([(first + last) / 2.0])
    # Saturated p (exactly 0 or 1) are finite but far from every target, so they are the last to be picked.
    clipped = np.clip(values, 1e-300, 1.0 - 2.0**-53)
    logits = np.log(clipped) - np.log1p(-clipped)
    _, chosen = linear_sum_assignment(np.abs(targets[:, None] - logits[None, :]))
    return tuple(prompts[index] for index in chosen)


def _operands(kind: str) -> list[tuple[int, int]]:
    """All (left, right) operand pairs of a kind, in increasing order; raises InputError for an unknown kind."""
    if kind not in KINDS:
        raise expected("kind", kind, f"one of {', '.join(KINDS)}", "choose one of these")
    return [(left, right) for left in range(100) for right in range(100) if _belongs(kind, left, right)]


def _belongs(kind: str, left: int, right: int) -> bool:
    """Whether a kind has the operands 0 <= left, right <= 99."""
    if kind == "two_digit_sum":
        return left >= 10 and right >= 10
    if kind == "difference":
        return left <= 18 and right <= 9 and left >= right
    return left <= 9 and right <= 9


def _prompt(kind: str, left: int, right: int) -> Prompt:
    """The prompt "left op right=" with the K = 19 answers of its kind, in increasing order."""
    if kind == "product":
        value, sign = left * right, "*"
        nearest = sorted(_PRODUCTS, key=lambda product: (abs(product - value), product))[:K]
        numbers = sorted(nearest)
    elif kind == "two_digit_sum":
        value, sign = left + right, "+"
        numbers = list(range(value - K // 2, value + K // 2 + 1))
    else:
        value, sign = (left + right, "+") if kind == "sum" else (left - right, "-")
        numbers = list(range(K))
    answers = tuple(str(number) for number in numbers)
    term = f"{left} {sign} {right}"
    chat = f"What is {term}? Answer with just the number."
    return Prompt(f"{left}{sign}{right}=", answers, numbers.index(value), chat, begun=f"{term} = ")


def _parse(name: str) -> Prompt:
    """The prompt of one name such as "3+5"; raises InputError when it has no kind."""
    match = _NAME.fullmatch(name.strip()) if isinstance(name, str) else None
    if match is not None:
        left, sign, right = int(match[1]), match[2], int(match[3])
        kinds = {"+": ("sum", "two_digit_sum"), "-": ("difference",), "*": ("product",)}[sign]
        for kind in kinds:
            if _belongs(kind, left, right):
                return _prompt(kind, left, right)
    wanted = "two one-digit or two two-digit numbers to add, 0..18 minus a digit, or digit*digit, like 3+5 or 17+26"
    raise expected("prompt", name, wanted, "rewrite it")
