"""What every study is made of: a specification read from TOML, results as plain data, figures, a paragraph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from simulator.validation import read_toml, refusal

__all__ = ["STRICT", "STUDIES", "Probability", "Runs", "Strength", "load_spec", "perform", "shipped", "study_module"]

Probability = Annotated[float, Field(gt=0, lt=1)]
Strength = Annotated[float, Field(gt=0, allow_inf_nan=False)]
STRICT = ConfigDict(extra="forbid", strict=True)

STUDIES = {
    "speedup": "how many steps REINFORCE needs for each step of GRPO",
    "alpha": "which power of the variance to divide by",
    "plateau": "how long a hard prompt takes, and how the tail falls",
    "groups": "what sampled groups of G outputs do",
    "phases": "three phases, from gradients that lose their orthogonality",
    "rates": "measured rates against every bound of Theorems 3.1 to 3.4",
}


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Runs:
    """What all studies say of their runs.

    Attributes:
        n: prompts.
        outputs: K of each.
        steps: T, most steps of a run.
        replicas: runs of each setting; they differ in their random prompt order (and outputs, where these are drawn).
        seed: of the runs.
        problem_seed: of the features, which all runs of a study share.
        engine: see ``simulator.engines.run``.
    """

    n: Annotated[int, Field(ge=1)]
    outputs: Annotated[int, Field(ge=2)]
    steps: Annotated[int, Field(ge=1)]
    replicas: Annotated[int, Field(ge=2)]
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    problem_seed: Annotated[int, Field(ge=0, lt=2**64)] = 0
    engine: Literal["lanes", "reference"] = "lanes"


def study_module(name: str) -> ModuleType:
    """A study's module: ``Spec``, ``size(spec)``, ``run(spec, progress)``, ``paragraph(data)``, ``figures(data)``."""
    return import_module(f"whynorm.studies.{name}")


def shipped(name: str) -> Path:
    """The specification that comes with a study."""
    return Path(__file__).with_name(f"{name}.toml")


def load_spec(name: str, path: Path | None = None) -> Any:
    """The validated specification of a study.

    Args:
        name: of the study.
        path: a TOML file; the shipped one if None.

    Raises:
        InputError: no such file, not TOML, an unknown or missing key, a wrong type or a value out of range.
    """
    source = path or shipped(name)
    kind = study_module(name).Spec
    try:
        return kind(**read_toml(source, "study specification"))
    except ValidationError as error:
        raise refusal(error, kind.__dataclass_fields__, f"in {source}") from None


def perform(name: str, spec: Any, progress: Callable[[int], None] = lambda done: None) -> dict[str, Any]:
    """Run a study: ``study``, ``spec``, its own results, and ``paragraph``, ready for JSON."""
    module = study_module(name)
    found: Mapping[str, Any] = module.run(spec, progress)
    data = {"study": name, "spec": asdict(spec), **found}
    return {**data, "paragraph": module.paragraph(data)}
