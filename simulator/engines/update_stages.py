"""The vectorised update: weights of a rule, sums of rows, and the move of the state."""

from __future__ import annotations

from typing import Any

from simulator.engines.layout import row_block
from simulator.engines.vectors import Lanes, Pointer, staged
from theory.rules import Rule

__all__ = ["advance", "exact_weights", "weighted_sum"]

# The longest loop that is written out.
_UNROLLED = 32


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
    if width == 1:
        return _advance_one(padded)

    def text(state: Pointer, scale: Pointer, sums: Pointer) -> None:
        emitter = state.emitter
        first, second = scale.load(), (scale + width).load()
        lanes = emitter.lane_numbers(padded)

        def body(column: Any, _: list[Lanes]) -> list[Lanes]:
            place = state.vector(column)
            place.store(first.fma(second * (sums + column).gather(lanes), place.load()))
            return []

        if length > _UNROLLED:
            emitter.loop(0, length, 1, [], body)
        else:
            for column in range(length):
                body(column, [])

    return staged(width, text)


def _advance_one(padded: int) -> Any:
    """The same for one replica, whose state is as long as the padded row."""
    block = row_block(padded)

    def text(state: Pointer, scale: Pointer, sums: Pointer) -> None:
        first, second = scale.scalar(), (scale + 1).scalar()

        def body(column: Any, _: list[Lanes]) -> list[Lanes]:
            place = state + column
            place.store(first.fma(second * (sums + column).load(), place.load()))
            return []

        scale.emitter.loop(0, padded, block, [], body)

    return staged(block, text)
