"""The compiled update of a step: weights, sums of rows, and the move of the state, for all columns."""

from __future__ import annotations

from typing import Any

from numba import njit

from simulator.engines.arrays import Shape
from simulator.engines.draws import OPTIONS
from simulator.engines.layout import padded_length, row_block
from simulator.engines.pointers import CACHE_LINE
from simulator.engines.update_stages import advance, exact_weights, lines_ahead, weighted_sums
from theory.rules import Rule

__all__ = ["compile_update", "places_of", "sums_stride"]


def sums_stride(length: int, grouped: bool) -> int:
    """Distance between the sums of two replicas, whole ones or, in groups, those of a block.

    Not a power of two, whose multiples share a cache set.
    """
    size = row_block(length) if grouped else padded_length(length)
    return size + 8 if grouped or size > 64 else size


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
    stride, block = sums_stride(length, grouped), row_block(length)
    blocks, room = padded // block, padded if across else length * width
    one, move = weighted_sums(width, n_wrong, block, 1), advance(replicas, length, stride)
    exact = rule is not None
    weigh = exact_weights(replicas, rule or Rule("unused", lambda p, q: 1, "", ""), one_drawn)
    in_groups = _grouped_update(width, n_wrong, length) if grouped else None

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
            in_groups(n, order[first : first + columns * replicas], factors, steps, state, spare)
        else:
            for run in range(columns * replicas):
                for k in range(blocks):
                    rows = (steps, (order[first + run] * blocks + k) * n_wrong * block)
                    one(((factors, firsts[run]), rows, (sums, run * stride + k * block)))
            for c in range(columns):
                move(((state, c * room), (scale, c * 2 * replicas), (sums, c * replicas * stride)))

    return update


def _block_sums(n_wrong: int, length: int) -> Any:
    """Compiled: sums over block k of the rows of prompt i, for its replicas ``members[begin:end]``.

    Their factors lie side by side in ``packed``; meanwhile the block ``following`` is asked for.
    """
    block, stride = row_block(length), sums_stride(length, True)
    blocks, size = -(-length // block), n_wrong * block
    one, two, four, six = (weighted_sums(1, n_wrong, block, together, ahead=True) for together in (1, 2, 4, 6))
    # The lines of a block are asked for in parts of one for each row.
    ask, parts = lines_ahead(block, n_wrong), max(block // CACHE_LINE, 1)
    part = size // parts

    @njit(**OPTIONS)
    def sum_up(i, k, following, begin, end, packed, steps, sums, members):  # type: ignore[no-untyped-def]
        rows, m, asked = (steps, (i * blocks + k) * size), begin, 0
        while m < end:
            at, a = m * n_wrong, members[m] * stride
            # Evenly over what is to be computed meanwhile: a few lines are on their way at a time, whoever asks.
            ahead = (steps, following * size + min(asked, parts - 1) * part)
            asked += 1
            if end - m >= 6:
                b, c, d = members[m + 1] * stride, members[m + 2] * stride, members[m + 3] * stride
                x, y = members[m + 4] * stride, members[m + 5] * stride
                six(
                    (
                        (packed, at), (packed, at + n_wrong), (packed, at + 2 * n_wrong),
                        (packed, at + 3 * n_wrong), (packed, at + 4 * n_wrong), (packed, at + 5 * n_wrong),
                        rows,
                        (sums, a), (sums, b), (sums, c), (sums, d), (sums, x), (sums, y),
                        ahead,
                    )
                )  # fmt: skip
                m += 6
            elif end - m >= 4:
                b, c, d = members[m + 1] * stride, members[m + 2] * stride, members[m + 3] * stride
                four(
                    (
                        (packed, at), (packed, at + n_wrong), (packed, at + 2 * n_wrong), (packed, at + 3 * n_wrong),
                        rows,
                        (sums, a), (sums, b), (sums, c), (sums, d),
                        ahead,
                    )
                )  # fmt: skip
                m += 4
            elif end - m >= 2:
                b = members[m + 1] * stride
                two(((packed, at), (packed, at + n_wrong), rows, (sums, a), (sums, b), ahead))
                m += 2
            else:
                one(((packed, at), rows, (sums, a), ahead))
                m += 1
        while asked < parts:
            ask(((steps, following * size + asked * part),))
            asked += 1

    return sum_up


def _grouped_update(width: int, n_wrong: int, length: int) -> Any:
    """Compiled: the update of all replicas, block by block of the rows, and in each prompt by prompt.

    The sums of a block stay in the cache until the states have moved by them.
    """
    block, stride = row_block(length), sums_stride(length, True)
    blocks, last = -(-length // block), length % block or block
    sum_up = _block_sums(n_wrong, length)
    move, move_last = (advance(width, columns, stride, length * width) for columns in (block, last))

    @njit(**OPTIONS)
    def update(n, prompts, factors, steps, state, spare):  # type: ignore[no-untyped-def]
        sums, scale, members, begins, packed = spare.sums, spare.scale, spare.members, spare.begins, spare.packed
        drawn = spare.drawn
        count = _sort_by_prompt(n, prompts, members, begins, drawn)
        # Side by side, or each factor would be a cache line of its own, read again for every block.
        for m in range(len(prompts)):
            for j in range(n_wrong):
                packed[m * n_wrong + j] = factors[spare.firsts[members[m]] + j * width]
        for k in range(blocks):
            for place in range(count):
                i = drawn[place]
                last_of_all = place == count - 1
                following = drawn[0] * blocks + k + 1 if last_of_all else drawn[place + 1] * blocks + k
                sum_up(i, k, following, begins[i], begins[i + 1], packed, steps, sums, members)
            for c in range(len(prompts) // width):
                moved = ((state, (c * length + k * block) * width), (scale, c * 2 * width), (sums, c * width * stride))
                if k < blocks - 1:
                    move(moved)
                else:
                    move_last(moved)

    return update


@njit(**OPTIONS)
def _sort_by_prompt(n: Any, prompts: Any, members: Any, begins: Any, drawn: Any) -> Any:
    """Replicas sorted by prompt, those of i from ``begins[i]`` to ``begins[i + 1]``; and how many were drawn."""
    for i in range(n + 1):
        begins[i] = 0
    for i in prompts:
        begins[i] += 1
    count = 0
    for i in range(n):
        if begins[i] > 0:
            drawn[count] = i
            count += 1
    for i in range(1, n + 1):
        begins[i] += begins[i - 1]
    for run in range(len(prompts) - 1, -1, -1):
        begins[prompts[run]] -= 1
        members[begins[prompts[run]]] = run
    return count
