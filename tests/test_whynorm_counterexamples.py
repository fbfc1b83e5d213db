"""Counterexamples from files: simulated with the claim's own rule and step, and rechecked alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_whynorm_cli import ROOT, Capture, call

from simulator.records import Record

KEPT = ROOT / "theory" / "counterexamples"
SUM = KEPT / "P-T32-SUM.json"


def _verdicts(path: Path, *claims: str) -> Path:
    """A file of verdicts with the kept counterexamples of some claims, and a proved claim."""
    rows: list[dict[str, Any]] = [{"id": "P-L32", "verdict": "proved", "evidence": [], "counterexample": None}]
    for claim in claims:
        example = json.loads((KEPT / f"{claim}.json").read_text())
        rows.append({"id": claim, "verdict": "refuted", "evidence": [], "counterexample": example})
    path.write_text(json.dumps({"claims": rows}))
    return path


def _simulated(capsys: Capture, problem: object, *argv: object) -> dict[str, Any]:
    code, out, _ = call(capsys, "simulate", "--problem", problem, "--json", *argv)
    assert code == 0
    found: dict[str, Any] = json.loads(out)
    return found


def test_a_counterexample_runs_with_rule_step_and_length_of_its_claim(capsys: Capture, tmp_path: Path) -> None:
    summary = _simulated(capsys, SUM, "--out", tmp_path / "d")
    assert (summary["rule"], summary["steps"], summary["prompts"]) == ("grpo", 76, 1)
    assert summary["eta"] == pytest.approx(0.5 / summary["x_max_sq"])
    record = Record.load(tmp_path / "d")
    # The very sum that refutes the printed bound.
    assert np.sum(record.step_grad_sq) == pytest.approx(0.416147398783365, rel=1e-12)


def test_what_is_given_wins(capsys: Capture) -> None:
    summary = _simulated(capsys, SUM, "--rule", "reinforce", "--steps", 5)
    assert (summary["rule"], summary["steps"]) == ("reinforce", 5)
    assert summary["eta"] == pytest.approx(1 / summary["x_max_sq"])
    assert _simulated(capsys, SUM, "--eta", 0.25)["eta"] == 0.25


def test_a_claim_without_a_rule_takes_the_defaults(capsys: Capture) -> None:
    summary = _simulated(capsys, KEPT / "S-UPDATE-SHORT.json")
    assert (summary["rule"], summary["steps"]) == ("grpo", 1000)


def test_step_sizes_that_depend_on_measured_constants_are_the_claims(capsys: Capture) -> None:
    assert _simulated(capsys, KEPT / "P-T34-DESCENT.json")["eta"] > 0


def test_a_joint_claim_moves_all_prompts_at_every_step(capsys: Capture) -> None:
    summary = _simulated(capsys, KEPT / "S-REINFORCE-MIN.json")
    assert (summary["schedule"], summary["prompts_per_step"]) == ("all", summary["prompts"])
    assert _simulated(capsys, KEPT / "S-REINFORCE-MIN.json", "--schedule", "cyclic")["schedule"] == "cyclic"


def test_one_of_several_is_chosen_by_id(capsys: Capture, tmp_path: Path) -> None:
    one = _verdicts(tmp_path / "one.json", "P-T32-SUM")
    assert _simulated(capsys, one)["steps"] == 76
    two = _verdicts(tmp_path / "two.json", "P-T32-SUM", "P-T31-DESCENT")
    assert _simulated(capsys, f"{two}:P-T31-DESCENT")["rule"] == "reinforce"
    code, out, err = call(capsys, "simulate", "--problem", two)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "expected one counterexample (P-T32-SUM, P-T31-DESCENT)" in err


def test_recheck_takes_a_counterexample_alone(capsys: Capture, tmp_path: Path) -> None:
    code, out, err = call(capsys, "recheck", SUM)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "1 checked, 0 rejected"
    forged = json.loads(SUM.read_text())
    forged["instance"]["steps"] = 5
    (tmp_path / "forged.json").write_text(json.dumps(forged))
    code, out, _ = call(capsys, "recheck", tmp_path / "forged.json")
    assert (code, "the claim holds there" in out) == (1, True)


def _changed(**changes: Any) -> str:
    content = json.loads(SUM.read_text())
    return json.dumps({**content, "instance": {**content["instance"], **changes}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON with a counterexample"),
        ("[]", "expected JSON with a counterexample in it"),
        ('{"claims": [1]}', "expected JSON with a counterexample"),
        ('{"claims": []}', "expected JSON with a counterexample in it"),
        ('{"claim": "P-NO", "instance": 3}', "cannot be read"),
        (_changed(theta=["1/0"]), "cannot be read"),
        (_changed(theta=["1", "2"]), "shape of theta"),
        (_changed(answers=[5]), "answers[0] is 5"),
        (_changed(steps=0), "steps of the counterexample is 0"),
        (_changed(direction=[]), "shape of direction"),
        (SUM.read_text().replace("P-T32-SUM", "P-NO"), "claim is 'P-NO'"),
    ],
)
def test_an_unusable_counterexample_is_named(text: str, message: str, capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(text)
    code, out, err = call(capsys, "simulate", "--problem", tmp_path / "bad.json")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_a_claim_that_the_file_lacks_is_named(capsys: Capture) -> None:
    code, _, err = call(capsys, "simulate", "--problem", f"{SUM}:P-L32")
    assert (code, "a counterexample of P-L32" in err) == (2, True)
