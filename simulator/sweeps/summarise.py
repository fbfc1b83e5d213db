"""Means over repeated seeds, with intervals: what a figure of a sweep shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from simulator.sweeps.coordinate import Scan
from simulator.sweeps.pack import SCHEMA
from simulator.sweeps.results import query
from simulator.sweeps.runspec import KEYS
from simulator.sweeps.store import Store
from theory.errors import expected

__all__ = ["Group", "check_column", "summarise"]

# Repetitions differ in these, and in nothing else.
_REPEATED = ("seed", "replica")
# Status of runs that failed, and how that is told.
_FAILED = {"refused": "could not be run (column error)", "diverged": "diverged"}
_SCALARS = [field.name for field in SCHEMA if not pa.types.is_list(field.type)]
_NUMBERS = [name for name in _SCALARS if not pa.types.is_string(SCHEMA.field(name).type)]


@dataclass(frozen=True)
class Group:
    """Repeated runs of one setting.

    Attributes:
        at: the setting: value of each of the chosen columns.
        mean: of the chosen quantity, over the runs that have it.
        half: half width of the 95% interval of the mean, ``t_{0.975} s / sqrt(count)``; None for a single run.
        count: runs that have the quantity.
        missing: runs that do not, e.g. because they never reached a threshold.
    """

    at: tuple[Any, ...]
    mean: float
    half: float | None
    count: int
    missing: int


def check_column(name: str, column: str, *, number: bool = False) -> None:
    """Refuse what is no column of plain values.

    Raises:
        InputError: as said.
    """
    allowed = _NUMBERS if number else _SCALARS
    if column not in allowed:
        raise expected(name, column, f"one of {', '.join(allowed)}", "choose a column")


def summarise(
    store: Store,
    found: Scan,
    y: str,
    columns: tuple[str, ...],
    where: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> list[Group]:
    """Mean of y for every setting of some columns; those without any value are left out.

    Args:
        store: where the results are.
        found: what is there, see :func:`simulator.sweeps.results.look`.
        y: a column of numbers.
        columns: that tell the settings apart.
        where: a condition in SQL that chooses runs, or nothing.
        say: told how many runs and settings are left out, and why.

    Raises:
        InputError: no such column, a condition that DuckDB refuses, no runs, or runs of one setting that differ in
            more than their seeds: their mean would mean nothing.
    """
    from scipy.special import stdtrit

    check_column("y", y, number=True)
    for column in columns:
        check_column("column", column)
    condition = f" WHERE {where}" if where else ""
    names = ", ".join(f'"{column}"' for column in columns)
    _refuse_mixed(store, found, columns, names, condition)
    numbers = f'count("{y}"), avg("{y}"), stddev_samp("{y}"), count(*)'
    numbers += "".join(f", count(*) FILTER (\"{y}\" IS NULL AND status = '{status}')" for status in _FAILED)
    rows = query(store, found, f"SELECT {numbers}, {names} FROM runs{condition} GROUP BY {names} ORDER BY {names}").rows
    groups = []
    for count, mean, deviation, total, *rest in rows:
        at = rest[len(_FAILED) :]
        if count:
            half = float(stdtrit(count - 1, 0.975)) * deviation / count**0.5 if count > 1 else None
            groups.append(Group(tuple(at), float(mean), half, count, total - count))
    if not groups:
        raise expected("number of runs to plot", 0, f"runs with a value of {y}", "see `whynorm sweep status`")
    _tell(rows, y, say)
    return groups


def _tell(rows: list[tuple[Any, ...]], y: str, say: Callable[[str], None]) -> None:
    """Say what is left out: of ``rows``, each of one setting, see :func:`summarise`."""
    missing = sum(row[3] - row[0] for row in rows)
    empty = sum(not row[0] for row in rows)
    if not missing:
        return
    failed = [sum(row[4 + i] for row in rows) for i in range(len(_FAILED))]
    reasons = [f"{count} {told}" for count, told in zip(failed, _FAILED.values(), strict=True) if count]
    if missing > sum(failed):
        reasons.append(f"{missing - sum(failed)} ended without a value")
    say(f"{missing} runs have no {y} and are left out of the means: {', '.join(reasons)}")
    if empty:
        say(f"{empty} of {len(rows)} settings have no run with a value of {y} and are not drawn")


def _refuse_mixed(store: Store, found: Scan, columns: tuple[str, ...], names: str, condition: str) -> None:
    others = [key for key in KEYS if key not in (*columns, *_REPEATED)]
    counts = ", ".join(f'count(DISTINCT "{key}") AS "{key}"' for key in others)
    largest = ", ".join(f'max("{key}")' for key in others)
    sql = f"SELECT {largest} FROM (SELECT {counts} FROM runs{condition} GROUP BY {names})"
    row = query(store, found, sql).rows[0]
    mixed = [key for key, most in zip(others, row, strict=True) if most and most > 1]
    if mixed:
        told = f"runs that differ in {', '.join(mixed)}"
        remedy = f"add --by {mixed[0]}, or choose with --where, e.g. --where \"{mixed[0]} = '...'\""
        raise expected("a point of the plot", told, "runs that differ in their seeds only", remedy)
