"""A claim of one's own is one new file; what goes wrong in it concerns that claim alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from test_whynorm_cli import ROOT, Capture, call

import whynorm.verify
from theory.claims import load_claims
from whynorm.verify import Effort

# The example of CONTRIBUTING.md, as it stands there.
EXAMPLE = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.DOTALL)[0]
BROKEN = """
from dataclasses import replace
from theory.claims import load_registry

def fails(point):
    raise ZeroDivisionError("no such thing")

L32 = load_registry()["P-L32"]
CLAIMS = (
    replace(L32, id="X-BROKEN", proof=None, left=fails),
    replace(L32, id="X-FALSE", proof=None, right=lambda point: 0.1 * L32.right(point)),
)
"""

# Each proof is a true step and a citation; none of them shows its claim.
CITING = """
from dataclasses import replace
from functools import partial
from theory.certificates import Proof
from theory.claims import load_registry

def proof(name, cited):
    proof = Proof(name)
    x = proof.symbol("x", "positive", "a number")
    proof.fact(f"By {cited}.")
    proof.equal(x, x, "the same")
    return proof.done("what was wanted")

def claim(name, cited):
    return replace(load_registry()["P-L32"], id=name, proof=partial(proof, name, cited))

CLAIMS = (
    claim("X-EGG", "X-HEN"), claim("X-HEN", "X-EGG"), claim("X-SHAKY", "P-T32-SUM"), claim("X-VOID", "X-NOWHERE"),
    claim("X-TACIT", "Assumption 2"), claim("X-SOUND", "P-L31-VAR"),
)
"""
FORGED = {
    "X-EGG": "a circle of proofs: X-EGG -> X-HEN -> X-EGG",
    "X-HEN": "a circle of proofs: X-HEN -> X-EGG -> X-HEN",
    "X-SHAKY": "P-T32-SUM has no proof to rest on",
    "X-VOID": "X-VOID cites X-NOWHERE, which is no claim",
    "X-TACIT": "its proof rests on A2, which the claim does not assume",
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whynorm.verify, "QUICK", Effort(examples=5, evaluations=1, steps=5, sampled_steps=3))


def _write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_example_of_the_contributing_guide_is_verified_end_to_end(tmp_path: Path, capsys: Capture) -> None:
    mine = _write(tmp_path / "mine.py", EXAMPLE)
    argv = ["verify", "--claims-from", mine, "--claim", "X-MINE", "--claim", "P-L32", "--workers", 2]
    code, out, _ = call(capsys, *argv, "--json", tmp_path / "v.json")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()[3:5]] == [["X-MINE", "supported"], ["P-L32", "proved"]]
    row = json.loads((tmp_path / "v.json").read_text())["claims"][0]
    assert [item["kind"] for item in row["evidence"]] == ["property", "trajectory"]
    assert 0 < row["tightness"] <= 1
    assert "X-MINE" in call(capsys, "verify", "--list", "--claims-from", mine)[1]
    assert "X-MINE" not in call(capsys, "verify", "--list")[1]


def test_a_false_claim_of_ones_own_is_refuted_and_its_counterexample_rechecked(tmp_path: Path, capsys: Capture) -> None:
    mine, found = _write(tmp_path / "mine.py", BROKEN), tmp_path / "found.json"
    assert call(capsys, "refute", "X-FALSE", "--claims-from", mine, "--budget", 0.1, "--out", found)[0] == 0
    code, out, _ = call(capsys, "recheck", found, "--claims-from", mine)
    assert (code, out.splitlines()[-1]) == (0, "1 checked, 0 rejected")
    code, _, err = call(capsys, "recheck", found)
    assert (code, "claim is 'X-FALSE'" in err) == (2, True)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.deep)])
def test_an_exception_in_one_claim_leaves_the_others_alone(workers: int, tmp_path: Path, capsys: Capture) -> None:
    mine = _write(tmp_path / "mine.py", BROKEN)
    argv = ["verify", "--claims-from", mine, "--claim", "X-BROKEN", "--claim", "P-L32", "--workers", workers]
    code, out, err = call(capsys, *argv, "--json", tmp_path / "v.json")
    assert code == 1
    assert "1 proved, 1 undecided" in out
    assert max(map(len, out.splitlines())) <= 80
    failing = [line for line in err.splitlines() if line.startswith("whynorm: ")]
    assert len(failing) == 1
    assert failing[0].startswith(
        "whynorm: X-BROKEN is undecided, its evidence could not be gathered: ZeroDivisionError"
    )
    broken, fine = json.loads((tmp_path / "v.json").read_text())["claims"]
    assert (broken["verdict"], fine["verdict"]) == ("undecided", "proved")
    (item,) = broken["evidence"]
    assert (item["kind"], "no such thing" in item["summary"], "mine.py:6" in item["summary"]) == ("error", True, True)


def test_a_proof_is_worth_what_it_cites(tmp_path: Path, capsys: Capture) -> None:
    """A circle, a refuted claim, one that does not exist, or a tacit assumption under a proof: no proof."""
    mine, file = _write(tmp_path / "mine.py", CITING), tmp_path / "v.json"
    chosen = [word for name in (*FORGED, "X-SOUND") for word in ("--claim", name)]
    assert call(capsys, "verify", "--claims-from", mine, *chosen, "--workers", 1, "--json", file)[0] == 1
    rows = {row["id"]: row for row in json.loads(file.read_text())["claims"]}
    assert rows.pop("X-SOUND")["verdict"] == "proved"
    for name, row in rows.items():
        assert row["verdict"] == "undecided"
        assert FORGED[name] in row["evidence"][0]["summary"]


def test_recheck_follows_citations(tmp_path: Path, capsys: Capture) -> None:
    """Certificates that hold by themselves, as a forger would write them under the verdict ``proved``."""
    mine, file = _write(tmp_path / "mine.py", CITING), tmp_path / "v.json"
    registry = load_claims(mine)
    rows = []
    for name in (*FORGED, "X-SOUND"):
        proof = registry[name].proof
        assert proof is not None
        evidence = [{"certificate": proof().to_json()}]
        rows.append({"id": name, "verdict": "proved", "evidence": evidence, "counterexample": None})
    file.write_text(json.dumps({"claims": rows}))
    code, out, _ = call(capsys, "recheck", file, "--claims-from", mine)
    assert code == 1
    for name, reason in FORGED.items():
        assert f"{name}: certificate REJECTED: {reason}" in out
    assert "X-SOUND: certificate holds, 1 step" in out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("1 / 0", "ZeroDivisionError"),
        ("CLAIMS = (", "SyntaxError"),
        ("x = 1", "expected a tuple CLAIMS"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("CLAIMS = (1,)", "expected a tuple CLAIMS"),
        (EXAMPLE.replace("X-MINE", "P-L32"), "claim P-L32 is registered twice"),
    ],
)
def test_an_unusable_file_of_claims_is_named(text: str | None, message: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    code, out, err = call(capsys, "verify", "--list", "--claims-from", path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "mine.py" in err
    assert message in err
