"""Putting claims to the test: proof, property search and simulated runs for each, on as many processes as there are.

Each claim's evidence depends on its id and the seed alone, so the number of processes changes nothing.
"""

from __future__ import annotations

import multiprocessing
import traceback
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator.checks import build_context, trajectory_check
from simulator.families import make_problem, success_targets
from simulator.sampling import sampled_check
from theory.assumptions import INTERACTION
from theory.claim import Claim, Registry
from theory.claims import load_claims
from theory.known import measure_witness, recheck_kept
from theory.search import search
from theory.verdicts import Evidence, Verdict, decide, proof_evidence, search_evidence
from whynorm.outputs import usable_cores

__all__ = ["DEEP", "QUICK", "Effort", "verify", "verify_claim"]


@dataclass(frozen=True)
class Effort:
    """How hard to look.

    Attributes:
        examples: random instances per claim.
        evaluations: evaluations per climb from one of the best instances.
        steps: length of the runs in trajectory checks.
        sampled_steps: length of the runs over sampled prompt orders.
    """

    examples: int
    evaluations: int
    steps: int
    sampled_steps: int


QUICK = Effort(examples=30, evaluations=36, steps=120, sampled_steps=26)
DEEP = Effort(examples=800, evaluations=1000, steps=1000, sampled_steps=150)


def _evaluations(claim: Claim, effort: Effort) -> int:
    """Climbing a run costs a hundred times what climbing a point costs."""
    return effort.evaluations if claim.rule is None else max(effort.evaluations // 3, 1)


def verify_claim(claim: Claim, effort: Effort = QUICK, seed: int = 0, registry: Registry | None = None) -> Verdict:
    """All evidence for one claim, and the verdict; what fails leaves the claim undecided and says why.

    Args:
        claim: the claim.
        effort: how hard to look.
        seed: of all random draws.
        registry: where the claims are that its proof cites; whynorm's own if None.

    Raises:
        MemoryError: not the claim's fault.
    """
    try:
        evidence = _gather(claim, effort, seed, registry or load_claims())
    except MemoryError:
        raise
    except Exception as error:
        return decide(claim, [_failure(error)])
    return decide(claim, evidence)


def _failure(error: Exception) -> Evidence:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    message = f"{type(error).__name__}{place}: {' '.join(str(error).split()) or 'no message'}"
    return Evidence("error", "undecided", message)


def _gather(claim: Claim, effort: Effort, seed: int, registry: Registry) -> list[Evidence]:
    evidence: list[Evidence] = []
    proof = proof_evidence(claim, registry)
    if proof is not None:
        evidence.append(proof)
    kept = recheck_kept(claim, build_context)
    if kept is not None:
        evidence.append(search_evidence("kept", kept))
    attained = measure_witness(claim, build_context)
    if attained is not None:
        evidence.append(search_evidence("attained", attained))
    own_seed = zlib.crc32(claim.id.encode()) ^ seed
    evaluations = _evaluations(claim, effort)
    # A kept counterexample is readable as it is; another one need not be made so.
    found = search(
        claim,
        build_context,
        examples=effort.examples,
        evaluations=evaluations,
        seed=own_seed,
        shrink=kept is None,
    )
    evidence.append(search_evidence("property", found))
    evidence.append(search_evidence("trajectory", trajectory_check(claim, effort.steps)))
    if INTERACTION in claim.assumptions and claim.scope == "interacting":
        evidence.append(_sampled(claim, effort, seed))
    return evidence


def _sampled(claim: Claim, effort: Effort, seed: int) -> Evidence:
    """The claim on more prompts and steps than all orders could be followed for."""
    problem = make_problem("shared-skill", 4, 4, p0=success_targets(4, 0.1, 0.5), seed=seed)
    found = sampled_check(claim, problem, effort.sampled_steps, seed=seed)
    summary = f"{found.replicas} sampled prompt orders of 4 prompts that share a skill, {effort.sampled_steps} steps, "
    summary += f"{found.confidence:.0%} intervals: {found.outcome}"
    if found.outcome != "vacuous":
        summary += f", worst ratio of the means {found.worst_ratio:.4g}"
    vacuous = int(found.outcome == "vacuous")
    return Evidence("sampled", found.outcome, summary, instances=1, vacuous=vacuous)


def _task(claim_id: str, more: Path | None, effort: Effort, seed: int) -> tuple[Evidence, ...]:
    # Claims hold functions and do not travel between processes; ids and evidence do.
    registry = load_claims(more)
    return verify_claim(registry[claim_id], effort, seed, registry).evidence


def verify(
    claims: Sequence[Claim],
    effort: Effort = QUICK,
    seed: int = 0,
    *,
    processes: int | None = None,
    more: Path | None = None,
    progress: Callable[[Verdict], Any] = lambda verdict: None,
) -> list[Verdict]:
    """Verdicts for the claims, in their order.

    Args:
        claims: registered claims.
        effort: how hard to look.
        seed: of all random draws.
        processes: worker processes; the number of usable cores if None. Results do not depend on it.
        more: the Python file that claims come from that are not whynorm's own.
        progress: called with each verdict as it becomes known, in any order.
    """
    found: dict[str, Verdict] = {}
    for verdict in _stream(claims, effort, seed, processes or usable_cores(), more):
        progress(verdict)
        found[verdict.claim.id] = verdict
    return [found[claim.id] for claim in claims]


def _cost(claim: Claim) -> int:
    """Rough, for the order of work only: the longest first, so that no process is left with a long one at the end."""
    runs = {"interacting": 4, "group": 4, "joint": 3, "expectation": 3, "step": 2}
    return runs.get(claim.scope, 1) if claim.fixed_by is None else 0


def _stream(claims: Sequence[Claim], effort: Effort, seed: int, processes: int, more: Path | None) -> Iterator[Verdict]:
    if processes == 1 or len(claims) == 1:
        yield from (verify_claim(claim, effort, seed, load_claims(more)) for claim in claims)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(claims)), mp_context=context) as pool:
        ordered = sorted(claims, key=_cost, reverse=True)
        futures = {pool.submit(_task, claim.id, more, effort, seed): claim for claim in ordered}
        for future in as_completed(futures):
            yield decide(futures[future], future.result())
