"""What a worker does with a task: execute its runs and commit their file. All executors call this one function."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simulator.sweeps.execute import ENGINE_VERSION, execute_many
from simulator.sweeps.pack import DamagedFileError, pack
from simulator.sweeps.runspec import run_id
from simulator.sweeps.store import Store
from theory.errors import InputError

__all__ = ["perform"]


def perform(message: Mapping[str, Any]) -> dict[str, Any]:
    """Execute a task and commit its file, unless it is there already: an executor may ask twice.

    Args:
        message: plain data, ready for JSON: ``task`` (id), ``engine`` (version that is asked for), ``directory`` of the
            sweep, ``runs`` (list of runs), ``known`` (task ids by run id: results that another file holds).

    Returns:
        ``task`` and ``seconds``; ``error`` and ``fatal`` if it failed: fatal is what no repetition can mend, such as a
        full disk.
    """
    start = time.perf_counter()
    error, fatal = "", False
    try:
        _perform(message)
    except InputError as refused:
        error, fatal = str(refused), True
    except Exception as failure:
        # A bug, or no memory: the coordinator tries again and then goes on with the other tasks.
        error = " ".join(f"{type(failure).__name__}: {failure}".split())[:300]
    return {"task": message["task"], "seconds": time.perf_counter() - start, "error": error, "fatal": fatal}


def _perform(message: Mapping[str, Any]) -> None:
    task, engine = message["task"], message["engine"]
    if engine != ENGINE_VERSION:
        raise InputError(f"a worker has engine {ENGINE_VERSION}, the sweep needs {engine}; install one version on all")
    store = Store(Path(message["directory"]), engine)
    if not store.results.is_dir():
        raise InputError(f"a worker cannot see {store.results}; keep the results where every worker finds them")
    with contextlib.suppress(DamagedFileError):
        store.table(task)
        return
    runs: Sequence[Mapping[str, Any]] = message["runs"]
    ids = [run_id(run, engine) for run in runs]
    rows = _known_rows(store, message["known"])
    missing = [(name, run) for name, run in zip(ids, runs, strict=True) if name not in rows]
    results = execute_many([run for _, run in missing])
    for (name, run), result in zip(missing, results, strict=True):
        rows[name] = {"run_id": name, **run, **result}
    store.write(task, pack(task, engine, [rows[name] for name in ids]))


def _known_rows(store: Store, known: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Rows that other files hold, by run id; what turns out to be damaged is simply executed."""
    rows = {}
    for source in sorted(set(known.values())):
        with contextlib.suppress(DamagedFileError):
            table = store.table(source)
            for index, name in enumerate(table["run_id"].to_pylist()):
                if known.get(name) == source:
                    rows[name] = table.slice(index, 1).to_pylist()[0]
    return rows
