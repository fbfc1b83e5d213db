"""The report: one page that needs nothing from outside, with the right numbers, safe against what results may hold."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pages import stored
from test_whynorm_page import Page, check_page, fill, make_runs

from theory.claims import load_registry
from whynorm.cli import main
from whynorm.report import write_report

HOSTILE = "<script>alert('1')</script>\" onload=\"x' & {{ 7 * 7 }} {% raw %}"


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("filled")
    fill(directory)
    return directory


@pytest.fixture
def directory(filled: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil; runs are shared."""
    for name in ("settings.json", "verdicts.json", "geometry.json"):
        (tmp_path / name).write_bytes((filled / name).read_bytes())
    (tmp_path / "runs").symlink_to(filled / "runs")
    return tmp_path


def _render(directory: Path) -> tuple[str, dict[str, Any]]:
    report, page = write_report(directory)
    return page.read_text(), json.loads(report.read_text(), parse_constant=pytest.fail)


@pytest.fixture(scope="module")
def rendered(filled: Path) -> tuple[str, dict[str, Any]]:
    """Page and JSON of the unspoiled directory; its other files stay as they were."""
    before = {path.name: path.read_bytes() for path in filled.glob("*.json")}
    result = _render(filled)
    assert {name: (filled / name).read_bytes() for name in before} == before
    assert {path.name for path in filled.iterdir()} == {*before, "runs", "report.html", "report.json"}
    return result


def _change(path: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_page_is_whole_and_needs_nothing_from_outside(rendered: tuple[str, dict[str, Any]]) -> None:
    html, content = rendered
    page = check_page(html)
    assert len(html) < 3_000_000
    assert "{{" not in html
    assert "{%" not in html
    text = " ".join(" ".join(page.text).split())
    for claim in load_registry():
        assert claim.id in page.values("id")
        assert claim.title in text
    for row in content["constants"]:
        assert row["name"] in text
    assert "None" not in text
    assert "3+5=, 6*7=, 17+26=" in text
    assert "steps = 8" in text
    assert "big_step = 20.0" in text


def test_the_command_writes_the_same_bytes_again(
    rendered: tuple[str, dict[str, Any]], filled: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(directory)]) == 0
    assert capsys.readouterr() == (f"report: {directory / 'report.html'}\n", "")
    assert (directory / "report.html").read_text() == rendered[0]
    assert (directory / "report.json").read_bytes() == (filled / "report.json").read_bytes()


def test_the_json_holds_verdicts_constants_and_runs(filled: Path, rendered: tuple[str, dict[str, Any]]) -> None:
    directory, (_, content) = filled, rendered
    assert content["format"] == 1
    assert content["claims"] == json.loads((directory / "verdicts.json").read_text())["claims"]
    assert content["settings"] == json.loads((directory / "settings.json").read_text())
    runs = make_runs()
    assert set(content["runs"]) == set(runs)
    for name, run in runs.items():
        assert content["runs"][name] == run.summary(), name
    verdicts = Counter(claim["verdict"] for claim in content["claims"])
    assert content["headline"]["verdicts"] == dict(verdicts)
    assert content["headline"]["refuted"] == ["P-T32-SUM"]


def test_the_numbers_of_the_headline_and_the_table(rendered: tuple[str, dict[str, Any]]) -> None:
    content = rendered[1]
    runs, headline = make_runs(), content["headline"]

    def error(step: str) -> float:
        rules = ("reinforce", "grpo")
        return max(float(abs(runs[f"model-{r}-{step}"].J - runs[f"linearised-{r}-{step}"].J).max()) for r in rules)

    assert headline["error_theorem"] == pytest.approx(error("theorem"))
    assert headline["error_big"] == pytest.approx(error("big"))
    for rule in ("reinforce", "grpo"):
        gain = runs[f"model-{rule}-big"].J[-1].mean() - runs[f"model-{rule}-big"].J[0].mean()
        assert headline["gain_big"][rule] == pytest.approx(gain)
    rows = {row["name"]: row["values"] for row in content["constants"]}
    assert rows["orthogonality defect (Assumption 2)"] == {"simulator": 0, "linearised": None, "model": 0.2}
    for label, run in (("simulator", "orthogonal-grpo"), ("linearised", "linearised-grpo-theorem")):
        ratio = runs[run].step_gain / runs[run].step_bound
        assert rows["GRPO: least one-step gain / guarantee"][label] == pytest.approx(ratio.min())
        c = 8 / 3 * runs[run].std[:-1].mean()
        assert rows["GRPO: C(T)"][label] == pytest.approx(c)
    late = [t for t in range(9) if abs(runs["model-grpo-big"].J[t] - runs["linearised-grpo-big"].J[t]).max() > 0.05]
    assert rows["GRPO: steps until it is off by 0.05 (at 20 times)"]["model"] == late[0]


def test_a_perfect_prediction_breaks_nowhere(directory: Path) -> None:
    (directory / "runs").unlink()
    for name, run in make_runs().items():
        twin = make_runs()[name.replace("model", "linearised")] if name.startswith("model") else run
        replace(twin, origin=run.origin).save(directory / "runs" / name)
    html, content = _render(directory)
    assert content["headline"]["breaks_at"] is None
    assert content["headline"]["error_big"] == 0
    assert "off by 0.05 after" not in html
    check_page(html)


def _poison(claims: list[dict[str, Any]]) -> None:
    proved = next(claim for claim in claims if claim["id"] == "P-L31-VAR")
    for key in ("title", "remark", "place", "source"):
        proved[key] = HOSTILE
    proved["statement"] = r"\text{<script>alert(2)</script>}\href{javascript:alert(3)}{x}"
    proved["assumptions"][0]["statement"] = r"\text{<img src=x onerror=alert(4)>}"
    proved["evidence"][0]["summary"] = HOSTILE
    certificate = proved["evidence"][0]["certificate"]
    certificate["conclusion"] = certificate["steps"][0]["because"] = certificate["facts"][0] = HOSTILE
    certificate["symbols"][0]["meaning"] = certificate["steps"][0]["terms"] = HOSTILE
    refuted = next(claim for claim in claims if claim["id"] == "P-T32-SUM")
    refuted["counterexample"]["left"] = HOSTILE


def test_hostile_text_is_text(directory: Path) -> None:
    """Names of models and whatever a results file says end up on the page as characters, never as markup."""
    _change(directory / "settings.json", lambda s: s.update(model=HOSTILE, machine={"python": HOSTILE, HOSTILE: "1"}))
    _change(directory / "geometry.json", lambda g: g.update(prompts=[HOSTILE, "3+5=", "]]>"]))
    _change(directory / "verdicts.json", lambda v: _poison(v["claims"]))
    html, _ = _render(directory)
    page = Page(html)
    assert not page.tags.keys() & {"script", "img"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert not [value for value in page.values("href") if not value.startswith("#")]
    text = " ".join(" ".join(page.text).split())
    assert text.count(" ".join(HOSTILE.split())) >= 12
    assert r"\text{<script>alert(2)</script>}" in text
    assert "49" not in re.findall(r"onload=\"x' & (\S+)", text), "templates in data are not run"


def test_formulas_of_the_claims_are_mathml(rendered: tuple[str, dict[str, Any]]) -> None:
    html, _ = rendered
    page = Page(html)
    assert page.tags["math"] >= len(load_registry())
    # A formula that is not the registry's own would be shown as code, backslashes and all.
    for claim in load_registry():
        assert claim.statement not in html or "\\" not in claim.statement, claim.id


def test_a_page_without_a_refutation_has_no_figure_of_one(
    directory: Path, rendered: tuple[str, dict[str, Any]]
) -> None:

    def heal(content: dict[str, Any]) -> None:
        for claim in content["claims"]:
            claim.update(counterexample=None, verdict="proved", fixed_by=None)

    _change(directory / "verdicts.json", heal)
    html, content = _render(directory)
    assert check_page(html).tags["svg"] == check_page(rendered[0]).tags["svg"] - 1
    assert content["headline"]["refuted"] == []
    assert "refuted as stated:" not in html


def test_colours_follow_the_readers_theme(rendered: tuple[str, dict[str, Any]]) -> None:
    html, _ = rendered
    assert "prefers-color-scheme: dark" in html
    assert "currentColor" in html
    assert 'name="viewport"' in html
    assert "#0a0b0c" not in html


SPOILS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "no settings": ("settings.json", Path.unlink, "No such file"),
    "no verdicts": ("verdicts.json", Path.unlink, "No such file"),
    "no geometry": ("geometry.json", Path.unlink, "No such file"),
    "half a file": ("geometry.json", lambda p: p.write_text(p.read_text()[:40]), "a readable JSON file"),
    "a list": ("geometry.json", lambda p: p.write_text("[]"), "a JSON object"),
    "no prompts": ("geometry.json", lambda p: _change(p, lambda g: g.pop("prompts")), "prompts"),
    "no claims": ("verdicts.json", lambda p: p.write_text("{}"), "claims"),
    "half a claim": ("verdicts.json", lambda p: _change(p, lambda v: v["claims"][0].pop("title")), "claims as"),
    "an unknown verdict": (
        "verdicts.json",
        lambda p: _change(p, lambda v: v["claims"][0].update(verdict="PROVED")),
        "claims as",
    ),
    "evidence that is a number": (
        "verdicts.json",
        lambda p: _change(p, lambda v: v["claims"][0].update(evidence=5)),
        "evidence as this version writes it",
    ),
    "a certificate of another version": (
        "verdicts.json",
        lambda p: _change(p, lambda v: v["claims"][0].update(evidence=[{"kind": "proof", "certificate": {}}])),
        "evidence as this version writes it",
    ),
    "a number for a claim": ("verdicts.json", lambda p: p.write_text('{"claims": [1]}'), "claims as"),
    "no machine": ("settings.json", lambda p: _change(p, lambda s: s.pop("machine")), "machine"),
    "a strange setting": ("settings.json", lambda p: _change(p, lambda s: s.update(colour=1)), "'colour'"),
    "steps in words": ("settings.json", lambda p: _change(p, lambda s: s.update(steps="many")), "steps in"),
    "no runs": ("runs", Path.unlink, "run directory"),
}


@pytest.mark.parametrize("name", SPOILS)
def test_a_spoiled_directory_is_named(name: str, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where, spoil, message = SPOILS[name]
    spoil(directory / where)
    assert main(["report", str(directory)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert where in err
    assert message in err
    assert not (directory / "report.html").exists()
    assert not (directory / "report.json").exists()


def test_a_damaged_run_is_named(filled: Path, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directory / "runs").unlink()
    for run in (filled / "runs").iterdir():
        target = directory / "runs" / run.name
        target.mkdir(parents=True)
        for path in run.iterdir():
            (target / path.name).write_bytes(path.read_bytes())
    broken = directory / "runs" / "model-grpo-big" / "record.npz"
    broken.write_bytes(broken.read_bytes()[:-100])
    assert main(["report", str(directory)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "model-grpo-big" in err


def test_the_page_tells_what_a_comparison_took_where_that_was_kept(directory: Path) -> None:
    """Stored ones of earlier versions did not."""
    content = {key: value for key, value in stored("smollm2-compare-far/comparison.json").items() if key != "cost"}
    (directory / "compare").mkdir()
    for cost in ({}, {"cost": {"step rules": {"seconds": 12.5, "forward": 5, "backward": 81920}}}):
        (directory / "compare" / "comparison.json").write_text(json.dumps(content | cost))
        text = " ".join(" ".join(check_page(_render(directory)[0]).text).split())
        told = "What it took: 12.5 s, on" in text, "step rules 12.5 5 81920" in text
        assert told == (bool(cost), bool(cost))
