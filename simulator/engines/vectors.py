"""Vectors of replicas, staged: Python operators on ``Lanes`` emit one vector instruction each.

The text of a kernel runs once, when the kernel is compiled, on values of this class; what it does with them becomes
LLVM IR on ``<width x double>``. Loops over fixed dimensions are unrolled by Python, a rule's ``weight(p, q)`` runs
here unchanged, and no vectoriser has to recognise anything. The code is inlined into numba functions by
:func:`staged`; the target (AVX-512, AVX2, NEON, ...) is the machine that numba compiles for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_untracked
from numba.extending import intrinsic

__all__ = ["DOUBLE", "Emitter", "Lanes", "Pointer", "staged"]

DOUBLE, INT64 = ir.DoubleType(), ir.IntType(64)
# Doubles.
_CACHE_LINE = 8


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
        """``0, stride, 2 stride, ...``: an index of each lane for :meth:`Pointer.gather`."""
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


class Pointer:
    """A place in a float64 array, counted in doubles."""

    def __init__(self, emitter: Emitter, address: ir.Value) -> None:
        """The array's first element is at ``address``."""
        self.emitter, self.address = emitter, address

    def __add__(self, offset: Any) -> Pointer:
        """``offset`` doubles further; a Python integer or an IR value."""
        index = ir.Constant(INT64, offset) if isinstance(offset, int) else offset
        return Pointer(self.emitter, self.emitter.builder.gep(self.address, [index]))

    def times(self, index: ir.Value, stride: int) -> Pointer:
        """``index * stride`` doubles further."""
        return self + self.emitter.builder.mul(index, ir.Constant(INT64, stride))

    def vector(self, index: Any) -> Pointer:
        """``index`` vectors further; a Python integer or an IR value."""
        width = self.emitter.width
        return self + index * width if isinstance(index, int) else self.times(index, width)

    def scalar(self) -> Lanes:
        """The double here, in every lane."""
        return Lanes(self.emitter, self.emitter.splat(self.emitter.builder.load(self.address)))

    def prefetch(self) -> None:
        """Ask for the ``width`` doubles from here on to be brought near; any address will do."""
        builder, number = self.emitter.builder, ir.IntType(32)
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        for first in range(0, self.emitter.width, _CACHE_LINE):
            # To be read, to be kept in the nearest cache, data.
            flags = [ir.Constant(number, flag) for flag in (0, 3, 1)]
            builder.call(function, [builder.bitcast((self + first).address, byte), *flags])

    def _vector(self) -> ir.Value:
        return self.emitter.builder.bitcast(self.address, self.emitter.type.as_pointer())

    def load(self) -> Lanes:
        """The ``width`` doubles from here on."""
        return Lanes(self.emitter, self.emitter.builder.load(self._vector(), align=8))

    def gather(self, indices: ir.Value) -> Lanes:
        """In lane l the double at ``indices[l]`` from here; ``<width x i64>``."""
        emitter, builder = self.emitter, self.emitter.builder
        start = emitter.splat(builder.ptrtoint(self.address, INT64))
        pointers = ir.VectorType(DOUBLE.as_pointer(), emitter.width)
        # llvmlite has no vector form of getelementptr, so the addresses are computed as integers.
        addresses = builder.inttoptr(builder.add(start, builder.shl(indices, emitter.integer(3))), pointers)
        kinds = [pointers, ir.IntType(32), ir.VectorType(ir.IntType(1), emitter.width), emitter.type]
        name = f"llvm.masked.gather.v{emitter.width}f64.v{emitter.width}p0"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(emitter.type, kinds), name)
        everywhere = ir.Constant(kinds[2], [1] * emitter.width)
        otherwise = ir.Constant(emitter.type, ir.Undefined)
        return Lanes(emitter, builder.call(function, [addresses, ir.Constant(kinds[1], 8), everywhere, otherwise]))

    def store_where(self, mask: ir.Value, lanes: Lanes) -> None:
        """Write the doubles of the lanes that ``mask``, ``<width x i1>``, names, and leave the others as they are."""
        # Not a masked store: what it writes cannot be forwarded to a load, and that is several times slower here.
        builder = self.emitter.builder
        self.store(Lanes(self.emitter, builder.select(mask, lanes.value, self.load().value)))

    def store(self, lanes: Lanes) -> None:
        """Write ``width`` doubles from here on."""
        self.emitter.builder.store(lanes.value, self._vector(), align=8)


def staged(width: int, text: Callable[..., None]) -> Any:
    """A function for numba code, ``f((array, offset), ...)``, whose body is what ``text(pointer, ...)`` emits.

    Args:
        width: lanes of a vector.
        text: called at compile time with one :class:`Pointer` for each argument.
    """

    @intrinsic
    def inlined(typing: Any, places: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
            emitter = Emitter(builder, width)
            pointers = []
            for position, kind in enumerate(signature.args[0].types):
                array, offset = (
                    builder.extract_value(builder.extract_value(arguments[0], position), k) for k in (0, 1)
                )
                data = context.make_array(kind.types[0])(context, builder, array).data
                pointers.append(Pointer(emitter, data) + offset)
            text(*pointers)
            return impl_ret_untracked(context, builder, types.void, context.get_dummy_value())

        return types.void(places), codegen

    return inlined
