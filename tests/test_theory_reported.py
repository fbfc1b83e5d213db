"""Printed figures as exact intervals, and E-CONSISTENT: what agrees, what does not, and that it could be otherwise."""

from __future__ import annotations

from fractions import Fraction

import pytest

import theory.consistency
from theory.consistency import checks, conflicts
from theory.reported import FIGURES, Figure, figures_of


def _figure(printed: str, words: str = "rounded", quantity: str = "x") -> Figure:
    return Figure(quantity, printed, words, "paper", "here", "said")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("printed", "words", "low", "high"),
    [
        ("0.039", "rounded", "77/2000", "79/2000"),
        ("0.04", "about", "3/100", "5/100"),
        ("0.96-0.98", "between", "191/200", "197/200"),
        ("0.80", "over", "4/5", "1000000000"),
        ("10", "under", "-1000000000", "10"),
    ],
)
def test_words_are_intervals(printed: str, words: str, low: str, high: str) -> None:
    assert _figure(printed, words).numbers == (Fraction(low), Fraction(high))


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        (("0.039", "rounded"), ("0.04", "about"), True),
        (("0.977", "rounded"), ("0.80", "over"), True),
        (("89", "rounded"), ("10", "under"), False),
        (("64", "rounded"), ("16", "rounded"), False),
        (("I", "is"), ("I", "is"), True),
        (("I", "is"), ("II", "is"), False),
    ],
)
def test_figures_agree_if_one_value_is_meant_by_both(one: tuple, other: tuple, agree: bool) -> None:
    assert _figure(*one).agrees(_figure(*other)) == _figure(*other).agrees(_figure(*one)) == agree


def test_every_figure_has_a_place_and_words_of_the_source() -> None:
    for figure in FIGURES:
        assert figure.place
        assert figure.quotation
        assert figure.words == "is" or figure.numbers is not None


def test_percentages_of_table_3_are_shares_of_4950_pairs() -> None:
    for step in ("0", "260", "500"):
        for name in ("share of cosine > 0", "share of |cosine| < 0.1"):
            low, high = figures_of(f"{name}, step {step}")[0].numbers  # type: ignore[misc]
            assert any(low <= Fraction(count, 4950) <= high for count in range(4951))


def test_what_cannot_all_be_true() -> None:
    titles = {check.title for check in conflicts()}
    assert {f"M, step {step}" for step in ("0", "260", "500")} <= titles
    assert "LoRA rank" in titles
    assert "accuracy at the end, easy, std" in titles
    assert "Assumption 4 with a finite M for all pairs, step 500" in titles
    assert "what the cosines of Fig. 1 are of" in titles


def test_what_agrees_is_not_called_a_conflict() -> None:
    agree = {check.title for check in checks() if check.agree}
    assert {"pairs of 100 prompts", "easy prompts", "share of |cosine| < 0.1, step 0"} <= agree
    assert "p-value, same iteration" in agree
    assert "accuracy at the start, hard" in agree


def test_step_260_leaves_assumption_4_a_way_out() -> None:
    check = next(c for c in checks() if c.title.endswith("all pairs, step 260"))
    assert check.agree
    assert "1349 of 4950 cosines are exactly 0" in check.reason


def test_another_table_would_be_consistent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of Assumption 4 follows the numbers: a row without spread could do without negative cosines."""
    wide = "std of cosines, step 500"

    def narrow(quantity: str) -> tuple[Figure, ...]:
        return (_figure("0.05", quantity=wide),) if quantity == wide else figures_of(quantity)

    monkeypatch.setattr(theory.consistency, "figures_of", narrow)
    check = next(c for c in checks() if c.title.endswith("all pairs, step 500"))
    assert check.agree


def test_conflicts_say_whether_they_are_within_one_source() -> None:
    between = {check.title: check.between_sources for check in conflicts()}
    assert not between["M, step 260"]
    assert between["LoRA rank"]
