"""`whynorm bridge tasks` and `whynorm bridge split` as a person meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_whynorm_bad_input import check_refusal, name_case
from test_whynorm_cli import Capture, call

from llm_bridge.asking.datasets import KINDS


def test_the_list_has_every_kind_with_a_question(capsys: Capture) -> None:
    code, out, _ = call(capsys, "bridge", "tasks", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [row["task"].partition(":")[0] for row in rows] == list(KINDS)
    assert all(row["question"] and not row["question"].startswith("(") for row in rows)
    assert max(map(len, call(capsys, "bridge", "tasks")[1].splitlines())) <= 80


def test_a_task_is_shown(capsys: Capture) -> None:
    code, out, _ = call(capsys, "bridge", "tasks", "gsm8k:sample", "--form", "chat", "--show", "1")
    assert code == 0
    assert "user: Mara bakes 4 trays" in " ".join(out.split())


def test_split_then_a_part_of_it(capsys: Capture, tmp_path: Path) -> None:
    argv = ["bridge", "split", "--task", "arithmetic:product,limit=12", "--mode", "exact", "--out", tmp_path / "s"]
    code, out, _ = call(capsys, *argv, "--easy", "0.6:1", "--hard", "0:0.6", "--json")
    assert code == 0
    parts = {row["part"]: row for row in json.loads(out)["parts"]}
    assert parts["easy"]["questions"] + parts["hard"]["questions"] == 12
    assert parts["easy"]["mean pass rate"] > 0.6 > parts["hard"]["mean pass rate"]
    name = f"arithmetic:product,split={tmp_path / 's' / 'split.jsonl'},part=hard"
    code, out, _ = call(capsys, "bridge", "tasks", name, "--json")
    assert (code, json.loads(out)[0]["questions"]) == (0, parts["hard"]["questions"])


def test_a_sampled_split_with_a_reward_of_ones_own(capsys: Capture, tmp_path: Path) -> None:
    reward = tmp_path / "mine.py"
    reward.write_text("def empty(completions, **columns):\n    return [float(not each) for each in completions]\n")
    argv = ["bridge", "split", "--task", "arithmetic:3+5 2+2", "--reward", f"{reward}:empty", "--samples", "2"]
    code, out, _ = call(capsys, *argv, "--max-new-tokens", "4", "--out", tmp_path / "s", "--json")
    assert code == 0
    assert json.loads(out)["parts"][1]["never solved"] == 2


SPLIT = ["bridge", "split", "--out", "s", "--task"]
BAD = [
    (["bridge", "tasks", "nothing"], "task is 'nothing'"),
    (["bridge", "tasks", "arithmetic:sum", "--show", "0"], "show is 0"),
    ([*SPLIT, "gsm8k:none.jsonl"], "No such file"),
    ([*SPLIT, "gsm8k:broken.jsonl"], "line 2 of broken.jsonl"),
    ([*SPLIT, "choices:twice.jsonl"], "no answer twice"),
    ([*SPLIT, "choices:empty.jsonl"], "at least one line"),
    ([*SPLIT, "arithmetic:sum", "--easy", "0.5"], "easy is '0.5'"),
    ([*SPLIT, "arithmetic:sum", "--easy", "0.2:1"], "hard is (0.0, 0.5)"),
    ([*SPLIT, "arithmetic:sum", "--samples", "0"], "samples is 0"),
    ([*SPLIT, "arithmetic:sum", "--confidence", "1"], "confidence is 1.0"),
    ([*SPLIT, "arithmetic:sum", "--seed", "-1"], "seed is -1"),
    ([*SPLIT, "arithmetic:sum", "--model", "none"], "model is 'none'"),
    ([*SPLIT, "arithmetic:sum", "--reward", "mine.py:f"], "a Python file that is there"),
    (
        [*SPLIT, "arithmetic:sum", "--reward", "raises.py:f", "--max-new-tokens", "3"],
        "reward function of arithmetic:sum",
    ),
    ([*SPLIT, "arithmetic:sum", "--max-new-tokens", "0"], "max-new-tokens is 0"),
    ([*SPLIT, "gsm8k:sample", "--mode", "exact"], "finite answer set"),
    # Exact rates are the probability of the right answer: no completion is there to be rewarded.
    ([*SPLIT, "arithmetic:sum", "--mode", "exact", "--reward", "raises.py:f"], "reward is 'raises.py:f'"),
]


@pytest.mark.parametrize(("argv", "message"), BAD, ids=name_case)
def test_bad_input_is_one_line_and_leaves_nothing(
    argv: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.jsonl").write_text('{"question": "q", "answer": "#### 1"}\n{"question": \n')
    Path("twice.jsonl").write_text('{"question": "q", "answers": ["1", "1"], "correct": "1"}\n')
    Path("empty.jsonl").write_text("")
    Path("raises.py").write_text("def f(**columns):\n    raise KeyError('answer')\n")
    check_refusal(argv, message, tmp_path, capsys)
