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

CLAIMS = ["P-L31-VAR", "P-T31-DESCENT", "P-T31-SUM", "P-T32-SUM", "P-T34-APPENDIX"]

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


def _nested(depth: int) -> Any:
    return [_nested(depth - 1)] if depth else "1"


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
    "half a step": ("P-T32-SUM", _counter(_set("instance", "steps", 76.5)), "steps is 76.5, no integer"),
    "a run without end": ("P-T32-SUM", _counter(_set("instance", "steps", 10**12)), "more than 10000"),
    "a group without end": ("P-T32-SUM", _counter(_set("instance", "group", 10**12)), "more than 1000"),
    "a group of one": ("P-T32-SUM", _counter(_set("instance", "group", 1)), "a group of one"),
    "half an answer": ("P-T32-SUM", _counter(_set("instance", "answers", [0.5])), "an answer is 0.5, no integer"),
    "constants below 1": (
        "P-T34-APPENDIX",
        _counter(_set("instance", "least_constants", ["1/2", "1", "1"])),
        "not M, R1 and R2 from 1",
    ),
    "constants that are missing": (
        "P-T34-APPENDIX",
        _counter(_set("instance", "least_constants", ["2", "1"])),
        "not M, R1 and R2 from 1",
    ),
    "a number that is rounded": ("P-T32-SUM", _counter(_set("instance", "theta", ["1/3"])), "'1/3' is no float64"),
    "a number below all floats": ("P-T32-SUM", _counter(_set("instance", "theta", [f"1/1{'0' * 400}"])), "no float64"),
    "a number without end": ("P-T32-SUM", _counter(_set("instance", "theta", ["1e999999999"])), "no rational number"),
    "a yes for a number": ("P-T32-SUM", _counter(_set("instance", "theta", [True])), "True is no rational number"),
    "depth without end": ("P-T32-SUM", _counter(_set("instance", "theta", _nested(700))), "cannot be read"),
    "sides that are nothing": ("P-T32-SUM", _counter(lambda c: c.update(left="nan", right="nan")), "not what the file"),
    "a side that is anything": ("P-T32-SUM", _counter(_set("left", "[0 +/- 1e300]")), "not what the file says"),
    "another claim's name": ("P-T32-SUM", _counter(_set("claim", "P-L32")), "about 'P-L32'"),
    "another format": ("P-T32-SUM", _counter(_set("format", 9)), "of format 9"),
    "another entry": ("P-T32-SUM", _counter(_set("index", 3)), "what fails is entry 75"),
    "another link": ("P-T32-SUM", _counter(_set("link", "the second")), "what fails is entry 75"),
    "another statement": ("P-L31-VAR", _set("statement", "1 = 2"), "statement is not as the claim has it"),
    "another title": ("P-L31-VAR", _set("title", "all is well"), "title is not as the claim has it"),
    "no assumptions": ("P-T31-SUM", _set("assumptions", []), "assumptions is not as the claim has it"),
    "another relation": ("P-T31-SUM", _set("links", 0, "relation", ">="), "links is not as the claim has it"),
    "another link's name": ("P-T31-SUM", _set("links", 0, "name", "all"), "links is not as the claim has it"),
    "links that are none": ("P-T31-SUM", _set("links", 3), "links is not as the claim has it"),
    "a slip that is none": ("P-T31-SUM", _set("misprint", True), "misprint is not as the claim has it"),
    "a violation that is proved": ("P-L31-VAR", _set("evidence", 1, "outcome", "violated"), "contradicts the verdict"),
    "an outcome that is none": ("P-L31-VAR", _set("evidence", 1, "outcome", "fine"), "contradicts the verdict"),
    "another repair": ("P-T32-SUM", _set("fixed_by", "P-EQ5"), "fixed_by is not as the claim has it"),
    "an unknown verdict": ("P-L31-VAR", lambda row: row.update(verdict="PROVED", evidence=[]), "there is no verdict"),
    "a list for a verdict": ("P-L31-VAR", _set("verdict", [1]), "there is no verdict [1]"),
    "a proof called support": ("P-L31-VAR", _set("verdict", "supported"), "the file holds a proof"),
    "a proof called a doubt": ("P-L31-VAR", _set("verdict", "undecided"), "the file holds a proof"),
    "an exponent without end": ("P-L31-VAR", _sealed(_set("steps", 0, "terms", "2**10**9*p")), "is not an integer"),
    "a large exponent": ("P-L31-VAR", _sealed(_set("steps", 0, "terms", "(p+q)**999999999")), "above 100"),
    "powers of powers": ("P-L31-VAR", _sealed(_set("steps", 0, "terms", "(((p+q+1)**90)**90)**90")), "too large"),
    "quotients without end": ("P-L31-VAR", _sealed(_set("steps", 0, "terms", "+".join(["1/(p+q+1)"] * 900))), "too la"),
    "a long formula": ("P-L31-VAR", _sealed(_set("steps", 0, "terms", "+".join(["p"] * 20000))), "39999 characters"),
    "a deep formula": ("P-L31-VAR", _sealed(_set("steps", 0, "terms", "-" * 3000 + "p")), "cannot read"),
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


def test_a_verdict_that_leaves_nothing_to_recheck_is_not_counted(
    rows: dict[str, Row], tmp_path: Path, capsys: Capture
) -> None:
    row = copy.deepcopy(rows["P-L31-VAR"])
    _drop_evidence(row)
    row["verdict"] = "supported"
    code, lines = _recheck([row], tmp_path / "supported.json", capsys)
    assert code == 0
    assert lines == ["P-L31-VAR: verdict supported: the file holds nothing to recheck", "0 checked, 0 rejected"]


def test_a_name_that_occurs_twice_is_refused(file: Path, tmp_path: Path, capsys: Capture) -> None:
    """A reader who sees the first of two verdicts would be shown another one than the checker."""
    twice = file.read_text().replace('"verdict": "proved"', '"verdict": "refuted", "verdict": "proved"', 1)
    (tmp_path / "twice.json").write_text(twice)
    capsys.readouterr()
    assert main(["recheck", str(tmp_path / "twice.json")]) == 2
    assert "JSON with a list of claims" in capsys.readouterr().err


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
