"""``whynorm refute``: finds what is false, says so exactly, and claims nothing about what is true."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from simulator.checks import build_context
from theory.claims import load_registry
from theory.interaction import UNIT
from theory.known import recheck_kept
from theory.search import SearchResult
from whynorm.cli import main
from whynorm.commands.refute import _show


def test_a_false_claim_is_refuted_and_the_file_can_be_rechecked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found.json"
    assert main(["refute", "P-T32-SUM", "--budget", "1", "--out", str(path)]) == 0
    assert "counterexample confirmed in ball arithmetic" in capsys.readouterr().out
    row = json.loads(path.read_text())["claims"][0]
    assert row["verdict"] == "refuted"
    assert main(["recheck", str(path)]) == 0
    row["counterexample"]["instance"]["steps"] = 2
    path.write_text(json.dumps({"claims": [row]}))
    assert main(["recheck", str(path)]) == 1


def test_a_true_claim_is_searched_for_the_budget_and_not_refuted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "found.json"
    assert main(["refute", "P-L32", "--budget", "0.1", "--out", str(path)]) == 0
    assert "no violation" in capsys.readouterr().out
    assert json.loads(path.read_text())["claims"][0]["verdict"] == "supported"


def test_several_claims_are_searched_one_after_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("whynorm.commands.refute._EXAMPLES", 30)
    monkeypatch.setattr("whynorm.commands.refute._EVALUATIONS", 10)
    path = tmp_path / "found.json"
    assert main(["refute", "S-SMOOTH", "P-T31-DESCENT", "--budget", "0.01", "--out", str(path)]) == 0
    rows = json.loads(path.read_text())["claims"]
    told = {row["id"]: row["verdict"] for row in rows}
    assert told["P-T31-DESCENT"] == "refuted"
    assert [told[f"S-SMOOTH-{part}"] for part in ("LOCAL", "GLOBAL", "BALL")] == ["supported"] * 3
    # The family of P-T31-DESCENT is not meant by its own id.
    assert len(told) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["refute", "P-NONE"], "P-NONE"),
        (["refute", "P-L32", "--budget", "0"], "budget is 0.0"),
        (["refute", "P-L32", "--budget", "nan"], "budget is nan"),
        (["refute", "P-L32", "--seed", "-1"], "seed is -1"),
        (["refute", "P-L32", "--out", "."], "out is '.'"),
        (["refute", "P-L32", "P-NONE"], "P-NONE"),
    ],
)
def test_bad_input_gets_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    assert len(err.splitlines()) == 1
    assert words in err


def test_results_of_rounds_add_up() -> None:
    total = SearchResult()
    for ratio in (0.5, float("nan"), 0.25):
        total.add(SearchResult(instances=10, vacuous=1, worst_ratio=ratio))
    assert (total.instances, total.vacuous, total.worst_ratio) == (30, 3, 0.5)


def test_constants_larger_than_need_be_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    result = recheck_kept(load_registry()["P-T34-APPENDIX"], build_context)
    assert result is not None
    assert result.counterexample is not None
    _show(result.counterexample)
    _show(replace(result.counterexample, instance=replace(result.counterexample.instance, least_constants=UNIT)))
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("M,")] == ["M, R1, R2   at least ['16', '1', '8']"]
