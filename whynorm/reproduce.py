"""The main job: verdicts, simulated runs, language-model runs, and everything the report needs, in one directory.

DIR/verdicts.json            every claim with its evidence
DIR/errata.md                refuted claims of the sources, and what holds instead
DIR/runs/NAME/               record.npz and summary.json of each run
DIR/geometry.json            the language model's measured constants
DIR/compare/                 the theory against the model, as `whynorm bridge compare` leaves it
DIR/plateau.json             how long hard prompts take, by rule
DIR/settings.json            what was run
"""

from __future__ import annotations

import itertools
import multiprocessing
import platform
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.environment import package_versions
from simulator.families import make_problem, success_targets
from simulator.files import write_json, write_text
from simulator.plateau_study import plateau_study
from simulator.reference import simulate
from theory.claims import load_registry
from theory.rules import GRPO, REINFORCE
from theory.verdicts import Verdict
from whynorm.errata import errata_markdown
from whynorm.outputs import output_directory, usable_cores
from whynorm.settings import Settings
from whynorm.verify import QUICK, verify

if TYPE_CHECKING:
    from llm_bridge.experiment import BridgeSettings

__all__ = ["RULE_NAMES", "orthogonal_problem", "reproduce"]

RULE_NAMES = (REINFORCE.name, GRPO.name)
# Enough to see where the linear picture breaks, at small scale.
_COMPARED_STEPS, _STEP_RULE_STEPS = 30, 10


def orthogonal_problem(settings: Settings) -> Any:
    """The simulator's problem: orthogonal prompts with the same range of difficulty as the language model's."""
    targets = success_targets(settings.n, settings.low, settings.high)
    return make_problem("orthogonal", settings.n, settings.outputs, p0=targets, seed=settings.seed)


def reproduce(
    out: Path,
    settings: Settings,
    *,
    say: Callable[[str], Any] = lambda message: None,
    progress: Callable[[str, int], Any],
) -> list[Verdict]:
    """Fill ``out`` with verdicts and runs; each file is written atomically as soon as it is known.

    ``settings.json`` comes last and an earlier one is removed first, so it never stands beside results of other
    settings: an interrupted job leaves a directory that ``whynorm report`` refuses.

    Args:
        out: output directory, created if need be.
        settings: what to run.
        say: receives one line of news per part.
        progress: context manager factory ``(label, total) -> callback(done)``.

    Returns:
        The verdicts.

    Raises:
        InputError: unusable settings or output directory.
    """
    problem = orthogonal_problem(settings)
    with output_directory(out):
        (out / "settings.json").unlink(missing_ok=True)
        verdicts = _verdicts(out, settings, progress)
        say("simulated runs")
        for rule in (REINFORCE, GRPO):
            assert rule.step_size is not None
            eta = float(rule.step_size(problem.x_max_sq))
            record = simulate(problem, rule, eta, settings.simulator_steps, seed=settings.seed, record="full")
            record.save(out / "runs" / f"orthogonal-{rule.name}")
        say("plateau study")
        write_json(out / "plateau.json", plateau_study().to_json())
        _bridge(out, settings, progress)
        write_json(out / "settings.json", {**asdict(settings), "machine": machine()})
    return verdicts


def _verdicts(out: Path, settings: Settings, progress: Callable[[str, int], Any]) -> list[Verdict]:
    claims = list(load_registry())
    count = itertools.count(1)
    with progress("verifying claims", len(claims)) as tick:
        verdicts = verify(claims, QUICK, settings.seed, progress=lambda verdict: tick(next(count)))
    rows = [verdict.to_json() for verdict in verdicts]
    write_json(out / "verdicts.json", {"claims": rows})
    write_text(out / "errata.md", errata_markdown(rows))
    return verdicts


def _bridge(out: Path, settings: Settings, progress: Callable[[str, int], Any]) -> None:
    from llm_bridge.experiment import BridgeSettings

    base = BridgeSettings(
        model=settings.model,
        n=settings.n,
        low=settings.low,
        high=settings.high,
        steps=settings.steps,
        seed=settings.seed,
    )
    jobs = {
        f"{rule}-{name}": replace(base, rule=rule, eta_scale=scale)
        for name, scale in (("theorem", 1.0), ("big", settings.big_step))
        for rule in RULE_NAMES
    }
    context = multiprocessing.get_context("spawn")
    workers = min(usable_cores(), len(jobs))
    with (
        progress("language-model runs", len(jobs) + 1) as tick,
        ProcessPoolExecutor(workers, mp_context=context) as pool,
    ):
        futures = {pool.submit(_bridge_job, out, name, job): name for name, job in jobs.items()}
        futures[pool.submit(_compare_job, out, jobs["grpo-big"])] = "compare"
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            tick(done)


def _bridge_job(out: Path, name: str, settings: BridgeSettings) -> None:
    from llm_bridge.experiment import run_bridge

    result = run_bridge(settings)
    result.model.save(out / "runs" / f"model-{name}")
    result.surrogate.save(out / "runs" / f"linearised-{name}")
    # All jobs start from the same model, so whichever is last writes the same bytes.
    write_json(out / "geometry.json", {"prompts": list(result.prompts), **result.geometry.to_json()})


def _compare_job(out: Path, settings: BridgeSettings) -> None:
    from llm_bridge.comparing.headline import CompareOptions
    from simulator.files import prepare_directory
    from whynorm.comparison import compare_content

    folder = prepare_directory(out / "compare")
    options = CompareOptions(checkpoints=1, whole=False, step_rule_steps=_STEP_RULE_STEPS, resamples=199)
    compare_content(replace(settings, steps=min(settings.steps, _COMPARED_STEPS)), options, out=folder)


def machine() -> dict[str, str]:
    """Python, platform and library versions that a result depends on."""
    names = ("whynorm", "numpy", "scipy", "sympy", "python-flint", "hypothesis", "torch", "transformers", "peft")
    return {"system": platform.system(), "processor": platform.machine(), **package_versions(names)}
