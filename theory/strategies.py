"""Hypothesis strategies over everything a claim quantifies: prompts, outputs, features, parameters, steps.

Numbers are small dyadic rationals, so instances shrink to something a person can read and are exact as they stand.
Logits reach +-40, hence probabilities 1e-17 from 0 and from 1; prompts are orthogonal in most draws (each has features
of its own), correlated in the rest, so that assumptions fail sometimes and vacuous instances are met and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.internal.conjecture import providers

from theory.instances import Instance

__all__ = ["instances", "own_draws"]

_quarters = st.integers(-8, 8).map(lambda k: k / 4)
_parameters = st.one_of(st.integers(-8, 8), st.integers(-80, 80)).map(lambda k: k / 4)


def _vector(draw: Any, elements: st.SearchStrategy[float], shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    return np.array(draw(st.lists(elements, min_size=size, max_size=size)), dtype=np.float64).reshape(shape)


@st.composite
def instances(
    draw: Any, max_prompts: int = 3, max_outputs: int = 4, max_steps: int = 1, max_copies: int = 1
) -> Instance:
    """Instances with up to the given numbers of prompts, outputs and steps; no prompt has all-zero features.

    With ``max_copies`` above 1, orthogonal prompts come in up to that many copies, each on coordinates of its own: many
    prompts at the price of few.
    """
    # Drawn first, so that hypothesis shrinks the number of steps first.
    steps = draw(st.integers(1, max_steps))
    n = draw(st.integers(1, max_prompts))
    outputs = draw(st.integers(2, max_outputs))
    width = draw(st.integers(1, 3))
    orthogonal = draw(st.integers(0, 9)) < 8
    d = n * width if orthogonal else width
    features = np.zeros((n, outputs, d))
    for i in range(n):
        block = _vector(draw, _quarters, (outputs, width))
        if not block.any():
            block[0, 0] = 1.0
        first = i * width if orthogonal else 0
        features[i, :, first : first + width] = block
    answers = np.array([draw(st.integers(0, outputs - 1)) for _ in range(n)])
    direction = _vector(draw, _quarters, (d,))
    theta = _vector(draw, _parameters, (d,))
    copies = draw(st.integers(1, max_copies)) if orthogonal and max_copies > 1 else 1
    return Instance(
        features=_block_copies(features, copies),
        answers=np.tile(answers, copies),
        theta=np.tile(theta, copies),
        direction=np.tile(direction if direction.any() else np.ones(d), copies),
        displacement=np.tile(_vector(draw, _quarters, (d,)), copies),
        steps=steps,
    )


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
