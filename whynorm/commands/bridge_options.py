"""What the commands of ``whynorm bridge`` have in common: which model, how it is loaded, and when memory runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from theory.errors import expected

__all__ = [
    "MODEL_HELP",
    "AsJson",
    "BaseDtype",
    "Checkpointing",
    "Device",
    "Dtype",
    "Form",
    "LoraAlpha",
    "LoraRank",
    "ModelName",
    "PresetName",
    "Reward",
    "lora_settings",
    "memory_errors",
    "model_options",
    "require_llm",
    "require_packages",
]

MODEL_HELP = "tiny (ships with whynorm), smollm2 or a hub id (see `whynorm bridge fetch`), or a local folder."

ModelName = Annotated[str | None, typer.Option(help=f"{MODEL_HELP}  [default: tiny, or the preset's]")]
PresetName = Annotated[str | None, typer.Option(help="The sources' model and LoRA settings: paper or talk.")]
Dtype = Annotated[
    str, typer.Option(help="Precision: float64, float32, bfloat16 or auto: float64 for tiny, else float32.")
]
BaseDtype = Annotated[str, typer.Option(help="Precision: float64, float32 or bfloat16.")]
Device = Annotated[str, typer.Option(help="Where the model computes: cpu, cuda or cuda:N.")]
Form = Annotated[
    str,
    typer.Option(help="Prompts as plain text, chat, begun (chat, the reply begun), or auto: chat if the model has it."),
]
Checkpointing = Annotated[bool, typer.Option("--checkpointing", help="Less memory for more time.")]
LoraRank = Annotated[int | None, typer.Option("--lora-r", help="Rank of the adapter.  [default: 8]")]
LoraAlpha = Annotated[float | None, typer.Option(help="Scale of the adapter.  [default: 16]")]
Reward = Annotated[str | None, typer.Option(help="Your own reward, FILE.py:FUNCTION or module:FUNCTION.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")]


def require_packages() -> None:
    """Check that the extra ``llm`` is installed.

    Raises:
        InputError: it is not.
    """
    from importlib.util import find_spec

    missing = [name for name in ("torch", "transformers", "peft") if find_spec(name) is None]
    if missing:
        raise expected("missing packages", missing, "the extra llm", "run pip install 'whynorm[llm]'")


def require_llm(model: str) -> None:
    """Check that the packages and the model's files are there, before any work is done.

    Raises:
        InputError: the extra ``llm`` is not installed, or there is no such model.
    """
    require_packages()
    from llm_bridge.weights.catalogue import find_model

    find_model(model)


def model_options(
    model: str | None, preset: str | None, dtype: str, device: str, form: str, checkpointing: bool
) -> tuple[str, dict[str, Any]]:
    """The model's name, and how it is loaded and asked, as fields of `BridgeSettings`.

    A preset gives the LoRA settings, and the model where none is named.

    Raises:
        InputError: the extra ``llm`` is not installed, or there is no such preset, dtype, device, form or model.
    """
    require_packages()
    from llm_bridge.models import DTYPES, find_device
    from llm_bridge.policies import FORMS
    from llm_bridge.presets import get_preset

    chosen = None if preset is None else get_preset(preset)
    name = model if model is not None else "tiny" if chosen is None else chosen.model.value or "tiny"
    for option, value, choices in (("dtype", dtype, ("auto", *DTYPES)), ("form", form, FORMS)):
        if value not in choices:
            raise expected(option, value, f"one of {', '.join(choices)}", "choose one of these")
    require_llm(name)
    find_device(device)
    lora = None if chosen is None else chosen.lora.value
    return name, {"dtype": dtype, "device": device, "form": form, "lora": lora, "checkpointing": checkpointing}


def lora_settings(preset: Any, rank: int | None, alpha: float | None, seed: int = 0) -> Any:
    """`LoraSettings` of a preset, or the default ones for None, with the rank and alpha that are given, and a seed.

    Raises:
        InputError: one of them is out of range.
    """
    from dataclasses import replace

    from llm_bridge.models import LoraSettings

    given = {name: value for name, value in (("r", rank), ("alpha", alpha)) if value is not None}
    return replace(preset or LoraSettings(), seed=seed, **given)


@contextmanager
def memory_errors() -> Iterator[None]:
    """`llm_bridge.memory.clear_memory_errors`, imported when it is needed."""
    from llm_bridge.memory import clear_memory_errors

    with clear_memory_errors():
        yield
