"""Easy and hard questions: rates, intervals, parts, and that a split goes on where it was killed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compare import assert_agree

from llm_bridge.asking.pass_rates import exact_rate, model_sampler, sampled_rate
from llm_bridge.asking.questions import Question, get_task
from llm_bridge.asking.split import PassRate, Ranges, read_split, split_task
from llm_bridge.experiment import prepare
from llm_bridge.models import load_model
from llm_bridge.policies import answer_logits, log_odds, p_and_q
from llm_bridge.sampled.rollouts import Sampling
from theory.errors import InputError

SETTINGS = {"model": "fake", "samples": 40}


def fake(question: Question, samples: int, seed: int) -> tuple[Sequence[str], Sequence[Sequence[int]]]:
    """An evaluator that solves 0+0 always, 0+1 at 9 of 10 samples, ..., and draws with the seed it is given."""
    chance = 1 - int(question.name[-1]) / 10
    right = np.random.default_rng(seed).random(samples) < chance
    return [question.columns["answer"] if each else "no" for each in right], [[1]] * samples


TASK = get_task("arithmetic:" + " ".join(f"0+{digit}" for digit in range(10)))
RATE = sampled_rate(TASK, fake, 40)


def test_rates_decide_the_parts(tmp_path: Path) -> None:
    rows = split_task(TASK, RATE, Ranges((0.6, 1.0), (0.2, 0.6)), tmp_path, SETTINGS)
    assert [rate.name for rate, _ in rows] == [question.name for question in TASK.questions]
    for rate, part in rows:
        assert part == ("easy" if rate.rate >= 0.6 else "hard" if rate.rate >= 0.2 else "neither")
        assert rate.samples == 40
        assert rate.low <= rate.rate <= rate.high
    assert {part for _, part in rows} == {"easy", "hard", "neither"}
    assert read_split(tmp_path / "split.jsonl") == rows


@pytest.mark.parametrize("kept", [0, 1, 4, 10])
@pytest.mark.parametrize("torn", [b"", b'{"name": "0+', b'{"name": "0+9", "rate": 0.1}'])
def test_a_killed_split_goes_on_to_the_same_end(kept: int, torn: bytes, tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    split_task(TASK, RATE, Ranges(), whole, SETTINGS)
    lines = (whole / "rates.jsonl").read_bytes().splitlines(keepends=True)
    killed.mkdir()
    (killed / "settings.json").write_bytes((whole / "settings.json").read_bytes())
    (killed / "rates.jsonl").write_bytes(b"".join(lines[:kept]) + torn)
    asked: list[int] = []

    def rate(index: int, question: Question) -> PassRate:
        asked.append(index)
        return RATE(index, question)

    split_task(TASK, rate, Ranges(), killed, SETTINGS)
    assert asked == list(range(kept, 10))
    for name in ("rates.jsonl", "split.jsonl", "settings.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


def test_other_ranges_need_no_new_measurement(tmp_path: Path) -> None:
    first = split_task(TASK, RATE, Ranges(), tmp_path, SETTINGS)

    def never(index: int, question: Question) -> PassRate:
        raise AssertionError

    second = split_task(TASK, never, Ranges((0.9, 1.0), (0.0, 0.1)), tmp_path, SETTINGS)
    assert [rate for rate, _ in first] == [rate for rate, _ in second]
    assert [part for _, part in first] != [part for _, part in second]


@pytest.mark.parametrize("change", ["settings", "questions", "answers", "damaged", "foreign"])
def test_another_splits_directory_is_refused_and_left_as_it_is(change: str, tmp_path: Path) -> None:
    split_task(TASK, RATE, Ranges(), tmp_path, SETTINGS)
    task, settings = TASK, SETTINGS
    if change == "settings":
        settings = {**SETTINGS, "samples": 8}
    elif change == "questions":
        task = get_task("arithmetic:sum")
    elif change == "answers":
        # The same questions, but another answer is right, as where a line of a file was corrected.
        first = replace(TASK.questions[0], columns={**TASK.questions[0].columns, "answer": "1"})
        task = replace(TASK, questions=(first, *TASK.questions[1:]))
    elif change == "damaged":
        (tmp_path / "settings.json").write_text("[1]")
    else:
        (tmp_path / "settings.json").unlink()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match="choose another"):
        split_task(task, RATE, Ranges(), tmp_path, settings)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_rate_does_not_depend_on_other_questions() -> None:
    assert RATE(7, TASK.questions[7]) == RATE(7, TASK.questions[7])
    assert sampled_rate(TASK, fake, 40, seed=1)(5, TASK.questions[5]) != RATE(5, TASK.questions[5])


# Wilson and Clopper-Pearson at 95%, in closed form where all samples are right: 1/(1 + z^2/n) and (alpha/2)^(1/n).
@pytest.mark.parametrize(
    ("interval", "low"), [("wilson", 1 / (1 + 1.959963984540054**2 / 8)), ("clopper-pearson", 0.025 ** (1 / 8))]
)
def test_intervals(interval: str, low: float) -> None:
    rate = PassRate.counted("q", 8, 8, interval, 0.95)
    assert_agree(rate.low, low, 1e-12)
    assert (rate.rate, rate.high) == (1.0, 1.0)


def test_certain_parts_need_the_whole_interval() -> None:
    rate, sure = PassRate.counted("q", 5, 8, "wilson", 0.95), PassRate.counted("q", 500, 800, "wilson", 0.95)
    assert Ranges().part(rate) == "easy"
    assert Ranges(certain=True).part(rate) == "neither"
    assert Ranges(certain=True).part(sure) == "easy"


@pytest.mark.parametrize(
    ("easy", "hard"), [((0.5, 0.5), (0, 0.5)), ((0.5, 1.1), (0, 0.5)), ((0.4, 1), (0, 0.5)), ((0.5, 1), (-0.1, 0.5))]
)
def test_bad_ranges(easy: tuple[float, float], hard: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="expected"):
        Ranges(easy, hard)


def test_one_is_within_the_last_range() -> None:
    assert Ranges().part(PassRate("q", 1.0, 1.0, 1.0)) == "easy"
    assert Ranges().part(PassRate("q", 0.5, 0.5, 0.5)) == "easy"
    assert Ranges((0.9, 1.0), (0.0, 0.4)).part(PassRate("q", 0.4, 0.4, 0.4)) == "neither"


@pytest.mark.parametrize("rate", [2.0, -1.0])
def test_a_damaged_rate_is_refused(rate: float, tmp_path: Path) -> None:
    path = tmp_path / "split.jsonl"
    path.write_text(json.dumps({"name": "q", "part": "easy", "rate": rate, "low": rate, "high": rate}))
    with pytest.raises(InputError, match="line 1"):
        read_split(path)


def test_exact_rates_are_those_of_exact_mode() -> None:
    from llm_bridge.experiment import BridgeSettings

    loaded, _, batch = prepare(BridgeSettings(prompts=("3+5", "6*7")))
    task = get_task("arithmetic:3+5 6*7")
    p, _ = p_and_q(log_odds(answer_logits(loaded.model, batch), batch.correct))
    rate = exact_rate(loaded)
    assert_agree([rate(i, q).rate for i, q in enumerate(task.questions)], p.detach().numpy(), 1e-9)


def test_a_model_samples_its_exact_rate() -> None:
    """tiny puts nearly all mass on its answer sets, so that sampled and exact rates estimate the same thing."""
    loaded = load_model("tiny", dtype="float32")
    task = get_task("arithmetic:7*8 17+26")
    sampled = sampled_rate(task, model_sampler(loaded, Sampling(max_new_tokens=5)), 400, confidence=0.9999)
    for index, question in enumerate(task.questions):
        found, exact = sampled(index, question), exact_rate(loaded)(index, question)
        assert found.low - 0.02 <= exact.rate <= found.high + 0.02
