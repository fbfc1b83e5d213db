"""Tasks whose questions have finite answer sets, so that exact mode can run them as well as sampled mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from llm_bridge.asking.items import SAMPLES, Item, completion_text
from llm_bridge.asking.jsonl import read_lines
from llm_bridge.asking.matching import first_number_of, number_of
from llm_bridge.asking.questions import Question, RewardFunction
from llm_bridge.tasks import KINDS, Prompt, arithmetic_prompts, prompts_from_names
from theory.errors import expected

__all__ = ["arithmetic", "choices", "exact_prompts"]

# Questions of each kind where there are several: so many that every kind counts for the same.
_EACH = 100


def arithmetic(argument: str, options: Mapping[str, Any]) -> tuple[Sequence[Item], RewardFunction]:
    """The prompts of ``llm_bridge.tasks``: of one kind, of several or all kinds in equal parts, or those named.

    A completion is right if its number (``llm_bridge.asking.matching``) is the answer; of a begun reply, its first.

    Raises:
        InputError: no such kind, or a malformed name.
    """
    words = argument.split() or list(KINDS)
    if argument in KINDS:
        prompts = arithmetic_prompts(argument)
    elif all(word in KINDS for word in words):
        prompts = tuple(prompt for kind in words for prompt in arithmetic_prompts(kind, limit=_EACH))
    else:
        prompts = prompts_from_names(words)
    return [_arithmetic_item(prompt) for prompt in prompts], numeric_reward


def _arithmetic_item(prompt: Prompt) -> Item:
    columns = {"question": prompt.question, "answer": prompt.answers[prompt.correct], "answers": prompt.answers}
    name = prompt.question.removesuffix("=")
    return Item(name, prompt.question, prompt.chat or prompt.question, columns, prompt.begun)


def numeric_reward(
    *, prompts: Sequence[Any], completions: Sequence[Any], answer: Sequence[str], **columns: Any
) -> list[float]:
    """1 where the number that a completion gives equals the answer; of a reply that was begun, its first number."""
    rows = zip(prompts, completions, answer, strict=True)
    return [float(_given(prompt, completion_text(each)) == number_of(right)) for prompt, each, right in rows]


def _given(prompt: Any, text: str) -> Fraction | None:
    begun = not isinstance(prompt, str) and prompt[-1]["role"] == "assistant"
    return first_number_of(text) if begun else number_of(text)


def choices(argument: str, options: Mapping[str, Any]) -> tuple[Sequence[Item], RewardFunction]:
    """Questions of one's own: lines with ``question``, ``answers`` (a list) and ``correct`` (an answer, or several).

    A line may have ``begun``, how the reply to it as a chat is begun. A completion is right if it is one of the correct
    answers, but for white space around it.

    Raises:
        InputError: the file cannot be used, an answer set has duplicates, or no answer is correct.
    """
    path = SAMPLES / "choices.jsonl" if argument == "sample" else Path(argument)
    keys: dict[str, Any] = {"question": str, "answers": list, "correct": (str, list)}
    return [_choices_item(path, number, line) for number, line in read_lines(path, keys)], choices_reward


def _choices_item(path: Path, number: int, line: Mapping[str, Any]) -> Item:
    place = f"line {number} of {path}"
    answers, correct = line["answers"], line["correct"]
    right = [correct] if isinstance(correct, str) else correct
    if len(answers) < 2 or not all(isinstance(each, str) and each.strip() for each in answers):
        raise expected(f"answers in {place}", answers, "two or more non-empty strings", "correct that line")
    stripped = [each.strip() for each in answers]
    if len(set(stripped)) < len(stripped):
        raise expected(f"answers in {place}", answers, "no answer twice", "remove the duplicates")
    wrong = [each for each in answers if each not in right]
    if not right or not wrong or len(wrong) + len(set(right)) != len(answers):
        wanted = "one or several of its answers, but not all"
        raise expected(f"correct in {place}", correct, wanted, "correct that line")
    begun = line.get("begun")
    if begun is not None and not (isinstance(begun, str) and begun):
        raise expected(f"begun in {place}", begun, "a non-empty string", "correct that line, or leave it out")
    listed = ", ".join(stripped)
    chat = f"{line['question'].strip()} Answer with exactly one of: {listed}."
    columns = {"question": line["question"], "answer": tuple(right), "answers": tuple(answers)}
    return Item(f"{path.name}:{number}", line["question"], chat, columns, begun)


def choices_reward(*, completions: Sequence[Any], answer: Sequence[Sequence[str]], **columns: Any) -> list[float]:
    """1 where a completion is one of the right answers, white space around it aside."""
    pairs = zip(completions, answer, strict=True)
    return [float(completion_text(each).strip() in {one.strip() for one in right}) for each, right in pairs]


def exact_prompts(questions: Sequence[Question]) -> tuple[Prompt, ...]:
    """The questions as prompts of exact mode, whose policy is a softmax over the finite answer set.

    ``AnswerBatch.of`` puts a chat through the model's template, and a plain text as it is.

    Args:
        questions: each with the columns ``answers`` and ``answer`` (a string, or a tuple of one), put as plain text
            or in one message of a user, with or without a begun reply.

    Raises:
        InputError: a question has no finite answer set or several right answers, or its chat has other messages.
    """
    return tuple(_exact(question) for question in questions)


def _exact(question: Question) -> Prompt:
    columns = question.columns
    if "answers" not in columns:
        raise expected("question", question.name, "one with a finite answer set", "use arithmetic or choices")
    right = [columns["answer"]] if isinstance(columns["answer"], str) else list(columns["answer"])
    if len(right) != 1:
        raise expected(f"right answers of {question.name}", right, "one, for exact mode", "use sampled mode")
    answers, index = tuple(columns["answers"]), list(columns["answers"]).index(right[0])
    if isinstance(question.prompt, str):
        return Prompt(question.prompt, answers, index)
    roles = [message["role"] for message in question.prompt]
    if roles not in (["user"], ["user", "assistant"]):
        wanted = "one of a user, and a begun reply at most, for exact mode"
        raise expected(f"messages of {question.name}", roles, wanted, "use sampled mode")
    asked, *begun = (message["content"] for message in question.prompt)
    return Prompt(asked, answers, index, chat=asked, begun=begun[0] if begun else None)
