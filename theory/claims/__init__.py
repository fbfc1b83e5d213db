"""The claim registry: every module of this folder that has a ``CLAIMS`` tuple adds its claims.

A new claim is one new file here; proof, property test, search, simulation and report row follow from the object.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from theory.claim import Claim, Registry

__all__ = ["Claim", "load_registry"]

# The order in which people read: identities first, then the paper from front to back. Other files follow by name.
_FIRST = (
    *("identity", "updates", "smoothness", "ball", "decoupling", "reinforce", "grpo", "comparison", "relaxed"),
    *(
        "steps_c",
        "steps_c_lipschitz",
        "steps_c_ball",
        "steps_d",
        "steps_d_runs",
        "steps_e_reinforce",
        "steps_e_grpo",
        "steps_e_runs",
    ),
)


@cache
def load_registry() -> Registry:
    """All claims of this folder's modules."""
    names = [module.name for module in iter_modules(__path__) if not module.name.startswith("_")]
    registry = Registry()
    for name in sorted(names, key=lambda n: (_FIRST.index(n) if n in _FIRST else len(_FIRST), n)):
        registry.add(*getattr(import_module(f"{__name__}.{name}"), "CLAIMS", ()))
    return registry
