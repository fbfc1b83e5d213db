"""A training step of a language model beside TRL's GRPOTrainer: rollout and update, with and without diagnostics.

    python -m benchmarks.bridge [--model tiny] [--prompts 4] [--group 8] [--longest 32] [--rounds 5] [--steps 1]
                                [--attention sdpa] [--threads 1] [--out benchmarks/results/bridge_tiny.json]

Both train the same adapter on the same model with the same prompts, group size, temperature, longest completion,
attention implementation and dtype (float32), with plain SGD and no reference model; TRL without activation
checkpointing, logging or saving. Peers take turns, and a peer's fastest step counts: noise only adds.
Completions are drawn by each peer itself, so their lengths differ a little; what is compared is tokens per second,
counting every token of every row, prompt and completion, that is not padding (TRL's num_tokens). The reward is the
parity of the completion's token ids, so that hardly a group is without variance: such groups whynorm leaves out of the
update, TRL does not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

from rich.console import Console
from rich.table import Table

from benchmarks.engines import machine
from simulator.files import write_json

__all__ = ["PEERS", "StepTime", "time_steps"]

PEERS = ("whynorm", "whynorm with diagnostics", "trl", "trl with diagnostics")
_PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate")
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


def parity(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
    """The reward of both."""
    return [float(sum(ids) % 2) for ids in completion_ids]


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
    import llm_bridge.group_training as training
    from llm_bridge.group_settings import GroupSettings
    from llm_bridge.observers import Interaction
    from llm_bridge.questions import Question, Task

    loaded, clock, seed = work.load(), Clock(), iter(range(10**6))
    texts = [prompt if isinstance(prompt, str) else tuple(prompt) for prompt in work.questions()]
    questions = tuple(Question(str(i), text) for i, text in enumerate(texts))
    task = Task(name="benchmark", questions=questions, reward=parity)
    draw = training.draw_step

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
        with patch.object(training, "draw_step", timed):
            training.train_groups(loaded, task, settings, observers=observers, trackers=(End(),))
        return clock.taken()

    return run


def prepare_trl(work: Workload, diagnostics: bool, folder: Path) -> Callable[[], list[StepTime]]:
    """A run of GRPOTrainer."""
    import datasets
    import trl
    from transformers import PrinterCallback, TrainerCallback

    from llm_bridge.trl_callback import TheoryCallback

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
        reward_funcs=parity,
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


def time_steps(work: Workload, peers: Sequence[str], rounds: int, folder: Path) -> dict[str, list[StepTime]]:
    """Steps of all peers, which take turns; those of a first turn do not count."""
    runs: dict[str, Callable[[], list[StepTime]]] = {}
    for name in peers:
        diagnostics = name.endswith("diagnostics")
        ours = name.startswith("whynorm")
        runs[name] = prepare_whynorm(work, diagnostics) if ours else prepare_trl(work, diagnostics, folder)
    times: dict[str, list[StepTime]] = {name: [] for name in peers}
    for turn in range(rounds + 1):
        for name in peers:
            taken = runs[name]()
            rate = max(step.tokens / step.seconds for step in taken)
            print(f"{turn} {name}: {rate:.0f} tokens/s", file=sys.stderr)
            times[name] += taken if turn else []
    return times


def summary(name: str, times: Sequence[StepTime]) -> dict[str, Any]:
    """A peer's fastest step, by the clock and by processor time."""
    best = max(times, key=lambda taken: taken.tokens / taken.seconds)
    return {
        "peer": name,
        "tokens_per_second": best.tokens / best.seconds,
        "tokens_per_processor_second": max(taken.tokens / taken.processor for taken in times),
        "seconds": best.seconds,
        "rollout_seconds": best.rollout,
        "update_seconds": best.seconds - best.rollout,
        "tokens": best.tokens,
        "steps": [asdict(taken) for taken in times],
    }


def compared(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Ratios of the peers that ran."""
    by_name = {row["peer"]: row for row in rows}
    found = {}
    for key in ("tokens_per_second", "tokens_per_processor_second"):
        value = {name: row[key] for name, row in by_name.items()}
        if "whynorm" in value and "trl" in value:
            found[f"speedup, {key}"] = value["whynorm"] / value["trl"]
        for name in ("whynorm", "trl"):
            if {name, f"{name} with diagnostics"} <= set(value):
                found[f"cost of diagnostics in {name}, {key}"] = value[name] / value[f"{name} with diagnostics"] - 1
    return found


def show(work: Workload, rows: Sequence[dict[str, Any]], ratios: dict[str, float]) -> None:
    """The result for people."""
    title = f"{work.model}, {work.prompts} prompts, {work.group} completions of at most {work.longest} tokens"
    table = Table("peer", "tokens/s", "step s", "rollout s", "update s", "tokens", title=title)
    for row in rows:
        times = [f"{row[key]:.3f}" for key in ("seconds", "rollout_seconds", "update_seconds")]
        table.add_row(row["peer"], f"{row['tokens_per_second']:.0f}", *times, str(row["tokens"]))
    console = Console(width=120)
    console.print(table)
    for name, value in ratios.items():
        console.print(f"{name}: {value:.3f}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bridge")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--prompts", type=int, default=4)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--longest", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--attention", choices=("eager", "sdpa"), default="sdpa")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    try:
        import torch
        import trl  # noqa: F401
    except ImportError as missing:
        print(f"{missing}; run pip install 'whynorm[trl]'", file=sys.stderr)
        return 2
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", message=".*checkpointing.* is deprecated", category=FutureWarning)
    work = Workload(options.model, options.prompts, options.group, options.longest, options.attention, options.steps)
    with tempfile.TemporaryDirectory() as folder:
        times = time_steps(work, options.peers, options.rounds, Path(folder))
    rows = [summary(name, times[name]) for name in options.peers]
    ratios = compared(rows)
    show(work, rows, ratios)
    if options.out is not None:
        command = " ".join(["python -m benchmarks.bridge", *(sys.argv[1:] if arguments is None else arguments)])
        versions = {name: version(name) for name in _PACKAGES}
        content = {
            "command": command,
            "machine": {**machine(), **versions, "threads": options.threads},
            "work": asdict(work),
            "rows": rows,
            "ratios": ratios,
        }
        write_json(options.out, content)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
