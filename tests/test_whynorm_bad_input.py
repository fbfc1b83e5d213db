"""Bad options: exit code 2, one line on stderr that names the value, nothing on stdout, nothing left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_whynorm_cli import Capture

from whynorm.cli import main

TOO_LARGE = str(2**64)


def check_refusal(argv: list[str], message: str, place: Path, capsys: Capture) -> None:
    """What holds for every bad input; ``place`` is the working directory."""
    before = _everything(place)
    capsys.readouterr()
    code = main(argv)
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("whynorm: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert message in err
    assert len(err) < 500
    assert "Traceback" not in err
    assert _everything(place) == before


def name_case(case: Any) -> str:
    """A readable test id for a command line; none for its message."""
    return "_".join(case)[:60].replace("/", ":") if isinstance(case, list) else ""


def _everything(directory: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_size) for path in directory.rglob("*"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a file in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    return tmp_path


def _sim(*argv: str) -> list[str]:
    return ["simulate", *argv]


def _run(*argv: str) -> list[str]:
    return ["bridge", "run", *argv]


CASES: list[tuple[list[str], str]] = [
    # what typer finds
    (["frob"], "No such command 'frob'; see `whynorm --help`"),
    (["--frob"], "--frob"),
    (["bridge", "frob"], "No such command 'frob'; see `whynorm bridge --help`"),
    (_sim("--stepz", "3"), "see `whynorm simulate --help`"),
    (_sim("extra"), "extra"),
    (_sim("--steps", "1.5"), "--steps"),
    (_sim("--steps"), "--steps"),
    (_sim("--eta", "big"), "--eta"),
    (["verify", "--seed", "x"], "--seed"),
    (["recheck"], "files"),
    (["report"], "directory"),
    # claims
    (["verify", "--claim", "P-T3"], "claim is 'P-T3'; expected a registered id; did you mean"),
    (["verify", "--claim", "zzz"], "`whynorm verify --list`"),
    (["verify", "--claim", ""], "claim is ''"),
    (["verify", "--claim", "P-EQ5", "--list", "--claim", "x\ny"], "claim is 'x\\ny'"),
    (["verify", "--seed", "-1"], "seed is -1; expected an integer from 0 to 2^64 - 1"),
    (["verify", "--seed", TOO_LARGE], f"seed is {TOO_LARGE}"),
    (["verify", "--workers", "0"], "workers is 0; expected at least 1"),
    (["verify", "--workers", "-2"], "workers is -2"),
    (["verify", "--json", "file/x.json"], "output directory is 'file'"),
    (["verify", "--json", "."], "json is '.'; expected a file"),
    # rules, families, sizes
    (_sim("--rule", ""), "rule is ''; expected one of reinforce"),
    (_sim("--schedule", ""), "schedule is ''; expected one of uniform"),
    (_sim("--steps", TOO_LARGE), f"steps is {TOO_LARGE}; expected at most 2^53"),
    (_sim("--steps", TOO_LARGE, "--replicas", "2", "--out", "new"), f"steps is {TOO_LARGE}; expected at most 2^53"),
    (_sim("--steps", TOO_LARGE, "--eta", "relaxed"), f"steps is {TOO_LARGE}"),
    (_sim("--steps", "-3", "--eta", "relaxed"), "steps is -3"),
    (_sim("--rule", "adam"), "rule is 'adam'; expected one of reinforce, grpo, power:ALPHA, paper:G"),
    (_sim("--rule", "trl:1"), "group size G is 1; expected from 2"),
    (_sim("--rule", "trl:8"), "pass --eta, e.g. 0.114, that of exact grpo"),
    (_sim("--rule", "power:x"), "rule is 'power:x'"),
    (_sim("--rule", "power:2"), "alpha is 2.0"),
    (_sim("--rule", "power:nan"), "alpha is nan"),
    (_sim("--rule", "power:0.5"), "pass --eta"),
    (
        _sim("--family", "cubic"),
        "problem family is 'cubic'; expected one of orthogonal, tabular, shared-skill, gaussian, conflicting, drifting",
    ),
    (_sim("--n", "0"), "n is 0; expected at least 1"),
    (_sim("--n", "-2"), "n is -2"),
    (_sim("--k", "1"), "K is 1; expected at least 2"),
    (_sim("--d", "3"), "d is 3; expected at least n K = 32"),
    (_sim("--family", "gaussian", "--d", "0"), "d is 0"),
    (_sim("--family", "gaussian", "--d", "-4"), "d is -4"),
    (_sim("--family", "gaussian", "--d", "2"), "d is 2"),
    (_sim("--n", "100000", "--k", "1000"), "n K d is 10000000000000000; expected at most"),
    (_sim("--n", "999", "--k", "999"), "lower --n, --k or --d"),
    (_sim("--family", "drifting", "--k", "3"), "K is 3; expected at least 4"),
    (_sim("--strength", "0.5"), "strength is 0.5; expected nothing for orthogonal"),
    (_sim("--family", "gaussian", "--strength", "1"), "strength is 1.0; expected from 0 to below 1"),
    (_sim("--schedule", "random"), "schedule is 'random'; expected one of uniform, all, cyclic, minibatch:B"),
    (_sim("--schedule", "minibatch:5"), "minibatch size B is 5; expected at most 4"),
    (_sim("--record", "some"), "record is 'some'; expected log or full"),
    # many runs
    (_sim("--replicas", "0", "--out", "new"), "replicas is 0; expected a number above 0"),
    (_sim("--replicas", "-3"), "replicas is -3"),
    (_sim("--replicas", "many"), "--replicas"),
    (_sim("--replicas", "2", "--engine", "warp"), "engine is 'warp'; expected one of lanes, torch, reference"),
    (_sim("--engine", "warp"), "engine is 'warp'"),
    (_sim("--replicas", "2", "--threads", "0"), "threads is 0; expected an integer above 0"),
    (_sim("--threads", "2"), "--threads is 2; expected nothing with a single run; add --engine lanes"),
    (
        _sim("--replicas", "2", "--engine", "torch", "--threads", "2"),
        "--threads is 2; expected nothing with --engine t",
    ),
    (_sim("--replicas", "2", "--device", "cpu"), "--device is 'cpu'; expected nothing with --engine lanes; add --engi"),
    (_sim("--engine", "torch", "--device", "abacus", "--out", "new"), "device is 'abacus'; expected a torch device"),
    (_sim("--replicas", "1000000000", "--out", "new"), "ask for fewer replicas"),
    (_sim("--replicas", "100000", "--steps", "9999", "--record", "full", "--out", "new"), "size of the records is"),
    (_sim("--replicas", "2", "--steps", "0", "--out", "new"), "steps is 0; expected at least 1"),
    (_sim("--replicas", "2", "--seed", TOO_LARGE), f"seed is {TOO_LARGE}"),
    # probabilities
    (_sim("--p0", "x"), "p0 is 'x'"),
    (_sim("--p0", ""), "p0 is ''"),
    (_sim("--p0", "0.2:"), "p0 is '0.2:'"),
    (_sim("--p0", "0.1:0.2:0.3"), "p0 is '0.1:0.2:0.3'"),
    (_sim("--p0", "0"), "0 < LOW <= HIGH < 1"),
    (_sim("--p0", "1"), "0 < LOW <= HIGH < 1"),
    (_sim("--p0", "0.5:0.2"), "p0 is '0.5:0.2'"),
    (_sim("--p0", "nan"), "p0 is"),
    (_sim("--p0", "medium"), "p0 is 'medium'; expected one of P, LOW:HIGH, easy, hard, beta:A,B"),
    (_sim("--p0", "beta:0,1"), "p0 is 'beta:0,1'"),
    # steps and step sizes
    *[(_sim("--eta", value, "--out", "new"), "eta is") for value in ("0", "-1", "nan", "inf", "-inf")],
    (_sim("--eta", "theorems"), "eta is 'theorems'; expected one of theorem, best, relaxed, NUMBER"),
    (_sim("--eta", "best", "--schedule", "all"), "eta is 'best'; expected theorem or a number with schedule all"),
    (_sim("--eta", "relaxed", "--family", "conflicting"), "expected a run on which Assumptions 4 and 5 hold"),
    (_sim("--eta", "relaxed", "--rule", "trl:8"), "Theorems 3.3 and 3.4 are on reinforce and grpo"),
    (_sim("--eta", "best", "--rule", "power:0.5"), "best is known for reinforce and grpo"),
    (_sim("--steps", "0", "--out", "new"), "steps is 0; expected at least 1"),
    (_sim("--steps", "-5", "--out", "new/deep"), "steps is -5"),
    (_sim("--steps", "1000000000000000", "--out", "new"), "not enough memory"),
    (_sim("--seed", "-1", "--out", "new"), "seed is -1"),
    (_sim("--seed", TOO_LARGE, "--out", "new"), f"seed is {TOO_LARGE}"),
    # where nothing can be written; also root cannot write below a file
    (_sim("--out", "file"), "output directory is 'file'; expected a writable directory"),
    (_sim("--out", "file/below"), "output directory is 'file/below'; expected a writable directory (Not a directory)"),
    (_sim("--out", "new/" + "x" * 300), "output directory is"),
    (_run("--out", "file/below"), "output directory is 'file/below'"),
    (["bridge", "measure", "--out", "file/below"], "output directory is 'file/below'"),
    (["reproduce", "--out", "file/below"], "output directory is 'file/below'"),
    # the language model; each of these is found before a model is loaded
    (_run("--out", "new", "--model", "nowhere"), "model is 'nowhere'; expected the word \"tiny\", smollm2, or a local"),
    (_run("--model", ""), "model is ''"),
    (["bridge", "measure", "--out", "new", "--model", "."], "model is '.'"),
    (_run("--out", "new", "--rule", "adam"), "rule is 'adam'"),
    (_run("--out", "new", "--rule", "power:0.3"), "pass --eta"),
    (_run("--out", "new", "--steps", "0"), "steps is 0"),
    *[(_run("--out", "new", "--eta", value), "eta is") for value in ("0", "-1", "nan", "inf")],
    *[(_run("--out", "new", "--eta-scale", value), "eta-scale is") for value in ("0", "-1", "nan", "inf")],
    (_run("--out", "new", "--n", "0"), "n is 0; expected at least 1"),
    (_run("--out", "new", "--p0", "0.5:0.2"), "p0 is '0.5:0.2'; expected LOW:HIGH with 0 < LOW < HIGH < 1"),
    (_run("--out", "new", "--p0", "0.3"), "p0 is '0.3'"),
    (["bridge", "measure", "--out", "new", "--p0", "0:0.5"], "p0 is '0:0.5'"),
    (_run("--out", "new", "--seed", "-1"), "seed is -1"),
    (_run("--out", "new", "--seed", TOO_LARGE), f"seed is {TOO_LARGE}"),
    (_run("--out", "new", "--prompts", "3+5 foo"), "prompt is 'foo'; expected"),
    (["bridge", "measure", "--out", "new", "--prompts", "17+3"], "prompt is '17+3'"),
]


@pytest.mark.parametrize(("argv", "message"), CASES, ids=name_case)
def test_one_line_exit_2_and_nothing_left(argv: list[str], message: str, place: Path, capsys: Capture) -> None:
    check_refusal(argv, message, place, capsys)


def test_what_only_the_model_can_tell(place: Path, capsys: Capture) -> None:
    """How many prompts there are, and where it diverges."""
    check_refusal(_run("--out", "new/deep", "--n", "161"), "n is 161; expected 1 to 160", place, capsys)
    argv = _run("--out", "new", "--eta", "1e300", "--steps", "2", "--prompts", "3+5 6*7")
    check_refusal(argv, "eta is 1e+300; expected a step size at which the run stays finite", place, capsys)


def test_a_folder_that_is_no_model_is_named(place: Path, capsys: Capture) -> None:
    (place / "folder").mkdir()
    (place / "folder" / "config.json").write_text("{}")
    message = "model is 'folder'; expected a folder holding a causal language model"
    check_refusal(_run("--out", "new", "--model", "folder", "--steps", "1"), message, place, capsys)
