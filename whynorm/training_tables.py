"""What ``whynorm bridge train`` leaves of a run in words: the table at its end, and its summary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

__all__ = ["training_summary", "training_table"]

# What the table shows, where the run has it.
_SHOWN = (
    "reward",
    "frac_reward_zero_std",
    "grad_norm",
    "completions/mean_length",
    "entropy",
    "theory/variance",
    "theory/cosine_mean",
    "theory/no_m_share",
    "eval_reward",
    "step_time",
)


def training_summary(result: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, the first and the last step, means, and accuracy by step, as plain data.

    Args:
        result: what ``train_groups`` returns.
        given: every option of the command, defaults filled in.
    """
    from llm_bridge.sampled.halves import over_steps

    trained = [row for row in result.rows if "reward" in row]
    held_out = [[row["step"], row["eval_reward"]] for row in result.rows if row.get("eval_reward") is not None]
    return {
        "settings": {name: str(value) if isinstance(value, Path) else value for name, value in given.items()},
        "steps": len(trained),
        "resumed_at": result.resumed_at,
        "first": trained[0],
        "last": trained[-1],
        "mean": {name: _mean(trained, name) for name in trained[-1] if _mean(trained, name) is not None},
        "over_steps": {name: each.to_json() for name, each in over_steps(trained).items()},
        "eval_reward": held_out,
    }


def _mean(rows: list[dict[str, Any]], name: str) -> float | None:
    values = [float(row[name]) for row in rows if row.get(name) is not None]
    return sum(values) / len(values) if values and name not in ("step", "epoch", "num_tokens") else None


def training_table(result: Any, given: Mapping[str, Any]) -> Table:
    """Metrics at the start, at the end, and at the last step; arguments as those of :func:`training_summary`."""
    title = f"{given['rule']} on {given['model']}, {given['task']}, step size {given['eta']:.3g}"
    table = Table(title=Text(title), title_justify="left")
    for name in ("metric", "first tenth", "last tenth", "last step"):
        table.add_column(name, justify="left" if name == "metric" else "right")
    rows = list(result.rows)
    for name in _SHOWN:
        values = [float(row[name]) for row in rows if row.get(name) is not None]
        if values:
            tenth = max(1, len(values) // 10)
            first, last = sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth
            table.add_row(name, f"{first:.4g}", f"{last:.4g}", f"{values[-1]:.4g}")
    return table
