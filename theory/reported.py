"""Figures that the sources print, as data with exact places: what one quantity is said to be, where, in which words.

A figure is the set of numbers that its words allow, with exact rational ends: ``0.039`` is anything that rounds to it,
``about 0.04`` anything within one unit of its last digit, ``over 80%`` anything above. Vague words are read widely, so
that two figures that exclude each other do so on any reasonable reading. ``theory.consistency`` compares them.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

__all__ = ["FIGURES", "Figure", "figures_of"]

Words = Literal["rounded", "about", "over", "under", "between", "is"]


@dataclass(frozen=True)
class Figure:
    """One printed figure.

    Attributes:
        quantity: what it is about; figures of one quantity share this text.
        printed: the figure as printed, a decimal (two with a dash for ``between``), or a word (``is``).
        words: how it is said.
        source: ``paper`` or ``talk``.
        place: section, table, figure or slide.
        quotation: the words around it.
        setting: whether it is a setting of the experiments, and no result.
    """

    quantity: str
    printed: str
    words: Words
    source: Literal["paper", "talk"]
    place: str
    quotation: str
    setting: bool = False

    @property
    def numbers(self) -> tuple[Fraction, Fraction] | None:
        """The closed interval that the words allow, None for a word; excluded ends (over, under) count as in."""
        if self.words == "is":
            return None
        ends = [Fraction(part) for part in self.printed.split("-")]
        unit = Fraction(1, 10 ** max(len(part.partition(".")[2]) for part in self.printed.split("-")))
        if self.words == "over":
            return ends[0], Fraction(10**9)
        if self.words == "under":
            return Fraction(-(10**9)), ends[0]
        slack = unit if self.words == "about" else unit / 2
        return ends[0] - slack, ends[-1] + slack

    def agrees(self, other: Figure) -> bool:
        """Whether some number (or the same word) is meant by both."""
        mine, theirs = self.numbers, other.numbers
        if mine is None or theirs is None:
            return self.printed == other.printed
        return max(mine[0], theirs[0]) <= min(mine[1], theirs[1])


def _hidden() -> tuple[Figure, ...]:
    mean, std, near = "mean of the |cosine| of Fig. 1", "std of the |cosine| of Fig. 1", "share of Fig. 1 below 0.15"
    what, cut = "what the cosines of Fig. 1 are of", "what 4.1 shows over 90% of pairs to be below"
    said = "similarities are sharply concentrated near zero (mean ≈ 0.088, std ≈ 0.064)"
    slide = "(a) Gradient Cosine Similarities, Mean |cos(θ)| = 0.088 ± 0.064"
    return (
        Figure(mean, "0.088", "about", "paper", "4.1", said),
        Figure(mean, "0.088", "rounded", "talk", "figure of gradient cosines", slide),
        Figure(std, "0.064", "about", "paper", "4.1", said),
        Figure(std, "0.064", "rounded", "talk", "figure of gradient cosines", slide),
        Figure(near, "0.90", "over", "paper", "4.1", "over 90% of pairs exhibit absolute cosine similarity below 0.15"),
        Figure(near, "0.90", "rounded", "talk", "figure (b)", "90% of gradient pairs |cos(θ)| < 0.15"),
        Figure(what, "hidden states", "is", "paper", "4.1, G.2", "v_i to be the penultimate-layer hidden state"),
        Figure(what, "gradients", "is", "talk", "figures (a), (b)", "Gradient Cosine Similarities; gradient pairs"),
        Figure(cut, "0.15", "rounded", "paper", "4.1", "over 90% of pairs exhibit ... cosine similarity below 0.15"),
        Figure(cut, "0.10", "rounded", "paper", "4.4, Phase I",
               "as validated empirically in Section 4.1 (over 90% of gradient pairs satisfy |cos| < 0.1)"),
    )  # fmt: skip


def _gradients() -> tuple[Figure, ...]:
    rows = {
        "0": ("0.000", "0.045", "0.505", "0.977", "89"),
        "260": ("0.039", "0.066", "0.727", "0.803", "250"),
        "500": ("0.056", "0.130", "0.664", "0.524", "418"),
    }
    names = ("mean cosine", "std of cosines", "share of cosine > 0", "share of |cosine| < 0.1", "M")
    table = [
        Figure(f"{name}, step {step}", value, "rounded", "paper", f"Table 3, step {step}", " ".join(values))
        for step, values in rows.items()
        for name, value in zip(names, values, strict=True)
    ]
    small, m = "share of |cosine| < 0.1, step 0", "M, step {}"
    below = "bounded (M < 10), confirming the assumption holds throughout optimization"
    finite = "the M bound remains finite (M ≈ 418 < 500 for n = 100 prompts)"
    more = (
        Figure(small, "0.80", "over", "paper", "4.2", "over 80% of pairs satisfy |cos| < 0.1"),
        Figure(small, "0.90", "over", "paper", "Fig. 4", "over 90% of pairs satisfying |cos| < 0.1"),
        Figure(small, "0.80", "over", "paper", "F.1, Phase I", "over 80% of pairs satisfy |cos| < 0.1"),
        Figure(small, "0.90", "over", "paper", "4.4, Phase I", "over 90% of gradient pairs satisfy |cos| < 0.1"),
        *(Figure(m.format(step), "10", "under", "paper", "4.2", below) for step in rows),
        Figure(m.format("500"), "418", "about", "paper", "F.1, Phase III", finite),
        Figure("std of cosines, step 0", "0.045", "about", "paper", "F.1, Phase I", "standard deviation ≈ 0.045"),
        Figure("mean cosine, step 260", "0.04", "about", "paper", "F.1, Phase II", "mean ≈ 0.04"),
        Figure("share of cosine > 0, step 260", "0.727", "rounded", "paper", "F.1, Phase II", "72.7% positive pairs"),
        Figure("std of cosines, step 260", "0.066", "rounded", "paper", "Fig. 4", "std = 0.066"),
        Figure("std of cosines, step 260", "0.066", "about", "paper", "4.4, Phase II", "std ≈ 0.066"),
        Figure("mean cosine, step 500", "0.056", "about", "paper", "F.1, Phase III", "weakly positive mean (≈ 0.056)"),
        Figure("std of cosines, step 500", "0.130", "rounded", "paper", "Fig. 4", "std = 0.130"),
        Figure("std of cosines, step 500", "0.130", "about", "paper", "4.4, Phase III", "std rises to ≈ 0.130"),
        Figure("pairs of gradients", "4950", "rounded", "paper", "Table 3, Fig. 4, F.1", "100 questions, 4,950 pairs"),
    )  # fmt: skip
    return (*table, *more)


def _fisher() -> tuple[Figure, ...]:
    same, other = "Pearson(Fisher, reward variance), same iteration", "the same, different iterations"
    significant, chance = "p-value, same iteration", "p-value, different iterations"
    return (
        Figure(same, "0.342", "rounded", "paper", "Table 1", "Same iter. 0.342 Yes (p = 0.008)"),
        Figure(same, "0.34", "about", "paper", "4.3", "mean Pearson ≈ 0.34, p < 0.01"),
        Figure(same, "0.342", "rounded", "talk", "Curvature-Variance Correlation", "Same iteration 0.342 p < 0.01"),
        Figure(significant, "0.008", "rounded", "paper", "Table 1", "Yes (p = 0.008)"),
        Figure(significant, "0.01", "under", "paper", "4.3", "p < 0.01"),
        Figure(significant, "0.01", "under", "talk", "Curvature-Variance Correlation", "p < 0.01"),
        Figure(other, "-0.028".replace("-", "−"), "is", "paper", "Table 1", "Different iter. -0.028 No (p = 0.18)"),
        Figure(other, "−0.028", "is", "talk", "Curvature-Variance Correlation", "Different iterations -0.028"),
        Figure(chance, "0.18", "rounded", "paper", "Table 1", "No (p = 0.18)"),
        Figure(chance, "0.18", "rounded", "talk", "Curvature-Variance Correlation", "p = 0.18 (n.s.)"),
    )


def _training() -> tuple[Figure, ...]:
    last, at = "accuracy at the end, {}, {}", "accuracy at iteration 300, {}, {}"
    easy, hard = "both methods stabilize near 0.96–0.98", "both methods fluctuate around 0.80–0.88"
    slide = "GSM8K Results: Easy vs. Hard Questions"
    best, slowly = "phase in which normalisation gains most", "Results and Discussion"
    return (
        *(Figure(last.format("easy", rule), "0.96-0.98", "between", "paper", "4.4, Phase III", easy)
          for rule in ("std", "no_std")),
        *(Figure(last.format("hard", rule), "0.80-0.88", "between", "paper", "4.4, Phase III", hard)
          for rule in ("std", "no_std")),
        Figure(last.format("easy", "std"), "0.92", "rounded", "talk", slide, "std (92%) > no-std (91%)"),
        Figure(last.format("easy", "no_std"), "0.91", "rounded", "talk", slide, "std (92%) > no-std (91%)"),
        Figure(last.format("hard", "std"), "0.81", "rounded", "talk", slide, "std (81%) >> no-std (76%)"),
        Figure(last.format("hard", "no_std"), "0.76", "rounded", "talk", slide, "std (81%) >> no-std (76%)"),
        Figure(at.format("easy", "std"), "0.95", "about", "paper", "4.4, Phase II", "standard reaches ≈ 0.95"),
        Figure(at.format("easy", "no_std"), "0.92", "about", "paper", "4.4, Phase II", "no_std attains ≈ 0.92"),
        Figure(at.format("hard", "std"), "0.85", "about", "paper", "4.4, Phase II", "standard climbs to ≈ 0.85"),
        Figure(at.format("hard", "no_std"), "0.78", "about", "paper", "4.4, Phase II", "no_std reaches only ≈ 0.78"),
        Figure("lead at the end, easy", "0.02", "about", "paper", "4.4, Phase III", "around 2 percentage point lead"),
        Figure("lead at the end, hard", "0.03", "about", "paper", "4.4, Phase III", "about 3 percentage point"),
        Figure("accuracy at the start, hard", "0.20", "about", "paper", "4.4, Phase I", "from ≈ 0.20 to ≈ 0.40"),
        Figure("accuracy at the start, hard", "0.20", "about", "talk", slide, "the initial accuracy is around 20%"),
        Figure("accuracy at the start, easy", "0.4-0.5", "between", "paper", "4.4, Phase I", "from ≈ 0.45 to ≈ 0.70"),
        Figure("accuracy at the start, easy", "0.5", "about", "talk", slide, "the initial accuracy is close to 50%"),
        Figure(best, "II", "is", "paper", "1, contributions", "(II) ... strongest and most consistent improvements"),
        Figure(best, "II", "is", "paper", f"4.4, {slowly}", "Phase I: comparable performance"),
        Figure(best, "I", "is", "paper", "F.1, Implications", "GRPO achieves maximum acceleration in Phase I"),
    )  # fmt: skip


def _settings() -> tuple[Figure, ...]:
    rows: tuple[tuple[str, str, Literal["paper", "talk"], str, str], ...] = (
        ("LoRA rank", "64", "paper", "G.3", "a rank r = 64 and alpha α = 128"),
        ("LoRA rank", "16", "talk", "Model Configuration", "LoRA (rank = 16, α = 32)"),
        ("LoRA alpha", "128", "paper", "G.3", "a rank r = 64 and alpha α = 128"),
        ("LoRA alpha", "32", "talk", "Model Configuration", "LoRA (rank = 16, α = 32)"),
        ("easy prompts", "4695", "paper", "4.4, G.1", "GSM8K-Easy (4,695 examples)"),
        ("easy prompts", "4695", "talk", "Dataset Stratification", "Easy: 4,695 examples"),
        ("hard prompts", "1909", "paper", "4.4, G.1", "GSM8K-Hard (1,909 examples)"),
        ("hard prompts", "1909", "talk", "Dataset Stratification", "Hard: 1,909 examples"),
        ("outputs in a group", "8", "talk", "Model Configuration", "K = 8 generations per prompt"),
    )
    return tuple(
        Figure(name, value, "rounded", source, place, quotation, setting=True)
        for name, value, source, place, quotation in rows
    )


FIGURES: tuple[Figure, ...] = (*_hidden(), *_gradients(), *_fisher(), *_training(), *_settings())


def figures_of(quantity: str) -> tuple[Figure, ...]:
    """All figures that the sources print for a quantity, in the order of the data; empty if there are none."""
    return tuple(figure for figure in FIGURES if figure.quantity == quantity)
