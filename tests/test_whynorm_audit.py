"""``whynorm audit`` and ``whynorm study``: what they print and write, and how they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import assert_agree
from test_whynorm_cli import Capture

import whynorm.audit
from simulator.families import make_problem
from simulator.reference import simulate
from theory.claims import load_registry
from theory.claims.sharp_comparison import THRESHOLD, flow_mean_std
from theory.rules import GRPO
from whynorm.audit import audit, audit_claim, summary
from whynorm.cli import main

REGISTRY = load_registry()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SEARCHES", 1), ("EXAMPLES", 40), ("EVALUATIONS", 40), ("RUN_EXAMPLES", 20)):
        monkeypatch.setattr(whynorm.audit, name, value)


def test_the_audit_counts_and_lists(quick: None, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "new" / "audit.json"
    assert main(["audit", "--claim", "P-LD1", "--claim", "P-L31-VAR", "--workers", "1", "--json", str(path)]) == 0
    out = capsys.readouterr().out
    content = json.loads(path.read_text())
    counts = content["summary"]
    assert counts["mutants"] == counts["killed"] + counts["true"] + counts["survived"] == 7
    assert counts["true"] == 2
    assert f"{counts['killed']} of 7 mutants killed" in out
    assert "survived: P-LD1" in out
    assert "both sides are 0" in out
    rows: dict[str, Any] = {row["id"]: row for row in content["claims"]}
    assert [m["kind"] for m in rows["P-L31-VAR"]["mutants"]] == ["direction", "constant", "exponent", "exponent"]
    assert {a["assumption"]: a["outcome"] for a in rows["P-LD1"]["assumptions"]}["A2"] == "needed"
    needed = next(a for a in rows["P-LD1"]["assumptions"] if a["assumption"] == "A2")
    assert needed["counterexample"]["instance"]["features"]


def test_a_mutant_that_the_search_misses_is_held_against_the_known_instance(
    quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whynorm.audit, "EXAMPLES", 1)
    monkeypatch.setattr(whynorm.audit, "EVALUATIONS", 1)
    found = audit_claim(REGISTRY["P-L31-GLOBAL"])
    by = {m.kind: m.by for m in found.mutants}
    assert by["constant"] == "known instance"
    assert summary([found])["killed"] >= 2


def test_refuted_claims_are_left_out_and_order_is_kept(quick: None) -> None:
    chosen = [REGISTRY[name] for name in ("P-EQ10", "S-ORTHO", "X-IDENTITY")]
    assert [each.claim for each in audit(chosen, processes=1)] == ["P-EQ10", "X-IDENTITY"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["audit", "--claim", "P-T32-SUM"], "claim is 'P-T32-SUM'; expected a claim that is not known to be false"),
        (["audit", "--claim", "NONE"], "claim is 'NONE'"),
        (["audit", "--workers", "0"], "workers is 0"),
        (["audit", "--seed", "-1"], "seed"),
        (["audit", "--json", "."], "json is '.'"),
    ],
)
def test_bad_input_is_one_line(argv: list[str], message: str, capsys: Capture) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert message in err


def test_the_comparison_is_printed_and_drawn(tmp_path: Path, capsys: Capture) -> None:
    assert main(["study", "compare", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert f"{THRESHOLD:.4f}" in out
    assert (tmp_path / "compare.png").stat().st_size > 5000


@pytest.mark.parametrize(("p0", "steps"), [(0.01, 4000), (0.3, 3000)])
def test_the_mean_deviation_of_the_flow_is_that_of_small_steps(p0: float, steps: int) -> None:
    problem = make_problem("tabular", 1, 2, p0=p0)
    record = simulate(problem, GRPO, 0.005, steps, record="full")
    assert_agree(record.std[:-1].mean(), float(flow_mean_std(p0, record.J[-1, 0])), 5e-3, "mean of sqrt(V)")
    assert_agree(flow_mean_std(np.array([0.2]), np.array([0.2 + 1e-6])), [np.sqrt(0.16)], 1e-4, "short flow")
