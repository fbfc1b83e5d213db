"""A small run of TRL's GRPOTrainer on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["GROUP", "LONGEST", "PROMPTS", "REWARDS", "TEMPERATURE", "make_trainer"]

PROMPTS = ["57+32=", "15-8=", "3+5="]
GROUP = 4
LONGEST = 6
# High enough for completions of the same prompt to differ.
TEMPERATURE = 1.5
# A middling, a solved and a hopeless group.
REWARDS = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]


def make_trainer(loaded: Any, folder: Path, rewards: Sequence[float | None] = REWARDS, **options: Any) -> Any:
    """A GRPOTrainer for the prompts above with fixed rewards; ``loaded`` has a model and a tokenizer."""
    import datasets
    import trl

    defaults: dict[str, Any] = {"activation_checkpointing": False, "per_device_train_batch_size": GROUP * len(PROMPTS)}

    arguments = trl.GRPOConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        logging_steps=1,
        num_generations=GROUP,
        max_completion_length=LONGEST,
        temperature=TEMPERATURE,
        **{**defaults, **options},
    )
    return trl.GRPOTrainer(
        model=loaded.model,
        reward_funcs=lambda completions, **_: list(rewards)[: len(completions)],
        args=arguments,
        train_dataset=datasets.Dataset.from_dict({"prompt": PROMPTS}),
        processing_class=loaded.tokenizer,
    )
