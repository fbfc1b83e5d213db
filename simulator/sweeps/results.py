"""Reading a sweep: counts, exports, SQL. Every file is verified before it is used; nothing is changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from simulator.files import atomic
from simulator.sweeps.coordinate import Scan, scan
from simulator.sweeps.manifest import Manifest
from simulator.sweeps.pack import SCHEMA
from simulator.sweeps.plan import Plan
from simulator.sweeps.store import Store
from theory.errors import expected

__all__ = ["Answer", "Status", "export", "look", "query", "status"]


@dataclass(frozen=True)
class Status:
    """Where a sweep stands, in runs (and files that are damaged).

    Attributes:
        runs: all of them.
        done: those whose results are there and intact.
        failed: those of tasks that were given up.
        pending: the others.
        damaged_files: result files that are not what was written.
        refused: done runs that could not be run, with an error in place of results.
        diverged: done runs that ended in no number.
        bytes: of intact files.
        seconds: that one worker needs for what is not done, by the tasks that are; None if not known.
        other_engines: runs that are kept of other engine versions.
        errors: why tasks failed and files are damaged, by task.
    """

    runs: int
    done: int
    failed: int
    pending: int
    damaged_files: int
    refused: int
    diverged: int
    bytes: int
    seconds: float | None
    other_engines: dict[str, int]
    errors: dict[str, str]


def look(plan: Plan, store: Store) -> Scan:
    """:func:`simulator.sweeps.coordinate.scan` for somebody who only looks."""
    return scan(plan, store, Manifest.peek(store.directory))


def status(plan: Plan, store: Store) -> Status:
    """Count."""
    found = look(plan, store)
    by_id = {task.id: task for task in plan.tasks}
    done = sum(entry.runs for entry in found.done.values())
    failed = sum(by_id[task].runs for task in found.failed)
    timed = [entry for entry in found.done.values() if entry.seconds > 0]
    work = sum(by_id[entry.task].work for entry in timed)
    remaining = plan.work - sum(by_id[task].work for task in found.done)
    kinds = Counter[str]()
    for task in found.done:
        told = pq.read_table(store.path(task), columns=["status"], use_threads=False)["status"]
        kinds.update(told.to_pylist())
    return Status(
        runs=len(plan),
        done=done,
        failed=failed,
        pending=len(plan) - done - failed,
        damaged_files=len(found.damaged),
        refused=kinds["refused"],
        diverged=kinds["diverged"],
        bytes=sum(entry.bytes for entry in found.done.values()),
        seconds=sum(entry.seconds for entry in timed) / work * remaining if timed else None,
        other_engines=store.other_engines(),
        errors={**found.failed, **found.damaged},
    )


def export(plan: Plan, store: Store, found: Scan, path: Path) -> int:
    """Write one row per run that is done, in the order of the specification; returns their number.

    Args:
        plan: whose runs.
        store: where they are.
        found: what :func:`look` says.
        path: ``.parquet``, or ``.csv`` with lists as numbers separated by semicolons.

    Raises:
        InputError: another suffix, or the file cannot be written.
    """
    import pyarrow.csv

    if path.suffix not in (".parquet", ".csv"):
        raise expected("export file", str(path), "a name that ends in .parquet or .csv", "rename it")
    rows = 0
    with atomic(path) as handle:
        if path.suffix == ".parquet":
            writer: Any = pq.ParquetWriter(handle, SCHEMA, compression="zstd")
        else:
            writer = pyarrow.csv.CSVWriter(handle, _flat(SCHEMA.empty_table()).schema)
        with writer:
            for table in _tables(plan, store, found):
                writer.write_table(table if path.suffix == ".parquet" else _flat(table))
                rows += table.num_rows
    return rows


def _tables(plan: Plan, store: Store, found: Scan) -> Iterator[pa.Table]:
    for task in plan.tasks:
        if task.id in found.done:
            yield store.table(task.id)


def _flat(table: pa.Table) -> pa.Table:
    """Lists as strings, for CSV."""
    import pyarrow.compute as pc

    for index, field in enumerate(table.schema):
        if pa.types.is_list(field.type):
            texts = table[field.name].cast(pa.list_(pa.string()))
            joined = pc.binary_join(texts, ";") if table.num_rows else pa.chunked_array([[]], pa.string())
            table = table.set_column(index, field.name, joined)
    return table


@dataclass(frozen=True)
class Answer:
    """Rows of a query, by column name."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def query(store: Store, found: Scan, sql: str) -> Answer:
    """Answer SQL over the table ``runs``, one row per run that is done; files cannot be read or written by it.

    Args:
        store: where the results are.
        found: what :func:`look` says.
        sql: in DuckDB's dialect.

    Raises:
        InputError: what DuckDB says is wrong.
    """
    import duckdb
    import pyarrow.dataset

    files = [str(store.path(task)) for task in found.done]
    runs = pyarrow.dataset.dataset(files, schema=SCHEMA, format="parquet") if files else SCHEMA.empty_table()
    settings = {"enable_external_access": "false", "python_enable_replacements": "false", "lock_configuration": "true"}
    with duckdb.connect(config=settings) as connection:
        connection.register("runs", runs)
        try:
            cursor = connection.execute(sql)
            if cursor is None:
                raise ValueError("there is no statement in it")
            names = tuple(column[0] for column in cursor.description or ())
            return Answer(names, cursor.fetchall() if names else [])
        except (duckdb.Error, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            remedy = "columns: `SELECT column_name FROM (DESCRIBE runs)`"
            raise expected("query", sql, f"SQL on the table runs ({reason})", remedy) from None
