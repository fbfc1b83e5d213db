"""Hypothesis strategies over everything a claim quantifies: prompts, outputs, features, parameters, steps.

Numbers are small dyadic rationals, so instances shrink to something a person can read and are exact as they stand.
Logits reach +-40, hence probabilities 1e-17 from 0 and from 1; prompts are orthogonal in most draws (each has features
of its own), correlated in the rest, so that assumptions fail sometimes and vacuous instances are met and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers

from theory.instances import Instance
from theory.interaction import UNIT, orders_that_fit

__all__ = ["Limits", "instances", "own_draws"]

# Numbers are drawn as integers and divided by 4 all at once, and in tuples rather than lists: drawing is what a search
# among small instances spends its time on, and hypothesis pays for each list element and each mapped value.
_quarters = st.integers(-8, 8)
_parameters = st.one_of(st.integers(-8, 8), st.integers(-80, 80))


@cache
def _tuples(elements: st.SearchStrategy[int], size: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[elements] * size)


def _vector(draw: Any, elements: st.SearchStrategy[int], shape: tuple[int, ...]) -> np.ndarray:
    return np.array(draw(_tuples(elements, int(np.prod(shape)))), dtype=np.float64).reshape(shape) / 4


@dataclass(frozen=True)
class Limits:
    """How large instances may be, and of which kind.

    Attributes:
        prompts, outputs: most prompts n and outputs K.
        steps: most updates T.
        orders: most parameter vectors in the tree of prompt orders, ``1 + n + ... + n^T``; None for no such limit.
        copies: orthogonal prompts come in up to that many copies, each on coordinates of its own: many prompts at the
            price of few.
        group: most sampled outputs G.
        direction, displacement: whether these are drawn; else they are all ones and all zeros.
        constants: whether in a quarter of the draws M, R1 and R2 are larger than they need be.
        interacting: whether prompts share a skill direction in half of the draws, and all features in a fifth.
        conflicting: whether in half of the draws all prompts have the features of the first, each with its own answer.
    """

    prompts: int = 3
    outputs: int = 4
    steps: int = 1
    orders: int | None = None
    copies: int = 1
    group: int = 2
    interacting: bool = False
    conflicting: bool = False
    direction: bool = True
    displacement: bool = True
    constants: bool = False


@st.composite
def instances(draw: Any, limits: Limits = Limits()) -> Instance:
    """Instances within the limits; no prompt has all-zero features."""
    # Drawn first, so that hypothesis shrinks the number of steps first.
    steps = draw(st.integers(1, limits.steps))
    n = draw(st.integers(1, limits.prompts))
    if limits.orders is not None:
        steps = min(steps, orders_that_fit(n, limits.orders))
    outputs = draw(st.integers(2, limits.outputs))
    width = draw(st.integers(1, 3))
    own, shared = draw(_kinds(limits.interacting))
    answers = np.array([draw(st.integers(0, outputs - 1)) for _ in range(n)])
    blocks = [_block(draw, outputs, width) for _ in range(n)]
    if limits.conflicting and draw(st.booleans()):
        own, shared, blocks = False, 0, blocks[:1] * n
    features = np.zeros((n, outputs, (n * width if own else width) + shared))
    for i, block in enumerate(blocks):
        first = i * width if own else 0
        features[i, :, first : first + width] = block
        if shared:
            features[i, :, -1] = _skill(draw, outputs, answers[i])
    d = features.shape[2]
    direction = _vector(draw, _quarters, (d,)) if limits.direction else np.ones(d)
    theta = _vector(draw, _parameters, (d,))
    displacement = _vector(draw, _quarters, (d,)) if limits.displacement else np.zeros(d)
    copies = draw(st.integers(1, limits.copies)) if own and not shared and limits.copies > 1 else 1
    return Instance(
        features=_block_copies(features, copies),
        answers=np.tile(answers, copies),
        theta=np.tile(theta, copies),
        direction=np.tile(direction if direction.any() else np.ones(d), copies),
        displacement=np.tile(displacement, copies),
        steps=steps,
        group=draw(st.integers(2, limits.group)) if limits.group > 2 else 2,
        least_constants=_least_constants(draw) if limits.constants else UNIT,
    )


def _kinds(interacting: bool) -> st.SearchStrategy[tuple[bool, int]]:
    """Whether a prompt has coordinates of its own, and the number of coordinates that all prompts share besides."""
    orthogonal, correlated, skilled = (True, 0), (False, 0), (True, 1)
    if interacting:
        return st.sampled_from([orthogonal] * 3 + [correlated] * 2 + [skilled] * 5)
    return st.sampled_from([orthogonal] * 8 + [correlated] * 2)


def _least_constants(draw: Any) -> tuple[float, ...]:
    if not draw(st.sampled_from([False] * 3 + [True])):
        return UNIT
    return tuple(float(each) for each in draw(st.tuples(st.integers(1, 64), st.integers(1, 8), st.integers(1, 32))))


def _block(draw: Any, outputs: int, width: int) -> np.ndarray:
    block = _vector(draw, _quarters, (outputs, width))
    if not block.any():
        block[0, 0] = 1.0
    return block


def _skill(draw: Any, outputs: int, answer: int) -> np.ndarray:
    """Features on a direction that helps every prompt: the right output has the largest."""
    column = _vector(draw, _quarters, (outputs,))
    best = int(np.argmax(column))
    column[[answer, best]] = column[[best, answer]]
    return column


def _block_copies(features: np.ndarray, copies: int) -> np.ndarray:
    """The prompts repeated, each copy on coordinates of its own."""
    n, outputs, d = features.shape
    result = np.zeros((copies, n, outputs, copies, d))
    for c in range(copies):
        result[c, :, :, c] = features
    return result.reshape(copies * n, outputs, copies * d)


@contextmanager
def own_draws() -> Iterator[None]:
    """Keep hypothesis from mixing constants out of the source code of loaded modules into what it draws.

    With them, evidence would depend on what else a process has imported, and on how whynorm is installed. Versions of
    hypothesis without these (private) names do not mix such constants in, or do it in a way of their own.
    """
    names = ("_get_local_constants", "Constants", "CONSTANTS_CACHE")
    collect, constants, cache = (getattr(providers, name, None) for name in names)
    if collect is None or constants is None or cache is None:
        yield
        return
    nothing = constants()
    cache.cache.clear()
    setattr(providers, names[0], lambda: nothing)
    try:
        yield
    finally:
        setattr(providers, names[0], collect)
        cache.cache.clear()
