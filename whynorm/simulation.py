"""What ``whynorm simulate`` shows: the run's table and plots, and the list of all that it can be asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

__all__ = ["choices", "choices_text", "exact_expectation", "run_table", "save_plots"]

# Prompts that the table names one by one.
_SHOWN = 12


def exact_expectation(problem: Any, rule: Any, eta: float, steps: int, schedule: str) -> Any:
    """The exact mean over prompt orders, or None where there is none or it would take too long."""
    from simulator.constants import ORTHOGONAL_UP_TO
    from simulator.expectations import expectation
    from simulator.run_bounds import MOST_STEPS
    from theory.cosines import orthogonality_defect
    from theory.rules import Rule

    exact = isinstance(rule, Rule) and schedule == "uniform"
    # The exact expectation costs T^2; beyond this it would take longer than the run itself.
    exact = exact and steps <= MOST_STEPS and orthogonality_defect(problem.features) < ORTHOGONAL_UP_TO
    return expectation(problem, rule, eta, steps) if exact else None


def save_plots(problem: Any, rule: Any, result: Any, out: Path) -> None:
    """Learning curves, and where theorems speak, bounds and one-step gains, as PNG files in ``out``."""
    from theory.rules import Rule
    from whynorm.figures import bound_figure, curves_figure, gain_figure, save_png

    fixed = "step_eta" not in result.extra
    expected_run = exact_expectation(problem, rule, result.eta, len(result.order), result.schedule) if fixed else None
    save_png(curves_figure(result, expected=expected_run), out / "curves.png")
    # The theorem bounds runs at its own step size, and says nothing of others.
    covered = isinstance(rule, Rule) and rule.step_size is not None and problem.x_max_sq > 0
    if expected_run is not None and covered and result.eta == rule.step_size(problem.x_max_sq):
        save_png(bound_figure(expected_run, rule.name), out / "bound.png")
    if result.step_bound is not None:
        save_png(gain_figure([result]), out / "gain.png")


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def _constants_rows(constants: dict[str, Any]) -> list[tuple[str, str]]:
    holds = {None: "not measured", True: "holds", False: "fails"}
    estimate = "" if constants["C(T)_from"] == "all states" else " (from the drawn prompts)"
    rows = [
        ("C(T)", f"{constants['C(T)']:.4g}{estimate}"),
        ("orthogonality defect", f"{constants['orthogonality_defect']:.4g}"),
    ]
    if constants["states"]:
        measured = ", ".join(f"{name} {_number(constants[name])}" for name in ("M", "R1", "R2"))
        rows.append(("least constants", f"{measured} (on {constants['states']} states)"))
    rows.append(("assumptions", ", ".join(f"{key[1:]} {holds[value]}" for key, value in constants["holds"].items())))
    for row in constants["bounds"]:
        rows.append((row["claim"], f"sides' ratio up to {_number(row['largest_ratio'])} ({row['of']})"))
    if constants["bounds_missing"]:
        rows.append(("bounds", f"none: {constants['bounds_missing']}"))
    return rows


def run_table(summary: dict[str, Any]) -> Table:
    """The summary of a run, with its constants, as a table of two columns."""
    table = Table(title=Text(f"{summary['rule']} on {summary['problem']}"), title_justify="left", show_header=False)
    shown = ", ".join(f"{value:.3f}" for value in summary["J_end"][:_SHOWN])
    more = f", and {summary['prompts'] - _SHOWN} more" if summary["prompts"] > _SHOWN else ""
    drawn = "drawn" if "prompts_per_step" not in summary else "drawn prompts' mean"
    rows = [
        ("steps", f"{summary['steps']}"),
        ("schedule", summary["schedule"]),
        ("step size eta" if "step_eta" not in summary else "step size eta, median", f"{summary['eta']:.6g}"),
        ("X_max^2", f"{summary['x_max_sq']:.6g}"),
        ("mean J, start to end", f"{summary['mean_J_start']:.4f} to {summary['mean_J_end']:.4f}"),
        ("J per prompt, end", shown + more),
        (f"steps that lowered the {drawn} J", f"{summary['descending_steps']}"),
    ]
    if summary.get("gain_over_bound_min") is not None:
        low, median = summary["gain_over_bound_min"], summary["gain_over_bound_median"]
        rows.append(("one-step gain / guarantee", f"least {low:.3g}, median {median:.3g}"))
    for name, value in [*rows, *_constants_rows(summary["constants"])]:
        table.add_row(name, Text(value))
    return table


def choices() -> dict[str, Any]:
    """Families with their assumptions and constants, rules, schedules, difficulties and step sizes; plain data."""
    from simulator.difficulty import FORMS as DIFFICULTIES
    from simulator.directional import STATE_FORMS
    from simulator.families import FAMILIES
    from simulator.sampled import DAPO_ATTEMPTS
    from simulator.schedules import FORMS as SCHEDULES
    from simulator.step_sizes import FORMS
    from theory.advantages import PRESETS
    from theory.rules import RULES

    families = {
        family.name: {
            "summary": family.summary,
            "strength": family.default_strength,
            "assumptions": dict(family.assumptions),
            "notes": dict(family.notes),
            "constants": {name: form.formula for name, form in family.constants.items()},
        }
        for family in FAMILIES.values()
    }
    dapo = f"sampled as verl:G; groups without variance are drawn again, at most {DAPO_ATTEMPTS} groups in all"
    rules = {
        **{name: f"exact, {rule.source}" for name, rule in RULES.items()},
        "power:ALPHA": "exact, step eta V^(-ALPHA) grad J with ALPHA from 0 to 1",
        **{f"{name}:G": f"G sampled outputs, {convention.source}" for name, convention in PRESETS.items()},
        "dapo:G": dapo,
        "custom:G,KEY=VALUE,...": "sampled, spelled out: baseline, scale, ddof, eps, zero_variance, resample",
    }
    named = {"rules": rules, "schedules": SCHEDULES, "p0": DIFFICULTIES, "eta": FORMS | STATE_FORMS}
    return {"families": families, **{name: dict(forms) for name, forms in named.items()}}


def choices_text(data: dict[str, Any]) -> str:
    """The same as text."""
    lines = ["--family: A1 to A5 are the assumptions of the paper, rho is --strength"]
    for name, family in data["families"].items():
        strength = "" if family["strength"] is None else f" (rho {family['strength']:g} if not given)"
        lines.append(f"  {name}: {family['summary']}{strength}")
        for key, verdict in family["assumptions"].items():
            note = family["notes"].get(key)
            lines.append(f"      {key} {verdict}{f': {note}' if note else ''}")
        lines += [f"      {key} = {formula}" for key, formula in family["constants"].items()]
    lines.append("  Your own: --problem FILE.npz with features, answers, theta0, or with gram, logits, answers")
    for option, forms in (("rule", "rules"), ("schedule", "schedules"), ("p0", "p0"), ("eta", "eta")):
        lines.append(f"--{option}")
        lines += [f"  {form}: {meaning}" for form, meaning in data[forms].items()]
    return "\n".join(lines)
