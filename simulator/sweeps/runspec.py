"""The specification of one run: its keys, what each may be, and the one spelling that its id is taken of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, get_type_hints

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from simulator.families import FAMILIES
from simulator.options import parse_range
from simulator.problems import check_step
from simulator.records import snapshot_times
from simulator.validation import refusal
from theory.errors import expected
from theory.rules import get_rule

__all__ = ["KEYS", "RunSpec", "canonical_json", "check_together", "default_d", "run_id", "validate_value"]

# Ids are the first 128 bits of SHA-256: among 10^9 runs two meet with probability 10^-21.
ID_LENGTH = 32


def _family(value: Any) -> Any:
    if value not in FAMILIES:
        raise expected("problem family", value, f"one of {', '.join(FAMILIES)}", "pick one")
    return value


def _rule(value: Any) -> Any:
    return get_rule(value).name if isinstance(value, str) else value


def _p0(value: Any) -> Any:
    """A number or a string as :func:`parse_range` reads it, in one spelling: ``0.2`` or ``0.05:0.6``."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return value
    low, high = parse_range(str(value))
    if not 0 < low <= high < 1:
        raise expected("p0", value, "0 < LOW <= HIGH < 1", "e.g. 0.2 or 0.05:0.9")
    return repr(low) if low == high else f"{low!r}:{high!r}"


def _eta(value: Any) -> Any:
    """``theorem`` or a number above 0, as a string."""
    if value == "theorem" or isinstance(value, bool):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise expected("eta", value, 'a number above 0 or "theorem"', "leave it out for the theorem's own") from None
    check_step(number, 1)
    return repr(number)


def _record(value: Any) -> Any:
    if isinstance(value, str):
        snapshot_times(1, value)
    return value


# SQL has signed integers of 64 bits.
Count = Annotated[int, Field(ge=0, lt=2**63)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", strict=True))
class RunSpec:
    """One run, every default filled in. A key more is a line here, and its use in ``execute.py``.

    Attributes:
        family: problem family.
        n: prompts.
        k: outputs of each prompt.
        d: features; the family's smallest natural number of them if left out.
        p0: success probability at the start, a number or ``LOW:HIGH``.
        rule: update rule.
        eta: step size, a number or ``theorem``.
        steps: updates T.
        seed: of the features and the prompt order.
        replica: independent repetition of the prompt order.
        record: ``log`` (about 20 snapshots a decade) or ``full``.
    """

    family: Annotated[str, BeforeValidator(_family)] = "orthogonal"
    n: Annotated[int, Field(ge=1, lt=2**31)] = 4
    k: Annotated[int, Field(ge=2, lt=2**31)] = 8
    d: Annotated[int | None, Field(ge=1, lt=2**31)] = None
    p0: Annotated[str, BeforeValidator(_p0)] = "0.05:0.6"
    rule: Annotated[str, BeforeValidator(_rule)] = "grpo"
    eta: Annotated[str, BeforeValidator(_eta)] = "theorem"
    steps: Annotated[int, Field(ge=1, lt=2**63)] = 1000
    seed: Count = 0
    replica: Count = 0
    record: Annotated[str, BeforeValidator(_record)] = "log"


KEYS: dict[str, type] = {key: int if key == "d" else kind for key, kind in get_type_hints(RunSpec).items()}


@cache
def _adapter(key: str) -> TypeAdapter[Any]:
    kind: Any = get_type_hints(RunSpec, include_extras=True)[key]
    return TypeAdapter(kind, config=ConfigDict(strict=True))


def validate_value(key: str, value: Any, place: str) -> Any:
    """The value of a key in its one spelling.

    Raises:
        InputError: no such key, a wrong type or a value out of range; the message names key and place.
    """
    if key not in KEYS:
        raise expected(f"key {place}", key, f"one of {', '.join(KEYS)}", "remove or rename it")
    try:
        return _adapter(key).validate_python(value)
    except ValidationError as error:
        raise refusal(error, KEYS, place, key) from None


def default_d(family: str, n: int, k: int) -> int:
    """What a missing d stands for."""
    return FAMILIES[family].default_d(n, k)


def check_together(rule: str, eta: str, place: str) -> None:
    """Refuse ``eta = "theorem"`` for a rule that no theorem covers.

    Raises:
        InputError: as said.
    """
    if eta == "theorem" and get_rule(rule).step_size is None:
        wanted = f"a number, as no theorem of the sources covers {rule}"
        raise expected(f"eta {place}", eta, wanted, "give eta a number, e.g. 0.1")


def canonical_json(run: Mapping[str, Any]) -> str:
    """The one spelling of a run: all keys in alphabetical order, no spaces."""
    return json.dumps(dict(run), sort_keys=True, separators=(",", ":"), allow_nan=False)


def run_id(run: Mapping[str, Any], engine: str) -> str:
    """Hash of the canonical run and the engine's version: who has both has the result."""
    return hashlib.sha256(f"{engine}\n{canonical_json(run)}".encode()).hexdigest()[:ID_LENGTH]
