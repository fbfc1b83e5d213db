"""A file of results: the rows of a task as Parquet, the same bytes whoever writes them, with a checksum of the rows."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from simulator.sweeps.execute import RESULTS
from simulator.sweeps.plan import task_id
from simulator.sweeps.runspec import KEYS

__all__ = ["SCHEMA", "DamagedFileError", "pack", "unpack"]

_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    # Parquet's own name for what a list holds; a table that was read has it too.
    list[int]: pa.list_(pa.field("element", pa.int64())),
    list[float]: pa.list_(pa.field("element", pa.float64())),
}
SCHEMA = pa.schema([("run_id", pa.string())] + [(key, _TYPES[kind]) for key, kind in [*KEYS.items(), *RESULTS.items()]])
_KEY = b"whynorm"


class DamagedFileError(Exception):
    """A result file that does not say what was written into it."""


def pack(task: str, engine: str, rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as the bytes of a Parquet file, which hold no time, place or worker.

    Args:
        task: id of the task.
        engine: version of the engine.
        rows: a value or None for every column of :data:`SCHEMA`.
    """
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in SCHEMA]
    table = pa.table(columns, schema=SCHEMA)
    label = {"task": task, "engine": engine, "checksum": checksum(table)}
    target = io.BytesIO()
    with pq.ParquetWriter(target, SCHEMA, compression="zstd", write_statistics=False, store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_KEY.decode(): json.dumps(label, sort_keys=True)})
    return target.getvalue()


def unpack(content: bytes, task: str, engine: str) -> pa.Table:
    """The rows of a file.

    Raises:
        DamagedFileError: the bytes are no Parquet, of another task, or were changed since they were written.
    """
    try:
        source = pq.ParquetFile(io.BytesIO(content))
        label = json.loads((source.metadata.metadata or {})[_KEY])
        table = source.read(use_threads=False)
        told = (label["task"], label["engine"], label["checksum"])
        intact = table.schema.remove_metadata().equals(SCHEMA)
        intact = intact and told == (task, engine, checksum(table))
        intact = intact and task_id(table["run_id"].to_pylist()) == task
    except Exception as error:
        # Damaged bytes make pyarrow raise about anything, from OSError to OverflowError.
        raise DamagedFileError(" ".join(str(error).split())[:160] or type(error).__name__) from None
    if not intact:
        raise DamagedFileError("its checksum or its ids do not fit")
    return table.replace_schema_metadata(None)


def checksum(table: pa.Table) -> str:
    """SHA-256 of all values, however they are chunked, encoded or compressed."""
    digest = hashlib.sha256()
    for name in table.column_names:
        digest.update(f"{name}\n".encode())
        _update(digest, table[name].combine_chunks())
    return digest.hexdigest()


def _update(digest: Any, array: Any) -> None:
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    digest.update(f"{array.type} {len(array)}\n".encode())
    missing = array.is_null().cast(pa.int8())
    digest.update(_bytes(missing))
    if pa.types.is_list(array.type):
        digest.update(_bytes(pc.coalesce(array.value_lengths(), pc.negate(missing.cast(pa.int32())))))
        _update(digest, array.flatten())
    elif pa.types.is_string(array.type):
        digest.update(json.dumps(array.to_pylist()).encode())
    else:
        digest.update(_bytes(pc.coalesce(array, array.is_valid().cast(array.type))))


def _bytes(numbers: pa.Array) -> bytes:
    """The values of an array of numbers without nulls.

    Neither here nor above by ``to_numpy`` or ``fill_null``: they import pandas, if there is one, and lose an interrupt
    that comes meanwhile.
    """
    return np.from_dlpack(numbers).tobytes()
