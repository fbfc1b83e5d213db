"""What people are shown of a claim: its place, its links, its worst instance, a plot of its sides, the errata."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from test_whynorm_cli import Capture, call
from test_whynorm_page import Page, fill

import whynorm.verify
from theory.claims import load_registry
from whynorm.errata import errata, errata_markdown, misprints, shown_instance, shown_side
from whynorm.report import write_report
from whynorm.scatter import SIZE, scatter_plots
from whynorm.sections import group_claims, verdict_counts
from whynorm.verify import Effort

CHAIN, POINT, EQUALITY, IFF = "P-T34-APPENDIX-FIXED", "P-L31-VAR", "P-EQ10", "P-T32-COMPARE-FIXED"
LOWER, PRINTED = "P-T31-DESCENT-FIXED", "P-T34-APPENDIX"
CHOSEN = [CHAIN, POINT, EQUALITY, IFF, LOWER, PRINTED, "S-UPDATE-SHORT", "S-UPDATE-SHORT-FIXED", "P-T32-SUM"]

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    """Rows of a few claims of every kind, as `whynorm verify --json` writes them."""
    effort = Effort(examples=12, evaluations=6, steps=6, sampled_steps=3)
    return {c: whynorm.verify.verify_claim(load_registry()[c], effort).to_json() for c in CHOSEN}


def test_every_claim_of_the_registry_has_one_place_and_the_sources_come_in_order() -> None:
    claims = [{"id": c.id, "source": c.source, "place": c.place, "verdict": "proved"} for c in load_registry()]
    sections = group_claims(claims)
    assert sorted(c["id"] for s in sections for c in s.claims) == sorted(c["id"] for c in claims)
    assert len({s.anchor for s in sections}) == len(sections)
    sources = [s.source for s in sections]
    assert list(dict.fromkeys(sources)) == ["paper", "talk", "whynorm"]
    assert sources == sorted(sources), "each source is one block"
    titles = [s.title for s in sections if s.source == "paper"]
    known = ["Lemma 3.1", "Lemma 3.2", "Theorem 3.1", "Theorem 3.4", "Lemma D.1", "Appendix D.2", "Appendix E.2"]
    assert [title for title in titles if title in known] == known


@pytest.mark.parametrize(
    ("place", "title"),
    [
        ("App. D.3, before eq. (22)", "Appendix D.3"),
        ("App. C.1, eq. (13)", "Appendix C.1"),
        ("after Theorem 3.2", "Theorem 3.2"),
        ("eq. (5)", "Displayed equations"),
        ("a footnote", "Elsewhere"),
    ],
)
def test_places_have_headings(place: str, title: str) -> None:
    (section,) = group_claims([{"source": "paper", "place": place, "verdict": "refuted"}])
    assert (section.title, section.counts) == (title, {"refuted": 1})


def test_counts_leave_nothing_out() -> None:
    assert verdict_counts([{"verdict": v} for v in ("refuted", "odd", "proved", "refuted")]) == {
        "proved": 1,
        "refuted": 2,
        "odd": 1,
    }


def test_each_link_of_a_chain_has_its_own_tightness(rows: dict[str, Row]) -> None:
    links = rows[CHAIN]["links"]
    assert [link["name"] for link in links] == [link.name for link in load_registry()[CHAIN].links]
    for number, link in enumerate(links):
        assert 0 < link["tightness"] <= 1, number
        assert link["slack"] == pytest.approx(1 / link["tightness"])
    assert max(link["tightness"] for link in links) == rows[CHAIN]["tightness"]
    assert rows[EQUALITY]["links"] == [{"name": "", "relation": "==", "tightness": 1.0, "slack": None}]
    (single,) = rows[POINT]["links"]
    assert (single["tightness"], single["slack"]) == (rows[POINT]["tightness"], rows[POINT]["slack"])


def test_the_failing_link_of_a_refuted_chain_exceeds_1(rows: dict[str, Row]) -> None:
    row = rows[PRINTED]
    failing = next(link for link in row["links"] if link["name"] == row["counterexample"]["link"])
    assert failing["tightness"] > 1
    assert failing["slack"] < 1


def test_both_sides_at_the_worst_instance_have_its_ratio(rows: dict[str, Row]) -> None:
    for claim_id in (CHAIN, POINT, LOWER):
        row = rows[claim_id]
        items = [item for item in row["evidence"] if "worst_sides" in item]
        assert [item["kind"] for item in items if item["kind"] != "attained"] == ["property", "trajectory"]
        for item in items:
            sides = item["worst_sides"]
            low, high = sorted((sides["left"], sides["right"]))
            assert low / high == pytest.approx(item["worst_ratio"], rel=1e-6)
            assert len(item["worst_instance"]["theta"]) > 0


def test_plots_show_the_sampled_sides_on_the_right_side_of_the_line(rows: dict[str, Row]) -> None:
    for claim_id, below in ((POINT, True), (LOWER, False), (CHAIN, None)):
        plots = scatter_plots(rows[claim_id])
        assert [plot.name for plot in plots] == [link["name"] for link in rows[claim_id]["links"]]
        for plot in plots:
            assert plot.ticks[0].at == 0
            assert plot.ticks[-1].at == SIZE
            dots = [
                tuple(map(int, pair)) for path in plot.paths.values() for pair in re.findall(r"M(\d+) (\d+)h0", path)
            ]
            assert 1 <= len(dots) <= 150
            assert all(0 <= value <= SIZE for dot in dots for value in dot)
            if below is not None:
                # SVG counts downwards; a point on the line may be rounded to either side.
                assert all((x + y >= SIZE - 1) if below else (x + y <= SIZE + 1) for x, y in dots)
    assert scatter_plots(rows[EQUALITY]) == scatter_plots(rows[IFF]) == []


def test_a_pair_far_from_the_others_is_counted_and_not_drawn() -> None:
    sides = [[0, 1.0, 2.0]] * 5 + [[0, 1e-30, 1e-29], [0, 1e40, 1e41]]
    claim = {
        "links": [{"name": "", "relation": "<="}],
        "evidence": [{"kind": "property", "sides": sides}, {"kind": "proof"}],
    }
    (plot,) = scatter_plots(claim)
    assert plot.left_out == 2
    assert len(re.findall("M", plot.paths["property"])) == 1, "coincident points are one"


def test_errata_follow_from_verdicts_alone(rows: dict[str, Row]) -> None:
    found = errata(rows.values())
    assert {s: [e.claim["id"] for e in entries] for s, entries in found.items()} == {
        "paper": ["P-T32-SUM", PRINTED],
        "talk": ["S-UPDATE-SHORT"],
    }
    sums, chain, short = found["paper"][0], found["paper"][1], found["talk"][0]
    assert sums.repaired is None, "its repaired form was not looked at"
    assert chain.link == rows[PRINTED]["counterexample"]["link"] != ""
    assert chain.repaired is rows[CHAIN]
    assert short.repaired is rows["S-UPDATE-SHORT-FIXED"]
    text = errata_markdown(rows.values())
    assert text.index("## The paper") < text.index("P-T32-SUM") < text.index(PRINTED) < text.index("## The talk")
    assert f"**Repaired** (`{CHAIN}`, proved): ${rows[CHAIN]['statement']}$" in text
    assert "`P-T32-SUM-FIXED`, not looked at here" in text
    assert "features = [[[1], [0]]], right outputs = [0], theta = [0], T = 76: left side 0.416147" in text
    assert f"**What fails:** {chain.link}" in text
    assert "Misprints" not in text, "none of these rows has one"
    slip = {**rows[CHAIN], "misprint": True, "remark": "A sign is missing."}
    assert misprints([*rows.values(), slip]) == [slip]
    assert f"- **{slip['place']}** (`{CHAIN}`): A sign is missing." in errata_markdown([*rows.values(), slip])
    healed = [{**row, "verdict": "proved"} for row in rows.values()]
    assert "is refuted" in errata_markdown(healed)
    assert "##" not in errata_markdown(healed)


def test_instances_are_exact_where_short_and_say_where_they_are_not() -> None:
    instance = {"features": [[["1/3"], ["123456789/1234567890"]]], "answers": [0], "theta": ["-2"], "steps": 7}
    instance |= {"direction": ["5"], "displacement": ["6"]}
    shown = shown_instance(instance, "expectation")
    assert shown["features"] == "[[[1/3], [~0.1]]]"
    assert (shown["T"], "y" in shown) == ("7", False)
    assert ("T" in shown_instance(instance, "point"), shown_instance(instance, "point")["y"]) == (False, "[5]")
    assert shown_instance(instance, "ball")["v"] == "[6]"
    large = {**instance, "features": [[["1"] * 30] * 4]}
    assert shown_instance(large, "point")["features"] == "120 numbers, in verdicts.json"
    assert shown_side("[0.416147398783365 +/- 2.52e-16]") == "0.416147"
    assert shown_side("-1.5e-09") == "-1.5e-09"
    assert shown_side("<b>") == "<b>"


def test_the_report_draws_what_the_verdicts_hold(rows: dict[str, Row], tmp_path: Path) -> None:
    fill(tmp_path, [*rows, "P-T32-SUM"])
    content = json.loads((tmp_path / "verdicts.json").read_text())
    content["claims"] = [rows.get(row["id"], row) for row in content["claims"]]
    (tmp_path / "verdicts.json").write_text(json.dumps(content))
    html = write_report(tmp_path)[1].read_text()
    page = Page(html)
    assert html.count('<figure class="scatter">') == sum(len(scatter_plots(row)) for row in content["claims"]) >= 4
    assert html.count('class="erratum"') == 3
    assert "Link by link" in html
    assert "Worst instance met" in html
    assert "An equality, checked in ball arithmetic" in html
    assert "show-refuted" in page.values("id")
    assert {section.anchor for section in group_claims(content["claims"])} <= set(page.values("id"))


def test_verify_prints_links_and_writes_errata(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whynorm.verify, "QUICK", Effort(examples=3, evaluations=1, steps=5, sampled_steps=3))
    argv = ["verify", "--claim", CHAIN, "--claim", "S-UPDATE-SHORT", "--errata", tmp_path / "new" / "errata.md"]
    code, out, err = call(capsys, *argv, "--workers", 1)
    assert (code, err) == (0, f"errata: {tmp_path / 'new' / 'errata.md'}\n")
    assert f"{CHAIN}, link by link" in out
    assert all(link.name in out for link in load_registry()[CHAIN].links)
    assert max(map(len, out.splitlines())) <= 80
    text = (tmp_path / "new" / "errata.md").read_text()
    assert "S-UPDATE-SHORT" in text
    assert CHAIN not in text
