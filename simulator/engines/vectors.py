"""Vectors of replicas, staged: Python operators on ``Lanes`` emit one vector instruction each.

The text of a kernel runs once, when the kernel is compiled, on values of this class; what it does with them becomes
LLVM IR on ``<width x double>``. Loops over fixed dimensions are unrolled by Python, a rule's ``weight(p, q)`` runs
here unchanged, and no vectoriser has to recognise anything. The code is inlined into numba functions by
:func:`simulator.engines.pointers.staged`; the target (AVX-512, AVX2, NEON, ...) is the machine that numba compiles for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba.core import cgutils

__all__ = ["DOUBLE", "INT64", "Emitter", "Lanes"]

DOUBLE, INT64 = ir.DoubleType(), ir.IntType(64)


class Emitter:
    """Emits IR for vectors of ``width`` doubles at the builder's position."""

    def __init__(self, builder: ir.IRBuilder, width: int) -> None:
        """Vectors of ``width`` doubles, written where ``builder`` stands."""
        self.builder, self.width = builder, width
        self.type = ir.VectorType(DOUBLE, width)
        self.bits = ir.VectorType(INT64, width)

    def constant(self, number: float) -> Lanes:
        """The number in every lane."""
        return Lanes(self, ir.Constant(self.type, [float(number)] * self.width))

    def integer(self, number: int) -> ir.Constant:
        """The 64-bit integer in every lane (an IR value, for use with :meth:`Lanes.to_bits`)."""
        return ir.Constant(self.bits, [number] * self.width)

    def from_bits(self, bits: ir.Value) -> Lanes:
        """Doubles with these bit patterns."""
        return Lanes(self, self.builder.bitcast(bits, self.type))

    def splat(self, scalar: ir.Value) -> ir.Value:
        """A scalar in every lane, as an IR value."""
        zero = ir.Constant(ir.IntType(32), 0)
        undefined = ir.Constant(ir.VectorType(scalar.type, self.width), ir.Undefined)
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.width), [0] * self.width)
        one = self.builder.insert_element(undefined, scalar, zero)
        return self.builder.shuffle_vector(one, one, mask)

    def lane_numbers(self, stride: int = 1) -> ir.Constant:
        """``0, stride, 2 stride, ...``: an index of each lane for :meth:`simulator.engines.pointers.Pointer.gather`."""
        return ir.Constant(self.bits, [stride * lane for lane in range(self.width)])

    def call(self, name: str, *arguments: Lanes) -> Lanes:
        """An LLVM intrinsic on doubles, e.g. ``fma``."""
        values = [argument.value for argument in arguments]
        kind = f"llvm.{name}.v{self.width}f64"
        function_type = ir.FunctionType(self.type, [self.type] * len(values))
        function = cgutils.get_or_insert_function(self.builder.module, function_type, kind)
        return Lanes(self, self.builder.call(function, values))

    def loop(
        self, start: Any, stop: int, step: int, values: Iterable[Lanes], body: Callable[[ir.Value, list[Lanes]], Any]
    ) -> list[Lanes]:
        """``for index in range(start, stop, step): values = body(index, values)``, as a loop of the machine.

        ``start`` is a Python integer or an IR value; ``start < stop``, and ``step`` divides their difference.
        """
        builder = self.builder
        first, before = list(values), builder.block
        block, done = builder.append_basic_block("loop"), builder.append_basic_block("done")
        builder.branch(block)
        builder.position_at_end(block)
        index = builder.phi(INT64)
        index.add_incoming(ir.Constant(INT64, start) if isinstance(start, int) else start, before)
        carried = [builder.phi(self.type) for _ in first]
        after = body(index, [Lanes(self, phi) for phi in carried])
        following = builder.add(index, ir.Constant(INT64, step))
        end = builder.block
        index.add_incoming(following, end)
        for phi, old, new in zip(carried, first, after, strict=True):
            phi.add_incoming(old.value, before)
            phi.add_incoming(new.value, end)
        builder.cbranch(builder.icmp_signed("<", following, ir.Constant(INT64, stop)), block, done)
        builder.position_at_end(done)
        return list(after)


class Lanes:
    """``width`` doubles, one for each replica. Operators take another ``Lanes`` or a Python number."""

    def __init__(self, emitter: Emitter, value: ir.Value) -> None:
        """Wrap an IR value of the emitter's vector type."""
        self.emitter, self.value = emitter, value

    def _with(self, other: Any) -> Lanes:
        return other if isinstance(other, Lanes) else self.emitter.constant(other)

    def _binary(self, operation: str, other: Any) -> Lanes:
        return Lanes(self.emitter, getattr(self.emitter.builder, operation)(self.value, self._with(other).value))

    def __add__(self, other: Any) -> Lanes:
        """Sum."""
        return self._binary("fadd", other)

    def __sub__(self, other: Any) -> Lanes:
        """Difference."""
        return self._binary("fsub", other)

    def __mul__(self, other: Any) -> Lanes:
        """Product."""
        return self._binary("fmul", other)

    def __truediv__(self, other: Any) -> Lanes:
        """Quotient."""
        return self._binary("fdiv", other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: Any) -> Lanes:
        """``other - self``."""
        return self._with(other) - self

    def __rtruediv__(self, other: Any) -> Lanes:
        """``other / self``."""
        return self._with(other) / self

    def __neg__(self) -> Lanes:
        """Opposite sign."""
        return Lanes(self.emitter, self.emitter.builder.fneg(self.value))

    def __pow__(self, exponent: float) -> Lanes:
        """``self ** exponent`` for positive lanes and a number that is known when the kernel is compiled."""
        from simulator.engines.functions import power

        return power(self, float(exponent))

    def fma(self, factor: Lanes, summand: Lanes) -> Lanes:
        """``self * factor + summand``, rounded once."""
        return self.emitter.call("fma", self, factor, summand)

    def sqrt(self) -> Lanes:
        """Square root, correctly rounded."""
        return self.emitter.call("sqrt", self)

    def maximum(self, other: Any) -> Lanes:
        """The larger one; ``other`` where self is NaN."""
        return self._pick(">", other)

    def minimum(self, other: Any) -> Lanes:
        """The smaller one; ``other`` where self is NaN."""
        return self._pick("<", other)

    def _pick(self, relation: str, other: Any) -> Lanes:
        builder, value = self.emitter.builder, self._with(other).value
        return Lanes(self.emitter, builder.select(builder.fcmp_ordered(relation, self.value, value), self.value, value))

    def to_bits(self) -> ir.Value:
        """The bit patterns, ``<width x i64>``."""
        return self.emitter.builder.bitcast(self.value, self.emitter.bits)
