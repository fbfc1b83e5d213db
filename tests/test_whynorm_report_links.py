"""The links of a chain on the report's page."""

from __future__ import annotations

import json
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
