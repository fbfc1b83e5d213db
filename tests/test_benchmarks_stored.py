"""Cells of the engines' benchmark are kept from run to run, and none gets lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.stored import merged, stored_runs, would_lose


def _cell(case: str, replicas: int, ns: dict[str, float | None]) -> dict[str, Any]:
    rows = [{"peer": peer, "ns": time} for peer, time in ns.items()]
    return {"case": case, "replicas": replicas, "threads": 1, "rows": rows}


def _run(command: str, *cells: dict[str, Any]) -> dict[str, Any]:
    return {"command": command, "machine": {}, "cells": list(cells)}


def test_a_cell_that_is_measured_anew_takes_the_place_of_the_one_before() -> None:
    first = _run("first", _cell("a", 1, {"lanes": 1.0}), _cell("b", 1, {"lanes": 2.0}))
    second = _run("second", _cell("c", 1, {"lanes": 3.0}))
    new = _run("new", _cell("b", 1, {"lanes": 4.0}), _cell("c", 1, {"lanes": 5.0}), _cell("c", 2, {"lanes": 6.0}))
    assert merged([first, second], new) == [_run("first", first["cells"][0]), new]


def test_peers_that_a_new_run_would_lose_are_named() -> None:
    runs = [_run("first", _cell("a", 1, {"lanes": 1.0, "c": 2.0, "jax": None}), _cell("b", 1, {"torch": 1.0}))]
    assert would_lose(runs, {("a", 1, 1)}, ["lanes"]) == {"c"}
    assert would_lose(runs, {("a", 1, 1)}, ["lanes", "c"]) == set()
    assert would_lose(runs, {("a", 2, 1)}, []) == set()


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "engines.json"
    assert stored_runs(path) == []
    path.write_text(json.dumps({"cells": []}))
    with pytest.raises(ValueError, match="does not hold runs"):
        stored_runs(path)


def test_the_shipped_results_hold_each_cell_once() -> None:
    cells = [
        (cell["case"], cell["replicas"], cell["threads"])
        for run in stored_runs(Path("benchmarks/results/engines.json"))
        for cell in run["cells"]
    ]
    assert len(cells) == len(set(cells)) > 30
