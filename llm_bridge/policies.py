"""The exact policy of a language model over a finite answer set, differentiable in the model's parameters.

For a prompt with answers y_1 .. y_K the logits are z_j = log P_theta(y_j <eos> | question): the sum of the log
probabilities of the answer's tokens and of the end-of-answer token. The policy is pi = softmax(z). No answer followed
by <eos> is a prefix of another, so these K events are disjoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from llm_bridge.costs import count_passes
from llm_bridge.precision import full_precision
from llm_bridge.question_tokens import FORMS, IGNORED, padded, prompt_form, question_ids, token_rows
from llm_bridge.recomputation import is_checkpointed
from llm_bridge.tasks import Prompt
from theory.errors import expected

__all__ = ["FORMS", "AnswerBatch", "answer_logits", "log_odds", "p_and_q", "prompt_form", "question_ids"]

# From this many question tokens on, one pass for the question and one for the answers cost less than one for all.
_LONG = 16


@dataclass(frozen=True, eq=False)
class AnswerBatch:
    """n prompts with K answers each, as n*K token sequences padded on the right to length T; build it with `of`.

    input_ids, attention_mask, position_ids: integer tensors (n*K, T); row i*K + j is prompt i followed by answer j.
    targets: (n*K, T - start), the token to predict from position start - 1 + t, or -100 where nothing is scored.
    start: the first position at which any row has an answer token; logits before start - 1 are never needed.
    correct: (n,), the index of each prompt's right answer.
    form: how the prompts were put: "plain", "chat" or "begun".
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    position_ids: torch.Tensor
    targets: torch.Tensor
    start: int
    correct: torch.Tensor
    form: str = "plain"

    @classmethod
    def of(
        cls,
        prompts: Sequence[Prompt],
        tokenizer: Any,
        *,
        form: str = "auto",
        device: str | torch.device = "cpu",
    ) -> AnswerBatch:
        """Tokenise once; the batch can then be scored at every step of a run.

        Question and answer are tokenised apart, so every answer continues the same question tokens.

        Args:
            prompts: with the same number K of answers each.
            tokenizer: of the model that will score them.
            form: "plain" for the bare question; "chat" for the question to a chat model through its chat template;
                "begun" for the same with the reply begun, so that only the number is missing; or "auto": chat where
                the tokenizer has a template and every prompt has that form.
            device: where the tensors go.

        Raises:
            InputError: prompts is empty, K differs between prompts, the tokenizer has no <eos>, or no chat template
                where one is asked for, a text has characters the tokenizer does not know, or two answers of a prompt
                become the same tokens.
        """
        form = prompt_form(prompts, tokenizer, form)
        sizes = {len(prompt.answers) for prompt in prompts}
        if len(sizes) != 1:
            raise expected("answer set sizes", sorted(sizes), "one size K shared by all prompts", "split the batch")
        rows: list[tuple[list[int], int]] = []
        for prompt in prompts:
            rows.extend(token_rows(prompt, tokenizer, form))
        start = min(first for _, first in rows)
        ids, mask, targets = padded(rows, start)
        return cls(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=torch.arange(ids.shape[1], device=device).expand_as(ids),
            targets=targets.to(device),
            start=start,
            correct=torch.tensor([prompt.correct for prompt in prompts], device=device),
            form=form,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """The shape (n, K) of the logits."""
        n = self.correct.shape[0]
        return n, self.input_ids.shape[0] // n

    def prompt(self, i: int) -> AnswerBatch:
        """The batch of prompt i alone, with the same padding, so that its logits are those of the full batch."""
        return self._from(i, i + 1)

    def pieces(self, size: int) -> Iterator[AnswerBatch]:
        """The prompts in batches of at most ``size``, with the same padding."""
        n, _ = self.shape
        return (self._from(first, min(first + size, n)) for first in range(0, n, size))

    def _from(self, first: int, end: int) -> AnswerBatch:
        _, outputs = self.shape
        rows = slice(first * outputs, end * outputs)
        return AnswerBatch(
            input_ids=self.input_ids[rows],
            attention_mask=self.attention_mask[rows],
            position_ids=self.position_ids[rows],
            targets=self.targets[rows],
            start=self.start,
            correct=self.correct[first:end],
            form=self.form,
        )


def answer_logits(model: torch.nn.Module, batch: AnswerBatch, *, share: bool = True) -> torch.Tensor:
    """Logits z (n, K), float64: z_ij = sum over the tokens of answer j, <eos> included, of log P(token | before).

    Differentiable in the model's parameters. A float64 model computes in float64 throughout; the log-softmax over the
    vocabulary is float64 for every model.

    model: a causal language model of transformers, with or without adapter. Exact only in eval mode (no dropout).
    share: let the K answers to a long question share one pass over it, and compute only the answers' own tokens K
    times; the logits and gradients are the same to rounding, and several times cheaper. False: one forward pass over
    all n*K sequences, in which the rows do not meet. Checkpointed models take that where gradients are wanted: a cache
    cannot be written twice.
    """
    with full_precision():
        if share and batch.start >= _LONG and not (torch.is_grad_enabled() and is_checkpointed(model)):
            parts = [_shared(model, batch.prompt(i)) for i in range(batch.shape[0])]
            if all(part is not None for part in parts):
                return count_passes(torch.cat(parts))  # type: ignore[arg-type]
        scores = model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
            # Skip the output head where only question tokens are predicted; with a real vocabulary it dominates memory.
            logits_to_keep=batch.input_ids.shape[1] - batch.start + 1,
        ).logits[:, :-1]
    return count_passes(_scored(scores, batch.targets).view(batch.shape))


def _shared(model: torch.nn.Module, batch: AnswerBatch) -> torch.Tensor | None:
    """`answer_logits` (1, K) of one prompt: the question once, then all answers with K copies of its cache.

    None if the model keeps no cache that can be copied.
    """
    _, outputs = batch.shape
    # The question's last token is left to the second pass: it predicts the answers' first.
    last = batch.start - 1 + int((batch.targets != IGNORED).any(dim=0).nonzero()[0, 0])
    once = slice(0, 1)
    first = model(
        input_ids=batch.input_ids[once, :last],
        position_ids=batch.position_ids[once, :last],
        use_cache=True,
        logits_to_keep=1,
    )
    cache = getattr(first, "past_key_values", None)
    if cache is None or not hasattr(cache, "batch_repeat_interleave"):
        return None
    cache.batch_repeat_interleave(outputs)
    scores = model(
        input_ids=batch.input_ids[:, last:],
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids[:, last:],
        past_key_values=cache,
        use_cache=True,
    ).logits[:, :-1]
    return _scored(scores, batch.targets[:, last + 1 - batch.start :]).view(1, outputs)


def _scored(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Sums (rows,) of the targets' log-probabilities under scores (rows, t, vocabulary)."""
    losses = cross_entropy(scores.double().flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    return -losses.view(targets.shape).sum(dim=1)


def log_odds(logits: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Log-odds L (n,) of the answers (n,) under softmax(logits), logits (n, K): L = z_a - ln sum_{j != a} exp z_j.

    Keeps full relative precision where p or 1 - p is far below the rounding unit.
    """
    chosen = torch.nn.functional.one_hot(answers, logits.shape[1]).bool()
    others = logits.masked_fill(chosen, float("-inf"))
    return logits[chosen] - torch.logsumexp(others, dim=1)


def p_and_q(odds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """p = 1 / (1 + e^-L) and q = 1 / (1 + e^L) from log-odds L; q is never formed as 1 - p, which would cancel."""
    return torch.sigmoid(odds), torch.sigmoid(-odds)
