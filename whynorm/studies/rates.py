"""Measured rates against every bound of Theorems 3.1 to 3.4.

The theorems bound means over random prompt orders: ``sum_{t<T} E ||grad J_i||^2`` (SUM) and ``min_{t<T}`` of the same
(MIN). Both sides come from the claims' own ``left`` and ``right``, at the mean over many runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
from matplotlib.figure import Figure
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from simulator.difficulty import success_targets
from simulator.engines.ensemble import Ensemble
from simulator.expectations import expectation
from simulator.families import make_problem
from simulator.interacting import node_states
from simulator.problems import Problem
from simulator.records import snapshot_times
from simulator.sampling import student_margin
from theory.claim import Claim
from theory.cosines import orthogonality_defect
from theory.errors import expected
from theory.exact import spectral_norm_sq
from theory.interaction import NAMES, Constants, States, consistent_constants
from theory.rules import GRPO, REINFORCE, Rule
from whynorm.figures import DASHED, INK, RULE_COLOURS, legend_below, panel
from whynorm.studies.passage import CONFIDENCE, Floats, finite, study_runs
from whynorm.studies.study import STRICT, Probability, Runs, Strength

__all__ = ["Spec", "figures", "paragraph", "ratios", "run", "size"]

# Theorem, family, rule.
_THEOREMS: tuple[tuple[str, str, Rule], ...] = (
    ("3.1", "orthogonal", REINFORCE),
    ("3.2", "orthogonal", GRPO),
    ("3.3", "shared-skill", REINFORCE),
    ("3.4", "shared-skill", GRPO),
)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Spec(Runs):
    """What the study runs.

    Attributes:
        low, high: range of the success probabilities at the start.
        strength: of the skill that the prompts of Theorems 3.3 and 3.4 share.
    """

    low: Probability
    high: Probability
    strength: Strength
    n: Annotated[int, Field(ge=2)]
    steps: Annotated[int, Field(ge=2)]

    @model_validator(mode="after")
    def _ordered(self) -> Spec:
        if self.low > self.high:
            raise expected("low", self.low, f"at most high = {self.high:g}", "swap them")
        return self


def size(spec: Spec) -> int:
    """Theorems."""
    return len(_THEOREMS)


def _claims(theorem: str) -> list[Claim]:
    """The claims on sums and rates of a theorem, as printed and as repaired."""
    from theory.claims import load_registry

    wanted = re.compile(rf"^P-T{theorem.replace('.', '')}-(SUM|MIN)(-FIXED)?$")
    return [claim for claim in load_registry() if wanted.match(claim.id)]


def _constants(spec: Spec, problem: Problem, rule: Rule, step: Callable[[Any], Any]) -> Constants:
    """Constants of Assumptions 4 and 5 that the runs they lead to meet, at about 20 states a decade of every run."""

    def visited(constants: Constants) -> States:
        runs = study_runs(spec, problem, rule, float(step(constants)), record="log", keep_theta=True)
        return node_states(problem.features, problem.answers, runs.theta.reshape(-1, problem.d))

    sizes = np.array([float(spectral_norm_sq(x)) for x in problem.features])
    names = ("M",) if rule is REINFORCE else NAMES
    found = consistent_constants(visited, sizes, problem.x_max_sq, names)
    if found is None:
        raise expected("strength", spec.strength, "runs on which Assumptions 4 and 5 hold", "try a weaker skill")
    return found


def _largest(runs: Ensemble) -> Floats:
    return np.asarray(np.sqrt(runs.J * runs.q).max(axis=0))


def _measured(runs: Ensemble, problem: Problem, rule: Rule, constants: Constants | None) -> Any:
    """What the claims look at, as means over the runs; C of Assumption 3 is the least that holds on every order."""
    eta = float(runs.eta[0])
    # An undrawn prompt keeps its deviation, so C never falls. Where prompts interact, only those met are known.
    deviation = _largest(runs) if constants else expectation(problem, rule, eta, runs.J.shape[1] - 1).std_sup
    return SimpleNamespace(
        n=problem.n,
        q=runs.q.mean(axis=0),
        J=runs.J.mean(axis=0),
        grad_sq=runs.grad_sq.mean(axis=0),
        std_bound=deviation,
        std_sup=deviation,
        x_max_sq=problem.x_max_sq,
        eta=eta,
        constants=constants,
    )


def ratios(claim: Claim, measured: Any, grad_sq: Floats) -> dict[str, Floats]:
    """Bound over measured for every T, ``(T,)``, at the prompt where it is least.

    Args:
        claim: a SUM or a MIN.
        measured: means over the runs.
        grad_sq: of each run, ``(R, T + 1, n)``.

    Returns:
        ``ratio``; ``low`` and ``high``: the same at the ends of Student's intervals of the left side, which cover all
        prompts together with 95% confidence at each T (of a MIN: at each t that the minimum is taken over).
    """
    left, right = (np.asarray(side(measured), dtype=np.float64) for side in (claim.left, claim.right))
    samples, ends = grad_sq[:, :-1], 2 * grad_sq.shape[2]
    if "-SUM" in claim.id:
        margin = student_margin(np.cumsum(samples, axis=1), CONFIDENCE, ends)
        most, least = left + margin, left - margin
    else:
        margin = student_margin(samples, CONFIDENCE, ends)
        mean = samples.mean(axis=0)
        most, least = (np.minimum.accumulate(mean + sign * margin, axis=0) for sign in (1, -1))
    with np.errstate(divide="ignore"):
        closest = {"ratio": left, "low": most, "high": np.maximum(least, 0.0)}
        return {name: (right / side).min(axis=1) for name, side in closest.items()}


def _theorem(spec: Spec, theorem: str, family: str, rule: Rule) -> dict[str, Any]:
    strength = spec.strength if family == "shared-skill" else None
    p0 = success_targets(spec.n, spec.low, spec.high)
    problem = make_problem(family, spec.n, spec.outputs, p0=p0, seed=spec.problem_seed, strength=strength)
    claims = _claims(theorem)
    step = claims[0].step_size
    assert step is not None
    constants = None if strength is None else _constants(spec, problem, rule, step)
    eta = float(step(problem.x_max_sq if constants is None else constants))
    runs = study_runs(spec, problem, rule, eta)
    measured = _measured(runs, problem, rule, constants)
    at = snapshot_times(spec.steps, "log")[1:]
    bounds = []
    for claim in claims:
        curves = {name: values[at - 1] for name, values in ratios(claim, measured, runs.grad_sq).items()}
        told = {name: [finite(value) for value in values] for name, values in curves.items()}
        bounds.append({"claim": claim.id, "title": claim.title, "refuted": claim.fixed_by is not None, **told})
    return {
        "theorem": theorem,
        "family": family,
        "rule": rule.name,
        "eta": eta,
        "orthogonality_defect": float(orthogonality_defect(problem.features)),
        "constants": None if constants is None else {name: getattr(constants, name) for name in NAMES},
        "J_end": float(runs.J[:, -1].mean()),
        "T": at.tolist(),
        "mean_grad_sq": [float(v) for v in (measured.grad_sq[:-1].cumsum(axis=0).mean(axis=1))[at - 1] / at],
        "bounds": bounds,
    }


def run(spec: Spec, progress: Callable[[int], None]) -> dict[str, Any]:
    """The four theorems."""
    found = []
    for theorem, family, rule in _THEOREMS:
        found.append(_theorem(spec, theorem, family, rule))
        progress(len(found))
    return {"theorems": found}


def _range(bound: Mapping[str, Any]) -> str:
    known = [value for value in bound["ratio"] if value is not None]
    return f"{bound['claim']} {known[0]:.3g} at T = 1, {known[-1]:.3g} at the end, at least {min(known):.3g}"


def paragraph(data: Mapping[str, Any]) -> str:
    """What the curves show, from their numbers."""
    spec, parts = data["spec"], []
    for found in data["theorems"]:
        constants = found["constants"]
        met = "" if constants is None else ", " + ", ".join(f"{name} = {v:.3g}" for name, v in constants.items())
        told = "; ".join(_range(bound) for bound in found["bounds"])
        parts.append(
            f"Theorem {found['theorem']} ({found['rule']} on {found['family']} prompts, step size {found['eta']:.3g}"
            f"{met}; mean J {found['J_end']:.2f} at the end): {told}."
        )
    held = [b for f in data["theorems"] for b in f["bounds"] if not b["refuted"]]
    below = [b["claim"] for b in held if any(v is not None and v < 1 for v in b["high"])]
    above = [b for b in held if all(v is None or v > 1 for v in b["low"])]
    text = (
        f"Bound over measured value, at the prompt where it is least, for T up to {spec['steps']}; means over "
        f"{spec['replicas']} prompt orders. {' '.join(parts)} Of the {len(held)} bounds that hold, {len(above)} lie "
        f"above the 95% interval of the measured value at every T, and "
    )
    text += f"{', '.join(below)} below it somewhere." if below else "none lies below it anywhere."
    refuted = [b for f in data["theorems"] for b in f["bounds"] if b["refuted"]]
    broken = [b["claim"] for b in refuted if min(filter(None, b["ratio"]), default=1.0) < 1]
    shown = f"exceeded by these runs: {', '.join(broken)}" if broken else "not exceeded by these runs"
    return (
        f"{text} The refuted forms, as printed, are {shown}. C of Assumption 3 is the largest standard deviation over "
        "all orders where prompts are orthogonal, and over the runs elsewhere (the bounds are then larger than shown); "
        "M, R1, R2 hold at the recorded states, about 20 a decade of each run."
    )


def _figure(found: list[Mapping[str, Any]], title: str) -> Figure:
    looks = {"SUM": "-", "MIN": (0, (1.2, 1.2)), "SUM-FIXED": DASHED}
    with panel(title, width=5.6, height=4.4) as (figure, axes):
        for theorem in found:
            for bound in theorem["bounds"]:
                kind = bound["claim"].split("-", 2)[2]
                colour, dash = RULE_COLOURS[theorem["rule"]], looks[kind]
                ratio, low, high = (
                    np.array([np.nan if v is None else v for v in bound[name]]) for name in ("ratio", "low", "high")
                )
                words = {"SUM": "sum", "MIN": "rate (min)", "SUM-FIXED": "sum, repaired"}[kind]
                label = f"{theorem['theorem']} {theorem['rule']}: {words}{', refuted' if bound['refuted'] else ''}"
                # Wide and pale, so that a curve that coincides with another stays visible.
                look: Any = {"linewidth": 4.5, "alpha": 0.4} if bound["refuted"] else {}
                axes.plot(theorem["T"], ratio, color=colour, linestyle=dash, label=label, **look)
                axes.fill_between(theorem["T"], low, high, color=colour, alpha=0.15, linewidth=0)
        axes.axhline(1.0, color=INK, linewidth=0.8)
        axes.set(xscale="log", yscale="log", xlabel="steps T", ylabel="bound / measured (1 = tight)")
        legend_below(figure, axes)
    return figure


def figures(data: Mapping[str, Any]) -> dict[str, Figure]:
    """Bound over measured against T, orthogonal prompts and prompts that share a skill."""
    found = data["theorems"]
    strength = data["spec"]["strength"]
    return {
        "rates_orthogonal": _figure(found[:2], "Theorems 3.1 and 3.2: orthogonal prompts"),
        "rates_interacting": _figure(found[2:], f"Theorems 3.3 and 3.4: a shared skill of strength {strength:g}"),
    }
