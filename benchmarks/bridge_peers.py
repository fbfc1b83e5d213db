"""One training step in whynorm and in TRL, set up alike and timed alike; see `benchmarks.bridge`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

__all__ = ["StepTime", "Workload", "prepare_trl", "prepare_whynorm"]

_CHAT = "What is {} plus {}? Think step by step and give the answer at the end."
_STEP_SIZE = 1e-6


@dataclass(frozen=True)
class StepTime:
    """A step of one peer: seconds by the clock, of them for the rollout, seconds of processor time, tokens."""

    seconds: float
    rollout: float
    processor: float
    tokens: int


@dataclass(frozen=True)
class Workload:
    """What every peer does in a step."""

    model: str
    prompts: int
    group: int
    longest: int
    attention: str
    steps: int

    def questions(self) -> list[Any]:
        """N prompts: plain text for the packaged model, messages for others."""
        pairs = [(2 + 7 * i % 8, 3 + 5 * i % 7) for i in range(self.prompts)]
        if self.model == "tiny":
            return [f"{a}+{b}=" for a, b in pairs]
        return [[{"role": "user", "content": _CHAT.format(10 * a + b, 10 * b + a)}] for a, b in pairs]

    def load(self) -> Any:
        """A model of its own for each peer."""
        from llm_bridge.models import load_model

        loaded = load_model(self.model, dtype="float32")
        loaded.model.get_base_model().set_attn_implementation(self.attention)
        return loaded


def alternating(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
    """The reward of both: 0 and 1 by turns, so that no group is without variance and left out of the update."""
    return [float(i % 2) for i, _ids in enumerate(completion_ids)]


class Clock:
    """Times the steps of a run: started, rollout done, ended."""

    def __init__(self) -> None:
        self.steps: list[StepTime] = []

    def start(self) -> None:
        """A step begins."""
        self._start, self._processor = time.perf_counter(), time.process_time()

    def drawn(self, tokens: int) -> None:
        """Completions are drawn and rewarded."""
        self._drawn, self._tokens = time.perf_counter(), tokens

    def end(self) -> None:
        """The adapter has moved."""
        processor, now = time.process_time() - self._processor, time.perf_counter()
        self.steps.append(StepTime(now - self._start, self._drawn - self._start, processor, self._tokens))

    def taken(self) -> list[StepTime]:
        """The steps since the last call."""
        steps, self.steps = self.steps, []
        return steps


def prepare_whynorm(work: Workload, diagnostics: bool) -> Callable[[], list[StepTime]]:
    """A run of sampled training."""
    import llm_bridge.sampled.updating as updating
    from llm_bridge.asking.questions import Question, Task
    from llm_bridge.sampled.group_settings import GroupSettings
    from llm_bridge.sampled.group_training import train_groups
    from llm_bridge.sampled.observers import Interaction

    loaded, clock, seed = work.load(), Clock(), iter(range(10**6))
    texts = [prompt if isinstance(prompt, str) else tuple(prompt) for prompt in work.questions()]
    questions = tuple(Question(str(i), text) for i, text in enumerate(texts))
    task = Task(name="benchmark", questions=questions, reward=alternating)
    draw = updating.draw_step

    def timed(*args: Any) -> Any:
        clock.start()
        step = draw(*args)
        clock.drawn(int(step.tokens.sum()))
        return step

    class End:
        def log(self, step: int, row: Any) -> None:
            clock.end()

    def run() -> list[StepTime]:
        settings = GroupSettings(
            rule=f"trl:{work.group}",
            steps=work.steps,
            eta=_STEP_SIZE,
            batch=work.prompts,
            max_new_tokens=work.longest,
            seed=next(seed),
        )
        observers = (Interaction(settings.sampled_rule),) if diagnostics else ()
        with patch.object(updating, "draw_step", timed):
            train_groups(loaded, task, settings, observers=observers, trackers=(End(),))
        return clock.taken()

    return run


def prepare_trl(work: Workload, diagnostics: bool, folder: Path) -> Callable[[], list[StepTime]]:
    """A run of GRPOTrainer."""
    import datasets
    import trl
    from transformers import PrinterCallback, TrainerCallback

    from llm_bridge.sampled.trl_callback import TheoryCallback

    loaded, clock = work.load(), Clock()
    config = trl.GRPOConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        activation_checkpointing=False,
        optim="sgd",
        learning_rate=_STEP_SIZE,
        beta=0.0,
        loss_type="luspo",
        importance_sampling_level="sequence",
        num_generations=work.group,
        per_device_train_batch_size=work.group * work.prompts,
        max_completion_length=work.longest,
        temperature=1.0,
        max_steps=work.steps,
    )

    class Steps(TrainerCallback):
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            clock.start()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.end()

    trainer = trl.GRPOTrainer(
        model=loaded.model,
        reward_funcs=alternating,
        args=config,
        train_dataset=datasets.Dataset.from_dict({"prompt": work.questions()}),
        processing_class=loaded.tokenizer,
        callbacks=[Steps()],
    )
    trainer.remove_callback(PrinterCallback)
    if diagnostics:
        trainer.add_callback(TheoryCallback(trainer))
    generate = trainer._generate_and_score_completions

    def timed(inputs: Any) -> Any:
        output = generate(inputs)
        clock.drawn(sum(int(output[name].sum()) for name in ("prompt_mask", "completion_mask")))
        return output

    trainer._generate_and_score_completions = timed

    def run() -> list[StepTime]:
        trainer.train()
        return clock.taken()

    return run
