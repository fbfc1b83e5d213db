"""One step of a sampled rule: its gradients by definition, and the expectation that X-GROUP gives them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compare import assert_agree
from perturbing import perturb
from scipy.stats import t as student

from llm_bridge.asking.questions import Question, Task
from llm_bridge.models import LoadedModel, load_model
from llm_bridge.policies import AnswerBatch, answer_logits
from llm_bridge.sampled.decoding import precision
from llm_bridge.sampled.distributed import ALONE
from llm_bridge.sampled.group_gradients import step_gradients
from llm_bridge.sampled.group_settings import GroupSettings, question_order
from llm_bridge.sampled.group_step import GroupStep, draw_step
from llm_bridge.sampled.rollouts import Rollouts
from llm_bridge.tasks import prompts_from_names
from simulator.random import uniform_order
from simulator.sampled import SampledRule, get_any_rule
from theory.advantages import PRESETS

NAMES = ("5*7", "57+32", "15-8", "8*7")
SMALL = GroupSettings(rule="paper:4", steps=2, batch=4, temperature=1.2, max_new_tokens=5, seed=3)


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    """A model whose adapter is not at its start, where all gradients of A vanish."""
    return perturb(load_model("tiny"), 0.01, seed=0)


def exact_match(completion_ids: list[list[int]], ids: list[list[int]], **_: object) -> list[float]:
    """Right is one sequence of tokens and no other, so that its probability is known."""
    return [float(list(given) == list(right)) for given, right in zip(completion_ids, ids, strict=True)]


def task_of(loaded: LoadedModel, *names: str) -> Task:
    questions = []
    for prompt in prompts_from_names(names):
        right = loaded.tokenizer(prompt.answers[prompt.correct], add_special_tokens=False)["input_ids"]
        questions.append(Question(prompt.question, prompt.question, {"ids": [*right, loaded.tokenizer.eos_token_id]}))
    return Task("exact", tuple(questions), exact_match)


def drawn(loaded: LoadedModel, settings: GroupSettings = SMALL) -> GroupStep:
    return draw_step(loaded, task_of(loaded, *NAMES), settings, np.arange(4), 0, ALONE)


def score(loaded: LoadedModel, rollouts: Rollouts, temperature: float) -> torch.Tensor:
    """The log-probabilities of completions, by one plain pass over prompt and completion."""
    length = rollouts.completion_ids.shape[1]
    with precision(loaded.dtype):
        logits = loaded.model(**rollouts.model_inputs()).logits[:, -length - 1 : -1].double() / temperature
    each = torch.log_softmax(logits, dim=-1).gather(2, rollouts.completion_ids[:, :, None])[:, :, 0]
    return (each * rollouts.completion_mask).sum(dim=1)


def by_definition(loaded: LoadedModel, step: GroupStep, i: int, temperature: float) -> torch.Tensor:
    parameters = list(loaded.parameters.values())
    objective = (score(loaded, step.groups[i], temperature) * torch.from_numpy(step.advantages[i])).mean()
    return torch.cat([part.reshape(-1) for part in torch.autograd.grad(objective, parameters)])


def test_gradients_are_those_of_the_definition_one_by_one_and_in_the_mean(loaded: LoadedModel) -> None:
    step = drawn(loaded)
    mixed = [i for i in range(4) if 0 < step.rewards[i].sum() < 4]
    # Both kinds are there: groups that move the model, and groups without variance.
    assert 0 < len(mixed) < 4
    total, rows = step_gradients(loaded, step, SMALL, keep=True)
    assert rows is not None
    for i in range(4):
        if i in mixed:
            wanted = by_definition(loaded, step, i, SMALL.temperature)
            assert_agree(rows[i], wanted, 0.0, f"prompt {i}", atol=1e-10 * float(wanted.norm()))
        else:
            assert not rows[i].any()
    assert_agree(total, rows.mean(dim=0), 0.0, "mean", atol=1e-12 * float(total.norm()))


def test_the_mean_gradient_does_not_depend_on_who_looks_or_on_how_memory_is_bounded(loaded: LoadedModel) -> None:
    step = drawn(loaded)
    total, _ = step_gradients(loaded, step, SMALL)
    watched, rows = step_gradients(loaded, step, SMALL, keep=True)
    assert torch.equal(total, watched)
    for size in (1, 3, 4, 8):
        settings = GroupSettings(**{**SMALL.__dict__, "backward_rows": size})
        parts, part_rows = step_gradients(loaded, step, settings, keep=True)
        assert rows is not None
        assert part_rows is not None
        assert_agree(parts, total, 0.0, f"{size} rows", atol=1e-11 * float(total.norm()))
        assert_agree(part_rows, rows, 0.0, f"{size} rows, prompts", atol=1e-11 * float(rows.norm()))


def test_groups_without_variance_need_no_pass(loaded: LoadedModel) -> None:
    step = drawn(loaded)
    flat = GroupStep(**{**step.__dict__, "rewards": np.zeros((4, 4)), "advantages": np.zeros((4, 4))})
    calls = []
    handle = loaded.model.register_forward_hook(lambda *_: calls.append(1))
    base = loaded.model.get_base_model().base_model.register_forward_hook(lambda *_: calls.append(1))
    try:
        total, _ = step_gradients(loaded, flat, SMALL)
        assert not total.any()
        assert not calls
        step_gradients(loaded, step, SMALL)
        assert calls
    finally:
        handle.remove()
        base.remove()


@pytest.mark.parametrize("name", list(PRESETS))
def test_advantages_are_those_of_the_simulators_rule(loaded: LoadedModel, name: str) -> None:
    step = drawn(loaded, GroupSettings(**{**SMALL.__dict__, "rule": f"{name}:4"}))
    assert_agree(step.advantages, PRESETS[name](step.rewards), 0.0, name)


def test_a_rule_that_resamples_draws_constant_groups_again_and_no_others(loaded: LoadedModel) -> None:
    once = drawn(loaded)
    often = drawn(loaded, GroupSettings(**{**SMALL.__dict__, "rule": "dapo:4"}))
    rule = get_any_rule("dapo:4")
    assert isinstance(rule, SampledRule)
    for i in range(4):
        if 0 < once.rewards[i].sum() < 4:
            assert once.groups[i].texts == often.groups[i].texts
            assert once.tokens[i] == often.tokens[i]
        else:
            assert once.tokens[i] < often.tokens[i]
            assert 0 < often.rewards[i].sum() < 4
    # Rewards, lengths and completions of a prompt still belong together.
    for i, group in enumerate(often.groups):
        assert [len(ids) for ids in group.token_lists()] == often.lengths[i].tolist()


def test_bounded_rollouts_draw_the_same_completions(loaded: LoadedModel) -> None:
    whole, parts = drawn(loaded), drawn(loaded, GroupSettings(**{**SMALL.__dict__, "rollout_rows": 5}))
    assert [group.texts for group in whole.groups] == [group.texts for group in parts.groups]
    assert_agree(parts.entropy, whole.entropy, 1e-10)


def test_orders_of_questions() -> None:
    uniform = GroupSettings(steps=9, batch=1, order="uniform", seed=5)
    assert question_order(uniform, 7)[:, 0].tolist() == uniform_order(7, 9, 5).tolist()
    several = question_order(GroupSettings(steps=50, batch=3, order="uniform"), 7)
    assert all(len(set(row)) == 3 for row in several.tolist())
    epochs = question_order(GroupSettings(steps=14, batch=3, seed=5), 7)
    assert epochs.shape == (14, 3)
    rows = epochs.reshape(-1, 7).tolist()
    assert all(sorted(row) == list(range(7)) for row in rows)
    assert len({tuple(row) for row in rows}) == len(rows)
    longer = question_order(GroupSettings(steps=30, batch=3, seed=5), 7)
    assert (longer[:14] == epochs).all()
    assert (question_order(GroupSettings(steps=14, batch=3, seed=6), 7) != epochs).any()


def expected_and_measured(rule: str, steps: int) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Exact ``w_G(p) grad J`` and the updates of many steps at one and the same point, along a few directions.

    Completions outside the answer set are wrong too, so J is the probability of the right one among all completions,
    ``exp(z)`` with z the log-probability of its tokens and the end token: exact, without any answer set.
    """
    loaded = load_model("tiny")
    task = task_of(loaded, "57+32")
    settings = GroupSettings(rule=rule, steps=steps, batch=64, max_new_tokens=4, seed=1)
    (prompt,) = prompts_from_names(["57+32"])
    batch = AnswerBatch.of([prompt], loaded.tokenizer)
    parameters = list(loaded.parameters.values())
    success = answer_logits(loaded.model, batch)[0, prompt.correct].exp()
    gradient = torch.cat([part.reshape(-1) for part in torch.autograd.grad(success, parameters)])
    p = success.item()
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(3, len(gradient), generator=generator, dtype=torch.float64)
    # Random directions alone would hardly see the gradient; each is tilted towards it.
    directions = torch.cat(
        [gradient[None], 0.3 * random / random.norm(dim=1, keepdim=True) * gradient.norm() + gradient]
    )
    directions /= directions.norm(dim=1, keepdim=True)
    measured = []
    for step in range(steps):
        groups = draw_step(loaded, task, settings, np.zeros(64, dtype=np.int64), step, ALONE)
        total, _ = step_gradients(loaded, groups, settings)
        measured.append(directions @ total)
    sampled = settings.sampled_rule
    along = (directions @ gradient).numpy()
    weights = {
        "group": float(sampled.expected_rule().weight(p, 1 - p)),
        "grpo": float((p * (1 - p)) ** -0.5),
        "reinforce": 1.0,
    }
    return along, torch.stack(measured).numpy(), weights


RULES = [
    "paper:4",
    pytest.param("no_std:4", marks=pytest.mark.deep),
    pytest.param("trl:3", marks=pytest.mark.deep),
    pytest.param("dapo:3", marks=pytest.mark.deep),
    pytest.param("plain:2", marks=pytest.mark.deep),
    pytest.param("rloo:4", marks=pytest.mark.deep),
]


@pytest.mark.parametrize("rule", RULES)
def test_the_mean_update_over_many_groups_is_the_weighted_gradient(rule: str) -> None:
    """X-GROUP on a language model: the interval of the mean holds w_G(p) grad J, and no other rule's weight."""
    steps = 12
    along, measured, weights = expected_and_measured(rule, steps)
    mean = measured.mean(axis=0)
    # 99.9% for each of the four directions; the draws are fixed, so the test either holds or does not.
    width = student.ppf(0.9995, steps - 1) * measured.std(axis=0, ddof=1) / np.sqrt(steps)
    assert (np.abs(mean - weights["group"] * along) <= width).all(), (mean, weights["group"] * along, width)
    # The interval is narrow enough to mean something.
    assert width[0] < 0.2 * abs(mean[0])
    for other in ("grpo", "reinforce"):
        if abs(weights[other] / weights["group"] - 1) > 0.25:
            assert abs(mean[0] - weights[other] * along[0]) > width[0], other
