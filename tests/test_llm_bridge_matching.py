"""When a completion is right: numbers as GSM8K means them, boxed answers, mathematical equality."""

from __future__ import annotations

import threading
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_bridge.asking.matching import boxed, equal_answers, number_of

NUMBERS = [
    ("#### 18", 18),
    ("6 * 3 = 18 eggs\n#### 18", 18),
    ("#### 18 and then 7", 18),
    ("#### 1,050", 1050),
    ("#### $1,234.50", Fraction("1234.5")),
    ("-$5", -5),
    ("$-5", -5),
    ("it falls to \u22125 degrees", -5),
    ("x = -0.50", Fraction(-1, 2)),
    ("so .25 of it", Fraction(1, 4)),
    ("10-5", 5),
    ("(3)-2", 2),
    ("3 - 2", 2),
    ("The answer is 18.", 18),
    ("18.0", 18),
    ("2,3,5", 5),
    ("12,34", 34),
    ("45%", 45),
    ("60 miles/2 hours", 2),
    ("3/4 of a cup", Fraction(3, 4)),
    ("12/25/2023", 2023),
    ("about 1e5 people", 100000),
    ("1e999", 999),
    ("5/0", None),
    ("none", None),
    ("", None),
    ("####", None),
    ("#### x 7", 7),
    ("7 #### none", None),
    ("first #### 3 then #### 4", 4),
    ("9" * 400, None),
    ("\u0663", None),
]


@pytest.mark.parametrize(("text", "value"), NUMBERS, ids=[repr(text)[:30] for text, _ in NUMBERS])
def test_the_number_of_a_text(text: str, value: Fraction | int | None) -> None:
    assert number_of(text) == value


@given(
    st.integers(-(10**12), 10**12), st.sampled_from(["{}", "{:,}", "{}.0", "{:,}.00", "so {} dollars.", "#### {:,}"])
)
def test_a_number_is_read_back_however_it_is_written(value: int, form: str) -> None:
    assert number_of(form.format(value)) == value


@given(st.text(max_size=60))
def test_no_text_is_too_odd(text: str) -> None:
    number_of(text)
    boxed(text)


BOXED = [
    (r"so $x = \boxed{3}$.", "3"),
    (r"\boxed{\frac{1}{9}}", r"\frac{1}{9}"),
    (r"first \boxed{1}, then \boxed{ 2 }", "2"),
    (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
    (r"\boxed{\left\{x \mid \frac{a}{b}\right\}}", r"\left\{x \mid \frac{a}{b}\right\}"),
    (r"\fbox{7}", "7"),
    (r"$\boxed 8$", "8"),
    (r"\boxed {9}", "9"),
    (r"\boxed{1 + {2}", None),
    (r"\boxed", None),
    ("3", None),
]


@pytest.mark.parametrize(("text", "content"), BOXED, ids=[text for text, _ in BOXED])
def test_the_content_of_the_last_box(text: str, content: str | None) -> None:
    assert boxed(text) == content


EQUAL = [
    (r"\boxed{\frac{4}{36}}", r"\frac{1}{9}", True),
    (r"\boxed{0.5}", r"\frac12", True),
    (r"\boxed{\sqrt{27}}", r"3\sqrt{3}", True),
    (r"\boxed{(2, 3)}", "(2,3)", True),
    (r"The answer is $25\pi$.", r"25\pi", True),
    (r"\boxed{25}", r"25\pi", False),
    (r"\boxed{\frac{1}{8}}", r"\frac{1}{9}", False),
    (r"it is 1, boxed{1}", "2", False),
    ("", "2", False),
    (r"\boxed{}", "2", False),
]


@pytest.mark.parametrize(("text", "target", "equal"), EQUAL, ids=[text for text, _, _ in EQUAL])
def test_answers_are_equal_mathematically(text: str, target: str, equal: bool) -> None:
    assert equal_answers(text, target) is equal


@pytest.mark.filterwarnings("error")
def test_equality_works_in_a_thread_where_no_signal_may_be_set() -> None:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(equal_answers(r"\boxed{\frac{2}{4}}", "0.5")))
    thread.start()
    thread.join()
    assert found == [True]
