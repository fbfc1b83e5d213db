"""``whynorm bridge train``: sampled mode, G completions for each question."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from theory.errors import expected
from whynorm.commands.bridge_options import (
    AsJson,
    Checkpointing,
    Device,
    Dtype,
    Form,
    LoraAlpha,
    LoraRank,
    ModelName,
    PresetName,
    Reward,
    lora_settings,
    memory_errors,
    model_options,
)
from whynorm.console import progress, say
from whynorm.training_tables import training_summary, training_table

__all__ = ["train"]

_LONGEST = {"tiny": 16}
# Of what the sources do not print, what a run needs.
_PRINTABLE = ("group", "steps", "learning_rate", "optimizer", "batch", "temperature", "max_new_tokens", "seeds")


def train(
    model: ModelName = None,
    task: Annotated[str, typer.Option(help="What is asked, see `whynorm bridge tasks`.")] = "arithmetic:sum",
    eval_task: Annotated[str | None, typer.Option(help="Held-out questions, a task too.")] = None,
    form: Form = "auto",
    reward: Reward = None,
    rule: Annotated[
        str | None, typer.Option(help="paper:G, no_std:G, trl:G, dr_grpo:G, rloo:G, dapo:G, ...  [default: paper:8]")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Number of updates.  [default: 100, or the preset's]")] = None,
    eta: Annotated[float, typer.Option(help="Step size (learning rate).")] = 1e-2,
    optimizer: Annotated[Literal["sgd", "adamw"], typer.Option(help="AdamW rescales what is studied.")] = "sgd",
    weight_decay: Annotated[float, typer.Option(help="Of AdamW.")] = 0.0,
    batch: Annotated[int, typer.Option(help="N, questions of a step.")] = 8,
    order: Annotated[Literal["epochs", "uniform"], typer.Option(help="uniform: drawn anew at every step.")] = "epochs",
    max_new_tokens: Annotated[int | None, typer.Option(help="Longest completion.  [default: 256; 16 for tiny]")] = None,
    temperature: Annotated[float, typer.Option(help="Of sampling, and of the policy that is trained.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Below 1, completions are not from the policy trained.")] = 1.0,
    top_k: Annotated[int, typer.Option(help="Above 0, completions are not from the policy trained.")] = 0,
    max_grad_norm: Annotated[float | None, typer.Option(help="Shorten longer gradients; off if left out.")] = None,
    eval_every: Annotated[int, typer.Option(help="Measure held-out accuracy every so many steps.")] = 0,
    eval_temperature: Annotated[float, typer.Option(help="Of these completions; 0 is greedy.")] = 0.0,
    eval_group: Annotated[int, typer.Option(help="Completions for each held-out question.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of questions and completions.")] = 0,
    preset: PresetName = None,
    adapter: Annotated[Path | None, typer.Option(help="Start from this saved adapter: the folder of one.")] = None,
    lora_r: LoraRank = None,
    lora_alpha: LoraAlpha = None,
    lora_seed: Annotated[int, typer.Option(help="Seed of the adapter's random A.")] = 0,
    dtype: Dtype = "auto",
    device: Device = "cpu",
    threads: Annotated[int, typer.Option(help="Threads on the CPU.")] = 1,
    checkpointing: Checkpointing = False,
    rollout_rows: Annotated[int, typer.Option(help="Completions drawn at once at most; 0 for all.")] = 0,
    backward_rows: Annotated[int, typer.Option(help="Completions in a backward pass at most; 0 for all.")] = 0,
    diagnostics: Annotated[bool, typer.Option("--diagnostics", help="Cosines, M, R1, R2 at every step.")] = False,
    split_half: Annotated[
        bool, typer.Option("--split-half", help="These, and what of them is sampling noise.")
    ] = False,
    diagnostics_every: Annotated[int, typer.Option(help="Measure at every so many steps only.")] = 1,
    track: Annotated[list[str] | None, typer.Option(help="tensorboard, wandb or trackio; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Directory of the run: metrics, checkpoints, adapter.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that --out holds.")] = False,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 10,
    keep: Annotated[int, typer.Option(help="How many checkpoints stay.")] = 2,
    completions: Annotated[bool, typer.Option("--log-completions", help="Write completions.jsonl too.")] = False,
    json_output: AsJson = False,
) -> int:
    """Train a LoRA adapter by a sampled rule: G completions for each of N questions a step, on policy.

    Plain SGD along the mean of the prompts' gradients, as the theory has it; `--optimizer adamw` is opt-in. Killed at
    any moment, `--resume` goes on as if nothing had been. Several devices: `accelerate launch -m whynorm bridge train`.
    """
    given = locals()
    _check(given)
    given.update(_chosen(given))
    from llm_bridge.sampled.group_settings import GroupSettings

    settings = GroupSettings(**{name: given[name] for name in GroupSettings.__dataclass_fields__})
    with memory_errors(), _place(device, threads) as (processes, own_device):
        result = _train(given, settings, processes, own_device)
        if processes.first:
            _tell(result, given, json_output)
    return 0


def _chosen(given: dict[str, Any]) -> dict[str, Any]:
    """What was left out, filled in from the preset or with whynorm's own settings."""
    asked = {name: given[name] for name in ("model", "preset", "dtype", "device", "form", "checkpointing")}
    name, place = model_options(**asked)
    from llm_bridge.presets import get_preset

    preset = None if given["preset"] is None else get_preset(given["preset"])
    lora = lora_settings(place["lora"], given["lora_r"], given["lora_alpha"])
    steps, group = (None, None) if preset is None else (preset.steps.value, preset.group.value)
    if preset is not None:
        missing = ", ".join(each for each in preset.unprinted if each in _PRINTABLE)
        say(f"the source of the preset {preset.name} does not print {missing}: whynorm's own settings, or yours")
    return {
        "model": name,
        "dtype": ("float64" if name == "tiny" else "float32") if given["dtype"] == "auto" else given["dtype"],
        "rule": given["rule"] or f"paper:{group or 8}",
        "steps": given["steps"] if given["steps"] is not None else steps or 100,
        "max_new_tokens": given["max_new_tokens"] if given["max_new_tokens"] is not None else _LONGEST.get(name, 256),
        "lora_r": lora.r,
        "lora_alpha": float(lora.alpha),
    }


def _check(given: dict[str, Any]) -> None:
    """Find out what is wrong with options before a model is loaded."""
    if given["resume"] and given["out"] is None:
        raise expected("resume", True, "--out, the directory of the run to go on with", "pass --out DIR")
    if given["track"] and given["out"] is None:
        raise expected("track", ", ".join(given["track"]), "--out, the directory of the run", "pass --out DIR")
    if given["threads"] < 1:
        raise expected("threads", given["threads"], "an integer from 1 on", "leave it out for one thread")
    if given["eval_every"] and given["eval_task"] is None:
        raise expected("eval-every", given["eval_every"], "--eval-task, the held-out questions", "name a task")


@contextlib.contextmanager
def _place(device: str, threads: int) -> Iterator[tuple[Any, str]]:
    """The processes of the run, and this one's device, for as long as the run lasts."""
    import torch

    from llm_bridge.sampled.distributed import ended_processes, started_processes

    torch.set_num_threads(threads)
    processes, own_device = started_processes(device)
    with ended_processes(processes):
        yield processes, own_device


def _train(given: dict[str, Any], settings: Any, processes: Any, device: str) -> Any:
    """Load, train, and write what was asked for."""
    from llm_bridge.asking.questions import get_task
    from llm_bridge.asking.rewards import with_reward
    from llm_bridge.models import load_model
    from llm_bridge.sampled.group_training import train_groups
    from llm_bridge.sampled.observers import Interaction, SplitInteraction
    from llm_bridge.sampled.run_folder import RunFolder
    from llm_bridge.sampled.trackers import get_tracker
    from llm_bridge.weights.adapters import load_adapter
    from whynorm.outputs import created_directory

    out = given["out"]
    # Of the halves, the one tells everything that the other tells of the whole groups.
    half_observers = [SplitInteraction(settings.sampled_rule)] if given["split_half"] else []
    observers = [Interaction(settings.sampled_rule)] if given["diagnostics"] and not half_observers else []
    kept = [given[name] for name in ("resume", "checkpoint_every", "keep", "completions")]
    folder = None if out is None else RunFolder(out, *kept)
    kinds = given["track"] or [] if processes.first else []
    trackers = [get_tracker(kind, out, out.resolve().name, settings.identity()) for kind in kinds]
    lora = lora_settings(None, given["lora_r"], given["lora_alpha"], given["lora_seed"])
    loaded = load_model(
        given["model"], lora=lora, dtype=given["dtype"], device=device, checkpointing=given["checkpointing"]
    )
    if given["adapter"] is not None:
        loaded = load_adapter(loaded, given["adapter"])

    def asked(name: str) -> Any:
        return with_reward(get_task(name, tokenizer=loaded.tokenizer, form=given["form"]), given["reward"])

    questions = asked(given["task"])
    held_out = None if given["eval_task"] is None else asked(given["eval_task"])
    with contextlib.ExitStack() as stack:
        # The run holds it: of several processes the first.
        stack.enter_context(created_directory(out))
        for tracker in trackers:
            stack.callback(tracker.close)
        tick = stack.enter_context(progress(f"{settings.rule} on {given['model']}", settings.steps))
        result = train_groups(
            loaded,
            questions,
            settings,
            observers=observers,
            half_observers=half_observers,
            observe_every=given["diagnostics_every"],
            held_out=held_out,
            folder=folder,
            trackers=trackers,
            processes=processes,
            progress=tick if processes.first else lambda step: None,
        )
        if out is not None and processes.first:
            _write(result, given, out)
    return result


def _write(result: Any, given: dict[str, Any], out: Path) -> None:
    from simulator.files import write_json
    from whynorm.figures import save_png
    from whynorm.figures_training import reward_figure, theory_figure

    title = f"{given['rule']} on {given['model']}, {given['task']}"
    if _kept_summary(result, out) is None:
        write_json(out / "summary.json", training_summary(result, given))
    save_png(reward_figure(result.rows, title), out / "reward.png")
    save_png(theory_figure(result.rows, title), out / "theory.png")


def _kept_summary(result: Any, out: Path | None) -> dict[str, Any] | None:
    """The summary that is there, where no step was left: this call's settings are not those of the run.

    None where it does not tell of the last step, as after a kill just behind it.
    """
    if out is None or result.resumed_at < result.settings.steps:
        return None
    try:
        content = json.loads((out / "summary.json").read_text())
        return dict(content) if content["last"]["step"] == result.resumed_at else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None


def _tell(result: Any, given: dict[str, Any], json_output: bool) -> None:
    kept = _kept_summary(result, given["out"])
    if json_output:
        typer.echo(json.dumps(kept or training_summary(result, given), indent=2, allow_nan=False))
    else:
        Console().print(training_table(result, given))
    if kept is not None:
        say(f"the run is complete: no step was left of {result.settings.steps}")
    if given["out"] is not None:
        say(f"metrics, checkpoints, adapter and plots: {given['out']}")
