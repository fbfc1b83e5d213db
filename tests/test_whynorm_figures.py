"""Figures: that they draw the right numbers, and that they render as PNG and as SVG for a page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from simulator.expectations import ExpectedRun, expectation
from simulator.families import make_problem, success_targets
from simulator.problems import Problem
from simulator.records import Record
from simulator.reference import simulate
from theory.errors import InputError
from theory.rules import GRPO, REINFORCE, Rule, power
from whynorm.figures import (
    bound_figure,
    curves_figure,
    error_figure,
    gain_figure,
    mean_figure,
    save_png,
    to_svg,
)

STEPS = 30
PROBLEM = make_problem("orthogonal", 3, 4, p0=success_targets(3, 0.1, 0.7), seed=3)
ETA = 0.4 / PROBLEM.x_max_sq


def _record(rule: Rule = GRPO, *, eta: float = ETA, problem: Problem = PROBLEM, steps: int = STEPS) -> Record:
    return simulate(problem, rule, eta, steps, seed=1, record="full")


def _model(rule: Rule = GRPO) -> Record:
    return replace(_record(rule), origin="language model", problem="tiny")


def _expected(rule: Rule = GRPO, steps: int = STEPS) -> ExpectedRun:
    return expectation(PROBLEM, rule, ETA, steps)


FIGURES: dict[str, Callable[[], Figure]] = {
    "curves": lambda: curves_figure(_record()),
    "curves and expectation": lambda: curves_figure(_record(), expected=_expected()),
    "curves and prediction": lambda: curves_figure(_model(), predicted=_record()),
    "curves of the power family": lambda: curves_figure(_record(power(0.3))),
    "curves of one step of one prompt": lambda: curves_figure(
        _record(problem=make_problem("tabular", 1, 2, seed=0), steps=1)
    ),
    "mean": lambda: mean_figure([_record(), _record(REINFORCE)], "means"),
    "error": lambda: error_figure([(_model(), _record(eta=2 * ETA), "grpo", "-")], "errors"),
    "error of a perfect prediction": lambda: error_figure([(_model(), _record(), "grpo", ":")], "errors"),
    "bound of GRPO": lambda: bound_figure(_expected(), "grpo"),
    "bound of REINFORCE": lambda: bound_figure(_expected(REINFORCE), "reinforce"),
    "bound after one step": lambda: bound_figure(_expected(steps=1), "grpo"),
    "gain": lambda: gain_figure([_record(), _model(), _model(REINFORCE)]),
    "gain without a theorem": lambda: gain_figure([_record(power(0.3))]),
    "a title with signs": lambda: curves_figure(_record(), title=r"cost $^$ <b> & \frac \u6570\u636e"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_renders_both_ways(name: str, tmp_path: Path) -> None:
    """Any warning is an error in this suite."""
    figure = FIGURES[name]()
    assert isinstance(figure, Figure)
    save_png(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    root = ET.fromstring(to_svg(figure, name))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == name


def test_ink_follows_the_page_and_nothing_comes_from_outside() -> None:
    svg = to_svg(FIGURES["curves and expectation"](), "x")
    assert "#0a0b0c" not in svg
    assert svg.count("currentColor") > 20
    assert set(re.findall(r"https?://[^\"' <]+", svg)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(metadata|image|script|\?xml|!DOCTYPE)", svg)
    assert "success probability of each prompt" in svg, "text is text, not outlines"


def test_ids_are_prefixed_and_every_reference_finds_its_id() -> None:
    svg = to_svg(FIGURES["gain"](), "first")
    ids = re.findall(r'\bid="([^"]+)"', svg)
    assert len(ids) == len(set(ids)) > 5
    prefix = ids[0].split("-")[0] + "-"
    assert all(each.startswith(prefix) for each in ids)
    references = re.findall(r'href="#([^"]+)"', svg) + re.findall(r"url\(#([^)]+)\)", svg)
    assert references
    assert set(references) <= set(ids)
    other = set(re.findall(r'\bid="([^"]+)"', to_svg(FIGURES["gain"](), "second")))
    assert not other & set(ids)


def test_the_same_figure_is_the_same_text() -> None:
    assert to_svg(FIGURES["gain"](), "x") == to_svg(FIGURES["gain"](), "x")


def test_labels_and_titles_are_escaped() -> None:
    hostile = "\"><script>alert('1')</script>&"
    svg = to_svg(curves_figure(replace(_record(), problem=hostile)), hostile)
    root = ET.fromstring(svg)
    assert root.attrib["aria-label"] == hostile
    assert not [element for element in root.iter() if "script" in element.tag]
    assert any(hostile in (element.text or "") for element in root.iter())


def test_a_picture_without_a_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="output file"):
        save_png(FIGURES["curves"](), tmp_path / "missing" / "a.png")
    assert not list(tmp_path.iterdir())


def _lines(figure: Figure) -> list[Any]:
    return [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) > 0]


def test_curves_are_the_records() -> None:
    record, predicted = _model(), _record(eta=2 * ETA)
    lines = _lines(curves_figure(record, predicted=predicted))
    assert len(lines) == 6
    for i in range(3):
        np.testing.assert_array_equal(lines[2 * i].get_ydata(), record.J[:, i])
        np.testing.assert_array_equal(lines[2 * i + 1].get_ydata(), predicted.J[:, i])
    strength = [line.get_alpha() for line in lines[::2]]
    assert strength == sorted(strength)
    assert strength[-1] == 1


def test_a_single_prompt_is_drawn_strong() -> None:
    record = _record(problem=make_problem("tabular", 1, 3, seed=0))
    assert [line.get_alpha() for line in _lines(curves_figure(record))] == [1.0]


def test_reinforce_stays_below_its_theorem() -> None:
    run = expectation(PROBLEM, REINFORCE, float(REINFORCE.step_size(PROBLEM.x_max_sq)), 300)  # type: ignore[misc]
    *shares, bound = _lines(bound_figure(run, "reinforce"))
    assert set(bound.get_ydata()) == {1.0}
    for line in shares:
        values = line.get_ydata()
        assert (np.diff(values) > 0).all()
        assert 0 < values[-1] < 1


def test_the_grpo_bounds_are_the_mean_and_the_maximum_of_c() -> None:
    run = _expected(GRPO, 200)
    *_, printed, repaired = _lines(bound_figure(run, "grpo"))
    c = np.array([8 / 3 * run.std_bound[:t, 0].mean() for t in range(1, 201)])
    np.testing.assert_allclose(printed.get_ydata(), c, rtol=1e-12)
    np.testing.assert_allclose(repaired.get_ydata(), [8 / 3 * run.std_bound[:t, 0].max() for t in range(1, 201)])


def test_the_counterexample_crosses_the_printed_bound_but_not_the_repaired_one() -> None:
    """K = 2, p0 = 1/2, X_max = 1: false from T = 76 on."""
    problem = Problem(np.array([[[1.0], [0.0]]]), np.array([0]), np.zeros(1))
    run = expectation(problem, GRPO, float(GRPO.step_size(problem.x_max_sq)), 304)  # type: ignore[misc]
    share, printed, repaired = (line.get_ydata() for line in _lines(bound_figure(run, "grpo")))
    assert np.flatnonzero(share > printed)[0] + 1 == 76
    assert (share > printed)[75:].all()
    assert (share < repaired).all()


def test_gains_that_are_losses_are_shown() -> None:
    """A step too large lowers the drawn prompt's J; hiding those points would hide the point."""
    problem = make_problem("orthogonal", 3, 4, p0=0.5, seed=1)
    record = _record(eta=30 / problem.x_max_sq, problem=problem)
    assert (record.step_gain < 0).any()
    points = _lines(gain_figure([record]))[0].get_ydata()
    assert len(points) == (record.step_bound > 0).sum()
    assert (points < 0).any()


def test_gains_are_ratios_at_their_steps() -> None:
    record = _record()
    dots = _lines(gain_figure([record]))[0]
    np.testing.assert_array_equal(dots.get_xdata(), np.arange(1, STEPS + 1))
    np.testing.assert_allclose(dots.get_ydata(), record.step_gain / record.step_bound)
    low, high = gain_figure([record]).axes[0].get_ylim()
    assert low <= 0.8 < 1 < high, "the guarantee itself is in the picture"


@pytest.mark.parametrize("name", ["curves and prediction", "gain"])
def test_the_legend_is_beside_the_points(name: str) -> None:
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert not box.overlaps(figure.axes[0].get_window_extent())


def test_errors_are_drawn_from_the_first_step_on() -> None:
    measured, predicted = _model(), _record(eta=2 * ETA)
    line = _lines(error_figure([(measured, predicted, "grpo", "-")], "errors"))[0]
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, STEPS + 1))
    np.testing.assert_array_equal(line.get_ydata(), np.abs(measured.J - predicted.J).max(axis=1)[1:])


def test_means_are_means_and_colours_tell_the_rules_apart() -> None:
    records = [_record(), _record(REINFORCE), _record(power(0.3))]
    lines = _lines(mean_figure(records, "means"))
    for line, record in zip(lines, records, strict=True):
        np.testing.assert_allclose(line.get_ydata(), record.J.mean(axis=1))
        assert line.get_label() == record.rule
    assert len({line.get_color() for line in lines}) == 3


def test_drawing_leaves_the_style_of_others_alone() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    to_svg(FIGURES["gain"](), "x")
    assert dict(mpl.rcParams) == before
