"""The README stays true: its verdicts, its tree, and that its commands are those that CI runs."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from theory.claims import load_registry

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def _told() -> dict[str, str]:
    """Verdicts of the page: ids separated by commas, or ``PREFIX* (number)`` for all others of that prefix."""
    rows = re.findall(r"^\| ([PSX]-[^|]+) \| [^|]+ \| (\w+) \|", README, flags=re.MULTILINE)
    told = {name.strip(): verdict for ids, verdict in rows for name in ids.split(",") if "*" not in name}
    ids = {claim.id for claim in load_registry()}
    for prefix, count, verdict in (
        (*match, verdict) for ids_of_row, verdict in rows for match in re.findall(r"(\S+)\* \((\d+)\)", ids_of_row)
    ):
        others = {name for name in ids if name.startswith(prefix) and name not in told}
        assert len(others) == int(count), f"{prefix}*: {len(others)} claims"
        told |= dict.fromkeys(others, verdict)
    return told


def test_the_verdict_table_names_every_claim_with_its_verdict() -> None:
    # Which verdicts these are is shown by the tests of `whynorm verify`; here the page must say the same.
    expected = {claim.id: "refuted" if claim.fixed_by else "proved" for claim in load_registry()}
    assert _told() == expected
    counts = Counter(expected.values())
    assert f"{len(expected)} claims: {counts['proved']} proved, {counts['refuted']} refuted as printed" in README


def test_the_tree_has_a_line_for_every_file() -> None:
    tree = README.split("## What is where")[1]
    for package in ("theory", "simulator", "llm_bridge", "whynorm"):
        section = tree[tree.index(f"\n{package}/") :]
        section = section[: re.search(r"\n(?=\S)", section[1:]).end()]  # type: ignore[union-attr]
        told = {line.split()[0].rstrip("/") for line in section.splitlines()[2:] if line.startswith("  ")}
        there = {path.name for path in (ROOT / package).iterdir()} - {"__init__.py", "__pycache__"}
        assert told == there, package


def test_every_command_block_is_run_by_ci() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    marked = re.findall(r"<!-- ci:(\w+) -->\n```bash", README)
    assert sorted(marked) == ["reproduce", "test", "tour"]
    assert README.count("```bash") == len(marked)
    assert "for name in reproduce test" in script
    assert "block tour" in script


def test_links_and_pictures_exist() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        assert (ROOT / target).exists(), target
