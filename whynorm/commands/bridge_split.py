"""``whynorm bridge tasks`` and ``whynorm bridge split``: what a model can be asked, and what is easy or hard for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from theory.errors import InputError, expected
from whynorm.commands.bridge_options import AsJson, BaseDtype, Form, Reward, memory_errors, require_llm
from whynorm.console import progress, say

__all__ = ["split", "tasks"]

_COLUMNS = ("part", "questions", "mean pass rate", "never solved", "always solved")


def tasks(
    name: Annotated[str, typer.Argument(metavar="[TASK]", help="Show this task's first questions.")] = "",
    show: Annotated[int, typer.Option(help="How many questions to show.")] = 3,
    form: Annotated[str, typer.Option(help="Wording: plain, chat or begun.")] = "plain",
    json_output: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> int:
    """List the kinds of tasks, what each needs and an example; or show the questions of one task.

    A task is KIND:ARGUMENT and keys, as in gsm8k:train.jsonl,limit=100 or math:train.jsonl,level=2.
    """
    from llm_bridge.asking.datasets import COMMON_KEYS

    rows = _one(name, show, form) if name else _all(form)
    if json_output:
        typer.echo(json.dumps(rows, indent=2, allow_nan=False))
        return 0
    for row in rows:
        table = Table(show_header=False, title=Text(str(row.pop("task"))), title_justify="left")
        for key, value in row.items():
            table.add_row(key, Text(str(value)))
        Console().print(table)
    if not name:
        keys = "; ".join(f"{key}: {words}" for key, words in COMMON_KEYS.items())
        say(f"every kind has the keys {keys}")
    return 0


def _all(form: str) -> list[dict[str, Any]]:
    """A row for each kind, with a question of its example, or why there is none."""
    from llm_bridge.asking.datasets import KINDS
    from llm_bridge.asking.questions import get_task

    rows = []
    for kind in KINDS.values():
        try:
            question = _shown(get_task(kind.example, form=form).questions[0].prompt)
        except InputError as error:
            question = f"({error})"
        row = {"task": f"{kind.name}:{kind.argument}", "is": kind.summary, "needs": kind.needs}
        if kind.keys:
            row["keys"] = "; ".join(f"{key}: {words}" for key, words in kind.keys.items())
        rows.append({**row, "example": kind.example, "question": question})
    return rows


def _one(name: str, show: int, form: str) -> list[dict[str, Any]]:
    from llm_bridge.asking.questions import get_task

    if show < 1:
        raise expected("show", show, "at least 1", "leave it out to see 3")
    task = get_task(name, form=form)
    rows: list[dict[str, Any]] = [{"task": task.name, "questions": len(task.questions)}]
    for question in task.questions[:show]:
        columns = {key: str(value) for key, value in question.columns.items()}
        rows.append({"task": question.name, "prompt": _shown(question.prompt), **columns})
    return rows


def _shown(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(f"{each['role']}: {each['content']}" for each in prompt)


def split(
    task: Annotated[str, typer.Option(help="The task, see `whynorm bridge tasks`.")],
    out: Annotated[Path, typer.Option(help="Directory for rates.jsonl and split.jsonl; a second call goes on.")],
    model: Annotated[str, typer.Option(help="The evaluator: tiny, smollm2, a hub id or a local folder.")] = "tiny",
    mode: Annotated[Literal["exact", "sampled"], typer.Option(help="From answer sets, or by generation.")] = "sampled",
    easy: Annotated[str, typer.Option(help="Pass rates of the easy part, LOW:HIGH.")] = "0.5:1",
    hard: Annotated[str, typer.Option(help="Pass rates of the hard part, LOW:HIGH.")] = "0:0.5",
    certain: Annotated[bool, typer.Option("--certain", help="Only questions whose interval lies in it.")] = False,
    samples: Annotated[int, typer.Option(help="Completions for each question, in sampled mode.")] = 8,
    temperature: Annotated[float, typer.Option(help="Of sampling; 0 is greedy.")] = 1.0,
    max_new_tokens: Annotated[int, typer.Option(help="Longest completion.")] = 256,
    reward: Reward = None,
    interval: Annotated[Literal["wilson", "clopper-pearson"], typer.Option(help="Of the pass rates.")] = "wilson",
    confidence: Annotated[float, typer.Option(help="Of the intervals.")] = 0.95,
    form: Form = "auto",
    dtype: BaseDtype = "float32",
    seed: Annotated[int, typer.Option(help="Seed of the completions.")] = 0,
    json_output: AsJson = False,
) -> int:
    """Partition a task into easy and hard questions by an evaluator model's pass rate.

    Use a part with the keys split and part: gsm8k:train.jsonl,split=OUT/split.jsonl,part=hard. The paper partitions
    GSM8K with Qwen2-7B-Instruct, but prints neither thresholds nor samples per question.
    """
    from llm_bridge.asking.split import Ranges, parse_range
    from simulator.random import generator

    ranges = Ranges(parse_range("easy", easy), parse_range("hard", hard), certain)
    for name, value, holds, wanted in (
        ("samples", samples, samples >= 1, "at least 1"),
        ("confidence", confidence, 0 < confidence < 1, "between 0 and 1"),
    ):
        if not holds:
            raise expected(name, value, wanted, "correct it")
    if reward is not None and mode == "exact":
        remedy = "leave it out, or use --mode sampled"
        raise expected("reward", reward, "none in exact mode, where no completion is rewarded", remedy)
    generator(seed)
    settings: dict[str, Any] = {"model": model, "task": task, "mode": mode, "reward": reward, "dtype": dtype}
    settings["form"] = form
    if mode == "sampled":
        settings |= {"samples": samples, "temperature": temperature, "max_new_tokens": max_new_tokens, "seed": seed}
        settings |= {"interval": interval, "confidence": confidence}
    require_llm(model)
    with memory_errors():
        rows = _measure(settings, ranges, out)
    summary = [_summary(part, [rate.rate for rate, of in rows if of == part]) for part in ("easy", "hard", "neither")]
    if json_output:
        typer.echo(json.dumps({**settings, "parts": summary}, indent=2, allow_nan=False))
    else:
        table = Table(title=Text(f"{task} by {model}, {mode}"), title_justify="left")
        for column in _COLUMNS:
            table.add_column(column, justify="left" if column == "part" else "right")
        for row in summary:
            table.add_row(*("-" if row[c] is None else str(row[c]) for c in _COLUMNS))
        Console().print(table)
    say(f"pass rates and parts: {out / 'split.jsonl'}")
    return 0


def _measure(settings: dict[str, Any], ranges: Any, out: Path) -> Any:
    import torch

    from llm_bridge.asking.pass_rates import exact_rate, model_sampler, sampled_rate
    from llm_bridge.asking.questions import get_task
    from llm_bridge.asking.rewards import with_reward
    from llm_bridge.asking.split import split_task
    from llm_bridge.models import load_model
    from llm_bridge.sampled.rollouts import Sampling
    from whynorm.outputs import output_directory

    torch.set_num_threads(1)  # Two threads that share a busy core wait for each other.
    # Without a tokenizer first: a wrong name should not wait for a model.
    get_task(settings["task"], form=settings["form"])
    if settings["mode"] == "sampled":
        sampling = Sampling(temperature=settings["temperature"], max_new_tokens=settings["max_new_tokens"])
    loaded = load_model(settings["model"], dtype=settings["dtype"])
    asked = get_task(settings["task"], tokenizer=loaded.tokenizer, form=settings["form"])
    task = with_reward(asked, settings["reward"])
    # What the rates depend on is how the questions are put in the end.
    settings["form"] = task.form
    if settings["mode"] == "exact":
        rate = exact_rate(loaded)
    else:
        options = {key: settings[key] for key in ("seed", "interval", "confidence")}
        rate = sampled_rate(task, model_sampler(loaded, sampling), settings["samples"], **options)
    with output_directory(out), progress(f"pass rates of {settings['model']}", len(task.questions)) as tick:
        return split_task(task, rate, ranges, out, settings, tick)


def _summary(part: str, rates: list[float]) -> dict[str, Any]:
    mean = round(sum(rates) / len(rates), 4) if rates else None
    solved = sum(rate == 0 for rate in rates), sum(rate == 1 for rate in rates)
    return dict(zip(_COLUMNS, (part, len(rates), mean, *solved), strict=True))
