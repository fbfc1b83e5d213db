"""What ``whynorm bridge compare`` leaves: ``comparison.json``, the record and the figures; and reading it back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from theory.errors import expected

__all__ = ["compare_content", "read_comparison", "units", "write_comparison"]

_KEYS = ("model", "comparison", "gaps", "step_rules", "sampled", "measured", "evidence", "consistency")


def units(settings: Any, options: Any) -> int:
    """How much work :func:`compare_content` reports in all."""
    from llm_bridge.comparing.headline import amounts

    return sum(amounts(settings, options).values())


def compare_content(
    settings: Any,
    options: Any,
    *,
    experiment: Any = None,
    out: Path | None = None,
    command: str = "",
    tick: Callable[[int], Any] = lambda done: None,
) -> dict[str, Any]:
    """Compare, and write what is known after each part; returns what ``comparison.json`` holds in the end.

    Args:
        settings: ``llm_bridge.experiment.BridgeSettings``.
        options: ``llm_bridge.comparing.headline.CompareOptions``.
        experiment: summary of the normalisation experiment, if there is one.
        out: directory to write to.
        command: that led here, for the record.
        tick: called with how many of :func:`units` are done.
    """
    import numpy as np

    from llm_bridge.comparing.evidence import evidence_rows
    from llm_bridge.comparing.headline import compare
    from llm_bridge.provenance import provenance
    from theory.consistency import checks

    done_of: dict[str, int] = {}

    def report(part: str, done: int) -> None:
        done_of[part] = done
        tick(sum(done_of.values()))

    # At large steps a prompt may become solved to the last digit; ratios are then NaN and left out.
    content: dict[str, Any] = {}

    def known(found: Any) -> None:
        content.update({**provenance(command, settings.model), **found.to_json()})
        content["evidence"] = [row.to_json() for row in evidence_rows(content, experiment)]
        content["consistency"] = [check.to_json() for check in checks()]
        if out is not None:
            found.comparison.measured.save(out / "run")
            write_comparison(content, out)

    with np.errstate(all="ignore"):
        compare(settings, options, report, known)
    return content


def write_comparison(content: dict[str, Any], out: Path) -> None:
    """``comparison.json`` and its figures as PNG files."""
    from simulator.files import write_json
    from whynorm.figures import save_png
    from whynorm.figures_bridge import gap_figure, horizon_figure, multiples_figure, sampled_figure

    write_json(out / "comparison.json", content)
    save_png(multiples_figure(content["comparison"]), out / "predicted.png")
    save_png(horizon_figure(content["comparison"]), out / "horizon.png")
    for gap in content["gaps"]:
        save_png(gap_figure(gap), out / f"gap-{gap['step']}.png")
    if content["sampled"] is not None:
        save_png(sampled_figure(content["sampled"]), out / "sampled.png")


def read_comparison(path: Path) -> dict[str, Any] | None:
    """What :func:`write_comparison` wrote; None if there is no such file.

    Raises:
        InputError: the file is something else.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        missing = [key for key in _KEYS if key not in content]
    except (OSError, ValueError, TypeError, RecursionError):
        missing = list(_KEYS)
    if missing:
        remedy = "make it anew with `whynorm bridge compare --out DIR`"
        raise expected("results", str(path), f"a comparison with {', '.join(missing)}", remedy)
    return dict(content)
