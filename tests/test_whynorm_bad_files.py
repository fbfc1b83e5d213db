"""Unusable files: problems, settings, verdicts and results; the same refusal as for any bad input."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_whynorm_bad_input import TOO_LARGE, check_refusal, name_case
from test_whynorm_cli import Capture


def _problem(**changes: Any) -> dict[str, Any]:
    features = np.random.default_rng(0).standard_normal((2, 3, 6))
    return {"features": features, "answers": np.array([0, 1]), "theta0": np.zeros(6), **changes}


def _with(index: tuple[int, ...], value: float) -> np.ndarray:
    features: np.ndarray = _problem()["features"]
    features[index] = value
    return features


PROBLEMS: dict[str, dict[str, Any]] = {
    "good.npz": _problem(),
    "nan.npz": _problem(features=_with((0, 1, 2), np.nan)),
    "huge.npz": _problem(features=_with((1, 0, 3), 1e200)),
    "theta.npz": _problem(theta0=np.full(6, np.inf)),
    "one.npz": _problem(features=_problem()["features"][:, :1]),
    "none.npz": _problem(features=np.zeros((0, 3, 6)), answers=np.zeros(0, dtype=int)),
    "flat.npz": _problem(features=np.zeros((3, 6))),
    "words.npz": _problem(features=np.array([["a"]])),
    "complex.npz": _problem(features=np.ones((2, 3, 6), dtype=complex)),
    "zero.npz": _problem(features=np.zeros((2, 3, 6))),
    "range.npz": _problem(answers=np.array([0, 3])),
    "negative.npz": _problem(answers=np.array([-1, 0])),
    "halves.npz": _problem(answers=np.array([0.0, 1.0])),
    "few.npz": _problem(answers=np.array([0])),
    "short.npz": _problem(theta0=np.zeros(5)),
    "order3.npz": _problem(order=np.array([0, 1, 0])),
    "orderbad.npz": _problem(order=np.array([0, 2] * 600)),
    "ordershape.npz": _problem(order=np.zeros((2, 2), dtype=int)),
    "objects.npz": _problem(answers=np.array([{}, {}], dtype=object)),
    "gram0.npz": {"gram": np.zeros((6, 6)), "logits": np.zeros((2, 3)), "answers": np.array([0, 1])},
    "partial.npz": {"features": _problem()["features"]},
}
TEXTS = {
    "file": "x",
    "text.npz": "hello",
    "empty.npz": "",
    "broken.toml": "steps = = 3",
    "key.toml": "stepz = 3",
    "type.toml": "steps = 'many'",
    "bool.toml": "steps = true",
    "float.toml": "steps = 3.0",
    "table.toml": "[steps]\na = 1",
    "zero.toml": "simulator_steps = 0",
    "n1.toml": "n = 1",
    "n161.toml": "n = 161",
    "outputs.toml": "outputs = 1",
    "low.toml": "low = 0.0",
    "swap.toml": "low = 0.9\nhigh = 0.1",
    "inf.toml": "big_step = inf",
    "nan.toml": "big_step = nan",
    "seed.toml": "seed = -1",
    "model.toml": 'model = "a\\nb"',
    "fine.toml": "steps = 3",
    "broken.json": "{",
    "object.json": "{}",
    "list.json": "[]",
    "numbers.json": '{"claims": [1]}',
    "no.json": '{"claims": []}',
    "unknown.json": '{"claims": [{"id": "P-NO", "verdict": "proved", "evidence": [], "counterexample": null}]}',
    "evidence.json": '{"claims": [{"id": "P-EQ5", "verdict": "proved", "evidence": [3], "counterexample": null}]}',
    "id.json": '{"claims": [{"id": ["P-EQ5"], "verdict": "proved", "evidence": [], "counterexample": null}]}',
    "table.json": '{"claims": [{"id": "P-EQ5", "verdict": "proved", "evidence": {}, "counterexample": null}]}',
    "deep.json": "[" * 100_000,
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory full of unusable files."""
    monkeypatch.chdir(tmp_path)
    for name, arrays in PROBLEMS.items():
        np.savez(tmp_path / name, **arrays)
    for name, text in TEXTS.items():
        (tmp_path / name).write_text(text)
    whole = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "flipped.npz").write_bytes(whole[:200] + bytes([whole[200] ^ 255]) + whole[201:])
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    return tmp_path


def _file(name: str, *argv: str) -> list[str]:
    return ["simulate", "--problem", name, *argv]


def _config(name: str, *argv: str) -> list[str]:
    return ["reproduce", "--out", "new", "--config", name, *argv]


CASES: list[tuple[list[str], str]] = [
    # files to recheck
    (_file("order3.npz", "--steps", "3", "--schedule", "all"), "--schedule is 'all'; expected nothing, as the problem"),
    (_file("pipe"), "problem file is 'pipe'; expected an existing file of arrays (.npz)"),
    (_file("gram0.npz"), "largest eigenvalue of gram is 0.0; expected above 0"),
    (["recheck", "missing.json"], "file is 'missing.json'; expected a readable file (No such file or directory)"),
    (["recheck", "."], "file is '.'"),
    (["recheck", "broken.json"], "JSON with a list of claims"),
    (["recheck", "object.json"], "JSON with a list of claims"),
    (["recheck", "list.json"], "JSON with a list of claims"),
    (["recheck", "numbers.json"], "JSON with a list of claims"),
    (["recheck", "no.json"], "JSON with a list of claims"),
    (["recheck", "evidence.json"], "JSON with a list of claims"),
    (["recheck", "id.json"], "JSON with a list of claims"),
    (["recheck", "table.json"], "JSON with a list of claims"),
    (["recheck", "deep.json"], "JSON with a list of claims"),
    (["recheck", "bytes.json"], "JSON with a list of claims"),
    (["recheck", "unknown.json"], "claim is 'P-NO'"),
    # problem files
    (_file("missing.npz"), "problem file is 'missing.npz'"),
    (_file("."), "problem file is '.'"),
    (_file("text.npz"), "'text.npz'; expected a readable .npz"),
    (_file("empty.npz"), "'empty.npz'; expected a readable .npz"),
    (_file("cut.npz"), "'cut.npz'; expected a readable .npz"),
    (_file("flipped.npz"), "'flipped.npz'; expected a readable .npz"),
    (_file("array.npz"), "'array.npz'; expected a readable .npz"),
    (_file("objects.npz"), "'objects.npz'; expected a readable .npz"),
    (_file("partial.npz"), "answers, theta0 missing"),
    (_file("nan.npz"), "features[0, 1, 2] is nan"),
    (_file("huge.npz"), "features[1, 0, 3] is 1e+200"),
    (_file("theta.npz"), "theta0[0] is inf"),
    (_file("one.npz"), "K is 1; expected at least 2 outputs per prompt"),
    (_file("none.npz"), "shape of features is (0, 3, 6)"),
    (_file("flat.npz"), "shape of features is (3, 6); expected (n, K, d)"),
    (_file("words.npz"), "dtype of features is '<U1'"),
    (_file("complex.npz"), "dtype of features is 'complex128'"),
    (_file("zero.npz"), "X_max^2 is 0.0"),
    (_file("range.npz"), "answers[1] is 3; expected an integer from 0 to 2"),
    (_file("negative.npz"), "answers[0] is -1"),
    (_file("halves.npz"), "dtype of answers is 'float64'"),
    (_file("few.npz"), "shape of answers is (1,)"),
    (_file("short.npz"), "shape of theta0 is (5,); expected (6,)"),
    (_file("order3.npz", "--steps", "4", "--out", "new"), "steps is 4; expected at most 3"),
    (_file("orderbad.npz"), "order[1] is 2; expected an integer from 0 to 1"),
    (_file("ordershape.npz"), "shape of order is (2, 2)"),
    # settings
    (_config("missing.toml"), "config is 'missing.toml'; expected a readable TOML file (No such file or directory)"),
    (_config("."), "config is '.'"),
    (_config("broken.toml"), "config broken.toml is not TOML: Invalid value (at line 1, column 9)"),
    (_config("bytes.toml"), "config bytes.toml is not TOML"),
    (_config("key.toml"), "key in key.toml is 'stepz'; expected one of model, steps,"),
    (_config("type.toml"), "steps in type.toml is 'many'; expected a valid integer"),
    (_config("bool.toml"), "steps in bool.toml is True"),
    (_config("float.toml"), "steps in float.toml is 3.0"),
    (_config("table.toml"), "steps in table.toml is {'a': 1}"),
    (_config("zero.toml"), "simulator_steps in zero.toml is 0; expected a number greater than or equal to 1"),
    (_config("n1.toml"), "n in n1.toml is 1"),
    (_config("n161.toml"), "n in n161.toml is 161"),
    (_config("outputs.toml"), "outputs in outputs.toml is 1"),
    (_config("low.toml"), "low in low.toml is 0.0"),
    (_config("swap.toml"), "low in swap.toml is 0.9; expected a number below high = 0.1"),
    (_config("inf.toml"), "big_step in inf.toml is inf"),
    (_config("nan.toml"), "big_step in nan.toml is nan"),
    (_config("seed.toml"), "seed in seed.toml is -1"),
    (_config("model.toml"), "model is 'a\\nb'"),
    (_config("fine.toml", "--steps", "0"), "steps on the command line is 0"),
    (["reproduce", "--out", "new", "--seed", TOO_LARGE], "seed on the command line is"),
    (["reproduce", "--out", "new", "--model", "nowhere"], "model is 'nowhere'"),
    # results
    (["report", "missing"], "results is 'missing/settings.json'; expected a readable JSON file"),
    (["report", "file"], "results is 'file/settings.json'"),
    (["report", "."], "fill the directory with `whynorm reproduce --out DIR`"),
]


@pytest.mark.parametrize(("argv", "message"), CASES, ids=name_case)
def test_one_line_exit_2_and_nothing_left(argv: list[str], message: str, place: Path, capsys: Capture) -> None:
    check_refusal(argv, message, place, capsys)
