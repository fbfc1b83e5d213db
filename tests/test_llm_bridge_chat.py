"""Tests of llm_bridge.chat, and of prompts put to a model in chat form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
import transformers
from perturbing import perturb

from llm_bridge.chat import has_chat_template, many_prompt_ids, prompt_ids, prompt_text
from llm_bridge.models import LoadedModel, load_model
from llm_bridge.policies import AnswerBatch, answer_logits, prompt_form
from llm_bridge.tasks import Prompt, prompts_from_names
from theory.errors import InputError

# As chat templates do: it closes every message with the end-of-text token, and ends where the reply starts.
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "{{ m['content'] }}<eos>{% endfor %}{% if add_generation_prompt %}={% endif %}"
)
ASKED = [{"role": "user", "content": "3+5"}]


@pytest.fixture
def loaded() -> LoadedModel:
    """tiny, as if it were a chat model."""
    model = load_model()
    model.tokenizer.chat_template = TEMPLATE
    return model


def test_a_string_is_taken_as_it_is(loaded: LoadedModel) -> None:
    assert prompt_text(loaded.tokenizer, "3+5=") == "3+5="
    assert prompt_ids(loaded.tokenizer, "3+5=") == loaded.tokenizer("3+5=")["input_ids"]


def test_messages_go_through_the_template_up_to_the_reply(loaded: LoadedModel) -> None:
    assert prompt_text(loaded.tokenizer, ASKED) == "3+5<eos>="
    assert prompt_text(loaded.tokenizer, tuple(ASKED)) == "3+5<eos>="
    ids = prompt_ids(loaded.tokenizer, ASKED)
    assert all(isinstance(token, int) for token in ids)
    assert loaded.tokenizer.decode(ids) == "3+5<eos>="


def test_special_tokens_come_once(loaded: LoadedModel) -> None:
    # A tokenizer that opens every text with a token, and a template that has written it already.
    class Opening:
        chat_template = TEMPLATE

        def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
            ids = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
            return {"input_ids": [1, *ids] if add_special_tokens else ids}

        def apply_chat_template(self, messages: Any, **options: Any) -> str:
            return str(loaded.tokenizer.apply_chat_template(messages, **options))

    assert prompt_ids(Opening(), "3+5=")[0] == 1
    assert prompt_ids(Opening(), ASKED) == prompt_ids(loaded.tokenizer, ASKED)


def test_many_prompts_at_once_are_those_one_by_one(loaded: LoadedModel) -> None:
    prompts: list[Any] = ["3+5=", ASKED, "12+30=", [*ASKED, {"role": "assistant", "content": "8"}]]
    for some in (prompts, prompts[:1], prompts[1:2], []):
        assert many_prompt_ids(loaded.tokenizer, some) == [prompt_ids(loaded.tokenizer, prompt) for prompt in some]


def test_a_tokenizer_without_chat_template_is_named() -> None:
    tokenizer = load_model().tokenizer
    assert not has_chat_template(tokenizer)
    with pytest.raises(InputError, match=r"chat template of the tokenizer is .*plain text") as caught:
        prompt_text(tokenizer, ASKED)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "messages",
    [[], [{"role": "user"}], [{"role": "user", "content": 3}], ["3+5"], [{"role": "tool", "content": "3"}]],
)
def test_bad_messages_are_refused(loaded: LoadedModel, messages: Sequence[Mapping[str, str]]) -> None:
    with pytest.raises(InputError, match="prompt is ") as caught:
        prompt_text(loaded.tokenizer, messages)
    assert "\n" not in str(caught.value)


def letters(text: str) -> Prompt:
    return Prompt(f"{text}=", ("8", "9"), 0, chat=text, begun=f"{text}=")


def test_the_form_follows_the_tokenizer_unless_it_is_named(loaded: LoadedModel) -> None:
    plain, arithmetic = load_model().tokenizer, prompts_from_names(["3+5"])
    assert prompt_form(arithmetic, plain) == "plain"
    assert prompt_form(arithmetic, loaded.tokenizer) == "chat"
    assert prompt_form([Prompt("3+5=", ("8", "9"), 0)], loaded.tokenizer) == "plain"
    assert prompt_form(arithmetic, loaded.tokenizer, "begun") == "begun"
    with pytest.raises(InputError, match="form is 'loud'"):
        prompt_form(arithmetic, plain, "loud")
    for form in ("chat", "begun"):
        with pytest.raises(InputError, match=f"{form} form of a prompt is '3"):
            prompt_form([Prompt("3+5=", ("8", "9"), 0)], loaded.tokenizer, form)
        with pytest.raises(InputError, match="chat template of the tokenizer"):
            AnswerBatch.of(arithmetic, plain, form=form)


@pytest.mark.parametrize(
    ("form", "before"), [("plain", "3+5="), ("chat", "3+5<eos>="), ("begun", "3+5<eos>=3+5="), ("auto", "3+5<eos>=")]
)
def test_each_form_puts_the_same_answers_behind_its_question(loaded: LoadedModel, form: str, before: str) -> None:
    batch = AnswerBatch.of([letters("3+5")], loaded.tokenizer, form=form)
    texts = [
        loaded.tokenizer.decode(row[mask.bool()])
        for row, mask in zip(batch.input_ids, batch.attention_mask, strict=True)
    ]
    # The end-of-text tokens of the template stay, those of the answers are one each.
    assert texts == [f"{before}8<eos>", f"{before}9<eos>"]
    assert batch.form == batch.prompt(0).form == (form if form != "auto" else "chat")
    assert batch.start == len(loaded.tokenizer(before)["input_ids"])


def test_sharing_one_pass_over_a_long_question_changes_nothing_but_rounding(loaded: LoadedModel) -> None:
    # Questions of different lengths above the threshold, answers of one to three tokens.
    questions = ["12+34*5-6+78+9+10=", "9*8*7*6*5*4*3*2*1*0+11=", "1+1+1+1+1+1+1+1+1="]
    prompts = [Prompt(question, ("7", "18", "9", "120"), 1) for question in questions]
    perturb(loaded, 0.05, seed=1)
    batch = AnswerBatch.of(prompts, loaded.tokenizer)
    assert batch.start >= 16
    passes: list[int] = []
    loaded.model.base_model.model.model.embed_tokens.register_forward_hook(
        lambda module, inputs, output: passes.append(inputs[0].numel())
    )
    results = []
    for share in (True, False):
        logits = answer_logits(loaded.model, batch, share=share)
        results.append((logits, torch.autograd.grad((logits**2).sum(), list(loaded.parameters.values()))))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=0, atol=1e-10)
    for shared, apart in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(shared, apart, rtol=1e-9, atol=1e-10)
    # Two passes a prompt instead of one for all, over far fewer tokens.
    assert len(passes) == 2 * 3 + 1
    assert 2 * sum(passes[:-1]) < passes[-1] == batch.input_ids.numel()
    alone = answer_logits(loaded.model, batch.prompt(1))
    torch.testing.assert_close(alone[0], results[0][0][1], rtol=0, atol=1e-10)


def test_a_model_without_a_cache_to_copy_takes_the_single_pass(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = AnswerBatch.of([Prompt("12+34*5-6+78+9+10=", ("7", "18"), 1)], loaded.tokenizer)
    apart = answer_logits(loaded.model, batch, share=False)
    monkeypatch.delattr(transformers.cache_utils.Cache, "batch_repeat_interleave")
    assert torch.equal(answer_logits(loaded.model, batch), apart)
