"""The torch engine: all replicas of a step in a few tensor operations, on a GPU or on the CPU, in float64.

The formulas are those of ``simulator.engines.stages``; prompts and sampled outputs are drawn from the same words as in
every other engine, on the CPU, a block of steps ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from simulator.engines.draws import draw_prompts, sample_words
from simulator.engines.ensemble import Ensemble, ensemble_of
from simulator.engines.functions import LARGEST_EXPONENT
from simulator.engines.plan import Plan
from simulator.random import sample_stream
from theory.errors import expected

__all__ = ["torch_runs"]

Tensor = torch.Tensor
# Steps whose random numbers are drawn at once.
BLOCK = 64


def torch_runs(plan: Plan, device: str | None = None, compiled: bool = False) -> Ensemble:
    """The runs of a plan.

    Args:
        plan: what to run.
        device: a torch device; the GPU if there is one, and else the CPU, if None.
        compiled: whether torch compiles the step, which pays off for long runs.

    Raises:
        InputError: no such device.
    """
    place = _device(device)
    bandit = _Bandit(plan, place)
    step = torch.compile(bandit.step, dynamic=False) if compiled else bandit.step
    arrays, times = _room(plan), plan.times.tolist()
    state = bandit.start
    sum_p = sum_g = torch.zeros((len(plan.replicas), plan.problem.n), dtype=torch.float64, device=place)
    draws = _draws(plan, place)
    snapshot = 0
    with torch.no_grad():
        for t in range(times[-1] + 1):
            e, p, q, grad_sq = bandit.evaluate(state)
            sum_p, sum_g = sum_p + p, sum_g + grad_sq
            if t == times[snapshot]:
                # To the host at once: snapshots of many replicas would fill the device.
                for array, value in zip(arrays.values(), (p, q, grad_sq, sum_p, sum_g, state), strict=True):
                    if array.shape[1]:
                        array[:, snapshot] = value.cpu().numpy()
                snapshot += 1
                sum_p, sum_g = torch.zeros_like(p), torch.zeros_like(p)
            if t < times[-1]:
                state = step(state, e, p, q, *next(draws))
    return ensemble_of(plan, f"torch {place}", **_unscaled(arrays, plan.layout.scale))


def _device(name: str | None) -> torch.device:
    try:
        place = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
        # Back to the host, which a device without memory of its own (meta) refuses.
        torch.zeros(1, dtype=torch.float64, device=place).cpu()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise expected("device", name, "a torch device that this machine has", str(error).split("\n")[0]) from None
    return place


def _room(plan: Plan) -> dict[str, Any]:
    """Empty arrays for the snapshots, in the order in which a step yields them: ``(R, S, n)``, and theta's."""
    replicas, snapshots = len(plan.replicas), len(plan.times)
    names = ("J", "q", "grad_sq", "sum_J", "sum_grad_sq")
    arrays = {name: np.empty((replicas, snapshots, plan.problem.n)) for name in names}
    return arrays | {"theta": np.empty((replicas, snapshots if plan.keep_theta else 0, plan.problem.d))}


def _unscaled(arrays: dict[str, Any], scale: float) -> dict[str, Any]:
    """The arrays in the units of the unscaled features, in place."""
    for name, unit in (("grad_sq", scale**-2), ("sum_grad_sq", scale**-2), ("theta", scale)):
        arrays[name] *= unit
    return arrays


@dataclass(frozen=True)
class _Bandit:
    """A plan on a device: R replicas, n prompts, K - 1 wrong outputs."""

    plan: Plan
    device: torch.device

    def _tensor(self, values: Any) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), device=self.device)

    @cached_property
    def start(self) -> Tensor:
        """The state before the first step, ``(R, length)``."""
        return self._tensor(self.plan.layout.start(self.plan.theta0))

    @cached_property
    def factors(self) -> Tensor:
        """F, ``(n, rank, K - 1)``."""
        return self._tensor(self.plan.layout.factors)

    @cached_property
    def rows(self) -> Tensor:
        """What a step combines, ``(n (K - 1), length)``: rows of D, or of ``D D^T``."""
        layout = self.plan.layout
        return self._tensor(layout.rows.reshape(-1, layout.length))

    @cached_property
    def eta(self) -> Tensor:
        """Step sizes, ``(R, 1)``."""
        return self._tensor(self.plan.scaled_eta[:, None])

    @cached_property
    def tables(self) -> tuple[Tensor, Tensor]:
        """Advantages of a right and of a wrong output."""
        return self._tensor(self.plan.sampling.right), self._tensor(self.plan.sampling.wrong)

    def evaluate(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``e`` of shape ``(R, n, K - 1)``; p, q and ``||grad J||^2`` of shape ``(R, n)``."""
        n, _, wrong = self.factors.shape
        margins = state if self.plan.layout.space == "gram" else state @ self.rows.T
        e = torch.exp(margins.reshape(-1, n, wrong).clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT))
        odds = e.sum(dim=2)
        p = 1 / (1 + odds)
        length = torch.einsum("nrk,bnk->bnr", self.factors, e * p[..., None])
        return e, p, odds * p, p * p * (length * length).sum(dim=2)

    def step(self, state: Tensor, e: Tensor, p: Tensor, q: Tensor, drawn: Tensor, words: list[Any]) -> Tensor:
        """The state after a step; ``drawn`` holds the prompts, ``(R, B)``."""
        at = drawn[..., None].expand(-1, -1, e.shape[2])
        e_drawn, p_drawn, q_drawn = e.gather(1, at), p.gather(1, drawn), q.gather(1, drawn)
        shares = e_drawn * p_drawn[..., None]
        if self.plan.exact is not None:
            weight = self.plan.exact.weight(p_drawn.clamp(min=1e-300), q_drawn.clamp(min=1e-300))
            coefficients = -(weight * p_drawn)[..., None] * shares
        else:
            coefficients = self._sampled(shares, p_drawn, q_drawn, words)
        # Prompts of a step differ, so that no entry is written twice.
        spread = torch.zeros_like(e).scatter_(1, at, coefficients)
        return state + self.eta * (spread.flatten(1) @ self.rows)

    def _sampled(self, shares: Tensor, p: Tensor, q: Tensor, words: list[Any]) -> Tensor:
        """What each ``D_j`` of the drawn prompts is multiplied by, ``(R, B, K - 1)``."""
        group = self.plan.sampling.group
        counts = _counts(shares, p, q, *words[0])
        for attempt in words[1:]:
            right = group - counts.sum(dim=2)
            constant = ((right == 0) | (right == group))[..., None]
            counts = torch.where(constant, _counts(shares, p, q, *attempt), counts)
        right = group - counts.sum(dim=2)
        total = right.sum(dim=1, keepdim=True).expand_as(right)
        above, below = (table[right, total] for table in self.tables)
        push = right * above + (group - right) * below
        return (below[..., None] * counts - push[..., None] * shares) / group


def _counts(shares: Tensor, p: Tensor, q: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Samples of each wrong output, int64 ``(R, B, K - 1)``; see ``simulator.sampled.outputs_of``."""
    likely = (p > 0.5)[..., None]
    right = torch.where(likely, v > q[..., None], u < p[..., None])
    excess = torch.where(likely, q[..., None] - v, u - p[..., None])
    passed = (shares.cumsum(dim=2)[:, :, None, :] <= excess[..., None]).sum(dim=3)
    wrong = shares.shape[2]
    last = wrong - 1 - (shares.flip(2) > 0).to(torch.int8).argmax(dim=2, keepdim=True)
    chosen = torch.where(right, wrong, torch.minimum(passed, last))
    return torch.nn.functional.one_hot(chosen, wrong + 1).sum(dim=2)[..., :wrong]


def _draws(plan: Plan, device: torch.device) -> Iterator[tuple[Tensor, list[Any]]]:
    """For each step the prompts ``(R, B)``, and for each attempt of a sampled rule u and v, ``(R, B, G)``."""
    n, batch, group, replicas = plan.problem.n, plan.draws.batch, plan.sampling.group, len(plan.replicas)
    order = np.zeros((BLOCK, batch, replicas), np.int64)
    move: Callable[[Any], Tensor] = lambda values: torch.as_tensor(values, device=device)  # noqa: E731
    for first in range(0, int(plan.times[-1]), BLOCK):
        draw_prompts(plan.draws, n, first, plan.replicas[0], order)
        prompts = move(np.ascontiguousarray(order.transpose(0, 2, 1)))
        for t in range(first, first + BLOCK):
            words = []
            for attempt in range(plan.sampling.attempts if group else 0):
                raw = np.empty((replicas, batch * group), np.uint64)
                stream = np.uint64(sample_stream(attempt))
                sample_words(t * batch * group, plan.draws.seed, plan.replicas[0], stream, raw)
                below, above = raw.astype(np.float64) * 2.0**-64, ((~raw).astype(np.float64) + 1.0) * 2.0**-64
                shape = (replicas, batch, group)
                words.append((move(below.reshape(shape)), move(above.reshape(shape))))
            yield prompts[t - first], words
