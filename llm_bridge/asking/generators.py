"""Tasks of reasoning-gym: generated questions, with the generator's own score thresholded to a reward of 0 or 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llm_bridge.asking.items import Item, answer_text, need_package, whole_number
from llm_bridge.asking.questions import RewardFunction
from theory.errors import expected

__all__ = ["reasoning_gym"]

_SIZE = 100


def reasoning_gym(argument: str, options: Mapping[str, Any]) -> tuple[Sequence[Item], RewardFunction]:
    """Items of the generator called ``argument``; other options than size, seed and threshold are the generator's.

    A completion is scored by the generator's ``score_answer``, on what stands between ``<answer>`` and ``</answer>``,
    or on all of it. A score of at least the threshold (1 if left out: no partial credit) earns 1. An answer on which
    the generator's scoring fails is no right answer and earns 0.

    Raises:
        InputError: reasoning-gym is missing, it has no such generator, or an option is none of its own.
    """
    need_package("reasoning_gym", "tasks")
    from reasoning_gym import create_dataset
    from reasoning_gym.factory import DATASETS

    if argument not in DATASETS:
        near = [name for name in DATASETS if argument and argument in name][:5] or ["chain_sum"]
        raise expected("reasoning_gym generator", argument, f"one of its {len(DATASETS)}", f"e.g. {', '.join(near)}")
    own = {key: _value(text) for key, text in options.items() if key not in ("size", "seed", "threshold")}
    size = whole_number("size", options.get("size", _SIZE), 1)
    seed = whole_number("seed", options.get("seed", 0))
    try:
        dataset = create_dataset(argument, size=size, seed=seed, **own)
        entries = [dataset[index] for index in range(size)]
    except Exception as error:
        # Its checks are assertions, type errors and value errors alike.
        reason = " ".join(str(error).split())[:160]
        raise expected(f"options of {argument}", own, "those of the generator", f"correct them ({reason})") from error
    return [_item(argument, index, entry) for index, entry in enumerate(entries)], _reward(dataset, _threshold(options))


def _threshold(options: Mapping[str, Any]) -> float:
    text = options.get("threshold", 1.0)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise expected("threshold", text, "a number above 0, at most 1", "1 gives no partial credit")
    return value


def _value(text: Any) -> Any:
    """A number where the text is one, as the command line knows texts only."""
    for kind in (int, float):
        try:
            return kind(text)
        except (TypeError, ValueError):
            pass
    return {"true": True, "false": False}.get(str(text).lower(), text)


def _item(name: str, index: int, entry: Mapping[str, Any]) -> Item:
    question = str(entry["question"]).strip()
    chat = f"{question}\nGive only the final answer, between <answer> and </answer>."
    columns = {"question": entry["question"], "answer": entry["answer"], "metadata": entry["metadata"]}
    return Item(f"{name}:{index}", f"Question: {question}\nAnswer:", chat, columns)


def _reward(dataset: Any, threshold: float) -> RewardFunction:
    def reward(
        *,
        completions: Sequence[Any],
        question: Sequence[Any],
        answer: Sequence[Any],
        metadata: Sequence[Any],
        **rest: Any,
    ) -> list[float]:
        """1 where the generator's score reaches the threshold."""
        entries = [
            {"question": q, "answer": a, "metadata": m} for q, a, m in zip(question, answer, metadata, strict=True)
        ]
        scores = [_score(dataset, answer_text(c), entry) for c, entry in zip(completions, entries, strict=True)]
        return [float(score >= threshold) for score in scores]

    return reward


def _score(dataset: Any, answer: str, entry: dict[str, Any]) -> float:
    try:
        return float(dataset.score_answer(answer, entry))
    except Exception:
        # Generators parse answers in ways of their own, and some trip over what a model may write.
        return 0.0
