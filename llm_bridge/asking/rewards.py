"""Reward functions of one's own: any Python function with the signature that users of TRL know.

``f(prompts, completions, completion_ids, **columns) -> list of rewards``, one per completion; ``columns`` holds every
column of the questions, repeated for each completion. ``asking.questions.rewards_of`` calls it and checks what it
returns; a coroutine function is awaited.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import cast

from llm_bridge.asking.questions import RewardFunction, Task
from theory.errors import InputError, expected

__all__ = ["load_reward", "with_reward"]

_PASSED = ("prompts", "completions", "completion_ids")


def load_reward(place: str) -> RewardFunction:
    """The function at ``FILE.py:FUNCTION`` or ``package.module:FUNCTION``.

    A file's code is executed, as a module of its own.

    Raises:
        InputError: file, module or function are not there, the code fails, or the function does not take prompts,
            completions and completion_ids by name.
    """
    source, colon, name = place.rpartition(":")
    if not colon or not source or not name.isidentifier():
        raise expected("reward", place, "FILE.py:FUNCTION or module:FUNCTION", "name the function behind a colon")
    module = _file(Path(source)) if source.endswith(".py") else _module(source)
    function = getattr(module, name, None)
    if function is None:
        there = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
        raise expected("reward function", name, f"a function of {source}", f"it has {', '.join(there[:8]) or 'none'}")
    if not callable(function):
        raise expected("reward function", place, "a function", f"{name} is a {type(function).__name__}")
    _check_signature(place, function)
    return cast(RewardFunction, function)


def with_reward(task: Task, place: str | None) -> Task:
    """The task with the reward function at ``place`` (see :func:`load_reward`); the task itself if there is none."""
    return task if place is None else replace(task, reward=load_reward(place))


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise expected("reward file", str(path), "a Python file that is there", "check its name")
    spec = spec_from_file_location(f"whynorm_reward_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    # Dataclasses and pickles of the file look their module up by name.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _broken(str(path), error) from error
    return module


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise _broken(name, error) from error


def _broken(name: str, error: Exception) -> InputError:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    return expected("reward module", name, "Python code that can be imported", f"correct it ({reason})")


def _check_signature(place: str, function: RewardFunction) -> None:
    """Refuse functions that cannot be called the way TRL calls them, before a model has generated anything."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        # Some callables in C tell nothing about themselves; the call itself will.
        return
    named = {each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)}
    missing = [name for name in _PASSED if name not in named]
    if missing and not any(each.kind is each.VAR_KEYWORD for each in parameters):
        wanted = "f(prompts, completions, completion_ids, **columns)"
        raise expected("reward function", place, wanted, f"let it take {missing[0]}, or **columns")
