"""``whynorm bridge compare``: its files, its tables, and one clear line for what it cannot do."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from llm_bridge.comparing import comparison
from simulator.records import Record
from theory.errors import InputError
from whynorm.cli import main
from whynorm.commands import bridge_compare
from whynorm.compare_tables import compare_tables
from whynorm.comparison import read_comparison
from whynorm.figures_bridge import gap_figure, horizon_figure, multiples_figure

SMALL = [
    "--prompts",
    "5*7 2+7",
    "--steps",
    "4",
    "--anchors",
    "2",
    "--checkpoints",
    "1",
    "--no-whole",
    "--step-rules",
    "2",
]


REPORTED: list[int] = []


@contextmanager
def _reported(label: str, total: int) -> Iterator[Callable[[int], None]]:
    REPORTED.append(total)
    yield REPORTED.append


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("compare")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bridge_compare, "progress", _reported)
        assert main(["bridge", "compare", *SMALL, "--out", str(out)]) == 0
    return out


def test_progress_counts_every_part_and_ends_at_what_was_announced(folder: Path) -> None:
    total, *ticks = REPORTED
    # 4 steps, the gaps of 2 prompts, 3 runs of 2 steps. The gaps take longest: they have to be seen going on.
    assert total == 4 + 2 + 3 * 2
    assert sorted(ticks) == ticks
    assert set(ticks) == set(range(1, total + 1))


def test_everything_is_written(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names == {"comparison.json", "run", "predicted.png", "horizon.png", "gap-0.png"}
    content = read_comparison(folder / "comparison.json")
    assert content is not None
    # As a shell reads it: prompts with blanks between them are one word.
    assert shlex.split(content["command"]) == ["whynorm", "bridge", "compare", *SMALL, "--out", str(folder)]
    assert content["machine"]
    assert (content["model"], content["weights"]) == ("tiny", {})
    assert content["versions"]
    assert [each["period"] for each in content["comparison"]["predictions"]] == [None, 2]
    assert {row["id"] for row in content["evidence"]} >= {
        "E-FIG1",
        "E-TAB1",
        "E-TAB3",
        "E-ASM4",
        "E-FIG3",
        "E-CONSISTENT",
    }
    record = Record.load(folder / "run")
    assert record.J.tolist() == content["comparison"]["curves"]["measured"]


def test_figures_show_every_prompt_and_period(folder: Path) -> None:
    content = read_comparison(folder / "comparison.json")
    assert content is not None
    multiples = multiples_figure(content["comparison"])
    assert [axes.get_title(loc="left") for axes in multiples.axes] == content["comparison"]["prompts"]
    labels = horizon_figure(content["comparison"]).axes[0].get_legend_handles_labels()[1]
    assert labels[:2] == ["anchored at the start", "every 2 steps"]
    bars = gap_figure(content["gaps"][0]).axes[0].patches
    assert len(bars) == 5 * len(content["comparison"]["prompts"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--anchors", "0"], "anchors is '0'"),
        (["--anchors", "5;2"], "anchors is '5;2'"),
        (["--tolerance", "0"], "tolerance is 0.0"),
        (["--checkpoints", "4"], "checkpoints is 4"),
        (["--rule", "power:0.25", "--eta", "1e-4"], "no theorem covers power:0.25"),
        (["--anchors", "9" * 5000], "anchors is '999"),
        (["--checkpoints", "-1"], "checkpoints is -1"),
        (["--step-rules", "-1"], "step-rules is -1"),
        (["--step-rules", "1" + 22 * "0"], "step-rules is 1"),
        (["--rule", "power:0.25", "--eta", "1e-4", "--checkpoints", "0"], "step-rules is 2; expected 0, as no theorem"),
        (["--sampled", "grpo"], "sampled is 'grpo'"),
        (["--sampled", "none:8"], "sampled: "),
        (["--sampled", "paper:1"], "sampled: group size G is 1"),
        (["--sampled", "paper:8", "--seeds", "1"], "seeds is 1"),
        (["--sampled", "paper:8", "--seed", str(2**64 - 1)], "room for 6 seeds"),
        (["--experiment", "no/such/file.json"], "no/such/file.json"),
        (["--model", "no/such/model"], "no/such/model"),
        (["--steps", "0"], "steps is 0"),
    ],
)
def test_bad_input_is_one_line_before_the_run(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # What comes after the run was looked at after it only, which may be hours later.
    monkeypatch.setattr(comparison, "train", lambda *_, **__: pytest.fail("the run has begun"))
    assert main(["bridge", "compare", *SMALL, *arguments]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert words in told[-1]
    assert told[-1].startswith("whynorm: ")


@pytest.mark.parametrize(
    "content", [[], {"parts": []}, {"parts": {"easy": {}}}, {"parts": {"easy": {"pairings": {"same": {}}}}}]
)
def test_a_damaged_experiment_is_refused_before_the_run(
    content: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "train", lambda *_, **__: pytest.fail("the run has begun"))
    (tmp_path / "summary.json").write_text(json.dumps(content))
    assert main(["bridge", "compare", *SMALL, "--experiment", str(tmp_path / "summary.json")]) == 2
    assert capsys.readouterr().err.startswith("whynorm: experiment is ")


def test_a_directory_that_holds_a_comparison_is_refused_and_stays(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was written over, and figures of steps that the new run does not look at stayed."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    # Before anything else is looked at, the model included.
    assert main(["bridge", "compare", *SMALL, "--model", "no/such/model", "--out", str(folder)]) == 2
    (told,) = capsys.readouterr().err.strip().splitlines()
    assert told.startswith("whynorm: out is ")
    assert "a directory without a comparison.json; choose another directory" in told
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_costs_are_kept_and_shown_and_older_comparisons_without_are_still_read(folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / "comparison.json").read_text())
    assert list(content["cost"]) == ["run", "gram", "measured", "gaps", "step rules"]
    shown = StringIO()
    for table in compare_tables(content):
        Console(file=shown, width=120).print(table)
    (gaps,) = (line.split("│") for line in shown.getvalue().splitlines() if line.startswith("│gaps"))
    cost = content["cost"]["gaps"]
    assert [cell.strip() for cell in gaps[-4:-1]] == [
        f"{cost['seconds']:.2f}",
        str(cost["forward"]),
        str(cost["backward"]),
    ]
    del content["cost"]
    (tmp_path / "comparison.json").write_text(json.dumps(content))
    assert read_comparison(tmp_path / "comparison.json") == content
    assert len([*compare_tables(content)]) == 4


def test_reading_back_what_is_something_else_is_refused(tmp_path: Path) -> None:
    assert read_comparison(tmp_path / "comparison.json") is None
    for text in ("{", "[]", json.dumps({"model": "tiny"})):
        (tmp_path / "comparison.json").write_text(text)
        with pytest.raises(InputError, match="whynorm bridge compare --out DIR"):
            read_comparison(tmp_path / "comparison.json")
