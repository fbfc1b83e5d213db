"""The compiled update of a step: weights, sums of rows, and the move of the state, for all columns."""

from __future__ import annotations

from typing import Any

from numba import njit

from simulator.engines.arrays import Shape
from simulator.engines.draws import OPTIONS
from simulator.engines.layout import padded_length, row_block
from simulator.engines.room import row_stride
from simulator.engines.update_stages import advance, exact_weights, weighted_sums
from theory.rules import Rule

__all__ = ["compile_update", "places_of"]


def places_of(shape: Shape, one_drawn: bool) -> Any:
    """Compiled: where a replica's ``e_0`` of prompt i lies (the next ones follow every ``width``), and its p.

    ``size`` is the number of p in a column: with one drawn prompt only its own are kept, ``width`` of them.
    """
    width, across, n_wrong = shape.width, shape.across_prompts, shape.n_wrong

    @njit(inline="always")
    def places(i, lane, column, size):  # type: ignore[no-untyped-def]
        group, within = (i // width, i % width) if across else (0 if one_drawn else i, lane)
        return (column * size + group * width) * n_wrong + within, column * size + group * width + within

    return places


def compile_update(shape: Shape, rule: Rule | None, grouped: bool, one_drawn: bool) -> Any:
    """Compiled: move all states by the update of the b-th drawn prompt of every replica.

    Args:
        shape: dimensions and layout.
        rule: an exact rule; None for sampled ones.
        grouped: whether the rows of a prompt are read once for all replicas that drew it, block by block: pays off
            where the rows of all prompts do not fit the cache, and changes no bit of the results.
        one_drawn: see ``evaluate_prompts``.
    """
    width, across, n_wrong, _, length, _ = shape
    replicas, padded, places = 1 if across else width, padded_length(length), places_of(shape, one_drawn)
    stride, block = row_stride.py_func(padded), row_block(length)
    blocks, room = padded // block, padded if across else length * width
    one, move = weighted_sums(width, n_wrong, block, 1), advance(replicas, length, stride)
    exact = rule is not None
    weigh = exact_weights(replicas, rule or Rule("unused", lambda p, q: 1, "", ""), one_drawn)
    in_groups = _grouped_sums(width, n_wrong, padded, block, stride) if grouped else None

    # Inlined by numba itself: to pass this many arrays at every step costs more than it.
    @njit(inline="always")
    def update(n, b, batch, order, order_bits, first, steps, p, q, eta, e, state, spare):  # type: ignore[no-untyped-def]
        sums, scale, firsts, coefficients = spare.sums, spare.scale, spare.firsts, spare.coefficients
        columns = len(eta)
        size = len(p) // columns
        for c in range(columns):
            mine, drawn = c * 2 * replicas, first + c * replicas
            if exact:
                weigh(((order_bits, drawn), (p, c * size), (q, c * size), (eta[c], 0), (scale, mine)))
            for lane in range(replicas):
                if exact:
                    firsts[c * replicas + lane] = places(order[drawn + lane], lane, c, size)[0]
                else:
                    firsts[c * replicas + lane] = (c * batch + b) * n_wrong * width + lane
                    scale[mine + lane], scale[mine + replicas + lane] = eta[c, lane], 1.0
        factors = e if exact else coefficients
        if grouped:
            in_groups(n, order[first : first + columns * replicas], factors, steps, spare)
        else:
            for run in range(columns * replicas):
                for k in range(blocks):
                    rows = (steps, (order[first + run] * blocks + k) * n_wrong * block)
                    one(((factors, firsts[run]), rows, (sums, run * stride + k * block)))
        for c in range(columns):
            move(((state, c * room), (scale, c * 2 * replicas), (sums, c * replicas * stride)))

    return update


def _grouped_sums(width: int, n_wrong: int, padded: int, block: int, stride: int) -> Any:
    """Compiled: the sums of all replicas, prompt by prompt and block by block."""
    blocks = padded // block
    one, two, six = (weighted_sums(width, n_wrong, block, together) for together in (1, 2, 6))

    @njit(**OPTIONS)
    def sort_by_prompt(n, prompts, members, begins):  # type: ignore[no-untyped-def]
        """Replicas sorted by prompt, those of prompt i from ``begins[i]`` to ``begins[i + 1]``."""
        for i in range(n + 1):
            begins[i] = 0
        for i in prompts:
            begins[i] += 1
        for i in range(1, n + 1):
            begins[i] += begins[i - 1]
        for run in range(len(prompts) - 1, -1, -1):
            begins[prompts[run]] -= 1
            members[begins[prompts[run]]] = run

    @njit(**OPTIONS)
    def sum_up(n, prompts, factors, steps, spare):  # type: ignore[no-untyped-def]
        sums, firsts, members, begins = spare.sums, spare.firsts, spare.members, spare.begins
        sort_by_prompt(n, prompts, members, begins)
        for i in range(n):
            for k in range(blocks):
                rows, own = (steps, (i * blocks + k) * n_wrong * block), k * block
                m, end = begins[i], begins[i + 1]
                while m < end:
                    a = members[m]
                    if end - m >= 6:
                        b, c, d, x, y = members[m + 1], members[m + 2], members[m + 3], members[m + 4], members[m + 5]
                        six(
                            (
                                (factors, firsts[a]), (factors, firsts[b]), (factors, firsts[c]),
                                (factors, firsts[d]), (factors, firsts[x]), (factors, firsts[y]),
                                rows,
                                (sums, a * stride + own), (sums, b * stride + own), (sums, c * stride + own),
                                (sums, d * stride + own), (sums, x * stride + own), (sums, y * stride + own),
                            )
                        )  # fmt: skip
                        m += 6
                    elif end - m >= 2:
                        b = members[m + 1]
                        two(
                            (
                                (factors, firsts[a]), (factors, firsts[b]), rows,
                                (sums, a * stride + own), (sums, b * stride + own),
                            )
                        )  # fmt: skip
                        m += 2
                    else:
                        one(((factors, firsts[a]), rows, (sums, a * stride + own)))
                        m += 1

    return sum_up
