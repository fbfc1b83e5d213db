"""Figures of what is measured on a language model, in the manner of the paper's Figs. 1, 2 and 4 and Tables 1 and 3."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from theory.cosines import gram_cosines
from whynorm.figures import DASHED, INK, RULE_COLOURS, legend_below, panel

__all__ = ["cosine_figure", "feature_figure", "fisher_figure", "hidden_figure", "measure_figures", "phase_figure"]

Arrays = Mapping[str, npt.NDArray[Any]]
_TEAL, _ORANGE = RULE_COLOURS["grpo"], RULE_COLOURS["reinforce"]
_SHADES = ("#8fb4e3", "#9cd29c", "#e8a29a", "#d6c28f", "#c3a5d9")


def measure_figures(content: Mapping[str, Any], arrays: Arrays, name: str) -> dict[str, Figure]:
    """All figures that a content of ``measures.json`` has the data for, by file name."""
    found: dict[str, Figure] = {}
    if "cosines" in arrays and arrays["cosines"].shape[-1] > 1:
        found["cosines"] = cosine_figure(arrays, name)
    if "hidden_mean" in arrays and arrays["hidden_mean"].shape[-2] > 2:
        found["hidden"] = hidden_figure(arrays, name)
    checkpoints = content.get("checkpoints", [content])
    if "gram" in checkpoints[0]:
        found["features"] = feature_figure(checkpoints[0]["gram"]["features"], name)
    if "fisher" in arrays and arrays["fisher"].shape[-1] > 2:
        found["fisher"] = fisher_figure(arrays, name)
    if content.get("phases") is not None:
        found["phases"] = phase_figure(content["phases"], arrays, name)
    return found


def cosine_figure(arrays: Arrays, name: str) -> Figure:
    """Cosines between the prompts' gradients, at the start, in the middle and at the end (Figs. 2 and 4)."""
    cosines = arrays["cosines"] if arrays["cosines"].ndim == 3 else arrays["cosines"][None]
    times = arrays["t"] if len(cosines) > 1 else np.zeros(1, dtype=int)
    upper = np.triu_indices(cosines.shape[1], k=1)
    chosen = sorted({0, len(cosines) // 2, len(cosines) - 1})
    finite = cosines[np.isfinite(cosines)]
    edge = max(0.1, float(np.abs(finite).max())) if len(finite) else 0.1
    with panel(f"cosines between prompts' gradients, {name}", width=5.2, height=3.6) as (figure, axes):
        for place, alpha in zip(chosen, np.linspace(0.25, 1.0, len(chosen)), strict=True):
            values = cosines[place][upper]
            values = values[np.isfinite(values)]
            label = f"step {times[place]}: mean {values.mean():.3f}, std {values.std():.3f}" if len(values) else None
            axes.hist(
                values,
                bins=list(np.linspace(-edge, edge, 31)),
                histtype="stepfilled" if place == chosen[-1] else "step",
                color=_TEAL,
                alpha=0.35 if place == chosen[-1] else float(alpha) * 0.8 + 0.2,
                linewidth=1.6,
                linestyle="-" if place != chosen[0] else DASHED,
                label=label,
            )
        axes.axvline(0, color=INK, linewidth=0.9, linestyle=DASHED)
        axes.set(xlabel="cosine; no M of Assumption 4 exists left of 0", ylabel="pairs of prompts")
        legend_below(figure, axes)
    return figure


def hidden_figure(arrays: Arrays, name: str) -> Figure:
    """Share of pairs whose hidden states have an absolute cosine of at most x (Fig. 1, as a distribution function)."""
    title = f"penultimate hidden states of the questions, {name}"
    with panel(title, width=5.2, height=3.6) as (figure, axes):
        for pooling, colour in (("mean", _TEAL), ("last", _ORANGE)):
            rows = arrays[f"hidden_{pooling}"]
            rows = rows if rows.ndim == 2 else rows[0]
            for kind, vectors, style in (("raw", rows, "-"), ("centred", rows - rows.mean(axis=0), DASHED)):
                values = np.sort(np.abs(gram_cosines(vectors @ vectors.T)))
                share = np.arange(1, len(values) + 1) / len(values)
                shown = "mean over tokens" if pooling == "mean" else "last token"
                label = f"{shown}, {kind}: mean {values.mean():.3f}"
                axes.step(values, share, where="post", color=colour, linestyle=style, label=label)
        axes.axvline(0.15, color=INK, linewidth=0.9, linestyle=":")
        axes.set(
            xlabel="|cosine| (paper: 90% of pairs below 0.15)", ylabel="share of pairs", xlim=(0, 1), ylim=(0, 1.02)
        )
        legend_below(figure, axes)
    return figure


def feature_figure(features: Mapping[str, Any], name: str) -> Figure:
    """What ``X_max^2`` is made of, by layer, for A and B and for raw and centred features."""
    with panel(f"X_max^2 by layer, {name}", width=5.2, height=3.4) as (figure, axes):
        layers = sorted({key.rsplit(" ", 1)[0] for key in features["raw"]["shares"]["layer_part"]}, key=_layer_order)
        places = np.arange(len(layers))
        for (kind, offset), colour in zip((("raw", -0.2), ("centred", 0.2)), (_TEAL, _ORANGE), strict=True):
            told = features[kind]
            base = np.zeros(len(layers))
            for part, hatch in (("B", None), ("A", "///"), ("other", "...")):
                shares = [told["shares"]["layer_part"].get(f"{layer} {part}", 0.0) for layer in layers]
                values = np.array(shares) * told["x_max_sq"]
                if values.any():
                    label = f"{kind}, {part}"
                    axes.bar(
                        places + offset, values, 0.38, bottom=base, color=colour, hatch=hatch, alpha=0.85, label=label
                    )
                base += values
        axes.set(xlabel="layer", ylabel="share of the largest prompt's $\\|X\\|^2$")
        axes.set_xticks(places[:: max(1, len(places) // 12)], layers[:: max(1, len(places) // 12)])
        legend_below(figure, axes)
    return figure


def _layer_order(text: str) -> tuple[int, str]:
    return (int(text), "") if text.isdigit() else (10**9, text)


def fisher_figure(arrays: Arrays, name: str) -> Figure:
    """Fisher information against reward variance, every prompt at every checkpoint (Table 1)."""
    traces, variances = np.atleast_2d(arrays["fisher"]), np.atleast_2d(arrays["variance"])
    with panel(f"Fisher information and reward variance, {name}", width=5.2, height=3.4) as (figure, axes):
        for place, alpha in enumerate(np.linspace(0.3, 1.0, len(traces))):
            usable = (variances[place] > 0) & (traces[place] > 0)
            ends = place in (0, len(traces) - 1)
            step = arrays["t"][place] if len(traces) > 1 else 0
            colour = _TEAL if place == len(traces) - 1 else _ORANGE
            axes.plot(
                variances[place][usable],
                traces[place][usable],
                ".",
                color=colour,
                alpha=float(alpha),
                markersize=7,
                label=f"step {step}" if ends else None,
            )
        axes.set(xlabel="reward variance p q", ylabel="trace of the Fisher matrix", yscale="log")
        legend_below(figure, axes)
    return figure


def phase_figure(phases: Mapping[str, Any], arrays: Arrays, name: str) -> Figure:
    """The curves that phases were looked for in, with those that were found."""
    J, cosines = arrays["J"], arrays["all_cosines"]
    t = np.arange(len(J))
    with np.errstate(all="ignore"):
        curves = [(J * (1 - J)).mean(axis=1), cosines.mean(axis=1), cosines.std(axis=1)]
    told = "none" if phases["phases"] == 1 else str(phases["phases"])
    with panel(f"phases found along the run: {told}, {name}", width=5.8, height=3.8) as (figure, axes):
        for colour, values, label in zip((_TEAL, _ORANGE, INK), curves, phases["curves"], strict=True):
            axes.plot(t, values, color=colour, label=label)
        edges = [t[0], *phases["breaks"], t[-1]]
        for number, (first, last) in enumerate(pairwise(edges)):
            if phases["phases"] > 1:
                axes.axvspan(first, last, color=_SHADES[number % len(_SHADES)], alpha=0.2, linewidth=0)
        axes.axhline(0, color=INK, linewidth=0.7, linestyle=DASHED)
        axes.set(xlabel="step t", ylabel="mean over prompts or pairs")
        legend_below(figure, axes)
    return figure
