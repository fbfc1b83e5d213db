r"""The Gram matrix ``X X^T`` of a model's per-answer gradients, n K rows of d numbers, within a given memory.

Everything in exact mode depends on the features through it. The rows are held in memory if they fit, else in a file, or
computed again for one group of parameters after another, or sketched. Sums are in float64 whatever the model's dtype.
The parts of LoRA's A and B matrices are kept apart: at the start B = 0, and all gradients of A vanish.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from llm_bridge.measurement.answer_rows import answer_rows
from llm_bridge.measurement.interaction_measures import gram_of
from llm_bridge.measurement.row_stores import RowStore, Sketch
from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch
from simulator.problems import Problem
from theory.errors import expected
from theory.policy import Odds, odds

__all__ = ["METHODS", "AnswerGram", "answer_gram", "part_of"]

METHODS = ("auto", "memory", "disk", "recompute", "sketch")
DEFAULT_MEMORY = 2 * 2**30

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AnswerGram:
    """Inner products of the gradients of all answer logits, at one checkpoint; rows i K + k for answer k of prompt i.

    Attributes:
        logits: ``(n, K)``.
        answers: index of the right answer, ``(n,)``.
        parts: by part (``A``, ``B``, ``other``), ``(n K, n K)``; they add up to ``gram``.
        names: of the trainable parameters.
        blocks: each parameter's share of ``X_i X_i^T``, ``(parameters, n, K, K)``; exact also where ``parts`` are
            sketched.
        sizes: number of entries of each parameter.
        method: how the rows were kept.
        cost: ``seconds``, ``forward`` and ``backward`` passes (of one prompt's answers each), ``bytes`` held at most.
        sketch: what a sketch's errors are, or None.
    """

    logits: Floats
    answers: npt.NDArray[np.int64]
    parts: dict[str, Floats]
    names: tuple[str, ...]
    blocks: Floats
    sizes: tuple[int, ...]
    method: str
    cost: dict[str, float]
    sketch: dict[str, float] | None = None

    @property
    def gram(self) -> Floats:
        """All parts together, ``(n K, n K)``."""
        return np.asarray(sum(self.parts.values()))

    @property
    def n(self) -> int:
        """Number of prompts."""
        return int(self.logits.shape[0])

    @property
    def odds(self) -> Odds:
        """Success and failure of every prompt."""
        return odds(self.logits.copy(), self.answers)

    @property
    def policy(self) -> Floats:
        """Probability of every answer, ``(n, K)``."""
        state = self.odds
        pi = state.q[:, None] * state.wrong
        pi[np.arange(self.n), self.answers] = state.p
        return np.asarray(pi)

    @property
    def gap_coefficients(self) -> Floats:
        """``dL_i / dz_i = e_a - w``, ``(n, K)``: the gradient of the log-odds is this combination of the rows."""
        slope = -self.odds.wrong
        slope[np.arange(self.n), self.answers] = 1.0
        return np.asarray(slope)

    @property
    def coefficients(self) -> Floats:
        """``dJ_i / dz_i = V_i (e_a - w)``, ``(n, K)``: ``grad J_i`` is this combination of the prompt's rows."""
        state = self.odds
        return np.asarray((state.p * state.q)[:, None] * self.gap_coefficients)

    def combined(self, coefficients: Floats) -> Floats:
        """Inner products ``(n, n)`` of one combination of each prompt's rows, with coefficients ``(n, K)``."""
        n, outputs = coefficients.shape
        return np.einsum("ik,ikjl,jl->ij", coefficients, self.gram.reshape(n, outputs, n, outputs), coefficients)

    def restricted(self, part: str) -> AnswerGram:
        """The same with the features of one part of the parameters only."""
        chosen = np.array([part_of(name) == part for name in self.names])
        return replace(
            self, parts={part: self.parts[part]}, blocks=np.where(chosen[:, None, None, None], self.blocks, 0)
        )

    def problem(self, name: str) -> Problem:
        """The bandit with this Gram matrix and these logits.

        Raises:
            InputError: the logits are not in its range (fewer parameters than answers).
        """
        return Problem.from_gram(self.gram, self.logits, self.answers, name=name)


def part_of(name: str) -> str:
    """``A`` or ``B`` for the matrices of a LoRA adapter, ``other`` for any other parameter."""
    found = re.search(r"\blora_(?:embedding_)?([AB])\b", name)
    return found[1] if found else "other"


def answer_gram(
    loaded: LoadedModel,
    batch: AnswerBatch,
    *,
    method: str = "auto",
    memory: float = DEFAULT_MEMORY,
    folder: Path | None = None,
    width: int = 2**15,
    seed: int = 0,
    progress: Callable[[int], Any] = lambda done: None,
) -> AnswerGram:
    """Measure at the model's present parameters: n passes each way, or n for each group of parameters.

    Args:
        loaded: the model.
        batch: n prompts with K answers each.
        method: ``memory``, ``disk`` (float32 rows in a file, float64 for a float64 model), ``recompute`` (as many
            groups of parameters as memory asks for), ``sketch``, or ``auto``: memory if the rows fit, else disk.
        memory: bytes of rows held at most.
        folder: where the file of ``disk`` lies while this runs; the system's folder for temporary files if left out.
        width: rows of the sketch, see :class:`llm_bridge.measurement.row_stores.Sketch`.
        seed: of the sketch.
        progress: called with the number of prompts done, n for each group.

    Raises:
        InputError: no such method, or memory too small for one parameter.
    """
    begun = time.perf_counter()
    if method not in METHODS:
        raise expected("gram method", method, f"one of {', '.join(METHODS)}", "choose one of these")
    if not memory > 0:
        raise expected("memory", memory, "a positive number of bytes", "give what may be held, for example 2e9")
    n, outputs = batch.shape
    sizes = {name: value.numel() for name, value in loaded.parameters.items()}
    dtype = np.dtype(np.float64 if loaded.dtype == "float64" else np.float32)
    row = n * outputs * dtype.itemsize
    if method == "auto":
        method = "memory" if row * sum(sizes.values()) <= memory else "disk"
    groups = _groups(sizes, int(memory // row)) if method == "recompute" else [tuple(sizes)]
    logits, blocks = np.zeros((n, outputs)), np.zeros((len(sizes), n, outputs, outputs))
    parts: dict[str, Floats] = {}
    held, backward, told = 0, 0, None
    for number, group in enumerate(groups):
        chosen = {name: sizes[name] for name in group}
        with _store(method, n * outputs, chosen, dtype, folder, width, seed) as store:
            for i in range(n):
                logits[i], passes = _put(loaded, batch, i, store, list(sizes), group, blocks)
                backward += passes
                progress(number * n + i + 1)
            for part, gram in store.parts().items():
                parts[part] = parts[part] + gram if part in parts else gram
            held, told = max(held, store.held), store.errors()
    seconds = time.perf_counter() - begun
    return AnswerGram(
        logits=logits,
        answers=batch.correct.cpu().numpy(),
        parts=parts,
        names=tuple(sizes),
        blocks=blocks,
        sizes=tuple(sizes.values()),
        method=method,
        cost={"seconds": seconds, "forward": len(groups) * n, "backward": backward, "bytes": held},
        sketch=told,
    )


def _groups(sizes: dict[str, int], most: int) -> list[tuple[str, ...]]:
    """The parameters in groups of at most that many entries."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if size > most:
            raise expected("memory", f"room for {most} entries a row", f"room for the {size} of {name}", "give more")
        if filled + size > most:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    return [tuple(group) for group in groups]


@contextmanager
def _store(
    method: str, rows: int, sizes: dict[str, int], dtype: np.dtype[Any], folder: Path | None, width: int, seed: int
) -> Iterator[RowStore | Sketch]:
    """Where the rows go; a file is gone when this ends, also by an error."""
    parts = {name: part_of(name) for name in sizes}
    if method == "sketch":
        yield Sketch(rows, sizes, parts, width, seed)
    elif method == "disk":
        with tempfile.TemporaryDirectory(prefix="whynorm-rows-", dir=folder) as place:
            yield RowStore(rows, sizes, parts, dtype, Path(place) / "rows.npy")
    else:
        yield RowStore(rows, sizes, parts, dtype)


def _put(
    loaded: LoadedModel,
    batch: AnswerBatch,
    i: int,
    store: RowStore | Sketch,
    names: list[str],
    group: tuple[str, ...],
    blocks: Floats,
) -> tuple[Floats, int]:
    """Compute prompt i's rows, store them, and add up its own block of each parameter; logits and backward passes."""

    def take(name: str, rows: torch.Tensor) -> None:
        store.put(i * len(rows), name, rows.detach().cpu())
        blocks[names.index(name), i] = gram_of(rows)

    logits, passes = answer_rows(loaded, batch.prompt(i), take, group)
    return logits.cpu().numpy(), passes
