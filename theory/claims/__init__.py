"""The claim registry: every module of this folder that has a ``CLAIMS`` tuple adds its claims.

A new claim is one new file here; proof, property test, search, simulation and report row follow from the object.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from pkgutil import iter_modules

from theory.claim import Claim, Registry
from theory.errors import InputError, expected

__all__ = ["Claim", "load_claims", "load_registry"]

# The order in which people read: identities first, then the paper from front to back. Other files follow by name.
_FIRST = (
    *("identity", "updates", "smoothness", "ball", "decoupling", "reinforce", "grpo", "comparison", "relaxed"),
    *("steps_c", "steps_c_lipschitz", "steps_c_ball", "steps_d", "steps_d_runs"),
    *("steps_e_reinforce", "steps_e_grpo", "steps_e_runs", "talk_runs"),
    *(
        "sharp",
        "several",
        "rates",
        "sharp_comparison",
        "grpo_late",
        "grpo_mean",
        "scales",
        "unscaled",
        "order",
        "group",
        "power",
        "plateau",
        "plateau_sampled",
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


@cache
def load_claims(more: Path | None = None) -> Registry:
    """All claims, and those of a Python file of your own with a ``CLAIMS`` tuple; the file is executed.

    Raises:
        InputError: the file cannot be run, has no claims, or takes an id that is taken.
    """
    if more is None:
        return load_registry()
    registry = Registry()
    registry.add(*load_registry())
    found = _claims_of(more)
    if not found or not all(isinstance(claim, Claim) for claim in found):
        raise expected("claims file", str(more), "a tuple CLAIMS of theory.claim.Claim", "see CONTRIBUTING.md")
    try:
        registry.add(*found)
    except ValueError as error:
        raise InputError(f"claims file {more}: {error}; choose another id") from None
    return registry


def _claims_of(path: Path) -> tuple[Claim, ...]:
    try:
        if not path.is_file():
            raise FileNotFoundError("no such file")
        spec = spec_from_file_location(f"whynorm_claims_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise ImportError("its name must end in .py")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return tuple(getattr(module, "CLAIMS", ()))
    except (Exception, SystemExit) as error:
        # It is somebody's own program: whatever it raises is bad input, and is told with its reason.
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise expected("claims file", str(path), f"a Python file that runs ({reason})", "correct it") from None
