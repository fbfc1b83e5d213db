"""The compiled run: every step of some columns, from stages whose dimensions are fixed when they are compiled.

A column is ``width`` replicas side by side, or one replica with ``width`` of its prompts side by side.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numba import njit

from simulator.engines.arrays import Outputs, Shape
from simulator.engines.draws import draw_block, sample
from simulator.engines.layout import padded_length
from simulator.engines.stages import evaluate_prompts
from simulator.engines.updates import OPTIONS, aligned, compile_update, places_of, row_stride

__all__ = ["compile_run"]

# Steps whose prompts are drawn at once; a multiple of the 8 half-words of a Philox block.
BLOCK = 64


@njit(nogil=True)
def _keep(outputs: Outputs, c: int, snapshot: int, state: Any, p: Any, q: Any, g: Any, sum_p: Any, sum_g: Any) -> None:
    """Record a snapshot of a column and begin its next sums."""
    outputs.p[c, snapshot], outputs.q[c, snapshot], outputs.grad_sq[c, snapshot] = p, q, g
    outputs.sum_p[c, snapshot], outputs.sum_grad_sq[c, snapshot] = sum_p, sum_g
    sum_p[:], sum_g[:] = 0.0, 0.0
    if outputs.state.shape[1] > 0:
        outputs.state[c, snapshot] = state[: outputs.state.shape[2]]


@lru_cache(maxsize=64)
def compile_run(shape: Shape, rule: str | None, grouped: bool, one_drawn: bool) -> Any:
    """The run of some columns; compiled at its first call, in a few seconds.

    Args:
        shape: dimensions and layout.
        rule: name of an exact rule; None for sampled ones.
        grouped: whether replicas that draw the same prompt at a step are updated together, see ``compile_update``.
        one_drawn: whether a step draws one prompt for each replica, replicas side by side; see ``evaluate_prompts``.
    """
    width, across, n_wrong, dimension, length, rank = shape
    replicas, padded = 1 if across else width, padded_length(length)
    evaluate = evaluate_prompts(width, across, n_wrong, dimension, rank, one_drawn)
    coefficients_of = _sampled_coefficients(shape, one_drawn)
    update = compile_update(shape, rule, grouped, one_drawn)
    entries = width if across else 1
    shared = dimension is not None
    depth = 0 if dimension is None else dimension
    room = padded if across else length * width

    @njit(**OPTIONS)
    def run(n, bandit, start, eta, draws, sampling, replica, times, outputs):  # type: ignore[no-untyped-def]
        columns, batch, groups = len(start), draws.batch, (n + width - 1) // width if across else n
        size, many = groups * width, groups * n_wrong * width
        p, q, numbers = aligned(columns * size), aligned(columns * size), np.arange(n).view(np.float64)
        # What is kept of e, p and q for the update: of all prompts, or of the drawn ones.
        kept = 1 if one_drawn else groups
        e, room_for_e = aligned(columns * kept * n_wrong * width), aligned(n_wrong * width)
        drawn_p, drawn_q = (aligned(columns * width), aligned(columns * width)) if one_drawn else (p, q)
        grad_sq, sum_p, sum_g = aligned(columns * size), aligned(columns * size), aligned(columns * size)
        sums, scale = aligned(columns * replicas * row_stride(padded)), aligned(2 * columns * replicas)
        state, left = aligned(columns * room), np.empty(n, np.int64)
        order = np.zeros((BLOCK, batch, columns, replicas), np.int64)
        firsts, counts = np.empty(columns * replicas, np.int64), np.zeros((batch, n_wrong + 1), np.int64)
        coefficients = aligned(1 if rule is not None else columns * batch * n_wrong * width)
        for c in range(columns):
            state[c * room : c * room + length * replicas] = start[c]
        snapshot, last = 0, times[-1]
        for t in range(last + 1):
            if t % BLOCK == 0 and t < last:
                for c in range(columns):
                    draw_block(draws, n, t, replica + c * replicas, order[:, :, c], left)
            drawn = order[t % BLOCK]
            for c in range(columns):
                own_order = drawn[0, c].view(np.float64)
                for i in range(groups):
                    at = c * size + i * width
                    evaluate(
                        (
                            (bandit.differences, i * n_wrong * depth * entries),
                            (bandit.factors, i * rank * n_wrong * entries),
                            (state, c * room + (0 if shared else i * n_wrong * width)),
                            (room_for_e, 0) if one_drawn else (e, c * many + i * n_wrong * width),
                            (p, at),
                            (q, at),
                            (grad_sq, at),
                            (sum_p, at),
                            (sum_g, at),
                            (own_order, 0),
                            (numbers, 0 if across else i),
                            (e, c * n_wrong * width),
                            (drawn_p, c * width),
                            (drawn_q, c * width),
                        )
                    )
                if t == times[snapshot]:
                    a, b = c * size, (c + 1) * size
                    own = state[c * room : (c + 1) * room]
                    _keep(outputs, c, snapshot, own, p[a:b], q[a:b], grad_sq[a:b], sum_p[a:b], sum_g[a:b])
            if t == times[snapshot]:
                snapshot += 1
            if t == last:
                break
            if rule is None:
                coefficients_of(draws, sampling, t, drawn, replica, drawn_p, drawn_q, e, counts, coefficients)
            for b in range(batch):
                update(n, b, drawn[b], bandit.steps, drawn_p, drawn_q, eta, e, coefficients, scale, sums, state, firsts)

    return run


def _sampled_coefficients(shape: Shape, one_drawn: bool) -> Any:
    """Compiled: what each ``D_j`` of the drawn prompts is multiplied by, ``(A_w c_j - (sum_g A_g) q w_j) / G``."""
    width, across, n_wrong = shape.width, shape.across_prompts, shape.n_wrong
    replicas, places = 1 if across else width, places_of(shape, one_drawn)

    @njit(**OPTIONS)
    def fill(draws, sampling, t, drawn, replica, p, q, e, counts, coefficients):  # type: ignore[no-untyped-def]
        batch, columns, group = drawn.shape[0], drawn.shape[1], sampling.group
        size = len(p) // columns
        for c in range(columns):
            for lane in range(replicas):
                total = 0
                for b in range(batch):
                    first, at = places(drawn[b, c, lane], lane, c, size)
                    shares = e[first : first + (n_wrong - 1) * width + 1 : width]
                    run = replica + c * replicas + lane
                    sample(draws, sampling, t * batch + b, run, p[at], q[at], shares, counts[b])
                    total += counts[b, n_wrong]
                for b in range(batch):
                    first, at = places(drawn[b, c, lane], lane, c, size)
                    right = counts[b, n_wrong]
                    above, below = sampling.right[right, total], sampling.wrong[right, total]
                    push = (right * above + (group - right) * below) * p[at]
                    for j in range(n_wrong):
                        value = below * counts[b, j] - push * e[first + j * width]
                        coefficients[((c * batch + b) * n_wrong + j) * width + lane] = value / group

    return fill
