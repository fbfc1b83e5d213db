r"""Where long rows go until their inner products are formed: an array in memory or on disk, or a sketch.

The sketch is a CountSketch: every coordinate is sent to ``repeats`` of ``width`` places with random signs, so that
``E <Sx, Sy> = <x, y>`` and the error of a cosine is about ``1 / sqrt(width)``. What it is on the rows at hand is
measured on pairs that are also kept in full.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from simulator.random import HELD_OUT_STREAM, SKETCH_STREAM, generator
from theory.errors import expected

__all__ = ["RowStore", "Sketch"]

# Bytes converted to float64 at a time, and rows that a sketch keeps in full to measure its error on.
_PIECE = 2**26
_HELD_OUT = 8
# Places that each coordinate of a row goes to: with more, single large coordinates that meet do less harm.
_REPEATS = 4

Floats = npt.NDArray[np.float64]


class RowStore:
    """Rows as they are, in memory or in a file."""

    def __init__(
        self, rows: int, sizes: dict[str, int], parts: dict[str, str], dtype: npt.DTypeLike, path: Path | None = None
    ) -> None:
        """Make room for ``rows`` rows of ``sum(sizes)`` entries; ``parts`` names the part of each parameter."""
        ends = np.cumsum(list(sizes.values()))
        self._columns = {
            name: slice(int(end) - size, int(end)) for (name, size), end in zip(sizes.items(), ends, strict=True)
        }
        self._parts = parts
        shape = (rows, int(ends[-1]))
        self._rows: Any = (
            np.empty(shape, dtype) if path is None else np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)
        )
        widest = max(sizes.values())
        self.held = self._rows.nbytes if path is None else min(_PIECE, rows * widest * 8)

    def put(self, first: int, name: str, values: torch.Tensor) -> None:
        """Store one parameter's entries of the rows from ``first`` on; ``values`` is ``(K, size)``."""
        self._rows[first : first + len(values), self._columns[name]] = values.numpy()

    def parts(self) -> dict[str, Floats]:
        """The Gram matrix of each part's columns, in float64."""
        rows = len(self._rows)
        step = max(1, _PIECE // (8 * rows))
        found = {part: np.zeros((rows, rows)) for part in dict.fromkeys(self._parts.values())}
        for name, columns in self._columns.items():
            for start in range(columns.start, columns.stop, step):
                piece = np.asarray(self._rows[:, start : min(start + step, columns.stop)], dtype=np.float64)
                found[self._parts[name]] += piece @ piece.T
        return found

    def errors(self) -> None:
        """None: nothing is approximated."""
        return None


class Sketch:
    """Rows projected to ``width`` numbers for each part; unbiased, with its error measured."""

    def __init__(self, rows: int, sizes: dict[str, int], parts: dict[str, str], width: int, seed: int = 0) -> None:
        """Draw nothing yet: places and signs of a parameter are drawn, from the seed and its number, when it comes.

        Raises:
            InputError: width is not a positive multiple of the number of repeats.
        """
        if width < 1 or width % _REPEATS:
            raise expected("sketch width", width, f"a positive multiple of {_REPEATS}", "use for example 32768")
        self._sizes, self._parts, self._width, self._seed = sizes, parts, width, seed
        self._numbers = {name: number for number, name in enumerate(sizes)}
        self._sketched = {part: torch.zeros(rows, width, dtype=torch.float64) for part in dict.fromkeys(parts.values())}
        chosen = generator(seed, stream=HELD_OUT_STREAM).permutation(rows)[:_HELD_OUT]
        self._kept: dict[int, dict[str, Floats]] = {int(row): {} for row in np.sort(chosen)}
        self.held = rows * width * 8 * len(self._sketched) + len(self._kept) * sum(sizes.values()) * 8

    def put(self, first: int, name: str, values: torch.Tensor) -> None:
        """Add one parameter's entries to the sketch of the rows from ``first`` on; ``values`` is ``(K, size)``."""
        draws = generator(self._seed, run=self._numbers[name], stream=SKETCH_STREAM)
        size, room = self._sizes[name], self._width // _REPEATS
        wide = values.double()
        target = self._sketched[self._parts[name]][first : first + len(values)]
        for repeat in range(_REPEATS):
            places = torch.from_numpy(draws.integers(0, room, size) + repeat * room)
            signs = torch.from_numpy(draws.integers(0, 2, size) * 2.0 - 1.0)
            target.index_add_(1, places, wide * (signs * _REPEATS**-0.5))
        for row, pieces in self._kept.items():
            if first <= row < first + len(values):
                pieces[name] = wide[row - first].numpy().copy()

    def parts(self) -> dict[str, Floats]:
        """The sketched Gram matrix of each part."""
        return {part: (rows @ rows.T).numpy() for part, rows in self._sketched.items()}

    def errors(self) -> dict[str, float]:
        """Errors of cosines on the pairs of rows that were kept in full, all parts together.

        Returns:
            ``width``, ``pairs``, ``cosine_error_rms``, ``cosine_error_max``, and ``expected`` (``1 / sqrt(width)``).
        """
        picked = list(self._kept)
        full = np.array([np.concatenate([self._kept[row][name] for name in self._sizes]) for row in picked])
        told = sum(self.parts().values())[np.ix_(picked, picked)]  # type: ignore[index]
        norms = np.linalg.norm(full, axis=1)
        scale = np.outer(norms, norms)
        with np.errstate(invalid="ignore"):
            error = ((told - full @ full.T) / scale)[np.triu_indices(len(picked), k=1)]
        error = error[np.isfinite(error)]
        return {
            "width": float(self._width),
            "pairs": float(len(error)),
            "cosine_error_rms": float(np.sqrt(np.mean(error**2))) if len(error) else 0.0,
            "cosine_error_max": float(np.abs(error).max()) if len(error) else 0.0,
            "expected": self._width**-0.5,
        }
