"""Measured cells that are kept from run to run: a cell that is measured anew takes the place of the one before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["merged", "stored_runs", "would_lose"]

Key = tuple[str, int, int]


def key_of(cell: Mapping[str, Any]) -> Key:
    """Which cell it is: case, replicas, threads."""
    return cell["case"], cell["replicas"], cell["threads"]


def stored_runs(path: Path) -> list[dict[str, Any]]:
    """The runs that a file holds, each with its command and machine; none if there is no file.

    Raises:
        ValueError: it holds something else.
    """
    if not path.exists():
        return []
    content = json.loads(path.read_text())
    if not isinstance(content, dict) or not isinstance(content.get("runs"), list):
        raise ValueError(f"{path} does not hold runs of this benchmark")
    return list(content["runs"])


def would_lose(runs: Sequence[Mapping[str, Any]], cells: set[Key], peers: Sequence[str]) -> set[str]:
    """Peers measured in one of ``cells`` before, which a run with ``peers`` in its place would leave out."""
    rows = [row for run in runs for cell in run["cells"] if key_of(cell) in cells for row in cell["rows"]]
    return {row["peer"] for row in rows if row["ns"] is not None} - set(peers)


def merged(runs: Sequence[Mapping[str, Any]], new: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All runs, without the cells that are in ``new`` too, and without those that have no cell left."""
    measured = {key_of(cell) for cell in new["cells"]}
    kept = [{**run, "cells": [cell for cell in run["cells"] if key_of(cell) not in measured]} for run in runs]
    return [*(run for run in kept if run["cells"]), dict(new)]
