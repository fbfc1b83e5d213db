"""The compiled run: every step of ``width`` replicas, from stages whose dimensions are fixed when they are compiled."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from simulator.engines.layout import padded_length
from simulator.engines.philox import philox_block
from simulator.engines.stages import advance, evaluate_prompt, exact_weights, weighted_sum
from simulator.random import ORDER_STREAM, SAMPLE_STREAM
from theory.rules import Rule, get_rule

__all__ = ["BLOCK", "Bandit", "Draws", "Outputs", "Sampling", "compile_run"]

# Steps whose prompts are drawn at once; a multiple of the 8 half-words of a Philox block.
BLOCK = 64
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class Bandit(NamedTuple):
    """Arrays of a :class:`simulator.engines.layout.Layout`, flat."""

    differences: npt.NDArray[np.float64]
    factors: npt.NDArray[np.float64]
    steps: npt.NDArray[np.float64]


class Draws(NamedTuple):
    """Where prompts come from.

    Attributes:
        seed: of the run.
        batch: B.
        random: whether prompts are drawn (partial Fisher-Yates, see ``Schedule.draws``) or read from ``given``.
        given: int64 ``(T, B)``, or empty.
    """

    seed: np.uint64
    batch: int
    random: bool
    given: npt.NDArray[np.int64]


class Sampling(NamedTuple):
    """How a sampled rule moves.

    Attributes:
        group: G, 0 for an exact rule.
        attempts: groups drawn at most for a prompt.
        right: advantage of a right output, ``(G + 1, B G + 1)``, from right outputs of the group and of the batch.
        wrong: likewise of a wrong one.
    """

    group: int
    attempts: int
    right: npt.NDArray[np.float64]
    wrong: npt.NDArray[np.float64]


class Outputs(NamedTuple):
    """What a column of ``width`` replicas leaves at S snapshots; the last two axes are one in compiled code.

    Attributes:
        p: ``(S, n, width)``.
        q: likewise.
        grad_sq: likewise, of the scaled features.
        sum_p: sums of p over the times after the snapshot before, up to and with this one, ``(S, n, width)``.
        sum_grad_sq: likewise.
        state: ``(S, length, width)``, or ``(0, length, width)`` where it is not wanted.
    """

    p: npt.NDArray[np.float64]
    q: npt.NDArray[np.float64]
    grad_sq: npt.NDArray[np.float64]
    sum_p: npt.NDArray[np.float64]
    sum_grad_sq: npt.NDArray[np.float64]
    state: npt.NDArray[np.float64]


@njit(nogil=True)
def _draw_block(draws: Draws, n: int, first: int, replica: int, order: Any, left: Any) -> None:
    """Prompts of steps ``first`` to ``first + BLOCK - 1`` of ``width`` replicas into ``order``, (BLOCK, B, width)."""
    steps, batch, width = order.shape
    if not draws.random:
        for step in range(min(steps, len(draws.given) - first)):
            for b in range(batch):
                order[step, b, :] = draws.given[first + step, b]
        return
    for lane in range(width):
        words = (np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0))
        for index in range(steps * batch):
            if index % 8 == 0:
                block = np.uint64((first * batch + index) // 8)
                words = philox_block(block, draws.seed, np.uint64(replica + lane), np.uint64(ORDER_STREAM))
            word = words[index % 8 // 2]
            half = word >> _HALF if index % 2 else word & _LOW
            b = index % batch
            other = b + np.int64((half * np.uint64(n - b)) >> _HALF)
            if batch == 1:
                order[index, 0, lane] = other
                continue
            if b == 0:
                for prompt in range(n):
                    left[prompt] = prompt
            drawn = left[other]
            left[other] = left[b]
            left[b] = drawn
            order[index // batch, b, lane] = drawn


@njit(nogil=True)
def _choose(u: float, v: float, p: float, q: float, scaled: Any, lane: int, counts: Any) -> None:
    """Count one sampled output: the right one if ``u < p``, else the wrong one in whose share ``u - p`` falls."""
    right = v > q if p > 0.5 else u < p
    if right:
        counts[-1] += 1
        return
    excess = q - v if p > 0.5 else u - p
    chance, last = 0.0, -1
    for j in range(len(counts) - 1):
        share = p * scaled[j, lane]
        chance += share
        if share > 0:
            last = j
        if excess < chance:
            last = j
            break
    counts[last] += 1


@njit(nogil=True)
def _sample(
    draws: Draws, sampling: Sampling, place: int, replica: int, p: float, q: float, e: Any, lane: int, counts: Any
) -> None:
    """Counts of the outputs of one group: wrong ones in index order, the right one last."""
    group = sampling.group
    for attempt in range(sampling.attempts):
        counts[:] = 0
        stream = np.uint64(SAMPLE_STREAM + 16 * attempt)
        words = (np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0))
        for g in range(group):
            number = place * group + g
            if g == 0 or number % 4 == 0:
                words = philox_block(np.uint64(number // 4), draws.seed, np.uint64(replica), stream)
            word = words[number % 4]
            u, v = np.float64(word) * 2.0**-64, (np.float64(~word) + 1.0) * 2.0**-64
            _choose(u, v, p, q, e, lane, counts)
        if 0 < counts[-1] < group:
            return


@njit(nogil=True)
def _keep(outputs: Outputs, snapshot: int, state: Any, p: Any, q: Any, grad_sq: Any, sum_p: Any, sum_g: Any) -> None:
    """Record a snapshot and begin the next sums."""
    outputs.p[snapshot], outputs.q[snapshot], outputs.grad_sq[snapshot] = p, q, grad_sq
    outputs.sum_p[snapshot], outputs.sum_grad_sq[snapshot] = sum_p, sum_g
    sum_p[:], sum_g[:] = 0.0, 0.0
    if len(outputs.state) > 0:
        outputs.state[snapshot] = state


@lru_cache(maxsize=64)
def compile_run(width: int, n_wrong: int, dimension: int | None, length: int, rank: int, rule: str | None) -> Any:
    """The compiled run of a column; compiled at its first call, about a second.

    Args:
        width: replicas side by side.
        n_wrong: K - 1.
        dimension: d in feature space, None in Gram space.
        length: of the state: d, or n (K - 1).
        rank: of the factors.
        rule: name of an exact rule; None for sampled ones.
    """
    padded = padded_length(length)
    evaluate = evaluate_prompt(width, n_wrong, dimension, rank)
    add_up, move = weighted_sum(width, n_wrong, padded), advance(width, length, padded)
    exact = rule is not None
    weigh = exact_weights(width, get_rule(rule) if rule is not None else Rule("none", lambda p, q: 1, "", ""))
    per_prompt = 0 if dimension is not None else n_wrong * width

    @njit(nogil=True, boundscheck=False, error_model="numpy")
    def sampled_coefficients(draws, sampling, t, drawn, replica, p, q, e, counts, coefficients):  # type: ignore[no-untyped-def]
        batch, group = drawn.shape[0], sampling.group
        for lane in range(width):
            total = 0
            for b in range(batch):
                i = drawn[b, lane]
                scaled = e[i * n_wrong * width : (i + 1) * n_wrong * width].reshape(n_wrong, width)
                place = t * batch + b
                _sample(
                    draws,
                    sampling,
                    place,
                    replica + lane,
                    p[i * width + lane],
                    q[i * width + lane],
                    scaled,
                    lane,
                    counts[b],
                )
                total += counts[b, n_wrong]
            for b in range(batch):
                i, right = drawn[b, lane], counts[b, n_wrong]
                above, below = sampling.right[right, total], sampling.wrong[right, total]
                push = (right * above + (group - right) * below) * p[i * width + lane]
                for j in range(n_wrong):
                    share = e[(i * n_wrong + j) * width + lane]
                    coefficients[(b * n_wrong + j) * width + lane] = (below * counts[b, j] - push * share) / group

    @njit(nogil=True, boundscheck=False, error_model="numpy")
    def run(n, bandit, state, eta, draws, sampling, replica, times, outputs):  # type: ignore[no-untyped-def]
        batch = draws.batch
        e, p, q = np.empty(n * n_wrong * width), np.empty(n * width), np.empty(n * width)
        grad_sq, sum_p, sum_g = np.empty(n * width), np.zeros(n * width), np.zeros(n * width)
        sums, scale = np.zeros(width * padded), np.empty(2 * width)
        order = np.zeros((BLOCK, batch, width), np.int64)
        as_floats, left = order.view(np.float64).reshape(-1), np.empty(n, np.int64)
        counts = np.zeros((batch, n_wrong + 1), np.int64)
        coefficients = np.empty(1 if exact else batch * n_wrong * width)
        snapshot, last = 0, times[-1]
        for t in range(last + 1):
            for i in range(n):
                evaluate(
                    (
                        (bandit.differences, i * n_wrong * length),
                        (bandit.factors, i * rank * n_wrong),
                        (state, i * per_prompt),
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
                _draw_block(draws, n, t, replica, order, left)
            if not exact:
                sampled_coefficients(draws, sampling, t, order[t % BLOCK], replica, p, q, e, counts, coefficients)
            for b in range(batch):
                drawn = (t % BLOCK * batch + b) * width
                if exact:
                    weigh(((as_floats, drawn), (p, 0), (q, 0), (eta, 0), (scale, 0)))
                else:
                    scale[:width], scale[width:] = eta, 1.0
                for lane in range(width):
                    i = order[t % BLOCK, b, lane]
                    rows = (bandit.steps, i * n_wrong * padded)
                    if exact:
                        add_up(((e, i * n_wrong * width + lane), rows, (sums, lane * padded)))
                    else:
                        add_up(((coefficients, b * n_wrong * width + lane), rows, (sums, lane * padded)))
                move(((state, 0), (scale, 0), (sums, 0)))

    return run
