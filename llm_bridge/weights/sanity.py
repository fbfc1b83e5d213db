"""Does a model that was just read say sensible things? Damaged or misread weights load without an error."""

from __future__ import annotations

import math
from typing import Any

import torch

from llm_bridge.chat import has_chat_template, prompt_ids
from theory.errors import expected

__all__ = ["check_model", "greedy_reply", "nats_per_token"]

# Plain English that any language model finds far likelier than random tokens.
_TEXT = "The sun rises in the east and sets in the west. Water freezes when it is very cold, and birds can fly."


def check_model(name: str, model: Any, tokenizer: Any, question: str, answer: str) -> dict[str, Any]:
    """Ask the model one easy question, greedily, and score a plain English text.

    Returns:
        ``question``, ``reply`` and ``nats_per_token``; the last is None where the tokenizer does not know English.

    Raises:
        InputError: the answer is not in the reply, or the text is as unlikely as half-random tokens.
    """
    prompt = [{"role": "user", "content": question}] if has_chat_template(tokenizer) else question
    reply = greedy_reply(model, tokenizer, prompt)
    if answer not in reply:
        remedy = "fetch it again with --force, or from another source with --from"
        raise expected(f"the reply of {name} to {question!r}", reply, f"a reply that holds {answer!r}", remedy)
    nats = nats_per_token(model, tokenizer, _TEXT)
    limit = math.log(model.config.vocab_size) / 2
    if nats is not None and not nats < limit:
        remedy = "fetch it again with --force, or from another source with --from"
        raise expected(f"nats per token of {name} on plain English", nats, f"less than {limit:.1f}", remedy)
    return {"question": question, "reply": reply, "nats_per_token": nats}


def greedy_reply(model: Any, tokenizer: Any, prompt: Any, max_new_tokens: int = 24) -> str:
    """The most likely continuation, token by token, up to the end-of-text token."""
    ids = torch.tensor([prompt_ids(tokenizer, prompt)], device=model.device)
    with torch.no_grad():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )
    return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)).strip()


def nats_per_token(model: Any, tokenizer: Any, text: str) -> float | None:
    """Mean of -ln P(token | before) over a text; None where the tokenizer cannot give the text back."""
    tokens = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    if "".join(tokenizer.decode(tokens).split()) != "".join(text.split()):
        return None
    ids = torch.tensor([tokens], device=model.device)
    with torch.no_grad():
        log_probs = model(input_ids=ids, use_cache=False).logits[0, :-1].double().log_softmax(dim=-1)
    return float(-log_probs.gather(1, ids[0, 1:, None]).mean())
