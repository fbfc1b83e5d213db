"""The README's numbers are those of `benchmarks/results/`, and its counts those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from theory.consistency import checks, conflicts

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
RESULTS = ROOT / "benchmarks" / "results"


def _read(name: str) -> Any:
    return json.loads((RESULTS / name).read_text())


def _cells() -> dict[tuple[str, int], dict[str, dict[str, Any]]]:
    """Rows by peer, of each cell that was measured on one thread with JAX beside it."""
    cells = [cell for run in _read("engines.json")["runs"] for cell in run["cells"] if cell["threads"] == 1]
    by_peer = {(c["case"], c["replicas"]): {row["peer"]: row for row in c["rows"]} for c in cells}
    return {key: rows for key, rows in by_peer.items() if "jax" in rows}


def _row(cells: list[str]) -> re.Match[str] | None:
    return re.search(r"\| " + r" \| ".join(map(re.escape, cells)) + r" \|", README)


def _close(told: str, value: float) -> bool:
    """Whether a figure of the page is the value to the digits that it shows."""
    text = told.replace(",", "")
    decimals = len(text.partition(".")[2])
    zeros = 0 if decimals else len(text) - len(text.rstrip("0"))
    return abs(float(text) - value) <= 0.5001 * 10.0 ** (zeros - decimals)


def test_the_speed_table() -> None:
    speed = README.split("## Speed")[1].split("## What is where")[0]
    rows = re.findall(r"^\| (\d+, \d+, \d+)( \(Gram\))? \| (\d+) \| (.+) \|$", speed, flags=re.MULTILINE)
    assert len(rows) == 8
    cells = _cells()
    for case, gram, replicas, told in rows:
        peers = cells[f"({case}) {'gram' if gram else 'features'}", int(replicas)]
        lanes = peers["lanes"]["ns"]
        values = [lanes, *(peers[name]["ns"] / lanes for name in ("c", "jax", "numpy", "torch"))]
        for text, value in zip(told.split(" | "), values, strict=True):
            assert _close(text, value), (case, replicas, text, value)


def test_how_near_the_limits() -> None:
    many = [rows["lanes"] for (_, replicas), rows in _cells().items() if replicas == 1024]
    text = " ".join(README.split())
    for name in ("over_ports", "over_limit"):
        least, most = (f"{pick(row[name] for row in many):.1f}" for pick in (min, max))
        assert f"{least} to {most} times" in text, name


def test_what_the_sources_contradict_themselves_in() -> None:
    apart = conflicts()
    within = sum(not check.between_sources for check in apart)
    page = (ROOT / "docs" / "compare.md").read_text()
    assert f"in {len(apart)} of {len(checks())} comparisons, {within} of" in " ".join(README.split())
    assert f"{len(checks())} comparisons, {len(apart)} that cannot all be true, {within} of" in " ".join(page.split())
    for name in ("tiny", "smollm2"):
        stored = _read(f"{name}-compare/comparison.json")
        assert stored["consistency"] == [check.to_json() for check in checks()]


def test_largest_safe_steps() -> None:
    least = min(gap["smallest"] for gap in _read("tiny-compare/comparison.json")["gaps"])
    large = min(gap["smallest"] for gap in _read("smollm2-compare/comparison.json")["gaps"])
    question = "largest step that does not hurt the drawn prompt, over the theorem's"
    assert _row([question, f"{least:.0f} and more", f"{large:.0f} and more"])


def test_errors_of_the_linearised_model() -> None:
    tiny, short = (_read(f"{name}-compare/comparison.json")["comparison"] for name in ("tiny", "smollm2"))
    error = [each["predictions"][0]["largest_error"] for each in (tiny, short)]
    measured, predicted = (
        np.load(RESULTS / "smollm2-exact" / "times100" / part, allow_pickle=False)["J"]
        for part in ("record.npz", "linearised/record.npz")
    )
    long = float(np.abs(measured - predicted).max())
    told = f"{error[1]:.2f} in {short['steps']}, {long:.2f} in {len(measured) - 1}"
    question = "linearised model: largest error of a success probability, at 100 times that step"
    assert _row([question, f"{error[0]:.2f} in {tiny['steps']} steps", told])


def test_pairs_without_an_m() -> None:
    along = [each["no_m_share"] for each in _read("tiny-compare/comparison.json")["measured"]["interactions"].values()]
    start = _read("tiny-measures/start/measures.json")["measures"]["interactions"]["all"]["no_m_share"]
    shares = [*along, start]
    question = "pairs of prompts for which Assumption 4 has no M"
    row = re.search(re.escape(f"| {question} | {100 * min(shares):.0f} to {100 * max(shares):.0f}% |"), README)
    assert row


@pytest.mark.parametrize(("label", "pairing"), [("at one learning rate", "same"), ("its best proved step", "best")])
def test_std_against_no_std(label: str, pairing: str) -> None:
    parts = _read("tiny-normalisation/exact/summary.json")["parts"]
    leads = [parts[part]["pairings"][pairing]["measured"]["mean_difference"][0] for part in ("easy", "hard", "hardest")]
    line = next(line for line in README.splitlines() if label in line and line.startswith("|"))
    large = _read("smollm2-normalisation/exact/summary.json")["parts"]
    means = [large[part]["pairings"][pairing]["measured"]["mean_difference"] for part in ("easy", "hard")]
    told = [f"{mean:+.2f}" + ("" if low > 0 or high < 0 else " (open)") for mean, low, high in means]
    assert line.endswith(f"| {' / '.join(f'{lead:+.2f}' for lead in leads)} | {' / '.join(told)} |")


def test_verdicts_of_the_page_on_comparison() -> None:
    page = (ROOT / "docs" / "compare.md").read_text()
    told = re.findall(r"^\| (E-\w+): .+ \| (\w+)(?:, ([\w ]+))? \|$", page, flags=re.MULTILINE)
    rows = [row for row in _read("tiny-compare/comparison.json")["evidence"] if row["id"].startswith("E-")]
    stored = [(row["id"], row["verdict"]) for row in rows if row["id"] != "E-CONSISTENT"]
    assert [(name, verdict) for name, verdict, _ in told] == stored
    assert all(here == row["here"] for (_, _, here), row in zip(told, rows, strict=False) if here)


def test_speed_beside_trl() -> None:
    ratio = {
        name: _read(f"bridge_{name}.json")["ratios"]["speedup, tokens_per_second"]
        for name in ("smollm2", "tiny", "tiny_wide")
    }
    large, small, wide = (f"{value:.1f}" for value in ratio.values())
    told = f"{large} times as fast as TRL's on `smollm2`, on `tiny` {small} and {wide} times"
    assert told in " ".join(README.split())
    page = (ROOT / "docs" / "trl.md").read_text()
    for name in ratio:
        rates = {row["peer"]: row["tokens_per_second"] for row in _read(f"bridge_{name}.json")["rows"]}
        assert f"| {rates['whynorm']:.0f} | {rates['trl']:.0f} | {ratio[name]:.1f} |" in page
