"""Data sets of the hub, from this machine's cache only: nothing here opens a network connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from llm_bridge.asking.items import need_package
from llm_bridge.disk import disk_error
from theory.errors import expected

__all__ = ["HubSource", "hub_lines"]

_FOLDS = ("train", "test")


@dataclass(frozen=True)
class HubSource:
    """A data set: its id, the configurations that make it up, and where its files are published besides."""

    repository: str
    configurations: tuple[str, ...]
    files: str


def hub_lines(source: HubSource, fold: str, keys: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and content of every row of one fold, ``train`` or ``test``.

    Raises:
        InputError: the package datasets is missing, there is no such fold, or the cache does not hold the data set.
    """
    if fold not in _FOLDS:
        raise expected("fold", fold, f"one of {', '.join(_FOLDS)}", "pick one")
    need_package("datasets", "trl")
    for configuration in source.configurations:
        for number, row in enumerate(_load(source, configuration, fold), start=1):
            place = fold if len(source.configurations) == 1 else f"{fold}/{configuration}"
            missing = [key for key in keys if not isinstance(row.get(key), str)]
            if missing:
                wanted = f"text in {missing[0]!r}"
                raise expected(f"row {number} of {source.repository}", sorted(row), wanted, "give a file")
            yield f"{place}:{number}", dict(row)


def _load(source: HubSource, configuration: str, fold: str) -> Any:
    from datasets import load_dataset

    call = f"load_dataset({source.repository!r}, {configuration!r})"
    with _offline():
        try:
            return load_dataset(source.repository, configuration, split=fold)
        except Exception as error:
            # A missing data set is a ConnectionError, a damaged cache anything.
            where = f"{source.repository} ({configuration}, {fold})"
            if (full := disk_error(error)) is not None:
                wanted = f"a cache that can be written to, for the package datasets ({full})"
                raise expected("hub data set", where, wanted, "make room, or set HF_HOME to another place") from error
            remedy = f"give a file from {source.files}, or once, online: from datasets import load_dataset; {call}"
            raise expected("hub data set", where, f"it in the cache ({type(error).__name__})", remedy) from error


@contextmanager
def _offline() -> Iterator[None]:
    """Both libraries read their switch when they are imported, so the environment variable may come too late."""
    from datasets import config
    from huggingface_hub import constants

    before = config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before
