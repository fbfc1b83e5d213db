"""The main job at a small size: what it leaves, that it repeats itself, and that its numbers hang together."""

from __future__ import annotations

import contextlib
import io
import json
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_whynorm_cli import Capture
from test_whynorm_page import check_page

import whynorm.reproduce
from llm_bridge.experiment import BridgeSettings, run_bridge
from simulator.records import Record
from theory.claim import Claim
from theory.claims import load_registry
from theory.rules import GRPO, REINFORCE
from whynorm.cli import main
from whynorm.console import progress
from whynorm.errata import errata_markdown
from whynorm.settings import parse_settings
from whynorm.verify import Effort

CONFIG = """
steps = 5
simulator_steps = 60
n = 3
outputs = 4
big_step = 50.0
seed = 9
"""
RULES = ("reinforce", "grpo")
ORTHOGONAL = [f"orthogonal-{rule}" for rule in RULES]
PAIRS = [f"{rule}-{step}" for rule in RULES for step in ("theorem", "big")]
RUNS = ORTHOGONAL + [f"{kind}-{pair}" for kind in ("model", "linearised") for pair in PAIRS]


@cache
def _claims() -> list[Claim]:
    """What the main results and the page rest on; all claims are put to the test in the tests of verify."""
    registry = load_registry()
    names = [
        claim.id for claim in registry if claim.id.startswith(("X-IDENTITY", "X-COMPARE", "X-PLATEAU", "P-L3", "P-T3"))
    ]
    for name in names:
        proof = registry[name].proof
        names += [cited for cited in (proof().to_json()["cites"] if proof else ()) if cited not in names]
    return [claim for claim in registry if claim.id in names]


@contextlib.contextmanager
def _little_effort() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whynorm.reproduce, "QUICK", Effort(examples=3, evaluations=1, steps=5, sampled_steps=3))
        yield


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    """Directory, stdout and stderr of one run of the command."""
    place = tmp_path_factory.mktemp("reproduce")
    (place / "small.toml").write_text(CONFIG)
    out, err = io.StringIO(), io.StringIO()
    argv = ["reproduce", "--out", str(place / "results"), "--config", str(place / "small.toml"), "--steps", "3"]
    with _little_effort(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(whynorm.reproduce, "load_registry", _claims)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            assert main(argv) == 0
    return place / "results", out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def results(done: tuple[Path, str, str]) -> Path:
    return done[0]


@pytest.fixture(scope="module")
def report(results: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((results / "report.json").read_text(), parse_constant=pytest.fail)
    return content


@pytest.fixture(scope="module")
def runs(results: Path) -> dict[str, Record]:
    return {name: Record.load(results / "runs" / name) for name in RUNS}


def test_stdout_holds_the_result_and_stderr_the_news(done: tuple[Path, str, str]) -> None:
    directory, out, err = done
    assert out == f"report: {directory / 'report.html'}\n"
    lines = err.splitlines()
    assert "simulated runs" in lines
    assert lines[-1].startswith("done in ")
    assert "\x1b" not in err
    assert "\r" not in err


def test_everything_is_where_it_is_said_to_be(results: Path) -> None:
    files = {str(path.relative_to(results)) for path in results.rglob("*") if path.is_file()}
    expected = {f"runs/{name}/{file}" for name in RUNS for file in ("record.npz", "summary.json")}
    expected |= {f"{name}.json" for name in ("verdicts", "geometry", "settings", "report")}
    expected |= {"report.html", "errata.md", "plateau.json"}
    expected |= {f"compare/run/{file}" for file in ("record.npz", "summary.json")}
    expected |= {f"compare/{file}" for file in ("comparison.json", "predicted.png", "horizon.png", "gap-0.png")}
    assert files == expected


def test_the_command_line_wins_over_the_file_and_the_file_over_defaults(report: dict[str, Any]) -> None:
    settings = report["settings"]
    assert (settings["steps"], settings["simulator_steps"], settings["n"], settings["seed"]) == (3, 60, 3, 9)
    assert (settings["model"], settings["low"], settings["high"]) == ("tiny", 0.03, 0.9)
    assert {"python", "whynorm", "numpy", "torch", "peft"} <= set(settings["machine"])


def test_verdicts_are_those_of_whynorm_verify(results: Path, report: dict[str, Any], capsys: Capture) -> None:
    claims = json.loads((results / "verdicts.json").read_text(), parse_constant=pytest.fail)["claims"]
    assert claims == report["claims"]
    told = {claim["id"]: claim["verdict"] for claim in claims}
    assert told == {claim.id: "refuted" if claim.fixed_by else "proved" for claim in _claims()}
    capsys.readouterr()
    assert main(["recheck", str(results / "verdicts.json")]) == 0
    assert capsys.readouterr().out.endswith(f"{len(claims)} checked, 0 rejected\n")


@pytest.mark.deep
def test_a_second_run_with_the_same_seed_is_the_same_to_the_byte(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but the language model, which the next test repeats, and a part of the claims, each independent of others."""
    part = [load_registry()[claim_id] for claim_id in ("X-IDENTITY", "P-L31-VAR", "P-T32-DESCENT", "P-T32-SUM")]
    monkeypatch.setattr(whynorm.reproduce, "load_registry", lambda: part)
    monkeypatch.setattr(whynorm.reproduce, "_bridge", lambda *args: None)
    with _little_effort():
        parsed = parse_settings(tomllib.loads(CONFIG) | {"steps": 3}, "in CONFIG")
        whynorm.reproduce.reproduce(tmp_path, parsed, progress=progress)
    again = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert len(again) == 8
    claims = json.loads((results / "verdicts.json").read_text())["claims"]
    shared = [row for row in claims if row["id"] in [claim.id for claim in part]]
    assert json.loads((tmp_path / "verdicts.json").read_text()) == {"claims": shared}
    assert (tmp_path / "errata.md").read_text() == errata_markdown(shared)
    for path in again:
        if path.name in ("verdicts.json", "errata.md"):
            continue
        assert path.read_bytes() == (results / path.relative_to(tmp_path)).read_bytes(), path


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_a_language_model_run_is_the_same_in_this_process(scale: float, results: Path, tmp_path: Path) -> None:
    settings = BridgeSettings(rule="grpo", n=3, steps=3, seed=9, eta_scale=scale)
    run = run_bridge(settings)
    name = "grpo-theorem" if scale == 1 else "grpo-big"
    for kind, record in (("model", run.model), ("linearised", run.surrogate)):
        record.save(tmp_path / kind)
        for file in ("record.npz", "summary.json"):
            saved = results / "runs" / f"{kind}-{name}" / file
            assert (tmp_path / kind / file).read_bytes() == saved.read_bytes(), saved


def test_runs_have_the_asked_shape(runs: dict[str, Record]) -> None:
    for name, run in runs.items():
        steps = 60 if name.startswith("orthogonal") else 3
        assert run.J.shape == run.grad_sq.shape == (steps + 1, 3), name
        assert run.rule == name.split("-")[1]
        assert run.origin == ("language model" if name.startswith("model") else "simulator")
        assert np.isfinite(run.J).all()
        assert ((run.J > 0) & (run.J < 1)).all()


def test_the_model_and_its_linearisation_share_all_but_the_network(runs: dict[str, Record]) -> None:
    for pair in PAIRS:
        model, linear = runs[f"model-{pair}"], runs[f"linearised-{pair}"]
        assert model.eta == linear.eta
        assert model.order.tolist() == linear.order.tolist()
        np.testing.assert_allclose(linear.J[0], model.J[0], rtol=1e-8)
        np.testing.assert_allclose(linear.grad_sq[0], model.grad_sq[0], rtol=1e-6)
    starts = [runs[name].J[0] for name in RUNS if name.startswith("model")]
    assert all((start == starts[0]).all() for start in starts), "every run starts from the same model"


def test_step_sizes_are_the_theorems_and_its_multiple(runs: dict[str, Record]) -> None:
    for rule in (REINFORCE, GRPO):
        assert rule.step_size is not None
        for name in (f"model-{rule.name}-theorem", f"orthogonal-{rule.name}"):
            assert runs[name].eta == pytest.approx(rule.step_size(runs[name].x_max_sq), rel=1e-9)
        ratio = runs[f"model-{rule.name}-big"].eta / runs[f"model-{rule.name}-theorem"].eta
        assert ratio == pytest.approx(50, rel=1e-9)


def test_theory_holds_where_its_assumptions_do(runs: dict[str, Record], report: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in report["constants"]}
    assert rows["orthogonality defect (Assumption 2)"]["values"]["simulator"] == 0
    assert rows["orthogonality defect (Assumption 2)"]["values"]["model"] > 0.001
    for rule in RULES:
        run = runs[f"orthogonal-{rule}"]
        assert (run.step_gain >= run.step_bound).all()
        assert rows[f"{rule.upper()}: least one-step gain / guarantee"]["values"]["simulator"] >= 1
        assert rows[f"{rule.upper()}: mean J gained in the run"]["values"]["model"] > 0
        # To first order the linear picture is exact, and at the theorem's step three steps are little.
        assert rows[f"{rule.upper()}: largest error of the linearised prediction"]["values"]["model"] < 1e-4


def test_the_table_holds_numbers_and_shows_them(report: dict[str, Any]) -> None:
    for row in report["constants"]:
        assert set(row["values"]) == {"simulator", "linearised", "model"}
        for column, value in row["values"].items():
            assert value is None or np.isfinite(value)
            assert (row[column] == "–") == (value is None)
            if value:
                assert float(row[column]) == pytest.approx(value, rel=0.01)


def test_the_geometry_belongs_to_the_runs(results: Path, runs: dict[str, Record]) -> None:
    geometry = json.loads((results / "geometry.json").read_text(), parse_constant=pytest.fail)
    assert len(geometry["prompts"]) == len(set(geometry["prompts"])) == 3
    np.testing.assert_allclose(geometry["p"], runs["model-grpo-big"].J[0], rtol=1e-9)
    assert geometry["x_max_sq"] == pytest.approx(runs["model-grpo-big"].x_max_sq)
    assert 0 < geometry["x_max_sq_centred"] <= geometry["x_max_sq"] * (1 + 1e-9)


def test_the_page_is_whole(results: Path) -> None:
    html = (results / "report.html").read_text()
    page = check_page(html)
    ids = page.values("id")
    assert all(claim.id in ids for claim in _claims())
    assert "{{" not in html
    assert str(results) not in html, "where it was made is nobody's business"
