"""`whynorm verify`: every verdict and what it rests on, whatever the number of workers."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st
from test_whynorm_cli import Capture, call

import whynorm.verify
from theory.claims import load_registry
from theory.strategies import own_draws
from whynorm.cli import main
from whynorm.verify import Effort

KEYS = ("id", "source", "place", "title", "statement", "scope", "verdict", "tightness", "slack", "links")
KEYS += ("assumptions", "evidence", "counterexample", "fixed_by", "remark", "misprint")
SPINE = ["X-IDENTITY", "P-EQ10", "P-EQ11", "P-EQ12", "P-L31-VAR", "P-L31-GLOBAL", "P-L32", "P-T31-DESCENT", "P-T31-SUM"]
SPINE += ["P-T31-MIN", "P-T32-DESCENT", "P-T32-SUM", "P-T32-MIN", "P-T32-COMPARE"]
# Few and quick, yet of every scope and every verdict.
FEW = ["X-IDENTITY", "P-L31-VAR", "P-L33", "P-T31-DESCENT", "P-T32-SUM"]

LITTLE = Effort(examples=3, evaluations=1, steps=5, sampled_steps=3)

Row = dict[str, Any]


def _read(path: Path) -> dict[str, Row]:
    """Rows by id; NaN and infinity, which are not JSON, fail."""
    rows = json.loads(path.read_text(), parse_constant=pytest.fail)["claims"]
    return {row["id"]: row for row in rows}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `whynorm verify --json` writes, with less effort than by default."""
    path = tmp_path_factory.mktemp("verify") / "new" / "verdicts.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whynorm.verify, "QUICK", LITTLE)
        assert main(["verify", "--json", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def rows(file: Path) -> dict[str, Row]:
    return _read(file)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whynorm.verify, "QUICK", LITTLE)


def test_every_claim_is_there_with_all_that_is_known(rows: dict[str, Row]) -> None:
    assert list(rows) == [claim.id for claim in load_registry()]
    for claim in load_registry():
        row = rows[claim.id]
        assert tuple(row) == KEYS
        assert (row["source"], row["statement"]) == (claim.source, claim.statement)
        assert row["source"] in ("paper", "talk", "whynorm")
        assert row["statement"].strip()
        assert [a["id"] for a in row["assumptions"]] == [a.id for a in claim.assumptions]


def test_verdicts(rows: dict[str, Row]) -> None:
    """A claim that is refuted as stated names its repaired form; all others are proved."""
    told = {claim_id: row["verdict"] for claim_id, row in rows.items()}
    assert told == {claim.id: "refuted" if claim.fixed_by else "proved" for claim in load_registry()}
    refuted = {claim_id for claim_id, verdict in told.items() if verdict == "refuted"}
    assert refuted >= {"P-T31-DESCENT", "P-T32-DESCENT", "P-T32-SUM", "P-T32-COMPARE"}


def test_the_spine_has_evidence_of_two_kinds(rows: dict[str, Row]) -> None:
    spine = SPINE + [rows[claim_id]["fixed_by"] for claim_id in SPINE if rows[claim_id]["fixed_by"]]
    for claim_id in spine:
        evidence = rows[claim_id]["evidence"]
        assert len({item["kind"] for item in evidence if item["outcome"] in ("holds", "violated")}) >= 2, claim_id
        for item in evidence:
            assert item["summary"]
            assert item["kind"] == "proof" or item["instances"] > item["vacuous"] >= 0, claim_id


def test_proofs_and_counterexamples_are_where_the_verdict_needs_them(rows: dict[str, Row]) -> None:
    for row in rows.values():
        certificates = [item["certificate"] for item in row["evidence"] if "certificate" in item]
        if row["verdict"] == "proved":
            assert [certificate["claim"] for certificate in certificates] == [row["id"]]
            assert row["counterexample"] is None
        else:
            assert not certificates
            assert row["counterexample"]["claim"] == row["id"]
            assert rows[row["fixed_by"]]["verdict"] == "proved"


def test_tightness_is_the_worst_ratio_and_slack_its_inverse(rows: dict[str, Row]) -> None:
    for row in rows.values():
        ratios = [item["worst_ratio"] for item in row["evidence"] if item["worst_ratio"] is not None]
        if all(link.relation == "==" for link in load_registry()[row["id"]].links):
            assert row["tightness"] == (1 if row["verdict"] == "proved" else None)
        else:
            assert row["tightness"] == max(ratios, default=None)
        assert row["slack"] == (pytest.approx(1 / row["tightness"]) if row["tightness"] else None)
        if row["verdict"] == "proved" and row["tightness"]:
            assert 0 < row["tightness"] <= 1
    assert 0.49 < rows["P-L31-VAR"]["tightness"] <= 0.5, "the best constant is 2, not 4"


@pytest.mark.deep
@pytest.mark.usefixtures("quick")
def test_the_number_of_workers_changes_nothing(tmp_path: Path, capsys: Capture) -> None:
    chosen = [word for claim_id in FEW for word in ("--claim", claim_id)]
    tables = []
    for workers in ("1", "2"):
        assert main(["verify", *chosen, "--workers", workers, "--json", str(tmp_path / workers)]) == 0
        tables.append(capsys.readouterr().out)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert tables[0] == tables[1]
    assert list(_read(tmp_path / "1")) == FEW


def test_a_claim_alone_gets_the_evidence_it_gets_among_all(
    rows: dict[str, Row], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whynorm.verify, "QUICK", LITTLE)
    argv = ["verify", "--claim", "P-T32-SUM", "--claim", "P-L32", "--claim", "P-T32-SUM"]
    assert main([*argv, "--workers", "1", "--json", str(tmp_path / "a.json")]) == 0
    assert _read(tmp_path / "a.json") == {claim_id: rows[claim_id] for claim_id in ("P-T32-SUM", "P-L32")}


@pytest.mark.usefixtures("quick")
def test_another_seed_looks_elsewhere(tmp_path: Path) -> None:
    found = []
    for seed in ("0", str(2**64 - 1)):
        argv = ["verify", "--claim", "P-L31-VAR", "--workers", "1", "--seed", seed, "--json", str(tmp_path / seed)]
        assert main(argv) == 0
        found.append(_read(tmp_path / seed)["P-L31-VAR"])
    assert found[0]["verdict"] == found[1]["verdict"] == "proved"
    searches = [[item for item in row["evidence"] if item["kind"] == "property"] for row in found]
    assert searches[0] != searches[1]


def _draws() -> list[int]:
    found: list[int] = []

    @hypothesis.seed(0)
    @hypothesis.settings(max_examples=300, database=None, derandomize=False)
    @hypothesis.given(st.integers(1, 160))
    def collect(value: int) -> None:
        found.append(value)

    collect()
    return found


def test_evidence_does_not_depend_on_what_else_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis likes to draw constants that stand in the source of loaded modules; claims must not see them."""
    with own_draws():
        before = _draws()
    (tmp_path / "whynorm_neighbour.py").write_text(f"NUMBERS = {list(range(101, 161))}\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("whynorm_neighbour")
    try:
        seen = _draws()
        with own_draws():
            assert _draws() == before
        assert _draws() == seen != before, "hypothesis no longer does so, and whynorm need not prevent it"
    finally:
        del sys.modules["whynorm_neighbour"]


@pytest.mark.usefixtures("quick")
def test_the_table_fits_80_columns(capsys: Capture) -> None:
    code, out, err = call(capsys, "verify", "--workers", 1, *(word for c in FEW for word in ("--claim", c)))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "…" not in out
    table = [line.split() for line in lines[1 : 3 + len(FEW)]]
    assert table[0][:3] == ["claim", "verdict", "tight"]
    assert [row[:2] for row in table[2:]] == [[c, "refuted" if "T3" in c else "proved"] for c in FEW]
    assert "P-T32-SUM is refuted; repaired form: P-T32-SUM-FIXED" in lines
    assert "3 proved, 2 refuted" in lines


def test_the_list_names_every_claim_once(capsys: Capture) -> None:
    assert main(["verify", "--list"]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == [claim.id for claim in load_registry()]
    assert all(line.startswith("verifying claims: ") for line in err.splitlines())
    assert main(["verify", "--list", "--claim", "P-L32"]) == 0
    assert capsys.readouterr().out.startswith("P-L32 ")
