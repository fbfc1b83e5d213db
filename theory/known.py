"""Instances that are known beforehand: counterexamples found once, and instances that attain a bound.

A search may be unlucky; a kept instance is not. Nothing is taken on trust: the file holds an instance, and the verdict
comes from the exact recheck of it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files

import numpy as np

from theory.claim import Claim
from theory.exact import precision
from theory.instances import Instance
from theory.judge import EXACT_BITS, Build, Counterexample, compare, failed_assumptions, recheck
from theory.search import SearchResult

__all__ = ["kept_instance", "measure_witness", "recheck_kept"]


def kept_instance(claim_id: str) -> Instance | None:
    """The instance kept for a claim in ``theory/counterexamples``, or None."""
    path = files("theory") / "counterexamples" / f"{claim_id}.json"
    return Instance.from_json(json.loads(path.read_text())["instance"]) if path.is_file() else None


def recheck_kept(claim: Claim, build: Build) -> SearchResult | None:
    """Recheck the claim's kept instance exactly; None if there is none."""
    instance = kept_instance(claim.id)
    if instance is None:
        return None
    result = SearchResult(instances=1)
    with np.errstate(all="ignore"):
        comparison = compare(claim, build(claim, instance))
    answer = recheck(claim, build, instance)
    result.settle(answer, comparison.worst)
    if isinstance(answer, Counterexample):
        for number in set(comparison.link[comparison.violated].tolist()) - {answer.number}:
            _see_alone(claim, number, build, instance, result)
    return result


def _see_alone(claim: Claim, number: int, build: Build, instance: Instance, result: SearchResult) -> None:
    """Recheck a further link that floats call violated: a counterexample is about one link, others may fail too."""
    found = recheck(replace(claim, relation="chain", chain=(claim.links[number],), proof=None), build, instance)
    if isinstance(found, Counterexample) and np.isfinite(found.ratio):
        result.link_ratios[number] = found.ratio


def measure_witness(claim: Claim, build: Build) -> SearchResult | None:
    """How nearly the claim's witness attains the bound, in ball arithmetic; None if there is none."""
    if claim.witness is None:
        return None
    result, instance = SearchResult(instances=1), claim.witness()
    with precision(EXACT_BITS):
        context = build(claim, instance.exact())
        if failed_assumptions(claim, context):
            result.vacuous = 1
            return result
        comparison = compare(claim, context)
    result.see(instance, comparison)
    if comparison.violated.any():
        result.settle(recheck(claim, build, instance), comparison.worst)
    result.locate(claim, build)
    return result
