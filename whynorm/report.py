"""The report: one self-contained HTML page and one JSON file, from what a directory holds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from jinja2 import TemplateError
from markupsafe import Markup

from simulator.expectations import expectation
from simulator.files import write_json, write_text
from simulator.plateau_study import Study
from simulator.problems import Problem
from simulator.records import Record
from theory.errors import expected
from theory.instances import Instance
from theory.rules import get_rule
from theory.verdicts import Name
from whynorm import __version__
from whynorm.comparison import read_comparison
from whynorm.constants import breaking_time, constants_table, prediction_error
from whynorm.figures import bound_figure, curves_figure, error_figure, gain_figure, mean_figure, to_svg
from whynorm.figures_bridge import gap_figure, horizon_figure, multiples_figure
from whynorm.figures_compare import compare_figure
from whynorm.figures_plateau import escape_figure, tail_figure
from whynorm.page import render
from whynorm.reproduce import RULE_NAMES, orthogonal_problem
from whynorm.settings import Settings, parse_settings

__all__ = ["write_report"]

_REMEDY = "fill the directory with `whynorm reproduce --out DIR`"
_CLAIM_KEYS = {
    "id", "source", "place", "title", "statement", "scope", "verdict", "tightness", "slack", "links", "assumptions",
    "evidence", "counterexample", "fixed_by", "remark",
}  # fmt: skip

_VERDICTS = list(get_args(Name))


def write_report(directory: Path) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html`` into a directory that ``whynorm reproduce`` filled; returns both paths.

    Raises:
        InputError: the directory does not hold such results, or cannot be written.
    """
    settings = _read(directory / "settings.json", {"machine": dict})
    claims = _claims(directory / "verdicts.json")
    geometry = _read(directory / "geometry.json", {"prompts": list, "parameters": int, "x_max_sq": float})
    runs = _runs(directory)
    chosen = {key: value for key, value in settings.items() if key != "machine"}
    parsed = parse_settings(chosen, f"in {directory / 'settings.json'}")
    problem = orthogonal_problem(parsed)
    rows = constants_table(runs, geometry, problem)
    comparison = read_comparison(directory / "compare" / "comparison.json")
    content = {
        "format": 1,
        "whynorm": __version__,
        "settings": settings,
        "claims": claims,
        "runs": {name: record.summary() for name, record in runs.items()},
        "geometry": geometry,
        "constants": [row.to_json() for row in rows],
        "headline": _headline(claims, runs, parsed),
        "comparison": comparison,
    }
    figures = _study_figures(directory / "plateau.json") | _comparison_figures(comparison)
    try:
        page = render(content, _figures(runs, problem, claims, parsed) | figures)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, TemplateError) as error:
        # Certificates, counterexamples and evidence are as free as JSON; those of another version look different.
        told = f"evidence as this version writes it ({' '.join(str(error).split())[:120]})"
        raise expected("results", str(directory / "verdicts.json"), told, _REMEDY) from error
    write_json(directory / "report.json", content)
    write_text(directory / "report.html", page)
    return directory / "report.json", directory / "report.html"


def _claims(path: Path) -> list[dict[str, Any]]:
    claims: list[dict[str, Any]] = _read(path, {"claims": list})["claims"]
    if not all(
        isinstance(claim, dict) and set(claim) >= _CLAIM_KEYS and claim["verdict"] in _VERDICTS for claim in claims
    ):
        raise expected("results", str(path), "claims as `whynorm verify --json` writes them", _REMEDY)
    return claims


def _read(path: Path, needed: Mapping[str, type]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise expected("results", str(path), f"a readable JSON file ({reason})", _REMEDY) from None
    if not isinstance(content, dict):
        raise expected("results", str(path), "a JSON object", _REMEDY)
    for key, kind in needed.items():
        if not isinstance(content.get(key), kind):
            raise expected("results", str(path), f"a JSON object with the {kind.__name__} {key}", _REMEDY)
    return content


def _runs(directory: Path) -> dict[str, Record]:
    names = [f"orthogonal-{rule}" for rule in RULE_NAMES]
    names += [
        f"{kind}-{rule}-{step}"
        for kind in ("model", "linearised")
        for rule in RULE_NAMES
        for step in ("theorem", "big")
    ]
    return {name: Record.load(directory / "runs" / name) for name in names}


def _headline(claims: list[dict[str, Any]], runs: Mapping[str, Record], settings: Settings) -> dict[str, Any]:
    """The numbers that the page opens with."""
    pairs = {
        step: [(runs[f"model-{r}-{step}"], runs[f"linearised-{r}-{step}"]) for r in RULE_NAMES]
        for step in ("theorem", "big")
    }
    breaks = [breaking_time(*pair) for pair in pairs["big"]]
    return {
        "verdicts": dict(Counter(claim["verdict"] for claim in claims)),
        "refuted": [claim["id"] for claim in claims if claim["verdict"] == "refuted"],
        "error_theorem": max(prediction_error(*pair) for pair in pairs["theorem"]),
        "error_big": max(prediction_error(*pair) for pair in pairs["big"]),
        "big_step": settings.big_step,
        "breaks_at": min((t for t in breaks if t is not None), default=None),
        "gain_theorem": {r: _mean_gain(runs[f"model-{r}-theorem"]) for r in RULE_NAMES},
        "gain_big": {r: _mean_gain(runs[f"model-{r}-big"]) for r in RULE_NAMES},
        "start": float(runs["model-grpo-big"].J[0].mean()),
        "steps": len(runs["model-grpo-big"].order),
    }


def _mean_gain(record: Record) -> float:
    return float(record.J[-1].mean() - record.J[0].mean())


def _figures(
    runs: Mapping[str, Record], problem: Problem, claims: list[dict[str, Any]], settings: Settings
) -> dict[str, Markup]:
    """Every figure of the page as inline SVG, by name."""
    model, linear = ({r: runs[f"{kind}-{r}-big"] for r in RULE_NAMES} for kind in ("model", "linearised"))
    orthogonal = [runs[f"orthogonal-{r}"] for r in RULE_NAMES]
    times = f"{settings.big_step:g}x step"
    figures = {
        "simulator": mean_figure(orthogonal, "simulator, orthogonal prompts, theorem's step"),
        "linearised": mean_figure(list(linear.values()), f"simulator, model's Gram matrix, {times}"),
        "model": mean_figure(list(model.values()), f"language model, {times}"),
        "error": error_figure(_error_pairs(runs, settings), "how far the prediction is off"),
        "gain": gain_figure([runs[f"{k}-{r}-theorem"] for k in ("linearised", "model") for r in RULE_NAMES]),
    }
    for rule in RULE_NAMES:
        title = f"{rule}, {times}: each prompt of the model"
        figures[f"prompts_{rule}"] = curves_figure(model[rule], predicted=linear[rule], title=title)
        eta = runs[f"orthogonal-{rule}"].eta
        exact = expectation(problem, get_rule(rule), eta, len(runs[f"orthogonal-{rule}"].order))
        figures[f"bound_{rule}"] = bound_figure(exact, rule)
    example = _sum_counterexample(claims)
    if example is not None:
        figures["counterexample"] = example
    return {name: Markup(to_svg(figure, f"{name} figure")) for name, figure in figures.items()}


def _study_figures(path: Path) -> dict[str, Markup]:
    """Figures that follow from the claims alone; none if the study is not there."""
    if not path.is_file():
        return {}
    content = _read(path, {"escapes": list, "tails": list, "fits": list})
    try:
        study = Study.from_json(content)
        found = {"escape": escape_figure(study), "tail": tail_figure(study), "compare": compare_figure()}
    except (KeyError, TypeError, ValueError):
        raise expected("results", str(path), "a study as `whynorm study plateau` writes it", _REMEDY) from None
    return {name: Markup(to_svg(figure, f"{name} figure")) for name, figure in found.items()}


def _comparison_figures(comparison: dict[str, Any] | None) -> dict[str, Markup]:
    """Figures of the theory against the model; none without the comparison."""
    if comparison is None:
        return {}
    found = {
        "predicted": multiples_figure(comparison["comparison"]),
        "horizon": horizon_figure(comparison["comparison"]),
    }
    if comparison["gaps"]:
        found["gap"] = gap_figure(comparison["gaps"][0])
    return {name: Markup(to_svg(figure, f"{name} figure")) for name, figure in found.items()}


def _error_pairs(runs: Mapping[str, Record], settings: Settings) -> list[tuple[Record, Record, str, str]]:
    pairs = []
    for step, label, style in (("theorem", "theorem's step", ":"), ("big", f"{settings.big_step:g}x", "-")):
        for rule in RULE_NAMES:
            pairs.append((runs[f"model-{rule}-{step}"], runs[f"linearised-{rule}-{step}"], f"{rule}, {label}", style))
    return pairs


def _sum_counterexample(claims: list[dict[str, Any]]) -> Any:
    """The run on which the printed cumulative bound of GRPO fails, continued to four times its length."""
    found = next((c["counterexample"] for c in claims if c["id"] == "P-T32-SUM" and c["counterexample"]), None)
    if found is None:
        return None
    instance = Instance.from_json(found["instance"])
    problem = Problem(instance.features, instance.answers, instance.theta, name="counterexample")
    rule = get_rule("grpo")
    assert rule.step_size is not None
    run = expectation(problem, rule, float(rule.step_size(problem.x_max_sq)), 4 * instance.steps)
    return bound_figure(run, "grpo", f"P-T32-SUM fails from T = {instance.steps} on")
