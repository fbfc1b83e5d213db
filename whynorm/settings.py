"""Settings of the main job: defaults, a TOML file, and clear words for what is wrong in one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from simulator.validation import read_toml, refusal
from theory.errors import expected

__all__ = ["Settings", "load_settings", "parse_settings"]

Probability = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class Settings:
    """What ``whynorm reproduce`` runs.

    Attributes:
        model: language model, ``tiny`` or a local folder.
        steps: updates of each language-model run.
        simulator_steps: updates of the simulated runs on orthogonal prompts.
        n: prompts; the language model's are chosen among 160.
        outputs: outputs per simulated prompt, at least 2.
        low, high: range of success probabilities at the start, 0 < low < high < 1.
        big_step: how many times the theorem's step size the second pair of language-model runs takes.
        seed: of everything random.
    """

    model: str = "tiny"
    steps: Count = 60
    simulator_steps: Count = 2000
    n: Annotated[int, Field(ge=2, le=160)] = 6
    outputs: Annotated[int, Field(ge=2)] = 8
    low: Probability = 0.03
    high: Probability = 0.9
    big_step: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 100.0
    seed: Annotated[int, Field(ge=0, lt=2**64)] = 0


def parse_settings(values: Mapping[str, Any], source: str) -> Settings:
    """Validated settings.

    Args:
        values: by name; what is missing takes its default.
        source: where the values come from, for messages: ``in FILE`` or ``on the command line``.

    Raises:
        InputError: an unknown key, a wrong type or a value out of range; the message names the key.
    """
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise refusal(error, Settings.__dataclass_fields__, source) from None
    if settings.low >= settings.high:
        raise expected(f"low {source}", settings.low, f"a number below high = {settings.high}", "correct it")
    return settings


def load_settings(path: Path) -> dict[str, Any]:
    """The top-level table of a TOML file.

    Raises:
        InputError: no such file, or not TOML; the message says where.
    """
    return read_toml(path, "config")
