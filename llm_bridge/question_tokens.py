"""The tokens that stand before an answer, and those of prompts with all their answers, padded to one length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from llm_bridge.chat import FORMS, chat_messages, has_chat_template, prompt_ids, prompt_text
from llm_bridge.tasks import Prompt
from theory.errors import expected

__all__ = ["FORMS", "IGNORED", "padded", "prompt_form", "question_ids", "token_rows"]

# The label that cross_entropy skips: question tokens and padding.
IGNORED = -100


def prompt_form(prompts: Sequence[Prompt], tokenizer: Any, form: str = "auto") -> str:
    """The form in which prompts are put to a model: "chat", "begun" or "plain"; see `AnswerBatch.of`.

    Raises:
        InputError: another form is asked for, or a chat form that is not there.
    """
    if form not in FORMS:
        raise expected("form", form, f"one of {', '.join(FORMS)}", "choose one of these")
    if form != "plain":
        lacking = [prompt.question for prompt in prompts if (prompt.begun if form == "begun" else prompt.chat) is None]
        if form == "auto":
            return "chat" if has_chat_template(tokenizer) and not lacking else "plain"
        if lacking:
            raise expected(f"{form} form of a prompt", lacking[0], "a question for chat models", "use --form plain")
    return form


def question_ids(question: str, tokenizer: Any) -> list[int]:
    """The tokens that the model is given before an answer to a plain question."""
    ids = prompt_ids(tokenizer, question)
    # Some tokenizers close every text with <eos>; a question goes on.
    while ids and ids[-1] == tokenizer.eos_token_id:
        ids.pop()
    return ids


def _asked(prompt: Prompt, tokenizer: Any, form: str) -> tuple[str, list[int]]:
    """What stands before the answer, as text and as tokens."""
    if form == "plain":
        return prompt.question, question_ids(prompt.question, tokenizer)
    messages = chat_messages(prompt.chat or "", prompt.begun if form == "begun" else None)
    # The end-of-message tokens of the template stay.
    return prompt_text(tokenizer, messages), prompt_ids(tokenizer, messages)


def token_rows(prompt: Prompt, tokenizer: Any, form: str) -> list[tuple[list[int], int]]:
    """For each answer: the tokens question + answer + <eos>, and the position of the answer's first token."""
    eos = tokenizer.eos_token_id
    if eos is None:
        raise expected("tokenizer eos_token", None, "an end-of-text token, which closes an answer", "set one")
    asked, question = _asked(prompt, tokenizer, form)
    answers = [list(tokenizer(answer, add_special_tokens=False)["input_ids"]) for answer in prompt.answers]
    unknown = tokenizer.unk_token_id
    for text, tokens in zip((asked, *prompt.answers), (question, *answers), strict=True):
        # Tokenizers replace or silently drop what they do not know; reading the tokens back shows either. A start
        # token may stand before the text.
        read_back = tokens and unknown not in tokens and _letters(tokenizer.decode(tokens)).endswith(_letters(text))
        if not read_back:
            raise expected("prompt text", text, "text the model's tokenizer knows", "use characters of its vocabulary")
    if len({tuple(answer) for answer in answers}) < len(answers):
        raise expected("answers", prompt.answers, "different tokens for each", "reword the ones that coincide")
    return [([*question, *answer, eos], len(question)) for answer in answers]


def _letters(text: str) -> str:
    """The text without white space, which tokenizers may add or move at the edges."""
    return "".join(text.split())


def padded(rows: list[tuple[list[int], int]], start: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """input_ids, attention_mask and targets of `AnswerBatch` from the token rows and their answer positions."""
    width = max(len(tokens) for tokens, _ in rows)
    # The padding token does not matter: it is masked, and stands after everything that is scored.
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    targets = torch.full_like(ids, IGNORED)
    for row, (tokens, first) in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
        targets[row, first : len(tokens)] = ids[row, first : len(tokens)]
    return ids, mask, targets[:, start:]
