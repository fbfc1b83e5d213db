"""Counterexamples from files: alone, as one is kept in ``theory/counterexamples``, or among the verdicts of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from simulator.problems import Problem
from theory.errors import InputError, expected
from theory.instances import Instance

__all__ = ["is_json", "read_counterexample"]


def is_json(path: Path) -> bool:
    """Whether a file, or ``FILE:ID``, holds JSON rather than arrays, by its first character."""
    file, _ = _split(path)
    if not file.is_file():  # a pipe would be waited for
        return False
    try:
        with file.open("rb") as handle:
            return handle.read(64).lstrip()[:1] in (b"{", b"[")
    except OSError:
        return False


def read_counterexample(path: Path) -> tuple[str, Instance]:
    """Id of the claim, and the instance on which it fails.

    Args:
        path: a JSON file, or ``FILE:ID`` to choose one of several claims.

    Raises:
        InputError: no such file or counterexample, several to choose from, or unusable numbers.
    """
    file, chosen = _split(path)
    found = _examples(file)
    if chosen:
        found = {claim: data for claim, data in found.items() if claim == chosen}
    if not found:
        which = f"of {chosen}" if chosen else "in it"
        raise expected(
            "problem file", str(file), f"JSON with a counterexample {which}", "write one with `refute --out`"
        )
    if len(found) > 1:
        ids = ", ".join(found)
        raise expected(
            "problem file", str(file), f"one counterexample ({ids})", f"choose, e.g. {file}:{next(iter(found))}"
        )
    claim, data = found.popitem()
    try:
        instance = Instance.from_json(data["instance"])
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"counterexample of {claim} in {file} cannot be read ({reason}); write it anew") from None
    return claim, _checked(instance)


def _checked(instance: Instance) -> Instance:
    problem = Problem(instance.features, instance.answers, instance.theta)
    for name, least in (("steps", 1), ("group", 2)):
        if getattr(instance, name) < least:
            raise expected(
                f"{name} of the counterexample", getattr(instance, name), f"at least {least}", "write it anew"
            )
    for name in ("direction", "displacement"):
        if np.shape(getattr(instance, name)) != (problem.d,):
            raise expected(f"shape of {name}", np.shape(getattr(instance, name)), f"({problem.d},)", "write it anew")
    return instance


def _split(path: Path) -> tuple[Path, str]:
    """The file, and the claim's id if one is named behind a colon."""
    file, colon, chosen = str(path).rpartition(":")
    return (Path(file), chosen) if colon and not path.exists() else (path, "")


def _examples(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text())
        if "claims" not in content:
            return {content["claim"]: content} if "claim" in content else {}
        return {row["id"]: row["counterexample"] for row in content["claims"] if row["counterexample"] is not None}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise expected("problem file", str(file), f"JSON with a counterexample ({reason})", "write it anew") from None
