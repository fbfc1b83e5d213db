"""`whynorm recheck`: accepts what `whynorm verify` wrote, and finds out what was tampered with, digest and all."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_whynorm_cli import Capture

import whynorm.verify
from theory.certificates import digest
from whynorm.cli import main
from whynorm.verify import Effort

CLAIMS = ["P-L31-VAR", "P-T31-DESCENT", "P-T31-SUM", "P-T32-SUM"]

Row = dict[str, Any]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recheck") / "verdicts.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whynorm.verify, "QUICK", Effort(examples=3, evaluations=1, steps=5, sampled_steps=3))
        chosen = [word for claim_id in CLAIMS for word in ("--claim", claim_id)]
        assert main(["verify", *chosen, "--workers", "1", "--json", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def rows(file: Path) -> dict[str, Row]:
    return {row["id"]: row for row in json.loads(file.read_text())["claims"]}


def _recheck(content: Any, path: Path, capsys: Capture) -> tuple[int, list[str]]:
    path.write_text(json.dumps({"claims": content}))
    code = main(["recheck", str(path)])
    out, err = capsys.readouterr()
    assert err == ""
    return code, out.splitlines()


def test_recheck_accepts_what_verify_wrote(file: Path, rows: dict[str, Row], capsys: Capture) -> None:
    capsys.readouterr()
    assert main(["recheck", str(file), str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{2 * len(rows)} checked, 0 rejected"
    assert lines[: len(rows)] == lines[len(rows) : -1]
    for line, row in zip(lines, rows.values(), strict=False):
        thing = "certificate" if row["verdict"] == "proved" else "counterexample"
        assert line.startswith(f"{row['id']}: {thing} holds, ")


def _certificate(row: Row) -> Row:
    found: Row = next(item["certificate"] for item in row["evidence"] if "certificate" in item)
    return found


def _sealed(change: Callable[[Row], Any]) -> Callable[[Row], None]:
    """A forger who also recomputes the digest."""

    def forge(row: Row) -> None:
        certificate = _certificate(row)
        change(certificate)
        certificate["sha256"] = digest(certificate)

    return forge


def _counter(change: Callable[[Row], Any]) -> Callable[[Row], None]:
    return lambda row: change(row["counterexample"])


def _set(*path: Any) -> Callable[[Any], None]:
    """Replace what lies at ``path[:-1]`` by ``path[-1]``."""

    def change(data: Any) -> None:
        for key in path[:-2]:
            data = data[key]
        assert data[path[-2]] != path[-1], "nothing would change"
        data[path[-2]] = path[-1]

    return change


def _drop_evidence(row: Row) -> None:
    row["evidence"] = [item for item in row["evidence"] if "certificate" not in item]


def _unsealed(row: Row) -> None:
    step = _certificate(row)["steps"][0]
    step["terms"] = step["terms"].replace("4*", "5*", 1)


def _assuming(certificate: Row) -> None:
    certificate["facts"].append("Assumption 3")
    certificate["assumptions"].append("A3")


FORGERIES: dict[str, tuple[str, Callable[[Row], None], str]] = {
    "a step": ("P-L31-VAR", _unsealed, "the digest does not fit"),
    "a step, sealed": ("P-L31-VAR", _sealed(_set("steps", 0, "terms", "5*g_u")), "does not hold"),
    "a sign in a step": ("P-L31-VAR", _sealed(_set("steps", 0, "terms", "-p*q")), "not visibly non-negative"),
    "the sign of a symbol": ("P-L31-VAR", _sealed(_set("symbols", 2, "sign", "positive")), "its symbols are not those"),
    "a convenient relation": (
        "P-L31-VAR",
        _sealed(lambda c: c["relations"].append({"zero": "p", "because": "it suits"})),
        "its relations are not those",
    ),
    "a convenient fact": ("P-L31-VAR", _sealed(lambda c: c["facts"].append("it is known")), "its facts are not those"),
    "an assumption in passing": ("P-L31-VAR", _sealed(lambda c: c["facts"].append("Assumption 3")), "its texts name"),
    "an assumption, declared": ("P-L31-VAR", _sealed(_assuming), "its assumptions are not those"),
    "a bolder conclusion": ("P-L31-VAR", _sealed(_set("conclusion", "all is well")), "its conclusion"),
    "the proof of another claim": ("P-L31-VAR", _sealed(_set("claim", "P-L32")), "it is about 'P-L32'"),
    "no steps": ("P-L31-VAR", _sealed(_set("steps", [])), "without steps"),
    "code in a step": ("P-L31-VAR", _sealed(_set("steps", 0, "terms", "__import__('os')")), "not visibly non-neg"),
    "a step that is no formula": ("P-L31-VAR", _sealed(_set("steps", 0, "terms", "p +")), "cannot read"),
    "not a certificate": ("P-L31-VAR", lambda row: row["evidence"][0].update(certificate=3), "not a certificate"),
    "no proof": ("P-L31-VAR", _drop_evidence, "nothing that shows it"),
    "a proof called a refutation": ("P-L31-VAR", _set("verdict", "refuted"), "the file holds a proof"),
    "a refutation called a proof": ("P-T32-SUM", _set("verdict", "proved"), "the file holds a counterexample"),
    "no counterexample": ("P-T32-SUM", _set("counterexample", None), "nothing that shows it"),
    "a length T": ("P-T32-SUM", _counter(_set("instance", "steps", 5)), "the claim holds there"),
    "a parameter": ("P-T32-SUM", _counter(_set("instance", "theta", 0, "40")), "the claim holds there"),
    "a side": ("P-T32-SUM", _counter(_set("left", "[0.5 +/- 1e-9]")), "not what the file says"),
    "a sign of a side": ("P-T31-DESCENT", _counter(_set("right", "0.03125")), "not what the file says"),
    "a side that is no number": ("P-T32-SUM", _counter(_set("left", "large")), "cannot be read"),
    "an answer out of range": ("P-T32-SUM", _counter(_set("instance", "answers", [2])), "cannot be read"),
    "an answer counted from the end": ("P-T32-SUM", _counter(_set("instance", "answers", [-1])), "cannot be read"),
    "a direction too long": ("P-T31-DESCENT", _counter(_set("instance", "direction", ["0"] * 99)), "cannot be read"),
    "ragged features": ("P-T32-SUM", _counter(_set("instance", "features", [[["1"], []]])), "cannot be read"),
    "a quotient by 0": ("P-T32-SUM", _counter(_set("instance", "theta", ["1/0"])), "cannot be read"),
    "T = 0": ("P-T32-SUM", _counter(_set("instance", "steps", 0)), "cannot be read"),
    "an empty counterexample": ("P-T32-SUM", _set("counterexample", {}), "cannot be read"),
    "a word for a counterexample": ("P-T32-SUM", _set("counterexample", "trust me"), "cannot be read"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_recheck_finds_forgeries(name: str, rows: dict[str, Row], tmp_path: Path, capsys: Capture) -> None:
    claim_id, forge, reason = FORGERIES[name]
    honest, forged = rows["P-T31-SUM"], copy.deepcopy(rows[claim_id])
    forge(forged)
    capsys.readouterr()
    code, lines = _recheck([honest, forged], tmp_path / "forged.json", capsys)
    assert code == 1
    assert lines[0] == "P-T31-SUM: certificate holds, 1 step"
    rejected = [line for line in lines if "REJECTED" in line]
    assert rejected
    assert all(line.startswith(f"{claim_id}: ") for line in rejected)
    assert any(reason in line for line in rejected), rejected
    assert lines[-1].endswith(f"{len(rejected)} rejected")


def test_one_bad_file_among_good_ones_is_enough(
    file: Path, rows: dict[str, Row], tmp_path: Path, capsys: Capture
) -> None:
    forged = copy.deepcopy(rows["P-L31-VAR"])
    _drop_evidence(forged)
    (tmp_path / "forged.json").write_text(json.dumps({"claims": [forged]}))
    capsys.readouterr()
    assert main(["recheck", str(file), str(tmp_path / "forged.json")]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"{len(rows) + 1} checked, 1 rejected"


def test_true_but_idle_steps_prove_nothing(rows: dict[str, Row], tmp_path: Path, capsys: Capture) -> None:
    """A forged certificate: the claim's own premises and conclusion, a fitting digest, a step that shows nothing."""
    row = copy.deepcopy(rows["P-L31-VAR"])
    certificate = next(item["certificate"] for item in row["evidence"] if "certificate" in item)
    certificate["steps"] = [{"kind": "equal", "left": "p", "right": "p", "because": "it is"}]
    certificate["sha256"] = digest(certificate)
    code, lines = _recheck([row], tmp_path / "forged.json", capsys)
    assert code == 1
    assert "its steps do not show what the claim needs" in lines[0]
