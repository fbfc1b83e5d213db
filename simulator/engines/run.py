"""One way to many runs, whatever the engine: ``simulate_many``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.engines.chunks import CHUNKS, in_chunks
from simulator.engines.ensemble import Ensemble, ensemble_of
from simulator.engines.plan import Plan, make_plan
from simulator.problems import Problem
from simulator.reference import simulate
from simulator.sampled import SampledRule
from theory.errors import expected
from theory.rules import Rule

__all__ = ["ENGINES", "simulate_many"]


def _lanes(plan: Plan, **options: Any) -> Ensemble:
    from simulator.engines.lanes import lanes

    return lanes(plan, **options)


def _torch(plan: Plan, **options: Any) -> Ensemble:
    try:
        from simulator.engines.torch_engine import torch_runs
    except ModuleNotFoundError as error:
        raise expected("engine", "torch", "an installed torch", f"pip install 'whynorm[llm]' ({error})") from None
    return torch_runs(plan, **options)


def _reference(plan: Plan) -> Ensemble:
    """One run after the other, by ``simulator.reference.simulate``, every step recorded for the sums."""
    runs = []
    for row, replica in enumerate(plan.replicas):
        problem = Problem(
            plan.problem.features, plan.problem.answers, plan.theta0[row], plan.problem.order, plan.problem.name
        )
        full = simulate(
            problem,
            plan.rule,
            float(plan.eta[row]),
            int(plan.times[-1]),
            schedule="uniform" if problem.order is not None else plan.schedule,
            seed=plan.seed,
            replica=replica,
            record="full",
        )
        sums = [np.add.reduceat(values, np.r_[0, plan.times[:-1] + 1]) for values in (full.J, full.grad_sq)]
        kept = [values[plan.times] for values in (full.J, full.q, full.grad_sq)]
        runs.append((*kept, *sums, full.theta[plan.times if plan.keep_theta else []]))
    names = ("J", "q", "grad_sq", "sum_J", "sum_grad_sq", "theta")
    return ensemble_of(plan, "reference", **dict(zip(names, map(np.stack, zip(*runs, strict=True)), strict=True)))


# The fastest on a CPU first; every one of them gives the same answers.
ENGINES: dict[str, Callable[..., Ensemble]] = {"lanes": _lanes, "torch": _torch, "reference": _reference}


def simulate_many(
    problem: Problem,
    rule: Rule | SampledRule,
    eta: npt.ArrayLike,
    steps: int,
    *,
    engine: str = "lanes",
    engine_options: dict[str, Any] | None = None,
    progress: Callable[[int], None] = lambda done: None,
    **options: Any,
) -> Ensemble:
    """Many independent runs of ``theta <- theta + (eta / B) sum_b u_b(theta)``, see ``simulator.reference.simulate``.

    Engines agree to 1e-12 relative over 60 steps (rounding adds up over more: from p0 = 1e-12 to 6e-10 after 100 000),
    unless a random number lies within rounding of the boundary between two
    sampled outputs, about one in 1e15. The fast ones clamp log-odds of an output against the right one to 690 in
    size: below ``q = 1e-299`` (or ``p``) they report ``exp(-690)`` where the reference goes on to 0. Replicas run in
    chunks of a second or so (or of as many as share what a step reads); an interrupt is heard between two of them, by
    lanes within a step.

    Args:
        problem: the bandit.
        rule: exact or sampled.
        eta: step size, a number or one for each replica.
        steps: T.
        engine: ``lanes`` (SIMD on the CPU), ``torch`` (GPU, or CPU), or ``reference`` (readable and slow).
        engine_options: ``threads`` of lanes, all cores if left out; ``device`` and ``compiled`` of torch.
        progress: called with the number of replicas done, now and then.
        options: see :func:`simulator.engines.plan.make_plan`.

    Raises:
        InputError: no such engine or device, threads below 1, or what ``make_plan`` refuses.
    """
    if engine not in ENGINES:
        raise expected("engine", engine, f"one of {', '.join(ENGINES)}", "lanes is the fastest on a CPU")
    chosen = engine_options or {}
    threads = chosen.get("threads")
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise expected("threads", threads, "an integer above 0", "leave it out for all cores")
    plan = make_plan(problem, rule, eta, steps, **options)
    size = CHUNKS[engine](plan, chosen, os.cpu_count() or 1)
    return in_chunks(ENGINES[engine], plan, size, chosen, progress)
