"""Is the verifier any good? Mutation and ablation of every claim, on as many processes as there are.

Mutation: a claim made false on purpose must be refuted (``theory.mutants``). Ablation: each assumption is dropped in
turn, and either an instance violates what is left, or certificates prove it (``simulator.ablation``). Both use the same
search, the same exact recheck and the same checker as ``whynorm verify``.
"""

from __future__ import annotations

import multiprocessing
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from typing import Any

from simulator.ablation import Ablation, ablate
from simulator.checks import build_context
from theory.claim import Claim
from theory.claims import load_registry
from theory.found import SearchResult
from theory.instances import Instance
from theory.judge import Counterexample, recheck
from theory.known import measure_witness
from theory.mutants import Mutant, mutants, single_links
from theory.search import search
from whynorm.outputs import usable_cores

__all__ = ["Audit", "Killing", "audit", "audit_claim", "summary"]

# How the reason begins of a mutant that survives because it is not false.
TRUE = "true:"
# Searches with different seeds that a mutant must survive. A run costs a hundred times what a point costs.
SEARCHES, RUN_SEARCHES = 2, 1
EXAMPLES, RUN_EXAMPLES = 100, 60
EVALUATIONS, RUN_EVALUATIONS = 300, 40


@dataclass(frozen=True)
class Killing:
    """What became of one mutant.

    Attributes:
        claim: id.
        link: name of the changed link.
        kind: what was changed: constant, exponent, direction or step size.
        text: how.
        by: ``search`` if a search found an exact counterexample; ``known instance`` if it did not, but the instance
            with the largest ratio known for the claim is one; empty if the mutant survived.
        reason: why it survived; empty if it did not.
    """

    claim: str
    link: str
    kind: str
    text: str
    by: str
    reason: str = ""


@dataclass(frozen=True)
class Audit:
    """Mutants and dropped assumptions of one claim."""

    claim: str
    mutants: tuple[Killing, ...]
    assumptions: tuple[Ablation, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        dropped = [
            {**asdict(a), "counterexample": a.counterexample and a.counterexample.to_json()} for a in self.assumptions
        ]
        return {"id": self.claim, "mutants": [asdict(m) for m in self.mutants], "assumptions": dropped}


def _search(claim: Claim, seed: int) -> SearchResult:
    examples, evaluations = (EXAMPLES, EVALUATIONS) if claim.rule is None else (RUN_EXAMPLES, RUN_EVALUATIONS)
    return search(claim, build_context, examples=examples, evaluations=evaluations, seed=seed, shrink=False)


def _kill(mutant: Mutant, seed: int, known: Instance | None, ratio: float) -> Killing:
    told = (mutant.origin, mutant.link, mutant.kind, mutant.text)
    seen = SearchResult()
    for turn in range(SEARCHES if mutant.claim.rule is None else RUN_SEARCHES):
        found = _search(mutant.claim, seed + turn)
        if found.counterexample is not None:
            return Killing(*told, by="search")
        seen.add(found)
    for instance in _variants(known, mutant.kind):
        if isinstance(recheck(mutant.claim, build_context, instance), Counterexample):
            return Killing(*told, by="known instance")
    return Killing(*told, by="", reason=_excuse(mutant, seen, ratio))


def _variants(known: Instance | None, kind: str) -> list[Instance]:
    """The known instance; for a wrong power of X also in other units of length, where probabilities are the same."""
    if known is None:
        return []
    scales = (1.0, 1 / 64, 64.0) if kind == "exponent" else (1.0,)
    return [replace(known, features=known.features * scale, theta=known.theta / scale) for scale in scales]


def _excuse(mutant: Mutant, seen: SearchResult, ratio: float) -> str:
    """Why a mutant survived: it is true, as far as that can be told, or it was not refuted."""
    if seen.largest == 0:
        return f"{TRUE} both sides are 0 wherever the assumptions hold"
    if mutant.kind == "direction" and abs(seen.worst_ratio - 1) < 1e-9 and abs(ratio - 1) < 1e-9:
        return f"{TRUE} both sides are equal wherever the assumptions hold"
    # Half the step would halve the ratio, or double it, if the statement did not follow the step.
    if mutant.kind == "step size" and 0.75 * ratio < seen.worst_ratio < ratio / 0.75:
        text = f"{TRUE} the statement contains its step size, or does not depend on it: "
        return text + f"ratio {seen.worst_ratio:.3g} in place of {ratio:.3g}"
    return f"not refuted on {seen.instances - seen.vacuous} instances; largest ratio {seen.worst_ratio:.4g}"


def audit_claim(claim: Claim, seed: int = 0) -> Audit:
    """Mutate and ablate one claim that holds."""
    own = zlib.crc32(claim.id.encode()) ^ seed
    known = _search(claim, own)
    witness = measure_witness(claim, build_context)
    if witness is not None:
        known.add(witness)
    killings = []
    for number, single in single_links(claim):
        best = known.best.get(number, [(float("nan"), None)])[0][1]
        ratio = known.link_ratios.get(number, float("nan"))
        killings += [_kill(mutant, own + 1, best, ratio) for mutant in mutants(single, ratio)]
    examples, evaluations = (EXAMPLES, EVALUATIONS) if claim.rule is None else (RUN_EXAMPLES, RUN_EVALUATIONS)
    dropped = ablate(claim, examples, evaluations, own)
    return Audit(claim.id, tuple(killings), tuple(dropped))


def _task(claim_id: str, seed: int) -> Audit:
    return audit_claim(load_registry()[claim_id], seed)


def audit(
    claims: Sequence[Claim],
    seed: int = 0,
    *,
    processes: int | None = None,
    progress: Callable[[Audit], Any] = lambda found: None,
) -> list[Audit]:
    """Audit the claims that hold, in their order; claims that are refuted as they stand are left out.

    Args:
        claims: registered claims.
        seed: of all random draws.
        processes: worker processes; the number of usable cores if None. Results do not depend on it.
        progress: called with each result as it becomes known.
    """
    chosen = [claim for claim in claims if claim.fixed_by is None]
    found = {}
    for each in _stream(chosen, seed, processes or usable_cores()):
        progress(each)
        found[each.claim] = each
    return [found[claim.id] for claim in chosen]


def _stream(claims: Sequence[Claim], seed: int, processes: int) -> Iterator[Audit]:
    if processes == 1 or len(claims) == 1:
        yield from (audit_claim(claim, seed) for claim in claims)
        return
    with ProcessPoolExecutor(min(processes, len(claims)), multiprocessing.get_context("spawn")) as pool:
        # Claims about runs take longest and go first.
        ordered = sorted(claims, key=lambda claim: claim.rule is None)
        try:
            yield from (future.result() for future in as_completed([pool.submit(_task, c.id, seed) for c in ordered]))
        except BaseException:
            # Nothing waits for the rest of the work if a part of it has failed.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def summary(audits: Sequence[Audit]) -> dict[str, int]:
    """Counts: mutants, killed, survivors that are true, other survivors, and assumptions by outcome."""
    killings = [k for each in audits for k in each.mutants]
    same = sum(k.reason.startswith(TRUE) for k in killings)
    counts = {
        "mutants": len(killings),
        "killed": sum(bool(k.by) for k in killings),
        "killed by search": sum(k.by == "search" for k in killings),
        "true": same,
        "survived": sum(not k.by for k in killings) - same,
    }
    for each in audits:
        for dropped in each.assumptions:
            key = f"assumptions {dropped.outcome}"
            counts[key] = counts.get(key, 0) + 1
    return counts
