"""The directory of a sampled run: whose it is, where it stands, and what lies in it.

run.json              the settings on which the run's course depends; a run with other settings is refused
metrics.jsonl         one line a step
completions.jsonl     if asked for: one line a step with its questions, completions, rewards and advantages
checkpoints/          the newest states, see ``llm_bridge.sampled.checkpoints``
metrics.parquet       at the end: the same as metrics.jsonl
adapter/              at the end: the trained adapter as peft reads it
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from llm_bridge.asking.questions import Task
from llm_bridge.models import LoadedModel
from llm_bridge.sampled.group_settings import GroupSettings
from simulator.files import prepare_directory, write_json
from simulator.locks import held
from theory.errors import InputError, expected

__all__ = ["RunFolder", "model_digest", "run_identity", "save_adapter", "task_digest", "writing"]

# Numbers of each parameter that go into a model's digest: enough to tell models apart, few enough to take no time.
_SAMPLED = 512


@dataclass(frozen=True)
class RunFolder:
    """Where a run is kept.

    Attributes:
        path: the directory.
        resume: go on with the run that is there; without it a directory that holds a run is refused.
        every: write a checkpoint after every so many steps, and after the last; at least 1.
        keep: how many checkpoints stay, at least 1.
        completions: also write ``completions.jsonl``; of several processes, the first one's share.
    """

    path: Path
    resume: bool = False
    every: int = 10
    keep: int = 2
    completions: bool = False

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            InputError: one of them is below 1.
        """
        for name, value in (("checkpoint-every", self.every), ("keep", self.keep)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise expected(name, value, "an integer from 1 on", "a checkpoint lets a killed run go on")

    @property
    def metrics(self) -> Path:
        """``metrics.jsonl``."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Create the directory and be the only run that writes to it.

        Raises:
            InputError: it cannot be written, or another process is at work in it.
        """
        with held(prepare_directory(self.path)):
            yield

    def check(self, identity: Mapping[str, Any]) -> bool:
        """Whether there is a run to go on with; changes nothing. A run without a line of metrics counts as none.

        Raises:
            InputError: the directory holds a run and ``resume`` is off, or it holds another run.
        """
        begun = self.checkpoints.exists() or (self.metrics.exists() and self.metrics.stat().st_size > 0)
        if not begun:
            return False
        wanted = json.loads(json.dumps(identity))
        # Earlier versions wrote no form; the digest of the task changes with it.
        known = {**{name: wanted[name] for name in ("form", "eval_form") if name in wanted}, **self._known()}
        for name in dict.fromkeys([*wanted, *known]):
            if _differs(name, wanted, known):
                if name == "lora_seed" and None in (wanted.get(name), known.get(name)):
                    raise self._other_adapter(saved=known.get(name) is None)
                remedy = "give the settings of that run, or choose another --out"
                told = f"{known.get(name)!r} as in the run that {self.path} holds"
                raise expected(name.replace("_", "-"), wanted.get(name), told, remedy)
        if not self.resume:
            remedy = "pass --resume to go on with it, or choose another"
            raise expected("out", str(self.path), "a directory without a run", remedy)
        return True

    def _other_adapter(self, saved: bool) -> InputError:
        """The run began at a saved adapter, or at a new one, and is asked to go on from the other."""
        kinds = "a new adapter", "a saved adapter"
        remedy = "pass --adapter with the one that it began at" if saved else "leave --adapter out"
        return expected("adapter", kinds[not saved], f"{kinds[saved]}, at which the run in {self.path} began", remedy)

    def _known(self) -> dict[str, Any]:
        """The settings of the run that is there."""
        file = self.path / "run.json"
        try:
            return dict(json.loads(file.read_text())["identity"])
        except (OSError, ValueError, KeyError, TypeError):
            wanted = "the readable description of the run beside it"
            raise expected("run file", str(file), wanted, "choose another directory") from None

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Write down whose directory this is from now on."""
        write_json(self.path / "run.json", {"identity": dict(identity)})


def _differs(name: str, wanted: Mapping[str, Any], known: Mapping[str, Any]) -> bool:
    """Whether two runs differ in a setting.

    The adapter's seed is the reason why two models differ in their numbers: it counts only where they do. A saved
    adapter's is None; earlier versions wrote none.
    """
    if name == "lora_seed" and (name not in known or wanted.get("model_digest") == known.get("model_digest")):
        return False
    return bool(wanted.get(name) != known.get(name))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in one line that a disk is full or that files cannot be written.

    Raises:
        InputError: the operating system refused to write.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:120]
        remedy = "make room and pass --resume; the last checkpoint is intact"
        raise expected("out", str(path), f"a place that can be written to ({reason})", remedy) from None


def run_identity(loaded: LoadedModel, task: Task, settings: GroupSettings, held_out: Task | None) -> dict[str, Any]:
    """Everything on which a run's course depends, by name, as JSON can hold it."""
    return {
        **settings.identity(),
        "model": loaded.name,
        "dtype": loaded.dtype,
        **_adapter_settings(loaded),
        "model_digest": model_digest(loaded),
        "task": task.name,
        "form": task.form,
        "task_digest": task_digest(task),
        "eval_task": None if held_out is None else held_out.name,
        "eval_form": None if held_out is None else held_out.form,
        "eval_task_digest": None if held_out is None else task_digest(held_out),
    }


def _adapter_settings(loaded: LoadedModel) -> dict[str, Any]:
    config = loaded.model.peft_config[loaded.model.active_adapter]
    targets = config.target_modules
    shown = targets if isinstance(targets, str) else sorted(targets or ())
    return {
        "lora_r": config.r,
        "lora_alpha": config.lora_alpha,
        "lora_target_modules": shown,
        "lora_seed": loaded.lora_seed,
    }


def model_digest(loaded: LoadedModel) -> str:
    """SHA-256 over the configuration, and over names, shapes and some numbers of all parameters, adapter included."""
    digest = hashlib.sha256(json.dumps(loaded.model.config.to_dict(), sort_keys=True, default=str).encode())
    for name, value in loaded.model.named_parameters():
        flat = value.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // _SAMPLED)].double().cpu()
        digest.update(f"{name} {tuple(value.shape)}".encode() + some.numpy().tobytes())
    return digest.hexdigest()


def task_digest(task: Task) -> str:
    """SHA-256 over all questions with what their reward depends on, and the name of the reward function."""
    reward = f"{getattr(task.reward, '__module__', '')}.{getattr(task.reward, '__qualname__', type(task.reward))}"
    digest = hashlib.sha256(reward.encode())
    for question in task.questions:
        content = [question.name, question.prompt, dict(question.columns)]
        digest.update(json.dumps(content, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def save_adapter(loaded: LoadedModel, path: Path) -> None:
    """The adapter in peft's own format, for ``PeftModel.from_pretrained``; whole under its name or not there at all."""
    unfinished = path.with_name(f".unfinished-{path.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    # Anything but False would ask the hub whether the base model's vocabulary has grown.
    loaded.model.save_pretrained(str(unfinished), save_embedding_layers=False)
    shutil.rmtree(path, ignore_errors=True)
    os.replace(unfinished, path)
