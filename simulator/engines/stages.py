r"""The vectorised stages of a step, for one prompt or one step of ``width`` replicas at a time.

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
from simulator.engines.layout import row_block
from simulator.engines.vectors import Lanes, Pointer, staged
from theory.rules import Rule

__all__ = ["advance", "evaluate_prompt", "exact_weights", "weighted_sum"]

# Rows whose sums are kept in registers at once, and the largest loop that is written out.
_ROWS, _UNROLLED = 6, 32
# Beyond this many wrong outputs their exponentials are read back instead of held.
_HELD = 7


def _blocks(total: int) -> list[tuple[int, int]]:
    """``range(total)`` in pieces of nearly equal length, at most ``_ROWS`` long."""
    count = -(-total // _ROWS)
    ends = [round(total * k / count) for k in range(count + 1)]
    return list(pairwise(ends))


def _row_sums(matrix: Pointer, stride: int, rows: range, vector: Callable[[Any], Lanes], columns: range) -> list[Lanes]:
    """``sum_c matrix[r, c] vector(c)`` for the rows; a loop of the machine where it would be long."""
    emitter = matrix.emitter

    def body(column: Any, sums: list[Lanes]) -> list[Lanes]:
        entry, x = matrix + column, vector(column)
        return [(entry + stride * row).scalar().fma(x, total) for row, total in zip(rows, sums, strict=True)]

    sums = [emitter.constant(0.0) for _ in rows]
    if len(columns) > _UNROLLED:
        return emitter.loop(columns.start, columns.stop, 1, sums, body)
    for column in columns:
        sums = body(column, sums)
    return sums


def _at(pointer: Pointer, index: Any) -> Pointer:
    """The vector number ``index``, a Python integer or an IR value."""
    width = pointer.emitter.width
    return pointer + index * width if isinstance(index, int) else pointer.times(index, width)


def evaluate_prompt(width: int, wrong: int, dimension: int | None, rank: int) -> Any:
    """Stage ``(D, F, state, e, p, q, g, sum_p, sum_g)``: the policy of one prompt at every replica.

    Args:
        width: replicas.
        wrong: K - 1.
        dimension: d where ``state`` is theta, ``(d, width)``; None where it holds the margins, ``(K - 1, width)``.
        rank: rows of ``F_i``, at most K - 1.
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
    ) -> None:
        odds, held = _exponentials(differences, state, e, wrong, dimension)
        p = 1.0 / (odds + 1.0)
        length = _squared_length(factor, held or (lambda j: _at(e, j).load()), p, wrong, rank)
        g = p * p * length
        for place, value in ((p_out, p), (q_out, odds * p), (g_out, g)):
            place.store(value)
        for place, value in ((sum_p, p), (sum_g, g)):
            place.store(place.load() + value)

    return staged(width, text)


def _exponentials(
    differences: Pointer, state: Pointer, e: Pointer, wrong: int, dimension: int | None
) -> tuple[Lanes, Callable[[Any], Lanes] | None]:
    """Write ``e_j``; return their sum, and a way to those that are still in registers."""
    kept: list[Lanes] = []
    emitter = e.emitter

    def one(row: Any, margin: Lanes) -> Lanes:
        value = exp(margin.minimum(LARGEST_EXPONENT).maximum(-LARGEST_EXPONENT))
        _at(e, row).store(value)
        kept.append(value)
        return value

    if dimension is None and wrong > _UNROLLED:
        step = max(size for size in (4, 3, 2, 1) if wrong % size == 0)

        def body(row: ir.Value, sums: list[Lanes]) -> list[Lanes]:
            rows = [emitter.builder.add(row, ir.Constant(row.type, k)) for k in range(step)]
            return [sum((one(r, _at(state, r).load()) for r in rows), start=sums[0])]

        return emitter.loop(0, wrong, step, [emitter.constant(0.0)], body)[0], None
    for start, stop in _blocks(wrong):
        rows = range(start, stop)
        if dimension is None:
            margins = [_at(state, row).load() for row in rows]
        else:
            margins = _row_sums(differences, dimension, rows, lambda c: _at(state, c).load(), range(dimension))
        for row, margin in zip(rows, margins, strict=True):
            one(row, margin)
    if wrong <= _HELD:
        return sum(kept[1:], start=kept[0]), kept.__getitem__
    return sum((_at(e, row).load() for row in range(1, wrong)), start=_at(e, 0).load()), None


def _squared_length(factor: Pointer, e: Callable[[Any], Lanes], p: Lanes, wrong: int, rank: int) -> Lanes:
    """``||F (p e)||^2`` with F upper triangular: entries below the diagonal are not read."""
    total = p.emitter.constant(0.0)
    for start, stop in _blocks(rank):
        sums = [p.emitter.constant(0.0) for _ in range(start, stop)]
        head = range(start, min(stop, wrong))
        for column in head:
            x = e(column)
            for row in range(start, min(stop, column + 1)):
                sums[row - start] = (factor + (row * wrong + column)).scalar().fma(x, sums[row - start])
        if head.stop < wrong:
            tail = _row_sums(factor, wrong, range(start, stop), e, range(head.stop, wrong))
            sums = [a + b for a, b in zip(sums, tail, strict=True)]
        for row_sum in sums:
            # p times the sum, not times each e: e may be as large as 1e299, their square would overflow.
            scaled = p * row_sum
            total = scaled.fma(scaled, total)
    return total


def exact_weights(width: int, rule: Rule) -> Any:
    """Stage ``(order, p, q, eta, scale)``: what the drawn prompts' ``sum_j e_j D_j`` is multiplied by.

    Writes ``-eta weight(p, q) p`` and, behind it, p: their product may underflow where the sum is huge.

    Args:
        width: replicas; ``order`` holds one prompt for each, as integers.
        rule: its ``weight`` runs here as it is, on vectors.
    """

    def text(order: Pointer, p: Pointer, q: Pointer, eta: Pointer, scale: Pointer) -> None:
        emitter, builder = order.emitter, order.emitter.builder
        prompts = order.load().to_bits()
        places = builder.add(builder.mul(prompts, emitter.integer(width)), emitter.lane_numbers())
        right, wrong = p.gather(places), q.gather(places)
        weight = rule.weight(right.maximum(1e-300), wrong.maximum(1e-300))
        scale.store(-(weight * right * eta.load()))
        (scale + width).store(right)

    return staged(width, text)


def weighted_sum(width: int, wrong: int, length: int) -> Any:
    """Stage ``(coefficients, rows, out)``: ``out = sum_j coefficients[j] rows[j]`` for one replica.

    Args:
        width: replicas; successive coefficients of one of them are this far apart.
        wrong: number of rows.
        length: of a row, padded to whole blocks.
    """
    block = row_block(length)

    def text(coefficients: Pointer, rows: Pointer, out: Pointer) -> None:
        emitter = rows.emitter

        def columns(column: Any, _: list[Lanes]) -> list[Lanes]:
            total = [emitter.constant(0.0)]

            def body(row: Any, sums: list[Lanes]) -> list[Lanes]:
                if isinstance(row, int):
                    coefficient, place = coefficients + row * width, rows + row * length
                else:
                    coefficient, place = coefficients.times(row, width), rows.times(row, length)
                return [coefficient.scalar().fma((place + column).load(), sums[0])]

            if wrong > _UNROLLED:
                total = emitter.loop(0, wrong, 1, total, body)
            else:
                for row in range(wrong):
                    total = body(row, total)
            (out + column).store(total[0])
            return []

        if length == block:
            columns(0, [])
        else:
            emitter.loop(0, length, block, [], columns)

    return staged(block, text)


def advance(width: int, length: int, padded: int) -> Any:
    """Stage ``(state, scale, sums)``: ``state[c, lane] += scale[0] (scale[1] sums[lane, c])``."""

    def text(state: Pointer, scale: Pointer, sums: Pointer) -> None:
        emitter = state.emitter
        first, second = scale.load(), (scale + width).load()
        lanes = emitter.lane_numbers(padded)

        def body(column: Any, _: list[Lanes]) -> list[Lanes]:
            place = _at(state, column)
            place.store(first.fma(second * (sums + column).gather(lanes), place.load()))
            return []

        if length > _UNROLLED:
            emitter.loop(0, length, 1, [], body)
        else:
            for column in range(length):
                body(column, [])

    return staged(width, text)
