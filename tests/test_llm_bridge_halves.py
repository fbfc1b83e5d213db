"""Gradients of the two halves of every group, and the cosines that are left when their noise is taken out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import get_args

import numpy as np
import pytest
import torch
from compare import assert_agree
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from llm_bridge.asking.questions import Question, Task, get_task
from llm_bridge.models import LoadedModel, load_model
from llm_bridge.sampled import reading
from llm_bridge.sampled.distributed import ALONE
from llm_bridge.sampled.group_gradients import step_gradients
from llm_bridge.sampled.group_settings import GroupSettings
from llm_bridge.sampled.group_step import GroupStep, draw_step
from llm_bridge.sampled.halves import halved, measures_of_halves, over_steps, reward_halves
from llm_bridge.sampled.observers import Interaction, SplitInteraction
from llm_bridge.sampled.per_prompt import PerPromptGradients
from llm_bridge.sampled.reading import Reading
from llm_bridge.sampled.rollouts import prompt_tokens
from theory.advantages import PRESETS

# On these the model's first digit is right now and then, and the gradients of some have a good deal in common.
NAMES = ("57+32=", "32+57=", "56+33=", "52+37=", "47+42=", "22+67=")
SETTINGS = GroupSettings(rule="paper:8", batch=6, temperature=2.0, max_new_tokens=3, seed=5)
MEANS = ("log_odds_product", "log_odds_sq", "log_odds_sq_corrected")
TASK = get_task("arithmetic:product,limit=12")


@given(st.lists(st.integers(0, 1), min_size=4, max_size=12).filter(lambda rewards: len(rewards) % 2 == 0))
def test_completions_are_dealt_out_evenly(rewards: list[int]) -> None:
    chosen = reward_halves([rewards])[0]
    assert sorted(chosen.ravel().tolist()) == list(range(len(rewards)))
    right = [sum(rewards[k] for k in half) for half in chosen]
    assert right[0] - right[1] == sum(rewards) % 2


def means_of(advantages: np.ndarray, rewards: np.ndarray, chosen: np.ndarray, p: float) -> list[float]:
    """The means of the halves given the rewards, along grad L: that of ``grad ln pi`` is q, or -p for a wrong one."""
    return [float((advantages * (rewards - p))[half].mean()) for half in chosen]


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("right", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("p", [0.05, 0.4, 0.9])
def test_halves_estimate_the_same_as_the_group_whatever_the_rule(name: str, right: int, p: float) -> None:
    rewards = np.array([[1.0] * right + [0.0] * (8 - right), [1.0] * 3 + [0.0] * 5])
    advantages, mean = PRESETS[name](rewards)[0], right / 8
    by_number = np.arange(8).reshape(2, 4)
    for chosen in (reward_halves(rewards)[0], by_number):
        one, two = means_of(advantages, rewards[0], chosen, p)
        lost = 1 - one * two / ((one + two) / 2) ** 2
        apart = np.ptp([rewards[0][half].sum() for half in chosen])
        if chosen is not by_number:
            assert apart == right % 2
            assert lost <= right % 2 / min(right, 8 - right) ** 2 + 1e-12
        if name == "plain":
            assert_agree(lost, (apart / right) ** 2, 1e-9, name, atol=1e-12)
        else:
            assert_agree(lost, (apart * (1 - p - mean) / (8 * mean * (1 - mean))) ** 2, 1e-9, name, atol=1e-12)
            # What the group's gradient is divided by is what it is multiplied by.
            assert_agree((one + two) / 2, mean * (1 - mean) * np.ptp(advantages), 1e-12, name)


@pytest.mark.parametrize("group", [4, 6, 8])
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_halves_by_number_over_all_rewards(group: int, p: float) -> None:
    table = (np.arange(2**group)[:, None] >> np.arange(group) & 1).astype(float)
    odds = np.prod(np.where(table > 0, p, 1 - p), axis=1)
    advantages = PRESETS["no_std"](table)
    chosen = np.arange(group).reshape(2, -1)
    # grad J is p q grad L.
    found = np.array([means_of(*row, chosen, p) for row in zip(advantages, table, strict=True)]) / (p * (1 - p))
    assert_agree(odds @ found[:, 0], 1 - 1 / group, 1e-12)
    assert_agree(odds @ (found[:, 0] * found[:, 1]), 1 - 2 / group + 2 / group**2, 1e-12)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    torch.set_num_threads(1)
    return load_model("tiny", dtype="float32")


@pytest.fixture(scope="module")
def step() -> tuple[LoadedModel, GroupStep]:
    loaded = load_model("tiny")
    return loaded, draw_step(loaded, first_digit(loaded)[0], SETTINGS, np.arange(6), 0, ALONE)


def first_digit(loaded: LoadedModel) -> tuple[Task, int]:
    """Right is what begins with an 8, as the sums do; what comes after is noise and nothing else."""
    eight = loaded.tokenizer.convert_tokens_to_ids("8")

    def reward(completion_ids: Sequence[Sequence[int]], **_: object) -> list[float]:
        return [float(ids[0] == eight) for ids in completion_ids]

    return Task("first digit", tuple(Question(name, name) for name in NAMES), reward), eight


@pytest.mark.parametrize("way", get_args(Reading))
@pytest.mark.parametrize("rows", [0, 3])
def test_halves_add_up_to_the_gradients_of_the_prompts(
    step: tuple[LoadedModel, GroupStep], monkeypatch: pytest.MonkeyPatch, way: Reading, rows: int
) -> None:
    loaded, drawn = step
    total, whole = step_gradients(loaded, drawn, SETTINGS, keep=True)
    monkeypatch.setattr(reading, "_cheapest", lambda model, batch: way)
    settings = GroupSettings(**{**SETTINGS.__dict__, "backward_rows": rows})
    again, parts = step_gradients(loaded, halved(drawn), settings, keep=True)
    assert whole is not None
    assert parts is not None
    assert_agree(again, total, 0.0, "gradient of the step", atol=1e-11 * float(total.norm()))
    assert_agree(parts.view(6, 2, -1).mean(dim=1), whole, 0.0, "prompts", atol=1e-11 * float(whole.norm()))
    # The first half of one prompt by itself, with the advantages of the whole group.
    i = int(np.argmax(np.abs(drawn.advantages).max(axis=1)))
    chosen, alone = reward_halves(drawn.rewards)[i, 0], np.zeros_like(drawn.advantages)
    alone[i, chosen] = drawn.advantages[i, chosen]
    _, half = step_gradients(loaded, GroupStep(**{**drawn.__dict__, "advantages": alone}), SETTINGS, keep=True)
    assert half is not None
    assert float(half[i].norm()) > 0
    assert_agree(parts[2 * i], 2 * half[i], 0.0, "half", atol=1e-11 * float(whole.norm()))


def test_processes_halve_their_own_prompts(step: tuple[LoadedModel, GroupStep]) -> None:
    loaded, drawn = step
    total, whole = step_gradients(loaded, halved(drawn), SETTINGS, keep=True)
    sums: list[torch.Tensor] = [torch.zeros_like(total), torch.zeros_like(whole)]
    for rank in (0, 1):
        share = {"own": range(rank, 6, 2), "groups": drawn.groups[rank::2]}
        part = step_gradients(loaded, halved(GroupStep(**{**drawn.__dict__, **share})), SETTINGS, keep=True)
        sums = [one + two for one, two in zip(sums, part, strict=True)]
    assert_agree(sums[0], total, 0.0, atol=1e-12 * float(total.norm()))
    assert_agree(sums[1], whole, 0.0, atol=1e-12 * float(whole.norm()))


def test_halves_tell_all_that_whole_groups_tell(step: tuple[LoadedModel, GroupStep]) -> None:
    loaded, drawn = step
    _, parts = step_gradients(loaded, halved(drawn), SETTINGS, keep=True)
    assert parts is not None
    pairs = parts.view(6, 2, -1)
    told = SplitInteraction(SETTINGS.sampled_rule)(1, pairs, drawn.rewards)
    for name, value in Interaction(SETTINGS.sampled_rule)(1, pairs.mean(dim=1), drawn.rewards).items():
        assert told[name] == (None if value is None else pytest.approx(value, rel=1e-9)), name
    right = drawn.rewards.sum(axis=1)
    kept = np.flatnonzero((right >= 2) & (right <= 6))
    assert told["halved_prompts"] == len(kept) >= 3
    # Their estimates of grad L do not depend on what the rule divides by.
    mean = right[kept] / 8
    one, two = (parts[k::2].numpy()[kept] / np.sqrt(mean * (1 - mean))[:, None] for k in (0, 1))
    whole = (one + two) / 2
    assert told["log_odds_sq"] == pytest.approx(np.sum(whole**2, axis=1).mean())
    assert told["log_odds_sq_corrected"] == pytest.approx(np.sum(one * two, axis=1).mean())
    products = (whole @ whole.T)[np.triu_indices(len(kept), k=1)]
    assert told["log_odds_product"] == pytest.approx(products.mean())


def test_where_there_are_not_two_prompts_nothing_is_told() -> None:
    rewards = np.array([[1.0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    parts = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    parts[2] = 0
    told = measures_of_halves(parts, rewards, np.array([2.0, 2.0, 0.0]))
    assert told["halved_prompts"] == 1
    assert told["pairs"] == 1
    assert {told[name] for name in (*MEANS, "cosine_weighted", "split_half_reliability")} == {None}
    assert over_steps([{f"theory/{name}": value for name, value in told.items()}]) == {}


def exact_log_odds(loaded: LoadedModel, token: int) -> np.ndarray:
    """``grad L_i . grad L_j`` of the probability of one first token."""
    rows = []
    for name in NAMES:
        logits = loaded.model(torch.tensor(prompt_tokens(loaded.tokenizer, [name])), use_cache=False).logits[0, -1]
        p = torch.softmax(logits.double() / SETTINGS.temperature, dim=0)[token]
        parts = torch.autograd.grad(torch.logit(p), list(loaded.parameters.values()))
        rows.append(torch.cat([part.reshape(-1) for part in parts]).double())
    table = torch.stack(rows)
    return (table @ table.T).numpy()


def many_steps(loaded: LoadedModel, rule: str, steps: int) -> Iterator[tuple[dict, np.ndarray]]:
    """What is told of many steps at one and the same point, and exact products and squares of the same prompts."""
    task, token = first_digit(loaded)
    exact = exact_log_odds(loaded, token)
    # Several steps at a time, which takes less time.
    at_once = 10
    settings = GroupSettings(**{**SETTINGS.__dict__, "rule": rule, "batch": 6 * at_once})
    observer = SplitInteraction(settings.sampled_rule)
    recorder = PerPromptGradients(loaded.model, 12 * at_once)
    for number in range(steps // at_once):
        drawn = draw_step(loaded, task, settings, np.tile(np.arange(6), at_once), number, ALONE)
        _, rows = step_gradients(loaded, halved(drawn), settings, keep=True, recorder=recorder)
        assert rows is not None
        for part, rewards in zip(rows.view(at_once, 6, 2, -1), drawn.rewards.reshape(at_once, 6, -1), strict=True):
            told = observer(number, part, rewards)
            right = rewards.sum(axis=1)
            kept = np.flatnonzero((right >= 2) & (rewards.shape[1] - right >= 2))
            if len(kept) >= 2:
                gram = exact[np.ix_(kept, kept)]
                square, n = np.trace(gram), len(kept)
                yield dict(told), np.array([(gram.sum() - square) / (n * (n - 1)), square / n])


def interval(values: np.ndarray) -> tuple[float, float]:
    """99.9%, for the mean."""
    width = student.ppf(0.9995, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return values.mean() - width, values.mean() + width


def check_corrected(loaded: LoadedModel, rule: str, steps: int) -> None:
    table = list(many_steps(loaded, rule, steps))
    product, raw, corrected = np.array([[told[name] for name in MEANS] for told, _ in table]).T
    exact_product, exact_square = np.array([exact for _, exact in table]).T
    cosine = exact_product.mean() / exact_square.mean()
    for square, holds in ((corrected, True), (raw, False)):
        measured = product.mean() / square.mean()
        low, high = measured + np.array(interval(product - measured * square)) / square.mean()
        # The negative control: without the correction the interval is far off.
        assert (low < cosine < high) if holds else (high < 0.75 * cosine)
        assert high - low < 0.75 * cosine
    low, high = interval(product - exact_product)
    assert low < 0 < high
    low, high = interval(corrected - exact_square)
    assert low < 0 < high
    assert interval(raw)[0] > 1.5 * exact_square.mean()


@pytest.mark.deep
def test_the_corrected_cosine_is_the_exact_one_and_the_measured_one_is_not(loaded: LoadedModel) -> None:
    check_corrected(loaded, "paper:8", 240)


@pytest.mark.deep
@pytest.mark.parametrize("rule", ["paper:16", "no_std:8", "trl_batch:8", "dapo:8"])
def test_the_corrected_cosine_is_the_exact_one_for_every_rule(loaded: LoadedModel, rule: str) -> None:
    check_corrected(loaded, rule, 1500)
