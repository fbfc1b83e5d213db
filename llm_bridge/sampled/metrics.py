"""What is logged of a sampled run, under the names people know from TRL, and the files it goes to.

``metrics.jsonl`` gets one line a step, on disk before the next step starts; ``metrics.parquet`` is written at the end.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from llm_bridge.asking.questions import Task
from llm_bridge.sampled.group_step import Drawn, GroupStep
from simulator.files import atomic
from theory.advantages import zero_variance_groups
from theory.errors import expected

__all__ = ["MetricsFile", "completion_metrics", "read_metrics", "step_metrics", "told_completions", "write_parquet"]

Row = dict[str, float | int | None]
# What counts something; everything else is a float.
_INTEGERS = ("step", "num_tokens")


def step_metrics(step: GroupStep) -> Row:
    """Rewards, their spread and the completions of one step.

    ``reward_std`` is over all completions of the step (ddof 1), as TRL has it; ``theory/std`` is the mean over prompts
    of the group's own standard deviation ``sqrt(p (1 - p))``, by which the paper's rule divides; ``theory/variance``
    that of ``p (1 - p)``. ``frac_reward_zero_std`` is the share of groups whose rewards are all equal, by max = min.
    """
    p = step.rewards.mean(axis=1)
    return {
        "reward": float(step.rewards.mean()),
        "reward_std": float(step.rewards.std(ddof=1)) if step.rewards.size > 1 else 0.0,
        "frac_reward_zero_std": float(zero_variance_groups(step.rewards).mean()),
        **completion_metrics(step),
        "entropy": float(step.entropy.sum() / step.lengths.sum()),
        "theory/std": float(np.sqrt(p * (1 - p)).mean()),
        "theory/variance": float((p * (1 - p)).mean()),
    }


def completion_metrics(drawn: GroupStep | Drawn) -> Row:
    """Lengths of completions in tokens, the end token included, and the share of those that were cut off."""
    ended = drawn.lengths[drawn.ended > 0]
    return {
        "completions/mean_length": float(drawn.lengths.mean()),
        "completions/min_length": float(drawn.lengths.min()),
        "completions/max_length": float(drawn.lengths.max()),
        "completions/mean_terminated_length": float(ended.mean()) if len(ended) else 0.0,
        "completions/clipped_ratio": float(1 - drawn.ended.mean()),
    }


def told_completions(task: Task, step: GroupStep, chosen: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """For each question of this process: its name, its completions' texts, their rewards and advantages."""
    return [
        {
            "question": task.questions[int(chosen[b])].name,
            "texts": list(group.texts),
            "rewards": step.rewards[b].tolist(),
            "advantages": step.advantages[b].tolist(),
        }
        for b, group in zip(step.own, step.groups, strict=True)
    ]


class MetricsFile:
    """``metrics.jsonl``: a line is on disk when :meth:`append` returns."""

    def __init__(self, path: Path, last_step: int | None = None, *, gaps: bool = False) -> None:
        """Open the file to go on after ``last_step``; lines of later steps are cut off, as they will be made anew.

        Without ``last_step`` all of them are, also that of step 0, the accuracy before the first update. With ``gaps``
        lines may be missing.

        Raises:
            InputError: a line in the middle cannot be read, or lines up to ``last_step`` are missing.
        """
        there = path.exists() and last_step is not None
        self.rows, length = _rows_up_to(path, last_step) if there else ([], 0)
        if last_step and not gaps and (not self.rows or self.rows[-1]["step"] != last_step):
            remedy = "start the run anew in another directory"
            raise expected("metrics file", str(path), f"a line for every step up to {last_step}", remedy)
        self._handle = path.open("ab")
        self._handle.truncate(length)
        self._sync()

    def append(self, row: Mapping[str, Any]) -> Row:
        """Add one line; NaN and infinity, which JSON does not know, become null."""
        kept: Row = {key: _plain(value) for key, value in row.items()}
        self.write(kept)
        self.rows.append(kept)
        return kept

    def write(self, content: Mapping[str, Any]) -> None:
        """Add one line of any content that has a ``step``, without keeping it in ``rows``."""
        self._handle.write(json.dumps(content, allow_nan=False, ensure_ascii=False).encode() + b"\n")
        self._sync()

    def _sync(self) -> None:
        self._handle.flush()
        os.fsync(self._handle.fileno())

    def __enter__(self) -> MetricsFile:
        """The file itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close it."""
        self._handle.close()


def read_metrics(path: Path) -> list[Row]:
    """All lines of a ``metrics.jsonl``; one that a crash left unfinished at the end is passed over.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return _rows_up_to(path, None)[0]
    except OSError as error:
        raise expected("metrics file", str(path), f"a readable file ({error.strerror})", "check the path") from None


def _rows_up_to(path: Path, last_step: int | None) -> tuple[list[Row], int]:
    """Rows up to a step (all for None), and the length in bytes of these lines."""
    lines = path.read_bytes().split(b"\n")
    rows: list[Row] = []
    length = 0
    # What follows the last line break is empty, or torn.
    for number, line in enumerate(lines[:-1]):
        try:
            row = json.loads(line)
            step = int(row["step"])
        except (ValueError, KeyError, TypeError):
            if number == len(lines) - 2:
                break
            raise expected("metrics file", str(path), f"JSON with a step in line {number + 1}", "restore it") from None
        if last_step is not None and step > last_step:
            break
        rows.append(row)
        length += len(line) + 1
    return rows, length


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """All rows as one Parquet table, atomically; a column for every name, null where a row lacks it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(dict.fromkeys(name for row in rows for name in row))
    types = [pa.field(name, pa.int64() if name in _INTEGERS else pa.float64()) for name in names]
    table = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows], schema=pa.schema(types))
    with atomic(path) as handle:
        pq.write_table(table, handle)


def _plain(value: Any) -> float | int | None:
    if value is None or isinstance(value, int):
        return value
    number = float(value)
    return number if math.isfinite(number) else None
