"""Tables of measured cells."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.work import BOUNDS

__all__ = ["print_rows"]

_COLUMNS = ("peer", "ns", "/ C", "/ JAX", "/ limit", "/ (exp + fma)", "compile s", "T", "calls", "error")


def _number(value: Any, form: str) -> str:
    return "" if value is None else format(value, form)


def print_rows(cell: dict[str, Any]) -> None:
    """One cell: a case with so many replicas and threads."""
    limits, bound = cell["limits"], next((row for row in cell["rows"] if row["ns"] is not None), None)
    title = f"{cell['case']}, {cell['replicas']} replicas, {cell['threads']} threads; ns per replica-step"
    if bound is not None:
        parts = ", ".join(f"{name} {bound[name + '_ns']:.4g}" for name in BOUNDS if name + "_ns" in bound)
        title += f"\nlimits ({bound['limit']} binds): {parts}"
        title += f"\n{limits['exps'] / 1e9:.2f} exp/ns ({limits['exp_source']}), {limits['fmas'] / 1e9:.1f} fma/ns, "
        title += f"{limits['read_bytes'] / 1e9:.1f} GB/s"
    table = Table(*_COLUMNS, title=title)
    for row in cell["rows"]:
        if row["ns"] is None:
            table.add_row(row["peer"], row["note"])
            continue
        ratios = [_number(row.get(key), ".2f") for key in ("over_c", "over_jax", "over_limit", "over_ports")]
        counts = [str(row["steps"]), str(row["calls"]), f"{row['error']:.0e}"]
        table.add_row(row["peer"], f"{row['ns']:.4g}", *ratios, f"{row['compile_s']:.1f}", *counts)
    Console(width=120).print(table)
