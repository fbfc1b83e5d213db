"""Prompts as a chat model wants them: messages become text through the tokenizer's own template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from theory.errors import expected

__all__ = ["FORMS", "chat_messages", "has_chat_template", "many_prompt_ids", "prompt_ids", "prompt_text"]

# How a question is put to a model; auto: chat where the model has a chat template, else plain.
FORMS = ("auto", "chat", "begun", "plain")


def has_chat_template(tokenizer: Any) -> bool:
    """Whether the tokenizer knows how a conversation is written."""
    return bool(getattr(tokenizer, "chat_template", None))


def chat_messages(asked: str, begun: str | None = None) -> tuple[dict[str, str], ...]:
    """A user's question, and the assistant's reply as far as it is begun, if it is."""
    question = {"role": "user", "content": asked}
    return (question,) if begun is None else (question, {"role": "assistant", "content": begun})


def prompt_text(tokenizer: Any, prompt: str | Sequence[Mapping[str, str]]) -> str:
    """A string as it is; messages ``{"role", "content"}`` through the chat template, ending where the reply starts.

    If the last message is the assistant's, it is a reply that is begun: it stands at the end as it is, and the model
    goes on with it.

    Raises:
        InputError: messages for a tokenizer without chat template, malformed messages, or ones the template refuses.
    """
    if isinstance(prompt, str):
        return prompt
    messages = [dict(message) if isinstance(message, Mapping) else message for message in prompt]
    well_formed = all(
        isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))
        for message in messages
    )
    reply = messages.pop()["content"] if messages and well_formed and messages[-1]["role"] == "assistant" else ""
    if not messages or not well_formed:
        raise expected("prompt", messages, 'messages such as {"role": "user", "content": "..."}', "correct the prompt")
    if not has_chat_template(tokenizer):
        name = getattr(tokenizer, "name_or_path", "")
        remedy = "give the prompt as plain text (--form plain), or use an instruct model such as smollm2"
        raise expected("chat template of the tokenizer", name, "one, since the prompt is a list of messages", remedy)
    try:
        # tokenize=False: with it, transformers 5 returns a BatchEncoding and older ones a list.
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)) + reply
    except TemplateError as error:
        reason = " ".join(str(error).split())[:160]
        raise expected("prompt", messages, f"messages the chat template accepts ({reason})", "reword them") from None


def prompt_ids(tokenizer: Any, prompt: str | Sequence[Mapping[str, str]]) -> list[int]:
    """The tokens of `prompt_text`: start tokens come from the chat template or from the tokenizer, never from both."""
    text = prompt_text(tokenizer, prompt)
    return list(tokenizer(text, add_special_tokens=isinstance(prompt, str))["input_ids"])


def many_prompt_ids(tokenizer: Any, prompts: Sequence[str | Sequence[Mapping[str, str]]]) -> list[list[int]]:
    """What `prompt_ids` finds for each prompt, in one call of the tokenizer for texts and one for messages."""
    found: list[list[int]] = [[] for _ in prompts]
    for plain in (True, False):
        places = [place for place, prompt in enumerate(prompts) if isinstance(prompt, str) == plain]
        if places:
            texts = [prompt_text(tokenizer, prompts[place]) for place in places]
            read = tokenizer(texts, add_special_tokens=plain)["input_ids"]
            for place, ids in zip(places, read, strict=True):
                found[place] = list(ids)
    return found
