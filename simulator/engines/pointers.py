"""Places in arrays, from which vectors of replicas are read and to which they are written, and the functions staged.

A staged function takes pairs (array, offset) and runs what its text, called once with a :class:`Pointer` for each of
them, does with :class:`simulator.engines.vectors.Lanes`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_untracked
from numba.extending import intrinsic

from simulator.engines.vectors import DOUBLE, INT64, Emitter, Lanes

__all__ = ["CACHE_LINE", "Pointer", "staged"]

# Doubles.
CACHE_LINE = 8


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

    def prefetch(self, lines: int) -> None:
        """Ask for so many cache lines from here on to be brought near; any address will do."""
        builder, number = self.emitter.builder, ir.IntType(32)
        byte = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        for first in range(0, lines * CACHE_LINE, CACHE_LINE):
            # To be read, to be kept in the second cache (the first one has no room for it), data.
            flags = [ir.Constant(number, flag) for flag in (0, 2, 1)]
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
