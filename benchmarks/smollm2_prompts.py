"""What the form of a prompt, sharing its tokens and bfloat16 do to the real model: the numbers of docs/models.md.

    python -m benchmarks.smollm2_prompts [--model smollm2] [--sums 25] [--out benchmarks/results/smollm2_prompts.json]

Success probabilities of one-digit sums in each form, in float32; the probability that a reply is one of the K = 19
answers at all; processor time of exact mode's pass with a question's tokens read once and read K times, in turns; and
the same log-probabilities in bfloat16, from either pass. Some minutes on one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.commands import module_command
from benchmarks.engines import machine
from llm_bridge.models import LoadedModel, load_model
from llm_bridge.policies import FORMS, AnswerBatch, answer_logits, log_odds, p_and_q
from llm_bridge.provenance import MODEL_PACKAGES
from llm_bridge.tasks import Prompt, arithmetic_prompts, prompts_from_names
from llm_bridge.weights.origins import weights_origin
from simulator.environment import package_versions
from simulator.files import write_json

__all__ = ["half_precision", "in_forms", "main", "replies_among_answers", "sharing"]

# The prompt that is timed and looked at by itself.
_ONE = "3+5"


def _success(model: torch.nn.Module, batch: AnswerBatch, **how: bool) -> torch.Tensor:
    """Success probabilities (n,)."""
    with torch.no_grad():
        parts = [answer_logits(model, piece, **how) for piece in batch.pieces(1)]
    return p_and_q(log_odds(torch.cat(parts), batch.correct))[0]


def in_forms(loaded: LoadedModel, sums: Sequence[Prompt]) -> dict[str, dict[str, float]]:
    """Mean, least and largest p over the prompts, by form."""
    told = {}
    for form in FORMS:
        p = _success(loaded.model, AnswerBatch.of(sums, loaded.tokenizer, form=form))
        told[form] = {"mean": p.mean().item(), "least": p.min().item(), "most": p.max().item()}
    return told


def replies_among_answers(loaded: LoadedModel) -> float:
    """Probability that a whole reply to one prompt, asked as in a chat where that can be, is one of its K answers."""
    batch = AnswerBatch.of(prompts_from_names([_ONE]), loaded.tokenizer)
    with torch.no_grad():
        return answer_logits(loaded.model, batch).exp().sum().item()


def sharing(loaded: LoadedModel, rounds: int) -> dict[str, float]:
    """Processor seconds of a forward and of a backward pass over one prompt, medians of rounds taken in turns."""
    batch = AnswerBatch.of(prompts_from_names([_ONE]), loaded.tokenizer)
    taken: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, share in (("shared", True), ("apart", False)):
            forward = partial(answer_logits, loaded.model, batch, share=share)
            logits = _timed(taken.setdefault(f"forward_{name}", []), forward)
            _timed(taken.setdefault(f"backward_{name}", []), log_odds(logits, batch.correct).sum().backward)
            loaded.model.zero_grad(set_to_none=True)
    return {name: median(seconds) for name, seconds in taken.items()}


def _timed(seconds: list[float], call: Callable[[], Any]) -> Any:
    start = time.process_time()
    result = call()
    seconds.append(time.process_time() - start)
    return result


def half_precision(loaded: LoadedModel, half: LoadedModel, sums: Sequence[Prompt]) -> dict[str, float]:
    """How far log-probabilities and p in bfloat16 are from those in float32, and its two passes from one another."""
    batch = AnswerBatch.of(sums, loaded.tokenizer)
    with torch.no_grad():
        exact, shared, apart = (
            torch.cat([answer_logits(model, piece, share=share) for piece in batch.pieces(1)])
            for model, share in ((loaded.model, True), (half.model, True), (half.model, False))
        )
    p, rough = (p_and_q(log_odds(logits, batch.correct))[0] for logits in (exact, shared))
    worst = int((p - rough).abs().argmax())
    return {
        "median_error": (shared - exact).abs().median().item(),
        "largest_error": (shared - exact).abs().max().item(),
        "median_between_passes": (shared - apart).abs().median().item(),
        "p_float32": p[worst].item(),
        "p_bfloat16": rough[worst].item(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure all and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--sums", type=int, default=25, help="how many one-digit sums")
    parser.add_argument("--rounds", type=int, default=7, help="of the passes that are timed")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/smollm2_prompts.json"))
    options = parser.parse_args(arguments)
    sums = arithmetic_prompts("sum", limit=options.sums)
    loaded, half = (load_model(options.model, dtype=dtype) for dtype in ("float32", "bfloat16"))
    found = {
        "command": module_command("smollm2_prompts", arguments),
        "machine": machine(),
        "versions": package_versions(MODEL_PACKAGES),
        "weights": weights_origin(options.model),
        "sums": len(sums),
        "threads": torch.get_num_threads(),
        "forms": in_forms(loaded, sums),
        "replies_among_answers": replies_among_answers(loaded),
        "seconds": sharing(loaded, options.rounds),
        "bfloat16": half_precision(loaded, half, sums),
    }
    write_json(options.out, found)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
