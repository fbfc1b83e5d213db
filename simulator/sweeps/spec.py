"""A sweep as a person writes it, in TOML: which runs, in a few lines; validated with messages that name the key.

The runs are the product of the axes: every key of ``[grid]``, the keys of ``[zip]`` (together), the entries of
``[[lists]]``, the samples of ``[distributions]``, and the seeds and replicas of ``[repeat]``. ``[run]`` holds what all
runs share; what is named nowhere takes its default (:class:`simulator.sweeps.runspec.RunSpec`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass as plain_dataclass
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from simulator.sweeps.draws import Distribution, draw
from simulator.sweeps.runspec import KEYS, RunSpec, validate_value
from simulator.validation import read_toml, refusal
from theory.errors import expected

__all__ = ["Axis", "Sweep", "load_sweep", "parse_sweep"]

_STRICT = ConfigDict(extra="forbid", strict=True)
# What a plan of runs keeps in memory: about a gigabyte.
LARGEST = 5_000_000

Positive = Annotated[int, Field(ge=1, le=LARGEST)]


def _many(name: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        count = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST
        if not (count or isinstance(value, list)):
            raise expected(name, value, "how many, or a list of them", f"e.g. {name} = 5")
        return value

    return check


@dataclass(frozen=True, config=_STRICT)
class _Repeat:
    """``seeds`` and ``replicas``: how many (from 0), or which."""

    seeds: Annotated[Any, BeforeValidator(_many("seeds"))] = 1
    replicas: Annotated[Any, BeforeValidator(_many("replicas"))] = 1


@dataclass(frozen=True, config=_STRICT)
class _Samples:
    """How many points ``[distributions]`` draws, and the seed they are drawn with."""

    samples: Positive
    samples_seed: Annotated[int, Field(ge=0, lt=2**64)] = 0


@dataclass(frozen=True, config=_STRICT)
class _Layout:
    """The sections of a specification."""

    title: str = ""
    pack: Annotated[int, Field(ge=1, le=100_000)] | None = None
    run: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    zip: dict[str, list[Any]] = field(default_factory=dict)
    lists: list[dict[str, Any]] = field(default_factory=list)
    distributions: dict[str, Any] = field(default_factory=dict)
    repeat: dict[str, Any] = field(default_factory=dict)


@plain_dataclass(frozen=True)
class Axis:
    """Points, each of which fixes some keys: ``points[j][key]``, canonical values."""

    points: tuple[Mapping[str, Any], ...]


@plain_dataclass(frozen=True)
class Sweep:
    """A validated specification.

    Attributes:
        title: shown on figures.
        pack: most runs in a file, or None to choose by their length.
        shared: value of every key that no axis varies.
        axes: the runs are their product; the last varies fastest.
        place: where it was read, for messages.
    """

    title: str
    pack: int | None
    shared: Mapping[str, Any]
    axes: tuple[Axis, ...]
    place: str

    @property
    def size(self) -> int:
        """Number of runs, repeated ones included."""
        total = 1
        for axis in self.axes:
            total *= len(axis.points)
        return total


def parse_sweep(values: Mapping[str, Any], place: str) -> Sweep:
    """Validate a specification.

    Args:
        values: the top-level table.
        place: where it comes from, for messages: ``in FILE``.

    Raises:
        InputError: what is wrong, with the key's name.
    """
    layout = _typed(_Layout, values, place)
    repeat = _typed(_Repeat, layout.repeat, f"in [repeat] {place}")
    _check_size(_announced(layout, repeat), place)
    shared = {key: validate_value(key, value, f"in [run] {place}") for key, value in layout.run.items()}
    axes = [*_grid(layout, place), *_zip(layout, place), *_lists(layout, place), *_samples(layout, place)]
    repeats = [*_repeat("seed", repeat.seeds, place), *_repeat("replica", repeat.replicas, place)]
    _refuse_double(layout, [key for axis in repeats for key in axis.points[0]], place)
    defaults = {key: RunSpec.__dataclass_fields__[key].default for key in KEYS}
    sweep = Sweep(layout.title, layout.pack, {**defaults, **shared}, (*axes, *repeats), place)
    _check_size(sweep.size, place)
    return sweep


def _announced(layout: _Layout, repeat: _Repeat) -> int:
    """The number of runs by the lengths alone: millions of values are not looked at one by one to be refused then."""
    lengths = [len(values) for values in (*layout.grid.values(), layout.lists) if values]
    lengths += [max(map(len, layout.zip.values()), default=1) or 1]
    lengths += [values if isinstance(values, int) else len(values) or 1 for values in (repeat.seeds, repeat.replicas)]
    return math.prod(lengths)


def _check_size(size: int, place: str) -> None:
    if size > LARGEST:
        raise expected(f"number of runs {place}", size, f"at most {LARGEST}", "shorten an axis")


def load_sweep(path: Path) -> Sweep:
    """Read and validate a TOML file.

    Raises:
        InputError: no such file, not TOML, or see :func:`parse_sweep`.
    """
    return parse_sweep(read_toml(path, "sweep"), f"in {path}")


def _values(section: str, key: str, values: list[Any], place: str) -> list[Any]:
    where = f"in [{section}] {place}"
    if not values:
        raise expected(f"{key} {where}", values, "at least one value", "list some, or leave the key out")
    # An unknown key is reported as such, not as a bad value.
    return [validate_value(key, value, where) for value in values]


def _grid(layout: _Layout, place: str) -> list[Axis]:
    table = {key: _values("grid", key, values, place) for key, values in layout.grid.items()}
    return [Axis(tuple({key: value} for value in values)) for key, values in table.items()]


def _zip(layout: _Layout, place: str) -> list[Axis]:
    table = {key: _values("zip", key, values, place) for key, values in layout.zip.items()}
    lengths = {key: len(values) for key, values in table.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{key}: {length}" for key, length in lengths.items())
        raise expected(f"lengths in [zip] {place}", told, "lists of one length", "they are read side by side")
    if not table:
        return []
    return [Axis(tuple(dict(zip(table, point, strict=True)) for point in zip(*table.values(), strict=True)))]


def _lists(layout: _Layout, place: str) -> list[Axis]:
    points = tuple(
        {key: validate_value(key, value, f"in [[lists]] number {i} {place}") for key, value in entry.items()}
        for i, entry in enumerate(layout.lists, start=1)
    )
    return [Axis(points)] if points else []


def _samples(layout: _Layout, place: str) -> list[Axis]:
    where = f"in [distributions] {place}"
    if not layout.distributions:
        return []
    table = {key: entry for key, entry in layout.distributions.items() if key not in _Samples.__dataclass_fields__}
    settings = {key: value for key, value in layout.distributions.items() if key not in table}
    if "samples" not in settings or not table:
        told = ", ".join(layout.distributions)
        raise expected(f"keys {where}", told, "samples, and at least one key of a run", "add what is missing")
    drawn = _typed(_Samples, settings, where)
    columns: dict[str, list[Any]] = {}
    for key, entry in table.items():
        if key not in KEYS:
            raise expected(f"key {where}", key, f"samples, samples_seed or one of {', '.join(KEYS)}", "rename it")
        if not isinstance(entry, dict) or "kind" not in entry:
            raise expected(f"{key} {where}", entry, 'a table such as {kind = "uniform", low = 1, high = 2}', "write it")
        distribution = _typed(Distribution, entry, f"of {key} {where}")
        distribution.check(f"{key} {where}")
        values = draw(key, distribution, drawn.samples, drawn.samples_seed)
        columns[key] = [validate_value(key, value, where) for value in values]
    return [Axis(tuple({key: values[i] for key, values in columns.items()} for i in range(drawn.samples)))]


def _typed(kind: Any, values: Mapping[str, Any], where: str) -> Any:
    try:
        return kind(**values)
    except ValidationError as error:
        raise refusal(error, kind.__dataclass_fields__, where) from None


def _repeat(key: str, values: int | list[int], place: str) -> list[Axis]:
    if values == 1:
        return []
    listed = list(range(values)) if isinstance(values, int) else values
    return [Axis(tuple({key: value} for value in _values("repeat", key, listed, place)))]


def _refuse_double(layout: _Layout, repeated: Iterable[str], place: str) -> None:
    """A key that two sections fix would silently mean one of them; ``[[lists]]`` may go beyond ``[run]``."""
    sections: dict[str, Iterable[str]] = {
        "run": layout.run,
        "grid": layout.grid,
        "zip": layout.zip,
        "lists": {key for entry in layout.lists for key in entry},
        "distributions": layout.distributions,
        "repeat": repeated,
    }
    for key in KEYS:
        found = [name for name, keys in sections.items() if key in keys]
        if len(found) > 1 and found != ["run", "lists"]:
            raise expected(f"{key} {place}", " and ".join(found), "in one section", "remove it from the others")
