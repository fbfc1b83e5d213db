r"""The loss of sampled GRPO: sequence level, on policy, without a reference model.

With G completions ``o_g`` of each of N prompts ``q_i`` drawn from the policy being trained, the importance ratio of eq.
(3) is 1 and clips nothing, and the gradient of the objective is eq. (5),
``(1/n) sum_i E_o[A_i(o) grad ln pi(o | q_i)]``. Its estimate from the group is the negative gradient of

    - (1 / (N G)) sum_i sum_g sg(A_ig) ln pi(o_ig | q_i),    ln pi(o | q) = sum_t ln pi(o_t | q, o_<t).

The sum over a completion's tokens is not divided by its length. Appendix G, on the paper's own runs, names model,
adapter and data, but no loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from llm_bridge.sampled.batches import Batch
from llm_bridge.sampled.decoding import precision
from llm_bridge.sampled.reading import Reading, hidden_states
from llm_bridge.sampled.token_scores import frozen_head, scores_from_hidden, scores_from_logits
from theory.errors import expected

if TYPE_CHECKING:
    from llm_bridge.sampled.rollouts import Rollouts

__all__ = ["Scores", "group_loss", "score_rollouts", "sequence_log_probs"]


@dataclass(frozen=True, eq=False)
class Scores:
    """What a policy makes of rollouts.

    Attributes:
        log_probs: ``(N G,)`` float64, ``ln pi(o | q)``, differentiable.
        lengths: ``(N G,)`` int64, tokens of each completion.
        entropy: ``(N G,)`` float64, detached: the entropies of the token distributions, summed over each completion;
            None if it was not asked for. ``entropy.sum() / lengths.sum()`` is what trainers log as ``entropy``.
    """

    log_probs: torch.Tensor
    lengths: torch.Tensor
    entropy: torch.Tensor | None


def group_loss(log_probs: torch.Tensor, advantages: Any) -> torch.Tensor:
    r"""``- (1/N) sum_i (1/G) sum_g A_ig ln pi(o_ig | q_i)``: eq. (5) of the paper from a group, as a loss.

    Args:
        log_probs: ``(N G,)``, row ``i G + g``, as :func:`sequence_log_probs` returns them.
        advantages: ``(N, G)``, tensor or array; no gradient flows through them (the stop-gradient of eq. (4)).

    Raises:
        InputError: the two do not belong together, or an advantage is not finite.
    """
    weights = torch.as_tensor(advantages, dtype=log_probs.dtype, device=log_probs.device).detach()
    if weights.ndim != 2 or weights.numel() != log_probs.numel() or log_probs.ndim != 1:
        wanted = f"(N, G) with N G = {log_probs.numel()}"
        raise expected("shape of advantages", tuple(weights.shape), wanted, "pass one row per prompt")
    if not bool(torch.isfinite(weights).all()):
        raise expected("advantages", "not finite", "finite numbers", "look at the rewards")
    return -(weights.reshape(-1) * log_probs).sum() / log_probs.numel()


def sequence_log_probs(model: Any, rollouts: Rollouts, temperature: float) -> torch.Tensor:
    """``ln pi(o | q)`` of every completion, ``(N G,)`` float64; see :func:`score_rollouts`."""
    return score_rollouts(model, rollouts, temperature).log_probs


def score_rollouts(
    model: Any, rollouts: Rollouts, temperature: float, *, entropy: bool = False, reading: Reading | None = None
) -> Scores:
    """Log-probabilities of the completions under the policy ``softmax(logits / temperature)``, differentiable once.

    Where that saves time the prompt's tokens run through the model once for all G completions (``sampled.reading``),
    and the output head runs on tokens of completions only, in chunks; neither changes a result beyond rounding. Where a
    model does not allow the one or the other (windows, layers without keys and values; a trained head, scaled logits),
    it does without.
    Token scores are at least float32 and are summed in float64; a float64 model computes in float64 throughout.

    Args:
        model: causal language model of transformers, with or without adapter. Its mode is left as it is.
        rollouts: N prompts, G completions each.
        temperature: at which the completions were sampled, above 0.
        entropy: also sum the entropies of the token distributions.
        reading: how the model reads the rows; None for the way that takes the least time.

    Raises:
        InputError: the temperature is not a positive number, or the rows of a group have different prompts.
    """
    if not 0 < temperature < float("inf"):
        raise expected("temperature", temperature, "a finite number above 0", "1 is the model's own policy")
    batch = Batch.of(rollouts)
    mask = batch.mask
    with precision(str(next(model.parameters()).dtype).removeprefix("torch.")):
        head = frozen_head(model)
        if head is None:
            outputs = model(**batch.inputs(), use_cache=False, logits_to_keep=mask.shape[1])
            scored = scores_from_logits(outputs.logits[mask], batch.targets, temperature, entropy)
        else:
            hidden = hidden_states(model, batch, reading)
            scored = scores_from_hidden(head, hidden, batch.targets, temperature, entropy)
    log_probs, entropies = (_row_sums(mask, values) for values in scored)
    assert log_probs is not None
    return Scores(log_probs=log_probs, lengths=mask.sum(dim=1), entropy=entropies)


def _row_sums(mask: torch.Tensor, values: torch.Tensor | None) -> torch.Tensor | None:
    """Sums over each row's tokens in float64, from the values of all tokens one after the other."""
    if values is None:
        return None
    rows = torch.nonzero(mask, as_tuple=True)[0]
    return torch.zeros(len(mask), dtype=torch.float64, device=mask.device).index_add(0, rows, values.double())
