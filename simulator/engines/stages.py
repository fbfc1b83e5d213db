r"""The vectorised evaluation of prompts: probabilities, gradient norms and what an update needs.

Notation: ``D_ij = x_ij - x_ia`` over the wrong outputs j, margins ``m_ij = D_ij . theta``, ``e_ij = exp(m_ij)``,
``E_i = sum_j e_ij``. Then, without any subtraction,

    p = 1 / (1 + E),    q = E p,    grad J = -p^2 sum_j e_j D_j,    ||grad J||^2 = p^2 ||F (p e)||^2,

where ``F_i`` is the triangular factor of ``D_i^T`` (``F^T F = D D^T``), which halves the work of the norm. Margins are
clamped to +-690, so that p and q down to 1e-299 are exact and nothing overflows.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from llvmlite import ir

from simulator.engines.functions import LARGEST_EXPONENT, exp
from simulator.engines.pointers import CACHE_LINE, Pointer, staged
from simulator.engines.vectors import INT64, Emitter, Lanes

__all__ = ["UNROLLED", "evaluate_prompts"]

# Rows whose sums are kept in registers at once, and the largest loop that is written out.
_ROWS, UNROLLED = 6, 32
# Exponentials of one prompt that are held in registers: 28 of AVX-512; more are read back.
_HELD = 224


def _blocks(total: int) -> list[tuple[int, int]]:
    """``range(total)`` in pieces of nearly equal length, at most ``_ROWS`` long."""
    count = -(-total // _ROWS) or 1
    ends = [round(total * k / count) for k in range(count + 1)]
    return list(pairwise(ends))


Entry = Callable[[int, Any], Lanes]
Column = Callable[[Any], Lanes]


def _row_sums(emitter: Emitter, entry: Entry, rows: range, vector: Column, columns: range) -> list[Lanes]:
    """``sum_c entry(r, c) vector(c)`` for the rows; a loop of the machine where it would be long."""

    def body(column: Any, sums: list[Lanes]) -> list[Lanes]:
        x = vector(column)
        return [entry(row, column).fma(x, total) for row, total in zip(rows, sums, strict=True)]

    sums = [emitter.constant(0.0) for _ in rows]
    if len(columns) > UNROLLED:
        return emitter.loop(columns.start, columns.stop, 1, sums, body)
    for column in columns:
        sums = body(column, sums)
    return sums


def _entries(matrix: Pointer, columns: int, across_prompts: bool) -> Entry:
    """Entries of a matrix that all lanes share, or of as many matrices as there are lanes, lanes innermost."""
    if across_prompts:
        width = matrix.emitter.width
        return lambda row, column: (matrix.vector(column) + row * columns * width).load()
    return lambda row, column: (matrix + column + row * columns).scalar()


def evaluate_prompts(
    width: int, across_prompts: bool, wrong: int, dimension: int | None, rank: int, one_drawn: bool
) -> Any:
    """Stage ``(D, F, state, e, p, q, g, sum_p, sum_g, order, number, drawn e, drawn p, drawn q)``.

    It evaluates one prompt of ``width`` replicas, or ``width`` prompts of one.

    Args:
        width: lanes.
        across_prompts: whether the lanes are prompts; then D and F hold ``width`` prompts, lanes innermost.
        wrong: K - 1.
        dimension: d where ``state`` is theta: ``(d, width)`` across replicas, ``(d,)`` across prompts; None where it
            holds the margins, ``(K - 1, width)``.
        rank: rows of ``F_i``, at most K - 1.
        one_drawn: whether each replica moves by one prompt, named in ``order``. Then the lanes whose prompt is this
            one (``number``) are written to the last three places, and ``e`` is no more than room to work in, the same
            for all prompts: all of them would not fit the first cache.
    """

    def text(
        differences: Pointer,
        factor: Pointer,
        state: Pointer,
        e: Pointer,
        p_out: Pointer,
        q_out: Pointer,
        g_out: Pointer,
        sum_p: Pointer,
        sum_g: Pointer,
        *drawn: Pointer,
    ) -> None:
        mask = None
        if one_drawn:
            builder, (order, number) = e.emitter.builder, drawn[:2]
            mask = builder.icmp_unsigned("==", order.load().to_bits(), number.scalar().to_bits())

        def write(row: Any, value: Lanes) -> None:
            if mask is None or wrong * width > _HELD:
                e.vector(row).store(value)
            if mask is not None:
                drawn[2].vector(row).store_where(mask, value)

        margins = None
        if dimension is not None:
            entry = _entries(differences, dimension, across_prompts)
            theta = (lambda c: (state + c).scalar()) if across_prompts else (lambda c: state.vector(c).load())
            margins = lambda rows: _row_sums(e.emitter, entry, rows, theta, range(dimension))  # noqa: E731
        odds, held = _exponentials(margins, state, e, wrong, write)
        p = 1.0 / (odds + 1.0)
        reading = held or (lambda j: e.vector(j).load())
        # In Gram space the margins of the next prompt, which many states leave no room for in a cache.
        following = state.vector(wrong) if dimension is None and not across_prompts else None
        length = _squared_length(factor, across_prompts, reading, p, wrong, rank, following)
        g = p * p * length
        q = odds * p
        for place, value in ((p_out, p), (q_out, q), (g_out, g)):
            place.store(value)
        if mask is not None:
            drawn[3].store_where(mask, p)
            drawn[4].store_where(mask, q)
        for place, value in ((sum_p, p), (sum_g, g)):
            place.store(place.load() + value)

    return staged(width, text)


def _exponentials(
    margins: Callable[[range], list[Lanes]] | None,
    state: Pointer,
    e: Pointer,
    wrong: int,
    write: Callable[[Any, Lanes], None],
) -> tuple[Lanes, Column | None]:
    """Write ``e_j``; return their sum, and a way to those that are still in registers.

    Args:
        margins: from rows to their margins; None where the state holds them.
        state: of the run.
        e: where they are read from again.
        wrong: K - 1.
        write: what is done with each.
    """
    kept: list[Lanes] = []
    emitter = e.emitter
    limit = emitter.constant(LARGEST_EXPONENT)

    def one(row: Any, margin: Lanes) -> Lanes:
        # The limits come first: then a margin that is no number stays one, and the run shows that it diverged.
        value = exp((-limit).maximum(limit.minimum(margin)))
        write(row, value)
        kept.append(value)
        return value

    if margins is None and wrong > UNROLLED:
        step = max(size for size in (4, 3, 2, 1) if wrong % size == 0)

        def body(row: ir.Value, sums: list[Lanes]) -> list[Lanes]:
            rows = [emitter.builder.add(row, ir.Constant(row.type, k)) for k in range(step)]
            return [sum((one(r, state.vector(r).load()) for r in rows), start=sums[0])]

        return emitter.loop(0, wrong, step, [emitter.constant(0.0)], body)[0], None
    for start, stop in _blocks(wrong):
        rows = range(start, stop)
        values = [state.vector(row).load() for row in rows] if margins is None else margins(rows)
        for row, margin in zip(rows, values, strict=True):
            one(row, margin)
    if wrong * emitter.width <= _HELD:
        return sum(kept[1:], start=kept[0]), kept.__getitem__
    return sum((e.vector(row).load() for row in range(1, wrong)), start=e.vector(0).load()), None


def _squared_length(
    factor: Pointer, across_prompts: bool, e: Column, p: Lanes, wrong: int, rank: int, following: Pointer | None
) -> Lanes:
    """``||F (p e)||^2`` with F upper triangular, zeros below the diagonal; looped over blocks of rows if large.

    In the loops what ``following`` points to is asked for, a cache line with each column.
    """
    emitter, width = p.emitter, p.emitter.width
    looped = rank // _ROWS * _ROWS if rank > UNROLLED else 0
    total = emitter.constant(0.0)

    def whole_block(start: ir.Value, totals: list[Lanes]) -> list[Lanes]:
        entry = _entries(factor.times(start, wrong * (width if across_prompts else 1)), wrong, across_prompts)

        done = _columns_before(emitter, start, wrong)

        def body(column: ir.Value, sums: list[Lanes]) -> list[Lanes]:
            x = e(column)
            if following is not None:
                past = emitter.builder.add(done, emitter.builder.sub(column, start))
                following.times(past, CACHE_LINE).prefetch(1)
            return [entry(row, column).fma(x, row_sum) for row, row_sum in enumerate(sums)]

        sums = emitter.loop(start, wrong, 1, [emitter.constant(0.0)] * _ROWS, body)
        return [_add_squares(sums, p, totals[0])]

    if looped:
        total = emitter.loop(0, looped, _ROWS, [total], whole_block)[0]
    entry = _entries(factor, wrong, across_prompts)
    for start, stop in ((a + looped, b + looped) for a, b in _blocks(rank - looped)):
        sums = [emitter.constant(0.0) for _ in range(start, stop)]
        for column in range(start, wrong):
            x = e(column)
            for row in range(start, min(stop, column + 1)):
                sums[row - start] = entry(row, column).fma(x, sums[row - start])
        total = _add_squares(sums, p, total)
    return total


def _columns_before(emitter: Emitter, start: ir.Value, wrong: int) -> ir.Value:
    """How many columns the blocks of rows before row ``start`` have in all: ``sum_b (wrong - b _ROWS)``."""
    builder, constant = emitter.builder, lambda number: ir.Constant(INT64, number)
    block = builder.udiv(start, constant(_ROWS))
    missing = builder.lshr(builder.mul(start, builder.sub(block, constant(1))), constant(1))
    return builder.sub(builder.mul(block, constant(wrong)), missing)


def _add_squares(sums: list[Lanes], p: Lanes, total: Lanes) -> Lanes:
    """``total + sum_r (p sums_r)^2``: p times the sum, not times each e, whose square would overflow at 1e299."""
    for row_sum in sums:
        scaled = p * row_sum
        total = scaled.fma(scaled, total)
    return total
