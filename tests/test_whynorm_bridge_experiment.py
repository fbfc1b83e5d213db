"""`whynorm bridge experiment` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_whynorm_bad_input import check_refusal, name_case
from test_whynorm_cli import Capture, call

from whynorm.commands.bridge_experiment import experiment_rows

ARGV = ["bridge", "experiment", "--n", "1", "--steps", "2", "--every", "1", "--pairings", "same best", "--out"]


def test_it_leaves_runs_summary_table_and_figure(capsys: Capture, tmp_path: Path) -> None:
    out = tmp_path / "x"
    parts = ["--part", "easy=arithmetic:3+5 2+2", "--part", "hard=arithmetic:7*8 6*7"]
    code, shown, err = call(capsys, *ARGV, out, "--seeds", "2", *parts, "--threshold", "0.999")
    assert code == 0
    assert max(map(len, shown.splitlines())) <= 80
    assert str(out) in err
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["parts"]) == {"easy", "hard"}
    rows = experiment_rows(summary)
    assert len(rows) == 4
    assert rows[0]["pairing"] == "same x1.00"
    assert len((out / "table.md").read_text().splitlines()) == 6
    assert (out / "normalisation.png").read_bytes().startswith(b"\x89PNG")
    # More seeds go on with the runs that are there.
    before = {path.name: path.stat().st_mtime_ns for path in (out / "hard").iterdir()}
    code, text, _ = call(capsys, *ARGV, out, "--seeds", "3", *parts, "--json")
    assert (code, json.loads(text)["parts"]["hard"]["seeds"]) == (0, 3)
    after = {path.name: path.stat().st_mtime_ns for path in (out / "hard").iterdir()}
    assert before.items() < after.items()


BAD = [
    (["--part", "arithmetic:sum"], "part is 'arithmetic:sum'"),
    (["--part", "a=arithmetic:sum", "--part", "a=arithmetic:sum"], "a name of its own"),
    (["--part", "../a=arithmetic:sum"], "NAME=TASK"),
    (["--part", "a=gsm8k:sample"], "finite answer set"),
    (["--part", "a=arithmetic:3+5", "--n", "2"], "n is 2"),
    (["--part", "a=arithmetic:sum", "--seeds", "1"], "seeds is 1"),
    (["--part", "a=arithmetic:sum", "--pairings", "fair"], "pairing is ['fair']"),
    (["--part", "a=arithmetic:sum", "--threshold", "1"], "threshold is 1.0"),
    (["--part", "a=arithmetic:sum", "--dtype", "int8"], "dtype is 'int8'"),
    (["--part", "a=arithmetic:sum", "--model", "none"], "model is 'none'"),
    (["--part", "a=arithmetic:sum", "--pairings", "same", "--mode", "sampled", "--group", "1"], "group size G is 1"),
    (["--part", "a=arithmetic:sum", "--mode", "sampled"], "pairing is ['best']; expected some of same, matched in sam"),
    (["--part", "a=arithmetic:sum", "--pairings", ""], "pairing is []"),
]


def test_by_default_sampled_mode_has_the_pairings_that_mean_something(capsys: Capture, tmp_path: Path) -> None:
    argv = ["bridge", "experiment", "--mode", "sampled", "--group", "2", "--n", "1", "--steps", "1", "--seeds", "2"]
    code, text, _ = call(capsys, *argv, "--part", "one=arithmetic:3+5 2+2", "--out", tmp_path / "x", "--json")
    assert code == 0
    assert set(json.loads(text)["parts"]["one"]["pairings"]) == {"same", "matched"}


@pytest.mark.parametrize(("argv", "message"), BAD, ids=name_case)
def test_bad_input_is_one_line_and_leaves_nothing(
    argv: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    check_refusal([*ARGV, "x", *argv], message, tmp_path, capsys)
