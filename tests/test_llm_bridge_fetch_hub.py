"""Tests of weights.fetch: a model from the hub, whose client is a stub. No network."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.utils import filter_repo_objects
from mini_wheels import places

from llm_bridge.models import load_model
from llm_bridge.weights import fetch
from llm_bridge.weights.catalogue import TINY_FOLDER, find_model
from llm_bridge.weights.downloads import file_hash
from theory.errors import InputError


def stub_hub(monkeypatch: pytest.MonkeyPatch, damage: str = "", leave_out: str = "none", unhashed: str = "") -> None:
    """A hub that holds the packaged model under any id, as the hub's client shows it."""
    files = sorted(path for path in TINY_FOLDER.iterdir() if path.suffix in (".json", ".safetensors"))

    def sibling(path: Path) -> SimpleNamespace:
        blob = b"blob %d\0" % path.stat().st_size
        large = path.suffix == ".safetensors"
        lfs = SimpleNamespace(sha256=file_hash(path)) if large else None
        own = None if path.name == unhashed else file_hash(path, "sha1", blob)
        return SimpleNamespace(rfilename=path.name, size=path.stat().st_size, lfs=lfs, blob_id=own)

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


def test_a_file_for_which_the_hub_gives_no_hash_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHYNORM_CACHE", str(tmp_path / "cache"))
    stub_hub(monkeypatch, unhashed="config.json")
    with pytest.raises(InputError, match=r"hash of config\.json is None"):
        fetch.fetch("org/tiny-model")
    assert places(tmp_path) == []


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
