"""The table of all verdicts, and the links of a chain, on the report's page."""

from __future__ import annotations

import json
import re
from pathlib import Path

from test_whynorm_page import fill

from whynorm.report import write_report


def test_a_link_without_a_tightness_says_why(tmp_path: Path) -> None:
    """Of an inequality there is none where no instance has two sides above 0; an equivalence has none anyway."""
    fill(tmp_path, ["P-T32-SUM", "X-IDENTITY"])
    told = "none: no instance has two sides"
    file = tmp_path / "verdicts.json"
    content = json.loads(file.read_text())
    links = [{"name": name, "slack": None} for name in ("attained", "may be a loss", "iff")]
    links[0] |= {"relation": ">=", "tightness": 1.0}
    links[1] |= {"relation": ">=", "tightness": None}
    links[2] |= {"relation": "iff", "tightness": None}
    for claim in content["claims"]:
        claim["links"] = [claim["links"][0] | {"tightness": 0.5}]
    for shown, expected in ((links[:1] + links[2:], 0), (links, 1)):
        content["claims"][0]["links"] = shown
        file.write_text(json.dumps(content))
        assert write_report(tmp_path)[1].read_text().count(told) == expected


def test_a_ratio_just_above_a_bound_is_not_shown_as_1(tmp_path: Path) -> None:
    fill(tmp_path, ["P-T32-SUM"])
    file = tmp_path / "verdicts.json"
    content = json.loads(file.read_text())
    (claim,) = content["claims"]
    claim["links"] = [{"name": name, "relation": "<=", "tightness": 1.0045, "slack": 0.9955} for name in "ab"]
    file.write_text(json.dumps(content))
    page = re.sub(r"\s+", " ", write_report(tmp_path)[1].read_text())
    cells = '<td class="value">1.004</td><td class="value">0.996 times</td>'
    assert page.count(cells) == 2


def test_one_table_has_every_verdict_with_its_evidence_and_a_link(tmp_path: Path) -> None:
    """Of a refuted claim there is no tightness: what the search met is beyond the bound."""
    fill(tmp_path, ["P-T32-SUM", "P-L32"])
    file = tmp_path / "verdicts.json"
    verdicts = json.loads(file.read_text())
    for claim in verdicts["claims"]:
        claim |= {"tightness": 0.4, "slack": 2.5}
    file.write_text(json.dumps(verdicts))
    content = {claim["id"]: claim for claim in verdicts["claims"]}
    html = write_report(tmp_path)[1].read_text()
    page = re.sub(r"\s+", " ", html)
    (table,) = re.findall(r"All verdicts in one table</summary>(.*?)</table>", page)
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in table.split("<tr>")[2:]]
    told = {cells[0]: cells for row in rows if (cells := [re.sub("<[^>]+>", "", cell).strip() for cell in row])}
    assert set(told) == set(content)
    for name, claim in content.items():
        assert f'<a href="#{name}">' in table
        evidence = ", ".join(f"{item['kind']} {item['outcome']}" for item in claim["evidence"])
        assert told[name][1:2] + told[name][4:] == [claim["verdict"], evidence, claim["place"]]
    assert told["P-T32-SUM"][2:4] == ["", ""]
    assert told["P-L32"][2:4] == ["0.4", "2.5"]
