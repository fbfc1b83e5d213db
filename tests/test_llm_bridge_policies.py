"""Tests of llm_bridge.policies: exact answer scores and their gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from perturbing import perturb

from llm_bridge.models import LoadedModel, full_precision, load_model
from llm_bridge.policies import AnswerBatch, answer_logits, log_odds, p_and_q
from llm_bridge.tasks import Prompt, prompts_from_names
from theory.errors import InputError

NAMES = ["3+5", "15-8", "6*7", "17+26", "9*9", "98+97"]


@pytest.fixture
def loaded() -> LoadedModel:
    """The tiny model moved off its start, so that A and B both matter."""
    return perturb(load_model(), 0.05)


def score_alone(loaded: LoadedModel, question: str, answer: str) -> float:
    """One answer, no batch, no padding, no mask, one token after the other; independent of AnswerBatch."""
    before = loaded.tokenizer(question)["input_ids"]
    total = 0.0
    with torch.no_grad(), full_precision():
        for token in [*loaded.tokenizer(answer)["input_ids"], loaded.tokenizer.eos_token_id]:
            logits = loaded.model(input_ids=torch.tensor([before]), use_cache=False).logits[0, -1]
            total += (logits[token] - torch.logsumexp(logits, dim=0)).item()
            before = [*before, token]
    return total


def test_scores_equal_a_loop_over_single_answers(loaded: LoadedModel) -> None:
    # Answers of one to three tokens and questions of four to six: every row is padded differently.
    prompts = prompts_from_names(["3+5", "6*7", "98+10", "15-8"])
    batched = answer_logits(loaded.model, AnswerBatch.of(prompts, loaded.tokenizer)).detach()
    alone = [[score_alone(loaded, prompt.question, answer) for answer in prompt.answers] for prompt in prompts]
    assert batched.dtype == torch.float64
    torch.testing.assert_close(batched, torch.tensor(alone, dtype=torch.float64), rtol=0, atol=1e-10)


def test_a_score_does_not_depend_on_its_batch(loaded: LoadedModel) -> None:
    prompts = prompts_from_names(NAMES)
    batch = AnswerBatch.of(prompts, loaded.tokenizer)
    together = answer_logits(loaded.model, batch)
    for row, prompt in enumerate(prompts):
        for alone in (AnswerBatch.of([prompt], loaded.tokenizer), batch.prompt(row)):
            assert alone.shape == (1, 19)
            assert alone.correct.tolist() == [prompt.correct]
            torch.testing.assert_close(answer_logits(loaded.model, alone)[0], together[row], rtol=0, atol=1e-10)


def test_answers_are_disjoint_events(loaded: LoadedModel) -> None:
    # Every string of up to two digits, "1" and "12" among them: with <eos> their probabilities add up to at most 1.
    answers = tuple(str(number) for number in range(100))
    batch = AnswerBatch.of([Prompt("3+5=", answers, 8)], loaded.tokenizer)
    total = answer_logits(loaded.model, batch).exp().sum().item()
    assert 0.5 < total < 1.0


def test_the_gradient_reaches_every_lora_parameter_and_nothing_else(loaded: LoadedModel) -> None:
    batch = AnswerBatch.of(prompts_from_names(NAMES), loaded.tokenizer)
    log_odds(answer_logits(loaded.model, batch), batch.correct).sum().backward()
    for name, value in loaded.model.named_parameters():
        if name in loaded.parameters:
            assert value.grad is not None
            assert value.grad.any(), name
        else:
            assert value.grad is None, name


def test_at_the_start_only_b_has_a_gradient() -> None:
    fresh = load_model()
    batch = AnswerBatch.of(prompts_from_names(NAMES), fresh.tokenizer)
    answer_logits(fresh.model, batch).logsumexp(dim=1).sum().backward()
    for name, value in fresh.parameters.items():
        assert value.grad is not None
        assert bool(value.grad.any()) == (".lora_B." in name), name


def along(loaded: LoadedModel, direction: list[torch.Tensor], step: float, value: Callable[[], Any]) -> Any:
    """value() at theta + step * direction; theta is put back."""
    start = [parameter.detach().clone() for parameter in loaded.parameters.values()]
    with torch.no_grad():
        for parameter, part in zip(loaded.parameters.values(), direction, strict=True):
            parameter.add_(part, alpha=step)
    result = value()
    with torch.no_grad():
        for parameter, old in zip(loaded.parameters.values(), start, strict=True):
            parameter.copy_(old)
    return result


def test_first_and_second_derivatives_match_finite_differences(loaded: LoadedModel) -> None:
    batch = AnswerBatch.of(prompts_from_names(["6*7", "17+26"]), loaded.tokenizer)
    theta = list(loaded.parameters.values())
    generator = torch.Generator().manual_seed(4)
    direction = [torch.randn(part.shape, generator=generator, dtype=part.dtype) for part in theta]

    def value() -> torch.Tensor:
        return log_odds(answer_logits(loaded.model, batch), batch.correct)

    def slope() -> torch.Tensor:
        gradient = torch.autograd.grad(value().sum(), theta, create_graph=True)
        return sum(((g * d).sum() for g, d in zip(gradient, direction, strict=True)), torch.zeros(()))

    first = slope()
    curvature = torch.autograd.grad(first, theta)
    second = sum((g * d).sum().item() for g, d in zip(curvature, direction, strict=True))
    step = 1e-5
    plus, minus = (along(loaded, direction, sign * step, lambda: value().sum().item()) for sign in (1, -1))
    # Fails by orders of magnitude when the model rounds to float32 inside.
    assert first.item() == pytest.approx((plus - minus) / (2 * step), rel=1e-6)
    plus, minus = (along(loaded, direction, sign * step, lambda: slope().item()) for sign in (1, -1))
    assert second == pytest.approx((plus - minus) / (2 * step), rel=1e-6)


def test_log_odds_agree_with_the_definition() -> None:
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    answers = torch.tensor([0, 6, 3, 2, 2])
    pi = torch.softmax(logits, dim=1)[torch.arange(5), answers]
    odds = log_odds(logits, answers)
    torch.testing.assert_close(odds, torch.log(pi / (1 - pi)), rtol=1e-12, atol=1e-12)
    p, q = p_and_q(odds)
    torch.testing.assert_close(p, pi, rtol=1e-14, atol=0)
    torch.testing.assert_close(q, 1 - pi, rtol=1e-12, atol=0)


def test_log_odds_keep_precision_and_gradients_at_extremes() -> None:
    logits = torch.tensor([[60.0, 0.0, 0.0], [-700.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    odds = log_odds(logits, torch.tensor([0, 0]))
    p, q = p_and_q(odds)
    assert q[0].item() == pytest.approx(2 * math.exp(-60), rel=1e-13)
    assert p[1].item() == pytest.approx(math.exp(-700) / 2, rel=1e-12)
    odds.sum().backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[1.0, -0.5, -0.5]] * 2, dtype=torch.float64))


def test_batch_shape_and_correct_indices(loaded: LoadedModel) -> None:
    prompts = prompts_from_names(NAMES)
    batch = AnswerBatch.of(prompts, loaded.tokenizer)
    assert batch.shape == (6, 19)
    assert batch.correct.tolist() == [prompt.correct for prompt in prompts]
    assert answer_logits(loaded.model, batch).shape == (6, 19)
    # Each row scores exactly its answer's tokens and one <eos>.
    scored = (batch.targets >= 0).sum(dim=1).tolist()
    assert scored == [len(answer) + 1 for prompt in prompts for answer in prompt.answers]


def test_batches_that_cannot_be_scored_are_refused(loaded: LoadedModel) -> None:
    with pytest.raises(InputError, match=r"\[2, 19\]"):
        AnswerBatch.of([*prompts_from_names(["3+5"]), Prompt("3+5=", ("8", "9"), 0)], loaded.tokenizer)
    with pytest.raises(InputError, match="answer set sizes"):
        AnswerBatch.of([], loaded.tokenizer)
    for question, answers in [("x=", ("1", "2")), ("x1=", ("1", "2")), ("1=", ("1", "1 y")), ("1=", (" ", "2"))]:
        with pytest.raises(InputError, match="prompt text"):
            AnswerBatch.of([Prompt(question, answers, 0)], loaded.tokenizer)
    with pytest.raises(InputError, match="different tokens"):
        AnswerBatch.of([Prompt("1=", ("1", "1 "), 0)], WordTokenizer(eos=2))


class WordTokenizer:
    """A stand-in with habits the packaged tokenizer lacks: a start token, a closing <eos> or none, spaces dropped."""

    unk_token_id = None

    def __init__(self, eos: int | None) -> None:
        self.eos_token_id = eos

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        letters = [ord(letter) for letter in text if letter != " "]
        return {"input_ids": [1, *letters, self.eos_token_id or 0] if add_special_tokens else letters}

    def decode(self, tokens: list[int]) -> str:
        return "".join("<s>" if token == 1 else chr(token) for token in tokens)


def test_start_tokens_are_kept_and_closing_tokens_are_moved_to_the_end() -> None:
    batch = AnswerBatch.of([Prompt("ab", ("c", "de"), 0)], WordTokenizer(eos=2))
    assert batch.input_ids.tolist() == [[1, 97, 98, 99, 2, 0], [1, 97, 98, 100, 101, 2]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]
    assert batch.targets.tolist() == [[99, 2, -100], [100, 101, 2]]
    assert batch.start == 3


def test_a_tokenizer_without_eos_is_refused() -> None:
    with pytest.raises(InputError, match="eos_token"):
        AnswerBatch.of([Prompt("ab", ("c", "d"), 0)], WordTokenizer(eos=None))
