"""The paragraphs of docs/studies.md are what the studies say, and the phases of docs/measuring.md those of a study."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from pages import holds, page, rows, section

from simulator.plateau_study import Fit
from whynorm.studies.study import STUDIES, load_spec, perform

pytestmark = pytest.mark.deep


@cache
def _performed(name: str) -> dict[str, Any]:
    """A shipped study, some 20 s to some minutes of processor time."""
    return perform(name, load_spec(name))


@pytest.mark.parametrize(
    "name", [name for name in STUDIES if f"study {name} --out" in page("studies").split("## ", 1)[1]]
)
def test_paragraphs(name: str) -> None:
    assert _performed(name)["paragraph"] in page("studies")


def test_exponents_of_plateaus() -> None:
    text = section("studies", "## Plateaus: how long a hard prompt takes, and how the tail falls")
    fits = [Fit(**fit) for fit in _performed("plateau")["fits"]]
    told = [[fit.rule, fit.of, f"{fit.slope:.5g}", f"{fit.low:.5g} to {fit.high:.5g}", f"{fit.predicted:.5g}"]
            for fit in fits]  # fmt: skip
    assert list(rows(text, "rule | of")) == told


def test_what_the_finder_of_phases_says_of_the_study() -> None:
    from llm_bridge.measurement.phases import find_phases

    study = _performed("phases")
    time, curves = np.array(study["t"], dtype=float), study["rules"]["grpo"]
    mean = np.array(curves["mean_J"])
    three = np.stack([mean * (1 - mean), curves["mean_cosine"], curves["std_cosine"]], axis=1)
    linear, logarithmic = find_phases(time, three), find_phases(np.log(time + 1), three)
    holds("measuring", "breaks are found at steps #, #, # and # of GRPO's curves", *linear.breaks)
    begins = [time[curves["phases"].index(phase)] for phase in ("II", "III")]
    holds("measuring", "where the study's thresholds say # and #; in logarithmic time", *begins)
    assert not logarithmic.breaks
    assert logarithmic.p is not None
    holds("measuring", "the same curves need none (p = #).", logarithmic.p)
