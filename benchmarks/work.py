"""The work that a replica-step needs, whoever does it, and the least time that it takes at measured rates.

Work unit: one update of one replica, with J and ``||grad J||^2`` of all n prompts. A run of T updates evaluates T + 1
times, so that evaluations count (T + 1) / T.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from pathlib import Path

from benchmarks.limits import Limits
from benchmarks.peers import Case

__all__ = ["BOUNDS", "Bounds", "Work", "bounds", "cache_bytes", "work"]


# Attributes of :class:`Bounds` that are bounds on their own.
BOUNDS = ("exp", "fma", "memory", "latency")


@dataclass(frozen=True)
class Work:
    """Of one replica-step.

    Attributes:
        exps: exponentials, ``n (K - 1)``.
        fmas: multiply-adds: margins ``n (K - 1) d`` (in Gram space none: they are the state), norms
            ``n (K - 1) K / 2`` (triangular factors), and the update ``(K - 1) d``, in Gram space ``n (K - 1)^2``.
        bytes: read from memory, where state and matrices do not fit the second-level caches.
    """

    exps: float
    fmas: float
    bytes: float


@dataclass(frozen=True)
class Bounds:
    """Least nanoseconds of a replica-step.

    Attributes:
        exp: by its exponentials alone.
        fma: by its multiply-adds alone.
        memory: by the bytes it reads.
        latency: by what a step of one replica that takes its exponentials anew cannot but do one after the other. A
            step of R replicas takes no less, however many threads share them, and no more is claimed: of R replicas
            each has 1 / R of it. None is claimed of K = 2, whose step needs no root.
        ports: exp + fma: both keep the same ports busy, so no engine of this algorithm comes nearer.
        binding: the largest of exp, fma, memory and latency.
    """

    exp: float
    fma: float
    memory: float
    latency: float

    @property
    def ports(self) -> float:
        return self.exp + self.fma

    @property
    def binding(self) -> float:
        return max(getattr(self, name) for name in BOUNDS)

    @property
    def name(self) -> str:
        return max(BOUNDS, key=lambda name: float(getattr(self, name)))


def cache_bytes() -> int:
    """Second-level cache of a core; 1 MiB where Linux does not tell."""
    path = Path("/sys/devices/system/cpu/cpu0/cache/index2/size")
    try:
        return int(path.read_text().strip().removesuffix("K")) * 1024
    except (OSError, ValueError):
        return 1 << 20


def _bytes(case: Case, replicas: int, threads: int) -> float:
    """The better of two schedules: a block of replicas stays in cache and every step reads the matrices for it, or
    the matrices are read once a step for all replicas, whose states stream by (read and written).
    """
    layout, cache = case.layout, cache_bytes()
    n, wrong, d = layout.differences.shape
    state, factors = 8 * layout.length, 4 * n * wrong * (wrong + 1)
    differences = 8 * n * wrong * d if layout.space == "features" else 0

    def matrices(block: int) -> int:
        drawn = 8 * min(n, block) * wrong * layout.length if layout.space == "gram" else 0
        return factors + differences + drawn

    if matrices(n) + state * -(-replicas // threads) <= cache:
        return 0.0
    block = max(1, min(replicas, cache // (2 * state)))
    return min(matrices(block) / block, matrices(replicas) / replicas + 2 * state)


def work(case: Case, replicas: int, threads: int) -> Work:
    """See :class:`Work`."""
    n, wrong, d = case.layout.differences.shape
    gram = case.layout.space == "gram"
    fmas = (0 if gram else n * wrong * d) + n * wrong * (wrong + 1) / 2 + wrong * case.layout.length
    return Work(n * wrong, fmas, _bytes(case, replicas, threads))


def bounds(case: Case, replicas: int, steps: int, limits: Limits) -> Bounds:
    """See :class:`Bounds`, in nanoseconds."""
    needed = work(case, replicas, limits.threads)
    update = (case.layout.differences.shape[1]) * case.layout.length
    more = (steps + 1) / steps
    fmas = (needed.fmas - update) * more + update
    # A single run cannot use more than one thread.
    share = min(replicas, limits.threads) / limits.threads
    # The root waits for E, a sum of K - 1 numbers; the chain has one of its additions. With K = 2 it can be avoided.
    terms = case.layout.differences.shape[1]
    waiting = limits.chain_s + limits.addition_s * (ceil(log2(terms)) - 1) if terms > 1 else 0.0
    return Bounds(
        needed.exps * more / (limits.exps * share) * 1e9,
        fmas / (limits.fmas * share) * 1e9,
        needed.bytes * more / limits.read_bytes * 1e9,
        waiting / replicas * 1e9,
    )
