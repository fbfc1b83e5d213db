"""Progress: plain lines off a terminal, a bar on one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from test_whynorm_cli import Capture

import whynorm.console


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def test_progress_off_a_terminal_is_plain_lines(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = _Clock()
    monkeypatch.setattr(whynorm.console, "time", clock)
    with whynorm.console.progress("counting [x]", 30) as tick:
        for done in range(1, 31):
            clock.now += 1
            tick(done)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"counting [x]: {done} of 30, {done} s" for done in (10, 20, 30)]


def test_progress_of_quick_work_is_silent(capsys: Capture) -> None:
    with whynorm.console.progress("counting", 3) as tick:
        for done in (1, 2, 3):
            tick(done)
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal_draws_a_bar_and_removes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(whynorm.console, "console", Console(file=screen, force_terminal=True, width=80))
    with whynorm.console.progress("counting [x]", 3) as tick:
        tick(2)
    drawn = screen.getvalue()
    assert "counting [x]" in drawn
    assert "\x1b[2K" in drawn


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.123"),
        (1.0045, "1.004"),
        (0.99996, "0.99996"),
        (1.0000004, "1"),
        (1.0, "1"),
        (0.0, "0"),
        (1e300, "1e+300"),
        (None, ""),
    ],
)
def test_a_ratio_beside_one_is_not_shown_as_one(value: float | None, text: str) -> None:
    assert whynorm.console.ratio_text(value) == text
