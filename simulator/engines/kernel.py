"""The compiled run: every step of a column, from stages whose dimensions are fixed when they are compiled.

A column is ``width`` replicas side by side, or one replica with ``width`` of its prompts side by side.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from simulator.engines.arrays import Outputs
from simulator.engines.draws import draw_block, sample
from simulator.engines.layout import padded_length
from simulator.engines.stages import evaluate_prompts
from simulator.engines.update_stages import advance, exact_weights, weighted_sum
from theory.rules import Rule, get_rule

__all__ = ["Shape", "compile_run"]

# Steps whose prompts are drawn at once; a multiple of the 8 half-words of a Philox block.
BLOCK = 64
_options: Any = {"nogil": True, "boundscheck": False, "error_model": "numpy"}


class Shape(NamedTuple):
    """What is fixed when a run is compiled.

    Attributes:
        width: lanes of a vector.
        across_prompts: whether the lanes are prompts of one replica; else they are replicas.
        n_wrong: K - 1.
        dimension: d in feature space, None in Gram space.
        length: of the state: d, or the number of margins.
        rank: of the factors.
    """

    width: int
    across_prompts: bool
    n_wrong: int
    dimension: int | None
    length: int
    rank: int


@njit(nogil=True)
def _aligned(size: int) -> Any:
    """Zeros that begin a cache line: a vector that straddles two lines takes twice as long to read."""
    whole = np.zeros(size + 8)
    first = (-(whole.ctypes.data >> 3)) % 8
    return whole[first : first + size]


@njit(nogil=True)
def _keep(outputs: Outputs, snapshot: int, state: Any, p: Any, q: Any, grad_sq: Any, sum_p: Any, sum_g: Any) -> None:
    """Record a snapshot and begin the next sums."""
    outputs.p[snapshot], outputs.q[snapshot], outputs.grad_sq[snapshot] = p, q, grad_sq
    outputs.sum_p[snapshot], outputs.sum_grad_sq[snapshot] = sum_p, sum_g
    sum_p[:], sum_g[:] = 0.0, 0.0
    if len(outputs.state) > 0:
        outputs.state[snapshot] = state[: outputs.state.shape[1]]


@lru_cache(maxsize=64)
def compile_run(shape: Shape, rule: str | None) -> Any:
    """The runs of columns ``begin`` to ``end - 1``; compiled at its first call, in a few seconds.

    Many columns make one call, because numba takes some 50 microseconds to unpack its arguments.

    Args:
        shape: dimensions and layout.
        rule: name of an exact rule; None for sampled ones.
    """
    width, across, n_wrong, dimension, length, rank = shape
    replicas, padded = 1 if across else width, padded_length(length)
    evaluate = evaluate_prompts(width, across, n_wrong, dimension, rank)
    coefficients_of = _sampled_coefficients(shape)
    update = _update(shape, rule)
    entries = width if across else 1
    shared = dimension is not None
    depth = 0 if dimension is None else dimension

    @njit(**_options)
    def run(n, bandit, start, eta, draws, sampling, replica, times, outputs):  # type: ignore[no-untyped-def]
        batch, groups = draws.batch, (n + width - 1) // width if across else n
        e, p, q = _aligned(groups * n_wrong * width), _aligned(groups * width), _aligned(groups * width)
        grad_sq, sum_p, sum_g = _aligned(groups * width), _aligned(groups * width), _aligned(groups * width)
        sums, scale, state = (
            _aligned(replicas * padded),
            _aligned(2 * replicas),
            _aligned(padded if across else length * width),
        )
        state[: length * replicas] = start
        order, left = np.zeros((BLOCK, batch, replicas), np.int64), np.empty(n, np.int64)
        counts = np.zeros((batch, n_wrong + 1), np.int64)
        coefficients = _aligned(1 if rule is not None else batch * n_wrong * width)
        snapshot, last = 0, times[-1]
        for t in range(last + 1):
            for i in range(groups):
                evaluate(
                    (
                        (bandit.differences, i * n_wrong * depth * entries),
                        (bandit.factors, i * rank * n_wrong * entries),
                        (state, 0 if shared else i * n_wrong * width),
                        (e, i * n_wrong * width),
                        (p, i * width),
                        (q, i * width),
                        (grad_sq, i * width),
                        (sum_p, i * width),
                        (sum_g, i * width),
                    )
                )
            if t == times[snapshot]:
                _keep(outputs, snapshot, state, p, q, grad_sq, sum_p, sum_g)
                snapshot += 1
            if t == last:
                break
            if t % BLOCK == 0:
                draw_block(draws, n, t, replica, order, left)
            drawn = order[t % BLOCK]
            if rule is None:
                coefficients_of(draws, sampling, t, drawn, replica, p, q, e, counts, coefficients)
            for b in range(batch):
                update(b, drawn[b], bandit.steps, p, q, eta, e, coefficients, scale, sums, state)

    return _for_columns(run, replicas)


def _for_columns(run: Any, replicas: int) -> Any:
    """Compiled: the runs of columns ``begin`` to ``end - 1``, each of so many replicas."""

    @njit(**_options)
    def run_columns(n, bandit, starts, etas, draws, sampling, replica, times, outputs, begin, end):  # type: ignore[no-untyped-def]
        for column in range(begin, end):
            own = Outputs(
                outputs.p[column],
                outputs.q[column],
                outputs.grad_sq[column],
                outputs.sum_p[column],
                outputs.sum_grad_sq[column],
                outputs.state[column],
            )
            first = replica + column * replicas
            run(n, bandit, starts[column], etas[column], draws, sampling, first, times, own)

    return run_columns


def _places(shape: Shape) -> Any:
    """Compiled: where a replica's ``e_0`` of prompt i lies (the next ones follow every ``width``), and its p."""
    width, across, n_wrong = shape.width, shape.across_prompts, shape.n_wrong

    @njit(inline="always")
    def places(i, lane):  # type: ignore[no-untyped-def]
        if across:
            return (i // width) * n_wrong * width + i % width, i
        return i * n_wrong * width + lane, i * width + lane

    return places


def _update(shape: Shape, rule: str | None) -> Any:
    """Compiled: move the state by the update of the b-th drawn prompt of every replica."""
    width, across, n_wrong, _, length, _ = shape
    replicas, padded, places = 1 if across else width, padded_length(length), _places(shape)
    add_up, move = weighted_sum(width, n_wrong, padded), advance(replicas, length, padded)
    weigh = exact_weights(replicas, Rule("unused", lambda p, q: 1, "", "") if rule is None else get_rule(rule))

    @njit(**_options)
    def update(b, drawn, steps, p, q, eta, e, coefficients, scale, sums, state):  # type: ignore[no-untyped-def]
        if rule is not None:
            weigh(((drawn.view(np.float64), 0), (p, 0), (q, 0), (eta, 0), (scale, 0)))
        else:
            scale[:replicas], scale[replicas:] = eta, 1.0
        for lane in range(replicas):
            i = drawn[lane]
            rows, out = (steps, i * n_wrong * padded), (sums, lane * padded)
            if rule is not None:
                add_up(((e, places(i, lane)[0]), rows, out))
            else:
                add_up(((coefficients, b * n_wrong * width + lane), rows, out))
        move(((state, 0), (scale, 0), (sums, 0)))

    return update


def _sampled_coefficients(shape: Shape) -> Any:
    """Compiled: what each ``D_j`` of the drawn prompts is multiplied by, ``(A_w c_j - (sum_g A_g) q w_j) / G``."""
    width, across, n_wrong = shape.width, shape.across_prompts, shape.n_wrong
    replicas, places = 1 if across else width, _places(shape)

    @njit(**_options)
    def fill(draws, sampling, t, drawn, replica, p, q, e, counts, coefficients):  # type: ignore[no-untyped-def]
        batch, group = drawn.shape[0], sampling.group
        for lane in range(replicas):
            total = 0
            for b in range(batch):
                first, at = places(drawn[b, lane], lane)
                shares = e[first : first + (n_wrong - 1) * width + 1 : width]
                sample(draws, sampling, t * batch + b, replica + lane, p[at], q[at], shares, counts[b])
                total += counts[b, n_wrong]
            for b in range(batch):
                first, at = places(drawn[b, lane], lane)
                right = counts[b, n_wrong]
                above, below = sampling.right[right, total], sampling.wrong[right, total]
                push = (right * above + (group - right) * below) * p[at]
                for j in range(n_wrong):
                    value = below * counts[b, j] - push * e[first + j * width]
                    coefficients[(b * n_wrong + j) * width + lane] = value / group

    return fill
