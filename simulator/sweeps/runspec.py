"""The specification of one run: its keys, what each may be, and the one spelling that its id is taken of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, get_args, get_type_hints

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from simulator.difficulty import PRESETS, get_difficulty
from simulator.families import FAMILIES
from simulator.problems import check_step
from simulator.records import snapshot_times
from simulator.sampled import get_any_rule
from simulator.schedules import get_schedule
from simulator.step_sizes import FORMS as STEP_FORMS
from simulator.step_sizes import resolve_step
from simulator.validation import refusal
from theory.errors import InputError, expected

__all__ = ["DEFAULTS", "ENGINES", "KEYS", "RunSpec", "canonical_json", "check_together", "run_id", "validate_value"]

# Engines whose results do not depend on what else is run beside a run, and so can be kept under its id; torch's do.
ENGINES = ("lanes", "reference")

# Ids are the first 128 bits of SHA-256: among 10^9 runs two meet with probability 10^-21.
ID_LENGTH = 32


def _family(value: Any) -> Any:
    # What cannot be hashed, such as a list, cannot even be looked up.
    if not isinstance(value, str) or value not in FAMILIES:
        raise expected("problem family", value, f"one of {', '.join(FAMILIES)}", "pick one")
    return value


def _rule(value: Any) -> Any:
    return get_any_rule(value).name if isinstance(value, str) else value


def _schedule(value: Any) -> Any:
    return get_schedule(value).name if isinstance(value, str) else value


def _p0(value: Any) -> Any:
    """A number or a string for :func:`get_difficulty`, in one spelling: ``0.2`` (``hard`` too), ``beta:2.0,5.0``."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return value
    text = get_difficulty(str(value)).name
    if text in PRESETS:
        return repr(PRESETS[text])
    kind, colon, rest = text.partition(":")
    if kind.isalpha():
        return f"{kind}:{','.join(repr(float(number)) for number in rest.split(','))}" if colon else kind
    low, high = float(kind), float(rest or kind)
    return repr(low) if low == high else f"{low!r}:{high!r}"


def _eta(value: Any) -> Any:
    """A name of :data:`simulator.step_sizes.FORMS` or a number above 0, as a string."""
    names = [name for name in STEP_FORMS if name.islower()]
    if isinstance(value, bool) or (isinstance(value, str) and value in names):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        wanted = f"a number above 0 or one of {', '.join(names)}"
        raise expected("eta", value, wanted, "leave it out for the theorem's own") from None
    check_step(number, 1)
    return repr(number)


def _record(value: Any) -> Any:
    if isinstance(value, str):
        snapshot_times(1, value)
    return value


def _engine(value: Any) -> Any:
    if value not in ENGINES:
        remedy = "what torch computes for a run depends, in its last digits, on the runs beside it"
        raise expected("engine", value, f"one of {', '.join(ENGINES)}", remedy)
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
        strength: rho of the family, its default if left out; None for a family that has none.
        p0: success probability at the start: a number, or see :data:`simulator.difficulty.FORMS`.
        rule: update rule, exact or sampled.
        schedule: which prompts move at each step, see :data:`simulator.schedules.FORMS`.
        eta: step size: a number, or see :data:`simulator.step_sizes.FORMS`.
        steps: updates T.
        seed: of the features and the prompt order.
        replica: independent repetition of the prompt order.
        record: ``log`` (about 20 snapshots a decade), ``full`` or ``ends``.
        engine: ``lanes`` (fast; ``descending_steps`` and ``gain_over_bound_min`` with record ``full`` only), or
            ``reference`` (readable and slow).
    """

    family: Annotated[str, BeforeValidator(_family)] = "orthogonal"
    n: Annotated[int, Field(ge=1, lt=2**31)] = 4
    k: Annotated[int, Field(ge=2, lt=2**31)] = 8
    d: Annotated[int | None, Field(ge=1, lt=2**31)] = None
    strength: Annotated[float | None, Field(allow_inf_nan=False)] = None
    p0: Annotated[str, BeforeValidator(_p0)] = "0.05:0.6"
    rule: Annotated[str, BeforeValidator(_rule)] = "grpo"
    schedule: Annotated[str, BeforeValidator(_schedule)] = "uniform"
    eta: Annotated[str, BeforeValidator(_eta)] = "theorem"
    steps: Annotated[int, Field(ge=1, lt=2**63)] = 1000
    seed: Count = 0
    replica: Count = 0
    record: Annotated[str, BeforeValidator(_record)] = "log"
    engine: Annotated[str, BeforeValidator(_engine)] = "lanes"


# Type of each key; one that may be left out comes as a union with None.
KEYS: dict[str, type] = {key: (get_args(kind) or (kind,))[0] for key, kind in get_type_hints(RunSpec).items()}

# What a left-out key stands for, from family, n and K.
DEFAULTS: dict[str, Callable[[str, int, int], Any]] = {
    "d": lambda family, n, k: FAMILIES[family].default_d(n, k),
    "strength": lambda family, n, k: FAMILIES[family].default_strength,
}


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


def check_together(rule: str, eta: str, schedule: str, place: str) -> None:
    """Refuse a step size by name that the rule or the schedule has not.

    Raises:
        InputError: as said.
    """
    try:
        if eta in ("theorem", "best"):
            resolve_step(eta, get_any_rule(rule), 1.0, get_schedule(schedule))
    except InputError as error:
        raise InputError(f"eta {place}, for rule {rule} and schedule {schedule}: {error}") from None


def canonical_json(run: Mapping[str, Any]) -> str:
    """The one spelling of a run: all keys in alphabetical order, no spaces."""
    return json.dumps(dict(run), sort_keys=True, separators=(",", ":"), allow_nan=False)


def run_id(run: Mapping[str, Any], engine: str) -> str:
    """Hash of the canonical run and the engine's version: who has both has the result."""
    return hashlib.sha256(f"{engine}\n{canonical_json(run)}".encode()).hexdigest()[:ID_LENGTH]
