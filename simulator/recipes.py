r"""The recipes of the problem families: features, which assumptions hold on them, and constants in closed form.

A new family is one function with the ``@_family`` decorator. ``simulator.families.make_problem`` gives its features the
right outputs and a start.

Notation of the closed forms: ``V_i = p_i q_i``; ``rho`` is the family's strength; K outputs, n prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from simulator import closed_forms as forms
from simulator.closed_forms import DECOY, Form, drift_classes, drift_signs
from simulator.problems import Floats
from theory.errors import expected

__all__ = ["ASSUMPTIONS", "FAMILIES", "Family", "Layout"]

Ints = npt.NDArray[np.int64]
Verdict = Literal["holds", "fails", "depends"]

# The assumptions that a family speaks of, in the order of the paper.
ASSUMPTIONS = ("A1", "A2", "A3", "A4", "A5")


@dataclass(frozen=True)
class Layout:
    """What a recipe works with.

    Attributes:
        n, outputs, d: sizes.
        strength: rho.
        rng: for random features, and then for the answers.
    """

    n: int
    outputs: int
    d: int
    strength: float
    rng: np.random.Generator

    @cached_property
    def answers(self) -> Ints:
        """Index of each prompt's right output, ``(n,)``; drawn when first asked for, so ask after random features."""
        return self.rng.integers(0, self.outputs, size=self.n)

    def blocks(self, draw: Callable[[int], Floats], shared: int = 0) -> Floats:
        """Each prompt on coordinates of its own, so that ``X_i X_j^T = 0`` exactly; the last ``shared`` stay 0.

        Raises:
            InputError: d is too small.
        """
        width = (self.d - shared) // self.n
        if width < self.outputs:
            least = self.n * self.outputs + shared
            wanted = f"at least n K = {least}" if not shared else f"at least n K + {shared} = {least}"
            raise expected("d", self.d, f"{wanted} for such prompts", "raise --d or lower --n, --k")
        features = np.zeros((self.n, self.outputs, self.d))
        for i in range(self.n):
            features[i, :, i * width : (i + 1) * width] = draw(width)
        return features

    def gaussian(self, width: int) -> Floats:
        """Gaussian features of expected length 1, ``(K, width)``."""
        return self.rng.standard_normal((self.outputs, width)) / np.sqrt(width)

    def one_hot(self, width: int) -> Floats:
        """One coordinate for each output, ``(K, width)``."""
        return np.eye(self.outputs, width)


@dataclass(frozen=True)
class Family:
    """A recipe for features ``(n, K, d)``, and what is known of them.

    Attributes:
        name: what a user types.
        summary: one line.
        assumptions: for each of ``ASSUMPTIONS``, whether it holds at every theta, fails at every theta (of two prompts
            or more), or depends on theta.
        notes: what ``depends`` depends on, by assumption.
        constants: closed forms by name: ``X_max^2``, ``defect`` (of orthogonality), ``M``.
        features: from a layout.
        default_d: smallest natural d, from n and K.
        default_strength: rho if none is given; None if the family has no strength.
        least_strength, most_strength: rho is at least the one and below the other.
        least_outputs: smallest K.
        wrong_start: logits ``(n, K)`` of the wrong outputs at the start; None if they are equally likely.
    """

    name: str
    summary: str
    assumptions: Mapping[str, Verdict]
    features: Callable[[Layout], Floats]
    default_d: Callable[[int, int], int]
    notes: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Form] = field(default_factory=dict)
    default_strength: float | None = None
    least_strength: float = 1e-3
    most_strength: float = 1e3
    least_outputs: int = 2
    wrong_start: Callable[[Layout], Floats] | None = None


FAMILIES: dict[str, Family] = {}
_RUN = {
    "A3": "C is the standard deviation itself, or 1/2",
    "A5": "with R1, R2 of the states that a run visits; finite while no prompt is solved to the last digit",
}


def _family(
    name: str, summary: str, a2: Verdict, a4: Verdict, notes: Mapping[str, str], **more: object
) -> Callable[[Callable[[Layout], Floats]], Callable[[Layout], Floats]]:
    """Register a recipe. Assumptions 1 and 3 hold on every bandit of this package, 5 on every finite run."""
    verdicts: dict[str, Verdict] = {"A1": "holds", "A2": a2, "A3": "holds", "A4": a4, "A5": "depends"}

    def register(features: Callable[[Layout], Floats]) -> Callable[[Layout], Floats]:
        FAMILIES[name] = Family(name, summary, verdicts, features, notes={**_RUN, **notes}, **more)  # type: ignore[arg-type]
        return features

    return register


_ALONE = {"A4": "both sides are 0, so every M will do"}


@_family(
    "orthogonal",
    "Gaussian features on coordinates of the prompt's own",
    "holds",
    "holds",
    _ALONE,
    constants={"defect": forms.constant("0", 0.0), "M": forms.ANY},
    default_d=lambda n, k: n * k,
)
def _orthogonal(layout: Layout) -> Floats:
    return layout.blocks(layout.gaussian)


@_family(
    "tabular",
    "one free logit for each output",
    "holds",
    "holds",
    _ALONE,
    constants={"X_max^2": forms.constant("1", 1.0), "defect": forms.constant("0", 0.0), "M": forms.ANY},
    default_d=lambda n, k: n * k,
)
def _tabular(layout: Layout) -> Floats:
    return layout.blocks(layout.one_hot)


@_family(
    "shared-skill",
    "as orthogonal, plus a direction of strength rho that helps every prompt",
    "fails",
    "holds",
    {"A4": "with the M below, which grows with the ratio of two prompts' variances"},
    constants={"defect": forms.SKILL_DEFECT, "M": forms.SKILL_M},
    default_d=lambda n, k: n * k + 1,
    default_strength=0.5,
)
def _shared_skill(layout: Layout) -> Floats:
    features = layout.blocks(layout.gaussian, shared=1)
    features[np.arange(layout.n), layout.answers, -1] = layout.strength
    return features


@_family(
    "gaussian",
    "Gaussian features shared by all prompts; rho correlates output j of any two of them",
    "fails",
    "depends",
    {"A4": "fails wherever the gradients of two prompts have a negative inner product"},
    default_d=lambda n, k: n * k,
    default_strength=0.0,
    least_strength=0.0,
    most_strength=1.0,
)
def _gaussian(layout: Layout) -> Floats:
    own = layout.rng.standard_normal((layout.n, layout.outputs, layout.d))
    if layout.strength > 0:
        common = layout.rng.standard_normal((layout.outputs, layout.d))
        own = np.sqrt(1 - layout.strength) * own + np.sqrt(layout.strength) * common
    return own / np.sqrt(layout.d)


@_family(
    "conflicting",
    "as tabular, plus directions of strength rho in which what helps one prompt hurts all others",
    "fails",
    "fails",
    {"A4": "grad J_i . grad J_j = -V_i V_j rho^2 / (n - 1) < 0, which no M allows"},
    constants={"X_max^2": forms.CONFLICT_X, "defect": forms.CONFLICT_DEFECT, "M": forms.NONE},
    default_d=lambda n, k: n * k + n,
    default_strength=0.5,
)
def _conflicting(layout: Layout) -> Floats:
    """Right outputs get the corners of a regular simplex, whose inner products are all ``-1 / (n - 1)``."""
    n = layout.n
    features = layout.blocks(layout.one_hot, shared=n)
    corners = np.eye(n) - 1 / n if n > 1 else np.ones((1, 1))
    corners /= np.linalg.norm(corners, axis=1, keepdims=True)
    features[np.arange(n), layout.answers, -n:] = layout.strength * corners
    return features


# Weights that the early and the late wrong outputs start with.
EARLY, LATE = 0.1, 0.01


def _drift_start(layout: Layout) -> Floats:
    weights = np.zeros((layout.n, layout.outputs))
    for row, answer in zip(weights, layout.answers, strict=True):
        decoy, early, late = drift_classes(layout.outputs, int(answer))
        row[decoy] = np.log(1 - EARLY - LATE)
        row[early], row[late] = np.log(EARLY / len(early)), np.log(LATE / len(late))
    return weights


@_family(
    "drifting",
    "gradients start nearly orthogonal, grow a common part, then parts that conflict: phases I to III",
    "fails",
    "depends",
    {"A4": "holds while e_i e_j > l_i l_j for all pairs of opposite sign: in phases I and II, not in III"},
    constants={"X_max^2": forms.DRIFT_X, "defect": forms.DRIFT_DEFECT, "M": forms.DRIFT_M},
    default_d=lambda n, k: n * k + 2,
    default_strength=1.0,
    least_outputs=4,
    wrong_start=_drift_start,
)
def _drifting(layout: Layout) -> Floats:
    r"""Fixed features whose gradients turn, because the weights of the wrong outputs do.

    A prompt's wrong outputs are a decoy, E early and L late ones, all with coordinates of their own; the early ones
    share the direction ``-rho u`` with all prompts, the late ones ``-rho s_i v``, with signs ``s_i``. With e and l the
    total weights of the early and late ones among the wrong outputs, ``gap_i`` has the common part
    ``rho (e_i u + s_i l_i v)``, so that

        gap_i . gap_j = rho^2 (e_i e_j + s_i s_j l_i l_j).

    The decoy starts with weight 0.89, e = 0.1, l = 0.01, and the cosines near 0 (phase I). Its own feature is the
    longest: a step of weight s along ``gap_i`` changes ``log(w_early / w_decoy)`` by
    ``s (4 w_decoy - (1/E + rho^2) e_i) > 0``, a step along another prompt's by ``-s rho^2 e_j``: at the start e grows
    over all prompts of equal p0, as long as they are fewer than ``34 / rho^2``, and with it every cosine (phase II: a
    common positive part, little spread). The late ones lag behind, but prompts of opposite sign do not push each
    other's down: l passes e, the spread grows, and cosines of opposite sign turn negative (phase III), where
    Assumption 4 fails. The paper reports negative cosines in phase III too (Table 3: a third of the pairs); there no M
    can exist either.
    """
    features = layout.blocks(layout.one_hot, shared=2)
    width = (layout.d - 2) // layout.n
    for i, (answer, sign) in enumerate(zip(layout.answers, drift_signs(layout.n), strict=True)):
        decoy, early, late = drift_classes(layout.outputs, int(answer))
        features[i, decoy, i * width + decoy] = DECOY
        features[i, early, -2] = -layout.strength
        features[i, late, -1] = -sign * layout.strength
    return features
