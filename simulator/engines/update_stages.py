"""The vectorised update: weights of a rule, sums of rows, and the move of the state."""

from __future__ import annotations

from typing import Any

from simulator.engines.layout import padded_length, row_block
from simulator.engines.pointers import CACHE_LINE, Pointer, staged
from simulator.engines.stages import UNROLLED
from simulator.engines.vectors import Lanes
from theory.rules import Rule

__all__ = ["advance", "exact_weights", "lines_ahead", "weighted_sums"]


def exact_weights(width: int, rule: Rule, one_drawn: bool) -> Any:
    """Stage ``(order, p, q, eta, scale)``: what the drawn prompts' ``sum_j e_j D_j`` is multiplied by.

    Writes ``-eta weight(p, q) p`` and, behind it, p: their product may underflow where the sum is huge.

    Args:
        width: replicas; ``order`` holds one prompt for each, as integers.
        rule: its ``weight`` runs here as it is, on vectors.
        one_drawn: whether p and q are those of the drawn prompts already, and not of all.
    """

    def text(order: Pointer, p: Pointer, q: Pointer, eta: Pointer, scale: Pointer) -> None:
        if one_drawn:
            right, wrong = p.load(), q.load()
        else:
            emitter, builder = order.emitter, order.emitter.builder
            prompts = order.load().to_bits()
            places = builder.add(builder.mul(prompts, emitter.integer(width)), emitter.lane_numbers())
            right, wrong = p.gather(places), q.gather(places)
        weight = rule.weight(right.maximum(1e-300), wrong.maximum(1e-300))
        scale.store(-(weight * right * eta.load()))
        (scale + width).store(right)

    return staged(width, text)


def weighted_sums(stride: int, wrong: int, block: int, together: int, ahead: bool = False) -> Any:
    """Stage ``(coefficients, ..., rows, out, ...)``: ``out_r = sum_j coefficients_r[j] rows[j]`` over a block of rows.

    With ``ahead`` a place behind the others, ``(..., out, ..., next)``, tells what is wanted next: with each row a
    cache line of it is asked for, ``wrong`` in all.

    Args:
        stride: successive coefficients of a replica are this far apart.
        wrong: number of rows.
        block: their length, one vector.
        together: replicas that are summed at once and share what is read of the rows.
        ahead: whether something is asked for meanwhile.
    """

    def text(*places: Pointer) -> None:
        coefficients, rows, outs = places[:together], places[together], places[together + 1 : 2 * together + 1]
        emitter = rows.emitter

        def body(row: Any, sums: list[Lanes]) -> list[Lanes]:
            entries = rows.vector(row).load()
            if ahead:
                _line(places[-1], row).prefetch(1)
            at = [c + row * stride if isinstance(row, int) else c.times(row, stride) for c in coefficients]
            return [place.scalar().fma(entries, total) for place, total in zip(at, sums, strict=True)]

        sums = [emitter.constant(0.0) for _ in range(together)]
        if wrong > UNROLLED:
            sums = emitter.loop(0, wrong, 1, sums, body)
        else:
            for row in range(wrong):
                sums = body(row, sums)
        for out, total in zip(outs, sums, strict=True):
            out.store(total)

    return staged(block, text)


def _line(place: Pointer, number: Any) -> Pointer:
    """The cache line that lies so many behind a place."""
    return place + CACHE_LINE * number if isinstance(number, int) else place.times(number, CACHE_LINE)


def lines_ahead(block: int, wrong: int) -> Any:
    """Stage ``(next,)``: ask for ``wrong`` cache lines at once."""

    def text(following: Pointer) -> None:
        def body(row: Any, _: list[Lanes]) -> list[Lanes]:
            _line(following, row).prefetch(1)
            return []

        following.emitter.loop(0, wrong, 1, [], body)

    return staged(block, text)


def advance(width: int, length: int, stride: int, following: int = 0) -> Any:
    """Stage ``(state, scale, sums)``: ``state[c, lane] += scale[0] (scale[1] sums[lane, c])``.

    Args:
        width: replicas.
        length: of the state.
        stride: the sums of successive replicas are this far apart.
        following: what is moved next lies so many doubles behind the state, and is asked for meanwhile; 0 if not.
    """
    if width == 1:
        return _advance_one(padded_length(length))

    def text(state: Pointer, scale: Pointer, sums: Pointer) -> None:
        emitter = state.emitter
        first, second = scale.load(), (scale + width).load()
        lanes = emitter.lane_numbers(stride)

        def body(column: Any, _: list[Lanes]) -> list[Lanes]:
            place = state.vector(column)
            if following:
                (place + following).prefetch(width // CACHE_LINE)
            place.store(first.fma(second * (sums + column).gather(lanes), place.load()))
            return []

        if length > UNROLLED:
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
