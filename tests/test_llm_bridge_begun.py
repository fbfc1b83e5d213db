"""Replies that are begun, in both modes: one text, one set of tokens, one policy; and the form is part of what was run.

The chat model of these tests is tiny with a template that writes nothing, so that "3 + 5 = ", begun for it, is to its
tokenizer what "3+5=" is: everything it does in the form begun it must do, to the last bit, in the form plain.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_llm_bridge_chat import TEMPLATE
from test_whynorm_bad_input import check_refusal, name_case
from test_whynorm_cli import Capture, call

from llm_bridge.asking.finite_sets import exact_prompts
from llm_bridge.asking.pass_rates import exact_batch
from llm_bridge.asking.questions import Question, Task, get_task, rewards_of
from llm_bridge.chat import chat_messages, prompt_ids, prompt_text
from llm_bridge.experiments.normalisation import run_experiment
from llm_bridge.experiments.normalisation_settings import Experiment, Mode
from llm_bridge.models import LoadedModel, load_model
from llm_bridge.policies import AnswerBatch
from llm_bridge.sampled.rollouts import Sampling, generate
from llm_bridge.tasks import prompts_from_names
from theory.errors import InputError

TINY = Path(load_model.__code__.co_filename).parent / "tiny"
BEGUN = ({"role": "user", "content": "3+5"}, {"role": "assistant", "content": "3+5="})


@pytest.fixture(scope="module")
def chatty(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with tiny as a chat model whose template writes nothing."""
    folder = tmp_path_factory.mktemp("model") / "chatty"
    shutil.copytree(TINY, folder, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "chat_template": "{{ '' }}"}))
    return str(folder)


@pytest.fixture
def loaded() -> LoadedModel:
    model = load_model()
    model.tokenizer.chat_template = TEMPLATE
    return model


def test_a_last_message_of_the_assistant_is_gone_on_with(loaded: LoadedModel) -> None:
    assert prompt_text(loaded.tokenizer, BEGUN) == "3+5<eos>=3+5="
    assert chat_messages("3+5", "3+5=") == BEGUN
    # An earlier one is a message like any other.
    assert prompt_text(loaded.tokenizer, (*BEGUN, BEGUN[0])) == "3+5<eos>3+5=<eos>3+5<eos>="
    with pytest.raises(InputError, match="prompt is "):
        prompt_text(loaded.tokenizer, BEGUN[1:])


@pytest.mark.parametrize("messages", [BEGUN, BEGUN[:1], "3+5="])
def test_completions_continue_the_tokens_that_answers_are_scored_behind(
    loaded: LoadedModel, messages: str | tuple[dict[str, str], ...]
) -> None:
    question = Question("3+5", messages, {"answers": ("8", "9"), "answer": "8"})
    batch = exact_batch(loaded, [question])
    before = batch.input_ids[0, : batch.start].tolist()
    assert before == prompt_ids(loaded.tokenizer, messages)
    assert batch.form == question.form == Task("one", (question,), lambda **_: []).form
    rollouts = generate(loaded, [question], 2, Sampling(max_new_tokens=3), 5)
    assert rollouts.prompt_ids[0].tolist() == before
    same = generate(loaded, [Question("text", loaded.tokenizer.decode(before))], 2, Sampling(max_new_tokens=3), 5)
    assert torch.equal(rollouts.completion_ids, same.completion_ids)


def test_questions_put_in_several_forms_are_no_batch(loaded: LoadedModel) -> None:
    columns = {"answers": ("8", "9"), "answer": "8"}
    mixed = [Question("a", BEGUN, columns), Question("b", BEGUN[:1], columns)]
    assert Task("mixed", tuple(mixed), lambda **_: []).form == "begun+chat"
    with pytest.raises(InputError, match="one form for all"):
        exact_batch(loaded, mixed)


def test_a_task_of_begun_replies_is_that_of_exact_mode() -> None:
    task = get_task("arithmetic:3+5 6*7", form="begun")
    assert task.form == "begun"
    for prompt, same in zip(exact_prompts(task.questions), prompts_from_names(["3+5", "6*7"]), strict=True):
        assert (prompt.chat, prompt.begun, prompt.answers) == (same.chat, same.begun, same.answers)
    # A completion is what the model says, without what was said for it: "0 + 5 = " and nothing is no right answer.
    (five,) = get_task("arithmetic:0+5", form="begun").questions
    assert rewards_of(task, [five], 3, ["5", "", " 5."], [[1]] * 3).tolist() == [[1.0, 0.0, 1.0]]
    # It has been said what the number is: what is said of others, until the completion is cut off, is no answer.
    texts = ["5\n\n5 is the sum of 0", "10, or 5", "five", "5.5"]
    assert rewards_of(task, [five], 4, texts, [[1]] * 4).tolist() == [[1.0, 0.0, 0.0, 0.0]]
    (chat,) = get_task("arithmetic:0+5", form="chat").questions
    assert rewards_of(task, [chat], 4, texts, [[1]] * 4).tolist() == [[0.0, 1.0, 0.0, 0.0]]


def test_kinds_may_be_mixed() -> None:
    names = [question.name for question in get_task("arithmetic:sum difference product").questions]
    assert names == [question.name for question in get_task("arithmetic").questions][:300]


def test_a_file_may_say_how_a_reply_is_begun(tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"
    line = {"question": "Is 7 prime?", "answers": ["yes", "no"], "correct": "yes"}
    file.write_text(json.dumps({**line, "begun": "The answer is "}))
    (question,) = get_task(f"choices:{file}", form="begun").questions
    assert isinstance(question.prompt, Sequence)
    assert question.prompt[-1] == {"role": "assistant", "content": "The answer is "}
    assert get_task(f"choices:{file}", form="chat").form == "chat"
    file.write_text(json.dumps(line))
    with pytest.raises(InputError, match=r"form is 'begun'; .* as own\.jsonl:1 has no begun reply"):
        get_task(f"choices:{file},form=begun")
    file.write_text(json.dumps({**line, "begun": ""}))
    with pytest.raises(InputError, match="begun in line 1"):
        get_task(f"choices:{file}")


def _experiment(model: str, form: str, mode: Mode) -> Experiment:
    """On ``tiny`` itself plain, and on the chat model begun: the same run."""
    parts = {"one": "arithmetic:5*7 2+7"}
    return Experiment(model, parts, n=1, steps=1, every=1, seeds=2, pairings=("same",), mode=mode, group=4, form=form)


@pytest.mark.parametrize("mode", ["exact", "sampled"])
def test_an_experiment_of_begun_replies_is_about_one_policy(mode: Mode, chatty: str, tmp_path: Path) -> None:
    begun = run_experiment(_experiment(chatty, "begun", mode), tmp_path / "begun")
    plain = run_experiment(_experiment("tiny", "plain", mode), tmp_path / "plain")
    assert plain.curves.keys() == begun.curves.keys()
    for key, curve in plain.curves.items():
        assert (curve.J == begun.curves[key].J).all()
        assert (curve.reward == begun.curves[key].reward).all()
        assert (plain.predicted[key].J == begun.predicted[key].J).all()
    file = tmp_path / "begun" / "experiment.json"
    told = json.loads(file.read_text())
    assert told["form"] == {"one": "begun"}
    # Had it been written before there were forms, its questions would have been a chat.
    file.write_text(json.dumps({key: value for key, value in told.items() if key not in ("form", "digests")}))
    with pytest.raises(InputError, match="form differs"):
        run_experiment(_experiment(chatty, "begun", mode), tmp_path / "begun")


def test_an_experiment_of_another_form_is_refused_and_an_old_one_read_as_what_it_was(tmp_path: Path) -> None:
    auto, file = _experiment("tiny", "auto", "exact"), tmp_path / "experiment.json"
    run_experiment(auto, tmp_path)
    told = json.loads(file.read_text())
    assert told["form"] == {"one": "plain"}
    run_experiment(replace(auto, form="plain"), tmp_path)
    # As written before there were forms, with digests and without.
    for absent in (("form",), ("form", "digests")):
        file.write_text(json.dumps({key: value for key, value in told.items() if key not in absent}))
        run_experiment(auto, tmp_path)
        assert json.loads(file.read_text()) == told
    chat = {**told, "form": {"one": "chat"}}
    file.write_text(json.dumps(chat))
    with pytest.raises(InputError, match="form differs"):
        run_experiment(auto, tmp_path)
    assert json.loads(file.read_text()) == chat


@pytest.mark.parametrize("mode", ["exact", "sampled"])
def test_a_split_says_and_keeps_its_form(mode: str, chatty: str, tmp_path: Path, capsys: Capture) -> None:
    def split(model: str, form: str, out: str) -> tuple[int, str, str]:
        argv = ["bridge", "split", "--task", "arithmetic:2+7 17+26", "--mode", mode, "--samples", "4", "--out"]
        return call(capsys, *argv, tmp_path / out, "--max-new-tokens", "4", "--model", model, "--form", form, "--json")

    code, text, _ = split(chatty, "begun", "begun")
    assert (code, json.loads(text)["form"]) == (0, "begun")
    assert split("tiny", "plain", "plain")[0] == 0
    assert (tmp_path / "begun" / "rates.jsonl").read_text() == (tmp_path / "plain" / "rates.jsonl").read_text()
    # Of the directory of another form nothing is taken over; one that was written before there were forms goes on.
    file = tmp_path / "begun" / "settings.json"
    told = json.loads(file.read_text())
    assert told["form"] == "begun"
    code, _, err = split(chatty, "plain", "begun")
    assert (code, "form differs" in err) == (2, True)
    file.write_text(json.dumps({key: value for key, value in told.items() if key != "form"}))
    assert split(chatty, "begun", "begun")[0] == 0
    code, _, err = split(chatty, "plain", "begun")
    assert (code, "questions differs" in err) == (2, True)


def test_training_goes_on_in_its_own_form_only(chatty: str, tmp_path: Path, capsys: Capture) -> None:
    def train(out: str, *more: str) -> tuple[int, str, str]:
        argv = ["bridge", "train", "--task", "arithmetic:2+7", "--rule", "paper:2", "--batch", "1", "--steps", "1"]
        return call(capsys, *argv, "--max-new-tokens", "4", "--dtype", "float32", "--out", tmp_path / out, *more)

    begun = ("--model", chatty, "--form", "begun", "--eval-task", "arithmetic:3+5", "--eval-every", "1")
    assert train("begun", *begun)[0] == 0
    assert train("plain", *begun[4:])[0] == 0
    rows = [json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[-1]) for name in ("begun", "plain")]
    for name in ("reward", "grad_norm", "entropy", "completions/mean_length"):
        assert rows[0][name] == rows[1][name]
    file = tmp_path / "begun" / "run.json"
    told = json.loads(file.read_text())
    assert (told["identity"]["form"], told["identity"]["eval_form"]) == ("begun", "begun")
    plain = ("--model", chatty, "--form", "plain", *begun[4:], "--resume")
    code, _, err = train("begun", *plain)
    assert code == 2
    assert "form is 'plain'; expected 'begun' as in the run" in " ".join(err.split())
    old = {key: value for key, value in told["identity"].items() if key not in ("form", "eval_form")}
    file.write_text(json.dumps({"identity": old}))
    code, _, err = train("begun", *plain)
    assert (code, "task-digest is" in err) == (2, True)
    assert train("begun", *begun, "--resume")[0] == 0
    assert json.loads(file.read_text()) == told


SPLIT = ["bridge", "split", "--out", "s", "--task"]
TRAIN = ["bridge", "train", "--out", "s", "--task"]
PART = ["bridge", "experiment", "--out", "s", "--part"]
BAD = [
    (
        [*TRAIN, "arithmetic:sum", "--form", "begun"],
        "form is 'begun'; expected plain, as the tokenizer has no",
    ),
    ([*TRAIN, "gsm8k:sample,form=chat"], "form is 'chat'; expected plain"),
    ([*TRAIN, "arithmetic:sum", "--form", "loud"], "form is 'loud'"),
    ([*SPLIT, "arithmetic:sum", "--form", "begun"], "form is 'begun'; expected plain"),
    ([*SPLIT, "gsm8k:sample", "--form", "begun"], "as gsm8k.jsonl:1 has no begun reply"),
    ([*SPLIT, "arithmetic:sum", "--form", "loud"], "form is 'loud'"),
    ([*PART, "a=arithmetic:sum", "--form", "begun"], "form is 'begun'; expected plain"),
    ([*PART, "a=arithmetic:sum", "--form", "loud"], "form is 'loud'"),
    (["bridge", "tasks", "gsm8k:sample", "--form", "begun"], "as gsm8k.jsonl:1 has no begun reply"),
]


@pytest.mark.parametrize(("argv", "message"), BAD, ids=name_case)
def test_bad_input_is_one_line_and_leaves_nothing(
    argv: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    check_refusal(argv, message, tmp_path, capsys)


def test_a_begun_task_is_shown(capsys: Capture) -> None:
    code, out, _ = call(capsys, "bridge", "tasks", "arithmetic:3+5", "--form", "begun")
    assert code == 0
    assert "assistant: 3 + 5 =" in out
    assert AnswerBatch.of(prompts_from_names(["3+5"]), load_model().tokenizer).form == "plain"
