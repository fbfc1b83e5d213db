"""Options of ``whynorm bridge`` that say which prompts are asked and how a run steps, and their check."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from theory.errors import expected
from whynorm.commands.bridge_options import require_llm

__all__ = ["Number", "Prompts", "Range", "RuleName", "StepScale", "StepSize", "bridge_settings", "check_run"]

Prompts = Annotated[str, typer.Option(help="Prompts such as '3+5 17+26 6*7'; chosen by difficulty if left out.")]
Number = Annotated[int, typer.Option("--n", help="How many prompts to choose.")]
Range = Annotated[str, typer.Option(help="Range of success probabilities to choose from, LOW:HIGH.")]
RuleName = Annotated[str, typer.Option(help="reinforce, grpo or power:ALPHA.")]
StepSize = Annotated[float | None, typer.Option(help="Step size; the theorem's own if left out.")]
StepScale = Annotated[float, typer.Option(help="Multiplies the step size.")]


def bridge_settings(model: str, prompts: str, n: int, p0: str, **rest: Any) -> Any:
    """`BridgeSettings` from a command line.

    Raises:
        InputError: a prompt, the range or n is not usable, or there is no such model.
    """
    from llm_bridge.tasks import prompts_from_names
    from simulator.difficulty import parse_range

    low, high = parse_range(p0)
    if not 0 < low < high < 1:
        raise expected("p0", p0, "LOW:HIGH with 0 < LOW < HIGH < 1", "e.g. 0.03:0.9")
    if n < 1:
        raise expected("n", n, "at least 1", "choose how many prompts to take")
    names = tuple(prompts.split())
    if names:
        prompts_from_names(names)
    require_llm(model)
    from llm_bridge.experiment import BridgeSettings

    return BridgeSettings(model=model, prompts=names, n=n, low=low, high=high, **rest)


def check_run(rule: str, eta: float | None, eta_scale: float, steps: int, seed: int) -> None:
    """Find out what is wrong with a run's options before a model is loaded.

    Raises:
        InputError: one of them is not usable.
    """
    from simulator.problems import check_step
    from simulator.random import generator
    from simulator.step_sizes import resolve_step
    from theory.rules import get_rule

    if not 0 < eta_scale < float("inf"):
        raise expected("eta-scale", eta_scale, "a finite number above 0", "1 is the theorem's step size")
    check_step(resolve_step("theorem", get_rule(rule), 1.0) if eta is None else eta, steps)
    generator(seed)
