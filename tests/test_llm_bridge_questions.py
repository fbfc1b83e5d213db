"""Tasks by name: questions, their wordings and parts, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llm_bridge.asking.datasets import KINDS
from llm_bridge.asking.finite_sets import exact_prompts
from llm_bridge.asking.questions import Question, Task, get_task, rewards_of
from llm_bridge.tasks import prompts_from_names
from theory.errors import InputError

CHAT = SimpleNamespace(chat_template="{{ messages }}")
PLAIN = SimpleNamespace(chat_template=None)
TOKENS = [[1]]


def reward(task: Task, text: str, index: int = 0) -> float:
    return float(rewards_of(task, [task.questions[index]], 1, [text], TOKENS)[0, 0])


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("form", ["plain", "chat"])
def test_every_kind_has_an_example_whose_own_answers_are_right(kind: str, form: str) -> None:
    task = get_task(KINDS[kind].example, form=form, limit=6)
    for index, question in enumerate(task.questions):
        assert isinstance(question.prompt, str) == (form == "plain")
        right = question.columns["target" if kind == "math" else "answer"]
        right = right if isinstance(right, str) else right[0]
        assert reward(task, f"\\boxed{{{right}}}" if kind == "math" else right, index) == 1.0
        assert reward(task, "I do not know", index) == 0.0


def test_one_definition_gives_both_wordings() -> None:
    plain, chat = (get_task("arithmetic:sum", form=form) for form in ("plain", "chat"))
    assert [q.name for q in plain.questions] == [q.name for q in chat.questions]
    assert plain.questions[35].prompt == "3+5="
    assert chat.questions[35].prompt == ({"role": "user", "content": "What is 3 + 5? Answer with just the number."},)


@pytest.mark.parametrize(("tokenizer", "plain"), [(None, True), (PLAIN, True), (CHAT, False)])
def test_the_tokenizer_decides_the_form(tokenizer: Any, plain: bool) -> None:
    assert isinstance(get_task("arithmetic:3+5", tokenizer=tokenizer).questions[0].prompt, str) is plain


def test_arithmetic_without_a_kind_has_all_kinds_in_equal_parts() -> None:
    names = [question.name for question in get_task("arithmetic").questions]
    assert len(names) == len(set(names)) == 400
    assert sum("*" in name for name in names) == sum("-" in name for name in names) == 100


def test_options_in_the_name_win_and_spread_evenly() -> None:
    task = get_task("arithmetic:sum,limit=4", limit=50)
    assert [q.name for q in task.questions] == ["0+0", "2+5", "5+0", "7+5"]


def test_arithmetic_questions_are_the_prompts_of_exact_mode() -> None:
    names = ["3+5", "17+26", "15-8", "6*7"]
    for prompt, same in zip(
        exact_prompts(get_task("arithmetic:" + " ".join(names)).questions), prompts_from_names(names), strict=True
    ):
        assert (prompt.question, prompt.answers, prompt.correct) == (same.question, same.answers, same.correct)


def test_a_chat_question_keeps_its_chat_form() -> None:
    (prompt,) = exact_prompts(get_task("arithmetic:3+5", form="chat").questions)
    assert prompt.chat == prompts_from_names(["3+5"])[0].chat
    (plain,) = exact_prompts(get_task("arithmetic:3+5", form="plain").questions)
    assert (plain.question, plain.chat) == ("3+5=", None)


def test_exact_prompts_refuse_what_has_no_single_right_answer() -> None:
    with pytest.raises(InputError, match="finite answer set"):
        exact_prompts(get_task("gsm8k:sample").questions)
    both = Question("q", "a or b?", {"answers": ("a", "b", "c"), "answer": ("a", "b")})
    with pytest.raises(InputError, match="use sampled mode"):
        exact_prompts([both])
    turns = ({"role": "system", "content": "s"}, {"role": "user", "content": "u"})
    with pytest.raises(InputError, match="one of a user"):
        exact_prompts([Question("q", turns, {"answers": ("a", "b"), "answer": "a"})])


def test_a_file_name_may_hold_commas_and_colons(tmp_path: Path) -> None:
    path = tmp_path / "a,b:c.jsonl"
    path.write_text(
        '\ufeff{"question": "q?", "answer": "#### 18"}\n\n{"question": "r?", "answer": "#### 1", "id": 7}\n'
    )
    task = get_task(f"gsm8k:{path},form=chat")
    assert [q.name for q in task.questions] == ["a,b:c.jsonl:1", "a,b:c.jsonl:3"]
    # A column that one line lacks is None there, as in a table of the hub.
    assert [q.columns["id"] for q in task.questions] == [None, 7]


def test_several_right_answers(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text('{"question": "a prime?", "answers": ["2", "3", "4"], "correct": ["2", "3"]}\n')
    task = get_task(f"choices:{path}")
    assert [reward(task, text) for text in ("2", " 3\n", "4", "23")] == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(("level", "count"), [("2", 2), ("Level 2", 2), ("5", 1)])
def test_math_is_chosen_by_level(level: str, count: int) -> None:
    assert len(get_task(f"math:sample,level={level}").questions) == count


def test_math_is_chosen_by_type() -> None:
    (question,) = get_task("math:sample,type=number_theory").questions
    assert question.columns["level"] == "Level 5"


def test_partial_credit_of_a_generator_is_thresholded() -> None:
    strict, lax = (get_task(f"reasoning_gym:chain_sum,size=2,seed=1,threshold={t}") for t in ("1", "0.1"))
    verbose = f"it is {strict.questions[0].columns['answer']}"
    assert (reward(strict, verbose), reward(lax, verbose)) == (0.0, 1.0)
    assert reward(strict, f"well <answer>{strict.questions[0].columns['answer']}</answer>") == 1.0


def test_generators_take_options_of_their_own() -> None:
    task = get_task("reasoning_gym:chain_sum,size=3,min_terms=2,max_terms=2,max_digits=1")
    assert {q.columns["metadata"]["num_terms"] for q in task.questions} == {2}


def test_a_part_of_a_split(tmp_path: Path) -> None:
    path = tmp_path / "split.jsonl"
    rates = (("3+5", "easy", 0.9), ("9+9", "hard", 0.2), ("0+1", "hard", 0.1))
    rows = [{"name": name, "part": part, "rate": rate, "low": rate, "high": rate} for name, part, rate in rates]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    task = get_task(f"arithmetic:sum,split={path},part=hard")
    assert [q.name for q in task.questions] == ["0+1", "9+9"]
    task = get_task(f"arithmetic:sum,split={path},part=0.15:1")
    assert [q.name for q in task.questions] == ["3+5", "9+9"]


BAD_NAMES = [
    ("nothing", "task is 'nothing'"),
    ("arithmetic:cube", "prompt is 'cube'"),
    ("arithmetic:sum,limit=0", "limit is '0'"),
    ("arithmetic:sum,size=3", "option of arithmetic is 'size'"),
    ("arithmetic:sum,form=loud", "form is 'loud'"),
    ("arithmetic:3+5 3+5", "question of arithmetic:3+5 3+5 is '3+5'"),
    ("arithmetic:sum,part=easy", "part of a split"),
    ("gsm8k", "gsm8k:FILE.jsonl"),
    ("gsm8k:nowhere.jsonl", "No such file"),
    ("gsm8k:sample,fold=test", "fold is 'test'"),
    ("gsm8k:hub,fold=dev", "fold is 'dev'"),
    ("math:sample,level=9", "a level and type that some line has"),
    ("reasoning_gym:no_such", "reasoning_gym generator is 'no_such'"),
    ("reasoning_gym:chain_sum,size=0", "size is '0'"),
    ("reasoning_gym:chain_sum,threshold=2", "threshold is '2'"),
    ("reasoning_gym:chain_sum,colour=red", "options of chain_sum"),
]


@pytest.mark.parametrize(("name", "message"), BAD_NAMES, ids=[name for name, _ in BAD_NAMES])
def test_a_bad_name_is_one_clear_line(name: str, message: str) -> None:
    with pytest.raises(InputError, match="expected") as caught:
        get_task(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


GOOD = '{"question": "q", "answer": "#### 1"}\n'
BAD_FILES = [
    ("gsm8k", "", "at least one line"),
    ("gsm8k", GOOD + "{broken\n", "line 2 of "),
    ("gsm8k", GOOD + "[1]\n", "a JSON object"),
    ("gsm8k", '{"question": "q"}', "the key 'answer'"),
    ("gsm8k", '{"question": 3, "answer": "#### 1"}', "a string"),
    ("gsm8k", '{"question": "q", "answer": "one"}', "#### 18"),
    ("math", '{"problem": "p", "solution": "no box"}', "boxed"),
    ("math", '{"solution": "s"}', "the key 'problem'"),
    ("choices", '{"question": "q", "answers": ["1", "1 "], "correct": "1"}', "no answer twice"),
    ("choices", '{"question": "q", "answers": ["1", "2"], "correct": "3"}', "correct in line 1"),
    ("choices", '{"question": "q", "answers": ["1", "2"], "correct": ["1", "2"]}', "but not all"),
    ("choices", '{"question": "q", "answers": ["1"], "correct": "1"}', "two or more"),
    ("choices", '{"question": "q", "answers": ["1", 2], "correct": "1"}', "two or more"),
]


@pytest.mark.parametrize(("kind", "text", "message"), BAD_FILES)
def test_a_bad_file_is_one_clear_line_with_its_place(kind: str, text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        get_task(f"{kind}:{path}")
    assert message in str(caught.value)
    assert "f.jsonl" in str(caught.value)


def test_a_level_filter_needs_levels(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_text('{"problem": "p", "answer": "2"}')
    assert len(get_task(f"math:{path}").questions) == 1
    with pytest.raises(InputError, match="key 'level'"):
        get_task(f"math:{path},level=2")


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    path.write_bytes(b'{"question": "\xff"}')
    with pytest.raises(InputError, match="UTF-8"):
        get_task(f"gsm8k:{path}")


def test_form_chat_needs_a_template() -> None:
    with pytest.raises(InputError, match="no chat template"):
        get_task("arithmetic:sum", tokenizer=PLAIN, form="chat")


def test_the_hub_is_read_from_the_cache_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"question": "q", "answer": "#### 3"}]
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, split: rows)
    (question,) = get_task("gsm8k:hub,fold=test").questions
    assert question.name == "test:1"
    monkeypatch.undo()

    def refuse(*_: Any, **__: Any) -> None:
        assert datasets.config.HF_HUB_OFFLINE
        raise ConnectionError("offline")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(InputError, match=r"train\.jsonl"):
        get_task("gsm8k:hub")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(datasets, "load_dataset", full)
    with pytest.raises(InputError, match=r"No space left on device.*HF_HOME"):
        get_task("gsm8k:hub")
