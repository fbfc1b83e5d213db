"""Rebuild the packaged tiny language model: `python -m llm_bridge.pretrain_tiny --out DIR [--seed 0] [--steps N]`.

A small Qwen2 model is trained by next-token cross-entropy on strings such as "7+5=12<eos>". Training problems are drawn
with very unequal frequencies and training stops early, so that afterwards p, the probability of the correct answer
within its answer set, runs from near 0 to near 1 over the prompts: easy to hard, as a pretrained model's would.
The result is a function of the arguments and of the torch build: one thread, deterministic algorithms.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from llm_bridge.models import quiet_transformers
from llm_bridge.policies import AnswerBatch, answer_logits, log_odds
from llm_bridge.tasks import KINDS, Prompt, arithmetic_prompts
from theory.errors import InputError, expected

__all__ = ["FILES", "build_tokenizer", "difficulty", "main", "pretrain"]

FILES = ("model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")

STEPS = 350
_BATCH = 128
_PEAK_RATE = 2e-3
_WARMUP = 100
# How often each kind is drawn, and how unequal the problems of a kind are: the rarest is e^-range times as frequent as
# the commonest. Rare problems are learnt late or never; early stopping turns that into a spread of p.
_SHARE = {"sum": 0.3, "difference": 0.2, "product": 0.1, "two_digit_sum": 0.4}
_LOG_RANGE = 7.0
# At most this many prompts of a kind are scored for the final table; there are 8100 two-digit sums.
_TABLE_LIMIT = 400


def build_tokenizer() -> Any:
    """The character-level tokenizer: <pad> <eos> <unk>, the ten digits and + - * =, 17 tokens in all.

    It is a byte-level BPE without merges because that is what transformers makes of a Qwen2 model's vocabulary when it
    loads one, whatever kind the file describes; this way training and loading agree.
    """
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<eos>", "<unk>", *"0123456789+-*="])}
    backend = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        model_max_length=64,
    )


def pretrain(*, seed: int, steps: int) -> tuple[Any, Any]:
    """Train from scratch; returns (model in eval mode, float32; tokenizer). Prints a progress line now and then.

    The global random state and thread count are restored afterwards.
    """
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tokenizer = build_tokenizer()
            model = _new_model(tokenizer)
            _train(model, *_corpus(tokenizer), steps=steps)
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
    # Encoding the corpus left its padding rule in the tokenizer, which would be saved with it.
    return model.eval(), build_tokenizer()


def difficulty(model: Any, tokenizer: Any, prompts: Sequence[Prompt]) -> list[float]:
    """p of the correct answer within its answer set, for each prompt, without gradients."""
    values: list[float] = []
    with torch.no_grad():
        for first in range(0, len(prompts), 100):
            batch = AnswerBatch.of(prompts[first : first + 100], tokenizer)
            values += torch.sigmoid(log_odds(answer_logits(model, batch), batch.correct)).tolist()
    return values


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code: 0, or 2 when the arguments cannot be used."""
    parser = argparse.ArgumentParser(description="Pretrain the packaged tiny language model.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write the model files to")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--force", action="store_true", help="replace model files that are already there")
    options = parser.parse_args(arguments)
    try:
        _check(options.out, options.seed, options.steps, force=options.force)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with quiet_transformers():
        model, tokenizer = pretrain(seed=options.seed, steps=options.steps)
        _write(model, tokenizer, options.out)
    _print_table(model, tokenizer)
    print(f"wrote {options.out}: {sum((options.out / name).stat().st_size for name in FILES) / 1e6:.2f} MB")
    return 0


def _check(out: Path, seed: int, steps: int, *, force: bool) -> None:
    """Raise InputError when training could not start or its result could not be written."""
    if steps < 1:
        raise expected("--steps", steps, "1 or more", "leave it out for the usual number")
    if not 0 <= seed < 2**63:
        raise expected("--seed", seed, "an integer from 0 to 2**63 - 1", "leave it out for 0")
    if out.exists() and not out.is_dir():
        raise expected("--out", str(out), "a folder", "choose another path")
    present = [name for name in FILES if (out / name).exists()]
    if present and not force:
        raise expected("--out", str(out), f"a folder without {present[0]}", "pass --force to replace the model there")


def _new_model(tokenizer: Any) -> Any:
    """An untrained Qwen2 model with about 0.3 million parameters, drawn from the current random state."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=224,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.05,
        attn_implementation="eager",
    )
    return Qwen2ForCausalLM(config)


def _corpus(tokenizer: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """All training strings as tokens (M, T), padded on the right, and how often each is drawn (M,), summing to 1."""
    texts: list[str] = []
    weights: list[torch.Tensor] = []
    for kind in KINDS:
        prompts = arithmetic_prompts(kind)
        texts += [prompt.question + prompt.answers[prompt.correct] + tokenizer.eos_token for prompt in prompts]
        frequency = torch.exp(-_LOG_RANGE * torch.rand(len(prompts)))
        weights.append(_SHARE[kind] * frequency / frequency.sum())
    tokens = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")["input_ids"]
    return tokens, torch.cat(weights)


def _train(model: Any, tokens: torch.Tensor, weights: torch.Tensor, *, steps: int) -> None:
    """Adam with warm-up and linear decay on next-token cross-entropy over the whole string, <eos> included."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=_PEAK_RATE, weight_decay=0.01)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _PEAK_RATE * min((step + 1) / _WARMUP, 1.0 - step / steps)
        batch = tokens[torch.multinomial(weights, _BATCH, replacement=True)]
        mask = (batch != model.config.pad_token_id).long()
        logits = model(input_ids=batch, attention_mask=mask, use_cache=False).logits[:, :-1]
        labels = batch[:, 1:].masked_fill(mask[:, 1:] == 0, -100)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step + 1} of {steps}: loss {loss.item():.3f} per token", flush=True)


def _write(model: Any, tokenizer: Any, out: Path) -> None:
    """Write all FILES to a temporary folder beside `out`, then move them in, so `out` never holds half a file."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pretrain-", dir=out.resolve().parent) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        for name in FILES:
            # Files from a temporary place may be readable by their owner only; a package needs them readable by all.
            (Path(folder) / name).chmod(0o644)
            os.replace(Path(folder) / name, out / name)


def _print_table(model: Any, tokenizer: Any) -> None:
    """Print how p spreads over the prompts of each kind: quantiles, and the shares below 0.05 and above 0.9."""
    heads = ("prompts", "min", "10%", "median", "90%", "max", "<0.05", ">0.9")
    print(f"{'p by kind':14}" + "".join(f"{head:>8}" for head in heads))
    for kind in KINDS:
        prompts = arithmetic_prompts(kind, limit=_TABLE_LIMIT)
        p = torch.tensor(difficulty(model, tokenizer, prompts), dtype=torch.float64)
        columns = torch.quantile(p, torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0], dtype=p.dtype)).tolist()
        columns += [(p < 0.05).double().mean().item(), (p > 0.9).double().mean().item()]
        print(f"{kind:14}{len(p):8d}" + "".join(f"{column:8.4f}" for column in columns))


if __name__ == "__main__":
    sys.exit(main())
