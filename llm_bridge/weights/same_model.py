"""Do two names stand for one model? A name of the catalogue, an id of the hub and folders may be the same weights."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from llm_bridge.weights.catalogue import CATALOGUE, TINY_FOLDER, find_model, is_hub_id
from llm_bridge.weights.downloads import file_hash
from llm_bridge.weights.origins import read_origin
from theory.errors import InputError

__all__ = ["same_model"]

_WEIGHTS = ("*.safetensors", "*.gguf")
# Where the hub's own cache keeps a model.
_SNAPSHOT = re.compile(r"models--([^/]+)--([^/]+)/snapshots/")


@dataclass(frozen=True)
class _Known:
    """What a name tells: the folder if it is on this machine, the id on the hub, the last part."""

    folder: Path | None
    hub_id: str | None
    last: str


def same_model(one: str, other: str) -> bool:
    """Whether two names stand for the same model.

    Equal folders are the same, and where both ids on the hub are known they decide. Otherwise two different folders
    of this machine are the same if they hold the same bytes of weights, and what is not here is compared by the last
    part of its name.
    """
    if one == other:
        return True
    a, b = _known(one), _known(other)
    if a.folder is not None and a.folder == b.folder:
        return True
    if a.hub_id is not None and b.hub_id is not None:
        return a.hub_id == b.hub_id
    if a.folder is not None and b.folder is not None:
        return _same_weights(a.folder, b.folder)
    return a.last == b.last


def _same_weights(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files of weights, by name, size and hash."""
    sizes = [
        {path.name: path.stat().st_size for pattern in _WEIGHTS for path in folder.glob(pattern)}
        for folder in (one, other)
    ]
    return sizes[0] == sizes[1] and all(file_hash(one / name) == file_hash(other / name) for name in sizes[0])


def _known(name: str) -> _Known:
    folder: Path | None = None
    with suppress(InputError, OSError, ValueError):
        folder = find_model(name).folder.resolve()
    path = Path(name)
    last = "tiny" if folder == TINY_FOLDER.resolve() or name == "tiny" else path.name
    return _Known(folder, _hub_id(name, folder), last)


def _hub_id(name: str, folder: Path | None) -> str | None:
    """The id on the hub, from the name, the place in a cache, or what a fetch left in the folder."""
    if name in CATALOGUE:
        return CATALOGUE[name].hub_id
    snapshot = _SNAPSHOT.search(f"{name}/")
    if snapshot:
        return f"{snapshot[1]}/{snapshot[2]}"
    origin = (read_origin(folder) or {}).get("hub_id") if folder is not None else None
    if isinstance(origin, str):
        return origin
    if is_hub_id(name) and not Path(name).exists():
        return name
    # whynorm's own cache, of another machine.
    last = Path(name).name
    if Path(name).parent.name == "models":
        return CATALOGUE[last].hub_id if last in CATALOGUE else last.replace("--", "/") if "--" in last else None
    return None
