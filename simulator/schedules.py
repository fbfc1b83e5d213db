r"""Prompt schedules: which prompts a step moves by.

At step t a schedule names B prompts, and theta moves by ``(eta / B) sum_b weight(p_b, q_b) grad J_b(theta)``, all at
the same theta: B = 1 with random draws is the paper's algorithm, B = n is the talk's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from simulator.random import ORDER_STREAM, uniform_order, words
from theory.errors import InputError, expected

__all__ = ["FORMS", "GIVEN", "UNIFORM", "Schedule", "get_schedule"]

# What a user may type, each with what it does: the one list, for help texts and error messages.
FORMS = {
    "uniform": "one prompt a step, drawn uniformly at random (the paper)",
    "all": "all prompts at every step, each with eta / n (the talk)",
    "cyclic": "one prompt a step, in turn",
    "minibatch:B": "B different prompts a step, drawn at random, each with eta / B",
}
# What a record says of a run that followed the order of its problem.
GIVEN = "given"
# Half-words that are permuted at once; bounds the memory, changes no draw.
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Schedule:
    """A rule that names the prompts of every step.

    Attributes:
        name: what a user types, see ``FORMS``.
        kind: its part before the colon.
        size: B of a minibatch, 0 otherwise.
    """

    name: str
    kind: Literal["uniform", "all", "cyclic", "minibatch"]
    size: int = 0

    def batch(self, n: int) -> int:
        """B: prompts that move at each step, of n.

        Raises:
            InputError: a minibatch of more prompts than there are.
        """
        if self.kind == "minibatch" and self.size > n:
            raise expected("minibatch size B", self.size, f"at most {n}, the number of prompts", "lower B or raise n")
        return {"all": n, "minibatch": self.size}.get(self.kind, 1)

    def draws(self, n: int, steps: int, seed: int, replica: int = 0) -> npt.NDArray[np.int64]:
        r"""Prompts of steps 0..T-1, int64 ``(T, B)`` in ``[0, n)``.

        ``uniform`` is :func:`simulator.random.uniform_order`; ``all`` names 0..n-1 at every step; ``cyclic`` names
        ``t mod n``. ``minibatch:B`` draws without replacement by a partial Fisher-Yates shuffle: let ``h_k`` be the
        k-th half-word (32 bits, low half first) of the order stream of (seed, replica), start every step from
        ``a = (0, 1, ..., n-1)``, and for b = 0..B-1 exchange ``a_b`` and ``a_{b+r}`` with
        ``r = floor((n - b) h_{t B + b} / 2^32)``; the step's prompts are ``a_0, ..., a_{B-1}`` in this order. So step t
        uses the half-words ``t B`` to ``t B + B - 1``, and ``minibatch:1`` is ``uniform``.

        Args:
            n: number of prompts.
            steps: T.
            seed: of the run.
            replica: of the run.

        Raises:
            InputError: a minibatch of more prompts than there are, or a seed out of range.
        """
        size = self.batch(n)
        if self.kind == "uniform":
            return uniform_order(n, steps, seed, replica)[:, None]
        if self.kind == "cyclic":
            return (np.arange(steps, dtype=np.int64) % n)[:, None]
        if self.kind == "all":
            # A view: T n draws that are all known need no memory.
            return np.broadcast_to(np.arange(n, dtype=np.int64), (steps, n))
        return _minibatches(n, steps, size, seed, replica)


UNIFORM = Schedule("uniform", "uniform")


def _minibatches(n: int, steps: int, size: int, seed: int, replica: int) -> npt.NDArray[np.int64]:
    raw = words(seed, 0, (steps * size + 1) // 2, replica=replica, stream=ORDER_STREAM)
    halves = np.stack([raw & np.uint64(0xFFFFFFFF), raw >> np.uint64(32)], axis=1).ravel()[: steps * size]
    halves = halves.reshape(steps, size)
    result = np.empty((steps, size), dtype=np.int64)
    rows_at_once = max(1, _BLOCK // n)
    for start in range(0, steps, rows_at_once):
        block = halves[start : start + rows_at_once]
        left = np.tile(np.arange(n, dtype=np.int64), (len(block), 1))
        rows = np.arange(len(block))
        for b in range(size):
            other = b + ((block[:, b] * np.uint64(n - b)) >> np.uint64(32)).astype(np.int64)
            drawn = left[rows, other]
            left[rows, other] = left[:, b]
            left[:, b] = drawn
        result[start : start + rows_at_once] = left[:, :size]
    return result


def get_schedule(name: str) -> Schedule:
    """The schedule called ``name``: ``uniform``, ``all``, ``cyclic`` or ``minibatch:B``.

    Raises:
        InputError: no such schedule, or a B that is not an integer above 0.
    """
    kind, colon, text = name.partition(":")
    if kind in ("uniform", "all", "cyclic") and not colon:
        return Schedule(name, kind)  # type: ignore[arg-type]
    if kind == "minibatch" and text.isascii() and text.isdigit() and 0 < int(text[:19]) < 2**31:
        return Schedule(f"minibatch:{int(text)}", "minibatch", int(text))
    raise _unknown(name)


def _unknown(name: str) -> InputError:
    return expected("schedule", name, f"one of {', '.join(FORMS)} with an integer B above 0", "pick one of those")
