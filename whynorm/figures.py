"""Figures: built on matplotlib's object interface, rendered as PNG files or as SVG that follows the page's colours."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    "RULE_COLOURS",
    "bound_figure",
    "curves_figure",
    "gain_figure",
    "mean_curves_figure",
    "save_png",
    "to_svg",
]

RULE_COLOURS = {"reinforce": "#d9733a", "grpo": "#1a94a3"}
_OTHER = "#8a63c7"
_BOUND = "#8b8f98"
# Stands for "the colour of the text around", which differs between light and dark pages.
_INK = "#0a0b0c"

_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "whynorm",
}


@contextmanager
def _axes(columns: int, width: float = 3.6, height: float = 2.9) -> Iterator[tuple[Figure, list[Axes]]]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width * columns, height), layout="constrained")
        yield figure, [figure.add_subplot(1, columns, c + 1) for c in range(columns)]


def _colour(rule: str) -> str:
    return RULE_COLOURS.get(rule, _OTHER)


def curves_figure(record: Record, expected: ExpectedRun | None = None) -> Figure:
    """Learning curves ``J_i(t)`` of one run, one line a prompt; with the exact expectation dashed, if given."""
    with _axes(1, width=6.4, height=3.8) as (figure, (axes,)):
        shades = np.linspace(0.35, 1.0, record.J.shape[1])
        for i, alpha in enumerate(shades):
            axes.plot(record.t, record.J[:, i], color=_colour(record.rule), alpha=alpha, label=f"prompt {i}")
            if expected is not None:
                axes.plot(expected.J[:, i], color=_INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set(xlabel="step t", ylabel="success probability J_i", ylim=(-0.02, 1.02))
        note = "; dashed: exact mean over prompt orders" if expected is not None else ""
        axes.set_title(f"{record.rule} on {record.problem}, eta = {record.eta:.3g}{note}")
        if record.J.shape[1] <= 8:
            axes.legend(fontsize=8, loc="best")
    return figure


def bound_figure(expected: ExpectedRun, rule: str) -> Figure:
    """Cumulative ``sum E ||grad J_i||^2`` against the REINFORCE theorem's bound, prompt by prompt, as a share of it."""
    with _axes(1, width=6.4, height=3.8) as (figure, (axes,)):
        total = np.cumsum(expected.grad_sq[:-1], axis=0)
        bound = 2 * expected.n * expected.q[0] * expected.x_max_sq
        t = np.arange(1, len(total) + 1)
        for i, alpha in enumerate(np.linspace(0.35, 1.0, total.shape[1])):
            axes.plot(t, total[:, i] / bound[i], color=_colour(rule), alpha=alpha, label=f"prompt {i}")
        axes.axhline(1.0, color=_BOUND, linewidth=1.2)
        axes.text(1, 1.0, " bound 2n(1 - p0) X_max^2 (Theorem 3.1)", va="bottom", color=_BOUND, fontsize=9)
        if rule == "grpo":
            _grpo_bounds(axes, expected, t)
        axes.set(xscale="log", xlabel="steps T", ylabel="cumulative gradient norm / bound", yscale="log")
        axes.set_title(f"{rule}: measured against the bound (exact expectation)")
        if total.shape[1] <= 8:
            axes.legend(fontsize=8, loc="best")
    return figure


def _grpo_bounds(axes: Axes, expected: ExpectedRun, t: np.ndarray) -> None:
    """Theorem 3.2's bound of prompt 0 as printed (mean of C) and repaired (largest C), in the same units."""
    std = expected.std_bound[:-1, 0]
    printed, repaired = np.cumsum(std) * 8 / (3 * t), np.maximum.accumulate(std) * 8 / 3
    axes.plot(t, printed, color=_BOUND, linestyle=":", label="Theorem 3.2 as printed, prompt 0")
    axes.plot(t, repaired, color=_BOUND, linestyle="--", label="repaired, prompt 0")


def gain_figure(records: Sequence[Record]) -> Figure:
    """One-step gain of the drawn prompt over what its theorem guarantees, against time; 1 is the guarantee."""
    with _axes(1, width=6.4, height=3.2) as (figure, (axes,)):
        for record in records:
            if record.step_bound is None:
                continue
            usable = (record.step_bound > 0) & (record.step_gain > 0)
            ratio = record.step_gain[usable] / record.step_bound[usable]
            t = np.flatnonzero(usable) + 1
            axes.plot(t, ratio, ".", markersize=4, color=_colour(record.rule), label=record.rule, alpha=0.8)
        axes.axhline(1.0, color=_BOUND, linewidth=1.2)
        axes.set(xlabel="step t", ylabel="gain / guaranteed gain", yscale="log")
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=9)
        axes.set_title("one-step gain over the theorem's guarantee (1 = guarantee)")
    return figure


def mean_curves_figure(panels: Sequence[tuple[str, Sequence[tuple[Record, str]]]]) -> Figure:
    """Side-by-side panels of the mean success probability; each panel is a title and (record, line style) pairs."""
    with _axes(len(panels)) as (figure, all_axes):
        for axes, (title, runs) in zip(all_axes, panels, strict=True):
            for record, style in runs:
                origin = "model" if record.origin == "language model" else "simulator"
                label = f"{record.rule}, {origin}"
                mean = record.J.mean(axis=1)
                axes.plot(record.t, mean, color=_colour(record.rule), linestyle=style, label=label)
            axes.set(title=title, xlabel="step t", ylim=(-0.02, 1.02))
        all_axes[0].set_ylabel("mean success probability")
        all_axes[-1].legend(fontsize=8, loc="best")
    return figure


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as PNG on white, atomically."""
    with atomic(path) as handle:
        figure.savefig(handle, format="png", dpi=150, facecolor="white")


def to_svg(figure: Figure, label: str) -> str:
    """The figure as an inline ``<svg>`` element whose ink takes the page's text colour.

    Args:
        figure: any figure of this module.
        label: what a screen reader says.
    """
    from html import escape

    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    # Ids are unique within a file only; several figures share one page.
    prefix = f"f{abs(hash_text(label)) % 10**8}-"
    text = re.sub(r'(id="|href="#|url\(#)', lambda m: m.group(1) + prefix, text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(label, quote=True)}" ', 1)


def hash_text(text: str) -> int:
    """A hash that is the same in every process (``hash`` is salted)."""
    import zlib

    return zlib.crc32(text.encode())
