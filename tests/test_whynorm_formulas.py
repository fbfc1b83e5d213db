"""Formulas of the page: nothing is lost, and lines may break where a reader would break them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from latex2mathml.converter import convert

from theory.claim import Claim
from theory.claims import load_registry
from whynorm.formulas import display_maths


def _leaves(text: str) -> list[str]:
    """What is written, in order."""
    return [leaf.text or "" for leaf in ElementTree.fromstring(text).iter() if not len(leaf)]


def _parts(latex: str) -> list[str]:
    """The text of every part."""
    root = ElementTree.fromstring(display_maths(latex))
    return ["".join(part.itertext()) for part in root.iter() if part.tag.endswith("}math")]


@pytest.mark.parametrize("claim", load_registry(), ids=lambda claim: claim.id)
def test_nothing_is_lost_and_nothing_stays_wide(claim: Claim) -> None:
    statement = claim.statement
    assert _leaves(display_maths(statement)) == [leaf.replace(r"\|", "‖") for leaf in _leaves(convert(statement))]
    # A part of more symbols is a product or a fraction, which the page scrolls if it must.
    assert max(map(len, _parts(statement))) < 75


@pytest.mark.parametrize(
    ("latex", "parts"),
    [
        (r"a \le b + c", ["a", "≤b", "+c"]),
        (r"-a - b", ["−a", "−b"]),
        (r"f(a + b) = \|a - b\|^2", ["f(a+b)", "=‖a−b‖2"]),
        (r"\langle a,b\rangle > 0,\quad c_{1,2}", ["⟨a,b⟩", ">0,", "c1,2"]),
        (r"(a)^2 + \Big\|b\Big\| \text{ if } c", ["(a)2", "+‖b‖", "\xa0if\xa0c"]),
        (r"\left(a + b\right) c", ["(a+b)c"]),
    ],
)
def test_where_a_line_may_break(latex: str, parts: list[str]) -> None:
    assert _parts(latex) == parts


def test_clauses_break_before_sides_and_sides_before_sums() -> None:
    html = re.sub(r"<math.*?</math>", "m", display_maths(r"a \le b + c, \quad d = e"))
    assert html == '<div class="formula"><span>m<span>mm</span></span><span>mm</span></div>'


def test_an_operator_that_begins_a_line_is_spaced_as_within() -> None:
    root = ElementTree.fromstring(display_maths("-a - b"))
    assert [node.get("form") for node in root.iter() if node.text == "−"] == [None, "infix"]
