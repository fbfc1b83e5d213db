r"""Is the verifier any good? Claims that are made false on purpose, which it must refute.

A mutant changes one thing of one link of a claim: its constant (tightened just past the best ratio known), the power
of ``X_max^2``, its direction, or the step size of its rule. Scaling all features by s multiplies every power of X by
its own power of s, so a wrong power is false for some s; the other mutants are false because an instance with the best
known ratio violates them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from theory.claim import Claim, Link

__all__ = ["Mutant", "mutants", "single_links"]

# How far past the best known ratio a constant is tightened.
TIGHTENED = 0.97
# An equation is made wrong by this much, which floats would not see.
TINY = 2.0**-40


@dataclass(frozen=True)
class Mutant:
    """A claim with one thing changed.

    Attributes:
        origin: id of the claim.
        link: name of the changed link.
        kind: ``constant``, ``exponent``, ``direction`` or ``step size``.
        text: what was changed.
        claim: the changed claim; without proof.
    """

    origin: str
    link: str
    kind: str
    text: str
    claim: Claim


def single_links(claim: Claim) -> Iterator[tuple[int, Claim]]:
    """Every link as a claim of its own, with its number."""
    for number, link in enumerate(claim.links):
        yield (
            number,
            replace(
                claim,
                relation=link.relation,
                left=link.left,
                right=link.right,
                chain=(),
                title=link.name or claim.title,
                proof=None,
                witness=None,
                fixed_by=None,
            ),
        )


def mutants(claim: Claim, ratio: float) -> Iterator[Mutant]:
    """The mutants of a claim with one link.

    Args:
        claim: from :func:`single_links`.
        ratio: the best known ratio of its two sides, NaN if none.
    """
    link = claim.links[0]

    def changed(kind: str, text: str, **fields: Any) -> Mutant:
        return Mutant(claim.id, claim.title, kind, text, replace(claim, **fields))

    if link.relation == "==":
        yield changed("constant", "right side times 1 + 2^-40", right=_times(link, 1 + TINY))
        yield changed("constant", "right side plus 2^-40", right=_plus(link, TINY))
        yield changed("direction", "right side times -1", right=_times(link, -1))
        return
    if link.relation == "iff":
        yield changed("constant", "right side plus 1/16", right=_plus(link, 1 / 16))
        yield changed("constant", "right side minus 1/16", right=_plus(link, -1 / 16))
        yield changed("direction", "right side times -1", right=_times(link, -1))
        return
    yield changed("direction", "relation reversed", relation=">=" if link.relation == "<=" else "<=")
    if not ratio > 0:
        return
    tightened = ratio * TIGHTENED if link.relation == "<=" else 1 / (ratio * TIGHTENED)
    yield changed("constant", f"right side times {tightened:.4g}", right=_times(link, tightened))
    for power in (1, -1):
        text = f"right side times {tightened:.4g} X^{2 * power}"
        yield changed("exponent", text, right=_scaled(link, tightened, power))
    if claim.rule is not None and claim.scope != "step":
        step_size, share = claim.step_size, ratio / 2
        assert step_size is not None
        yield changed("step size", f"step size times {share:.4g}", step_size=lambda given: step_size(given) * share)


def _times(link: Link, factor: float) -> Callable[[Any], Any]:
    return lambda context: link.right(context) * factor


def _plus(link: Link, shift: float) -> Callable[[Any], Any]:
    return lambda context: link.right(context) + shift


def _scaled(link: Link, factor: float, power: int) -> Callable[[Any], Any]:
    return lambda context: link.right(context) * context.x_max_sq**power * factor
