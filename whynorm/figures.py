"""Figures: built on matplotlib's object interface, rendered as PNG files or as SVG that follows the page's colours."""

from __future__ import annotations

import io
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simulator.expectations import ExpectedRun
from simulator.files import atomic
from simulator.records import Record

__all__ = [
    "DASHED",
    "INK",
    "RULE_COLOURS",
    "STYLE",
    "bound_figure",
    "curves_figure",
    "error_figure",
    "gain_figure",
    "legend_below",
    "mean_figure",
    "panel",
    "rule_colour",
    "save_png",
    "shades",
    "to_svg",
]

RULE_COLOURS = {"reinforce": "#d9733a", "grpo": "#1a94a3"}
_OTHER = "#8a63c7"
_BOUND = "#8b8f98"
# Stands for "the colour of the text around", which differs between light and dark pages.
INK = "#0a0b0c"
DASHED = (0, (4, 2.5))

STYLE: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "whynorm",
}


@contextmanager
def panel(title: str, width: float = 4.8, height: float = 3.3) -> Iterator[tuple[Figure, Axes]]:
    """A figure of one panel in the page's style; sizes in inches."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot(1, 1, 1)
        # Titles hold names of files and models, in which a dollar sign is a dollar sign.
        axes.set_title(title, parse_math=False)
        yield figure, axes


def rule_colour(rule: str) -> str:
    """The colour of a rule in every figure."""
    return RULE_COLOURS.get(rule, _OTHER)


def shades(n: int) -> Iterator[tuple[int, float]]:
    """Numbers of n prompts, each with the opacity that its line is drawn with."""
    # From the strong end, so that a single prompt is drawn strong.
    return enumerate(float(alpha) for alpha in np.linspace(1.0, 0.35, n)[::-1])


def legend_below(figure: Figure, axes: Axes) -> None:
    """A legend outside the axes, for figures whose points may lie anywhere within them."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower left", ncols=2, fontsize=8)


def curves_figure(
    record: Record, *, expected: ExpectedRun | None = None, predicted: Record | None = None, title: str | None = None
) -> Figure:
    """Learning curves ``J_i(t)`` of one run, one line a prompt.

    Args:
        record: the run.
        expected: exact mean over prompt orders, drawn dashed.
        predicted: another run of the same prompts, drawn dashed.
        title: of the figure.
    """
    shown = title or f"{record.rule} on {record.problem}, step size {record.eta:.3g}"
    with panel(shown, height=3.6) as (figure, axes):
        for i, alpha in shades(record.J.shape[1]):
            axes.plot(record.t, record.J[:, i], color=rule_colour(record.rule), alpha=alpha)
            if predicted is not None:
                axes.plot(predicted.t, predicted.J[:, i], color=INK, linewidth=0.9, linestyle=DASHED)
            if expected is not None:
                axes.plot(expected.J[:, i], color=INK, linewidth=0.9, linestyle=DASHED)
        axes.set(xlabel="step t", ylabel="success probability of each prompt", ylim=(-0.02, 1.02))
        axes.plot([], [], color=rule_colour(record.rule), label="measured")
        if expected is not None or predicted is not None:
            name = "exact mean over prompt orders" if predicted is None else "linearised model"
            axes.plot([], [], color=INK, linewidth=0.9, linestyle=DASHED, label=name)
        legend_below(figure, axes)
    return figure


def mean_figure(records: Sequence[Record], title: str) -> Figure:
    """Mean success probability over the prompts, one line a run, coloured by rule."""
    with panel(title) as (figure, axes):
        for record in records:
            axes.plot(record.t, record.J.mean(axis=1), color=rule_colour(record.rule), label=record.rule)
        axes.set(xlabel="step t", ylabel="mean success probability", ylim=(-0.02, 1.02))
        axes.legend(fontsize=9)
    return figure


def error_figure(pairs: Sequence[tuple[Record, Record, str, str]], title: str) -> Figure:
    """Largest ``|J_i - J_i'|`` over the prompts against time, for pairs (run, run, label, line style)."""
    with panel(title) as (figure, axes):
        for measured, predicted, label, style in pairs:
            error = np.abs(measured.J - predicted.J).max(axis=1)
            colour = rule_colour(measured.rule)
            axes.plot(measured.t[1:], np.maximum(error[1:], 1e-16), color=colour, linestyle=style, label=label)
        axes.set(xlabel="step t", ylabel="largest error in J", yscale="log")
        axes.legend(fontsize=8)
    return figure


def bound_figure(expected: ExpectedRun, rule: str, title: str | None = None) -> Figure:
    """Cumulative ``sum E ||grad J_i||^2`` in units of Theorem 3.1's bound ``2 n (1 - p0) X_max^2``.

    For GRPO the bound of Theorem 3.2 is drawn for the first prompt, as printed (mean of C) and repaired (largest C).
    """
    with panel(title or f"{rule}: measured sum and bound") as (figure, axes):
        total = np.cumsum(expected.grad_sq[:-1], axis=0)
        share = total / (2 * expected.n * expected.q[0] * expected.x_max_sq)
        t = np.arange(1, len(total) + 1)
        for i, alpha in shades(share.shape[1]):
            label = "measured" if i + 1 == share.shape[1] else None
            axes.plot(t, share[:, i], color=rule_colour(rule), alpha=alpha, label=label)
        if rule == "grpo":
            std = expected.std_bound[:-1, 0]
            axes.plot(t, np.cumsum(std) * 8 / (3 * t), color=_BOUND, linestyle=":", label="Theorem 3.2 as printed")
            axes.plot(t, np.maximum.accumulate(std) * 8 / 3, color=_BOUND, linestyle=DASHED, label="repaired")
        else:
            axes.axhline(1.0, color=_BOUND, linewidth=1.2, label="Theorem 3.1")
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="steps T",
            ylabel=r"$\sum_t \mathrm{E}\|\nabla J_i\|^2\ /\ 2n(1-p_0)X_{\max}^2$",
        )
        axes.legend(fontsize=8)
    return figure


def gain_figure(records: Sequence[Record], title: str = "one-step gain over the guarantee (1 = guarantee)") -> Figure:
    """One-step gain of the drawn prompt over what its theorem guarantees, against time."""
    with panel(title, height=3.6) as (figure, axes):
        for record in records:
            if record.step_bound is None:
                continue
            usable = record.step_bound > 0
            ratio = record.step_gain[usable] / record.step_bound[usable]
            t = np.flatnonzero(usable) + 1
            real = record.origin == "language model"
            label = f"{record.rule}, {'model' if real else 'simulator'}"
            # Rings around dots: where model and simulator agree, both stay visible.
            look: Any = (
                {"marker": "o", "markersize": 6, "fillstyle": "none"} if real else {"marker": ".", "markersize": 4}
            )
            axes.plot(t, ratio, linestyle="", color=rule_colour(record.rule), label=label, **look)
        axes.axhline(1.0, color=_BOUND, linewidth=1.2)
        low, high = axes.get_ylim()
        axes.set(xlabel="step t", ylabel="gain / guaranteed gain", ylim=(min(low, 0.8), high))
        legend_below(figure, axes)
    return figure


def _render(figure: Figure, target: Any, **options: Any) -> None:
    """Save a figure in the style it was made in, which decides how text and ids are written."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # A name in a script that the font lacks is shown as boxes; that is no reason to interrupt anybody.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(target, **options)


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG on white, atomically."""
    with atomic(path) as handle:
        _render(figure, handle, format="png", dpi=150, facecolor="white")


def to_svg(figure: Figure, label: str) -> str:
    """The figure as an inline ``<svg>`` element whose ink takes the page's text colour.

    Args:
        figure: any figure of this module.
        label: what a screen reader says; ids are derived from it, so no two figures of a page may share it.
    """
    buffer = io.StringIO()
    _render(figure, buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(INK, "currentColor")
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\s*xmlns:xlink="[^"]*"', "", text).replace("xlink:href=", "href=")
    # Ids are unique within a file only; several figures share one page.
    prefix = f"f{zlib.crc32(label.encode()):08x}-"
    text = re.sub(r'(\bid="|\bhref="#|\burl\(#)', lambda m: m.group(1) + prefix, text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(label, quote=True)}" ', 1)
