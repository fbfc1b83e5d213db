"""Answers to SQL: nothing is cut in a pipe, nothing is lost in JSON, and no value steers the terminal."""

from __future__ import annotations

import json
from typing import Any

import duckdb
import pytest
from test_whynorm_cli import Capture

from simulator.sweeps.results import Answer
from theory.errors import InputError
from whynorm.answers import answer_json, print_answer


def ask(sql: str) -> Answer:
    cursor = duckdb.sql(sql)
    return Answer(tuple(cursor.columns), cursor.fetchall())


@pytest.mark.parametrize(
    ("sql", "desired"),
    [
        ("SELECT [1.5, 'nan'::DOUBLE, 'inf'::DOUBLE] AS a", {"a": [1.5, None, None]}),
        ("SELECT {'x': '-inf'::DOUBLE, 'y': [{'z': 'nan'::DOUBLE}]} AS a", {"a": {"x": None, "y": [{"z": None}]}}),
        ("SELECT map {1.5: 'nan'::DOUBLE} AS a, ['nan'::DOUBLE]::DOUBLE[1] AS b", {"a": {"1.5": None}, "b": [None]}),
        ("SELECT DATE '2020-01-02' AS a, NULL AS b, 1 AS A_1", {"a": "2020-01-02", "b": None, "A_1": 1}),
    ],
)
def test_whatever_is_no_number_is_null_at_any_depth(sql: str, desired: Any) -> None:
    assert json.loads(answer_json(ask(sql))) == [desired]


def test_columns_of_one_name_are_refused_in_json_and_shown_in_tables(capsys: Capture) -> None:
    answer = Answer(("a", "a"), [(1, 2)])
    with pytest.raises(InputError, match="column is 'a'; expected a name for one column only"):
        answer_json(answer)
    print_answer(answer)
    assert capsys.readouterr().out.splitlines()[-1].split() == ["1", "2"]


def test_a_pipe_gets_all_columns_in_full(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    names = tuple(f"column_{i}" for i in range(40))
    print_answer(Answer(names, [tuple(f"{name} {'x' * 100}" for name in names)]))
    head, _, row = (line.rstrip() for line in capsys.readouterr().out.splitlines())
    assert head.split() == list(names)
    assert row.split() == [word for name in names for word in (name, "x" * 100)]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    print_answer(Answer(names, []))
    assert len(capsys.readouterr().out.splitlines()[-1]) <= 80


def test_values_cannot_steer_the_terminal(capsys: Capture) -> None:
    print_answer(
        Answer(
            ("a\x1b[31m",),
            [
                ("red\x1b[31m\x07\x9b2J\nnext [bold]",),
                (
                    [
                        "\x1b]0;title",
                    ],
                ),
            ],
        )
    )
    out = capsys.readouterr().out
    assert all(c.isprintable() for c in out.replace("\n", ""))
    assert out.splitlines()[2].rstrip() == "red[31m2J next [bold]"
