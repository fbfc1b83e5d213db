"""The reader of the pages: what it takes for a number, and how near a number must be."""

from __future__ import annotations

import pages
import pytest

AGREE = [("0.25", 0.2484), ("7930", 7930.1), ("460", 463.0), ("3.3", 3.34), ("95 667", 95666.8), ("1.18e4", 11834.8)]
DIFFER = [("0.25", 0.256), ("7930", 7936.0), ("1000", 1090.0), ("30", 31.0), ("three", 2.0), ("-0.01", 0.01)]


@pytest.mark.parametrize(("told", "value"), [*AGREE, ("210,000", 213_000.0), ("three", 3.0), ("−0.028", -0.028)])
def test_a_number_is_the_value_to_the_digits_it_shows(told: str, value: float) -> None:
    assert pages.close(told, value)


@pytest.mark.parametrize(("told", "value"), DIFFER)
def test_another_value_is_not(told: str, value: float) -> None:
    assert not pages.close(told, value)


def test_numbers_of_a_text() -> None:
    assert pages.numbers("two of 8 moves: -0.01 to +1.5e-3, 95 667 (54,615), no") == [
        "two", "8", "-0.01", "+1.5e-3", "95 667", "54,615", "no",
    ]  # fmt: skip


def test_words_that_are_not_on_the_page_and_numbers_that_are_wrong_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        pages, "page", lambda name: "It gains 2.5\ntimes in 8 steps.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    )
    pages.holds("x", "gains # times in # steps", 2.49, 8)
    assert list(pages.rows(pages.page("x"), "a")) == [["1", "2"]]
    for words, values in (("gains # times in # steps", (2.6, 8)), ("loses # times", (2.5,))):
        with pytest.raises(AssertionError):
            pages.holds("x", words, *values)
