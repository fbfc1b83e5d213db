"""The compiled run: every step of some columns, from stages whose dimensions are fixed when they are compiled.

A column is ``width`` replicas side by side, or one replica with ``width`` of its prompts side by side.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from numba import njit

from simulator.engines.arrays import Outputs, Shape
from simulator.engines.draws import OPTIONS, draw_block, sample
from simulator.engines.layout import padded_length
from simulator.engines.room import BLOCK, Sizes, make_room
from simulator.engines.stages import evaluate_prompts
from simulator.engines.updates import compile_update, places_of, sums_stride
from theory.rules import Rule

__all__ = ["compile_run", "state_size"]


@njit(**OPTIONS)
def _keep(
    outputs: Outputs, c: int, columns: int, snapshot: int, state: Any, p: Any, q: Any, g: Any, sum_p: Any, sum_g: Any
) -> None:
    """Record a snapshot of column c, a lane in each run's own place, and begin its next sums."""
    side = len(outputs.p) // columns
    rows = len(p) // columns // side
    for lane in range(side):
        for row in range(rows):
            run, own = c * side + lane, (c * rows + row) * side + lane
            outputs.p[run, snapshot, row], outputs.q[run, snapshot, row] = p[own], q[own]
            outputs.grad_sq[run, snapshot, row] = g[own]
            outputs.sum_p[run, snapshot, row], outputs.sum_grad_sq[run, snapshot, row] = sum_p[own], sum_g[own]
            sum_p[own], sum_g[own] = 0.0, 0.0
    if outputs.state.shape[1] > 0:
        for row in range(outputs.state.shape[2]):
            for lane in range(side):
                at = c * (len(state) // columns) + row * side + lane
                outputs.state[c * side + lane, snapshot, row] = state[at]


def state_size(shape: Shape) -> int:
    """Doubles of the state of a column."""
    return padded_length(shape.length) if shape.across_prompts else shape.length * shape.width


@lru_cache(maxsize=64)
def compile_run(shape: Shape, rule: Rule | None, grouped: bool, one_drawn: bool) -> Any:
    """The runs of columns ``begin`` to ``end - 1``; compiled at its first call, in a few seconds.

    Many columns make one call, because numba takes some 50 microseconds to unpack its arguments. Once ``stop[0]`` is
    not 0, which another thread may see to, the call returns after the step in hand, its outputs unfinished. ``states``
    is room for the states of ``together`` columns, see ``state_size``: numpy asks for large pages, numba does not.

    Args:
        shape: dimensions and layout.
        rule: an exact rule, whose ``weight`` is compiled; None for sampled ones.
        grouped: whether replicas that draw the same prompt at a step are updated together, see ``compile_update``.
        one_drawn: whether a step draws one prompt for each replica, replicas side by side; see ``evaluate_prompts``.
    """
    take_steps = _compile_steps(shape, rule, grouped, one_drawn)
    width, across, n_wrong, _, length, _ = shape
    replicas = 1 if across else width
    size, stride = state_size(shape), sums_stride(length, grouped)
    each = 0 if rule is not None else n_wrong * width
    sizes = Sizes(width, width if across else 1, int(one_drawn), replicas, n_wrong, size, stride, each)

    @njit(nogil=True)
    def run(n, bandit, starts, etas, draws, sampling, replica, times, outputs, begin, end, together, stop, states):  # type: ignore[no-untyped-def]
        own = len(starts)
        for a in range(begin, end, together):
            b = min(a + together, end)
            room = make_room(n, b - a, draws.batch, sizes, states)
            for c in range(a, b):
                for k in range(length):
                    for lane in range(replicas):
                        # One for all, or each its own; replicas that nobody asked for start where the last one does.
                        room.state[(c - a) * size + k * replicas + lane] = starts[min(c * replicas + lane, own - 1), k]
            first, last = a * replicas, b * replicas
            kept = Outputs(
                outputs.p[first:last],
                outputs.q[first:last],
                outputs.grad_sq[first:last],
                outputs.sum_p[first:last],
                outputs.sum_grad_sq[first:last],
                outputs.state[first:last],
            )
            take_steps(n, bandit, etas[a:b], draws, sampling, replica + first, times, kept, room, stop)

    return run


def _compile_steps(shape: Shape, rule: Rule | None, grouped: bool, one_drawn: bool) -> Any:
    """Compiled: some columns step by step, all of them one step before the next."""
    replicas, exact = 1 if shape.across_prompts else shape.width, rule is not None
    turns = 2 if shape.across_prompts else 1
    evaluate = _evaluation(shape, one_drawn)
    coefficients_of = _sampled_coefficients(shape, one_drawn)
    update = compile_update(shape, rule, grouped, one_drawn)

    @njit(**OPTIONS)
    def take_steps(n, bandit, eta, draws, sampling, replica, times, outputs, room, stop):  # type: ignore[no-untyped-def]
        # Taken apart here: compiled code reads a field of a tuple anew at every use.
        e, work, p, q, drawn_p, drawn_q, grad_sq, sum_p, sum_g, state, order, order_bits, numbers, urn, spare = room
        columns, batch, snapshot, last = len(eta), draws.batch, 0, times[-1]
        drawings = order.reshape((BLOCK, batch, columns, replicas))
        for t in range(last + 1):
            if t % BLOCK == 0 and t < last:
                # No more than is left to do, in whole blocks of the generator.
                wanted = min(BLOCK, (last - t + 7) // 8 * 8)
                for c in range(columns):
                    draw_block(draws, n, t, replica + c * replicas, drawings[:wanted, :, c], urn)
            first = t % BLOCK * batch * columns * replicas
            now = t == times[snapshot]
            for c in range(columns):
                evaluate(
                    n, t % turns, bandit.differences, bandit.factors, c, order_bits, first + c * replicas, numbers,
                    e, work, p, q, drawn_p, drawn_q, grad_sq, sum_p, sum_g, state,
                )  # fmt: skip
                if now:
                    _keep(outputs, c, columns, snapshot, state, p, q, grad_sq, sum_p, sum_g)
            snapshot += now
            if t == last or stop[0] != 0:
                break
            if not exact:
                drawn = drawings[t % BLOCK]
                coefficients_of(
                    draws, sampling, t, drawn, replica, drawn_p, drawn_q, e, spare.counts, spare.coefficients
                )
            for b in range(batch):
                at = first + b * columns * replicas
                update(n, b, batch, order, order_bits, at, bandit.steps, drawn_p, drawn_q, eta, e, state, spare)

    return take_steps


def _evaluation(shape: Shape, one_drawn: bool) -> Any:
    """Compiled: the policy of all prompts of a column."""
    width, across, n_wrong, dimension, _, rank = shape
    stage = evaluate_prompts(width, across, n_wrong, dimension, rank, one_drawn)
    entries, depth = width if across else 1, dimension or 0
    size = state_size(shape)

    # Inlined by numba itself: to pass this many arrays at every step, and count who refers to them, costs more than it.
    @njit(inline="always")
    def evaluate(  # type: ignore[no-untyped-def]
        n, odd, differences, factors, c, order, drawn, numbers,
        e, work, p, q, drawn_p, drawn_q, grad_sq, sum_p, sum_g, state,
    ):  # fmt: skip
        groups = (n + width - 1) // width if across else n
        # To and fro: what the step before read last is still in the first cache. Not by two loops, whose code would
        # take twice the room in a cache, too.
        i, further = odd * (groups - 1), 1 - 2 * odd
        for _ in range(groups):
            at = (c * groups + i) * width
            stage(
                (
                    (differences, i * n_wrong * depth * entries),
                    (factors, i * rank * n_wrong * entries),
                    (state, c * size + (0 if dimension is not None else i * n_wrong * width)),
                    (work, 0) if one_drawn else (e, at * n_wrong),
                    (p, at),
                    (q, at),
                    (grad_sq, at),
                    (sum_p, at),
                    (sum_g, at),
                    (order, drawn),
                    (numbers, 0 if across else i),
                    (e, c * n_wrong * width),
                    (drawn_p, c * width),
                    (drawn_q, c * width),
                )
            )
            i += further

    return evaluate


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
