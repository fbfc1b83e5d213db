"""Load a causal language model with a LoRA adapter, from files on this machine only, silently and reproducibly.

The name "tiny" stands for the model packaged in `llm_bridge/tiny`; any other name is a local folder in the Hugging Face
layout (config.json, *.safetensors, tokenizer files). Nothing here ever opens a network connection.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors import SafetensorError
from torch.overrides import TorchFunctionMode
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as hf_logging

from theory.errors import expected

__all__ = [
    "DTYPES",
    "TINY_FOLDER",
    "LoadedModel",
    "LoraSettings",
    "full_precision",
    "load_model",
    "model_folder",
    "quiet_transformers",
]

DTYPES: dict[str, torch.dtype] = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}
TINY_FOLDER = Path(__file__).resolve().parent / "tiny"


@dataclass(frozen=True)
class LoraSettings:
    """The low-rank adapter W + (alpha / r) B A on each target layer, A: (r, in), B: (out, r), no dropout.

    r: rank, >= 1. alpha: > 0. target_modules: "all-linear" (every linear layer but the output head), or a tuple of
    module names. seed: of the random A; B starts at zero, so the adapted model starts out equal to the base.

    Raises InputError when r or alpha is not positive, or the seed is negative.
    """

    r: int = 8
    alpha: float = 16
    target_modules: str | tuple[str, ...] = "all-linear"
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the fields; see the class for what holds afterwards."""
        if isinstance(self.r, bool) or not isinstance(self.r, int) or self.r < 1:
            raise expected("LoRA rank r", self.r, "an integer of 1 or more", "use for example 8")
        if not 0 < self.alpha < float("inf"):
            raise expected("LoRA alpha", self.alpha, "a positive number", "use for example 16")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise expected("LoRA seed", self.seed, "an integer from 0 to 2**63 - 1", "use for example 0")


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model ready for exact updates: in eval mode, with gradients for its LoRA parameters and for nothing else.

    name: as given to `load_model`. model: the peft.PeftModel. tokenizer: its tokenizer. dtype: of the base weights,
    a key of DTYPES (the adapter has the same dtype, except that a bfloat16 base gets a float32 adapter).
    """

    name: str
    model: Any
    tokenizer: Any
    dtype: str

    @property
    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """The trainable (LoRA) parameters by name, always in the same order: theta is their concatenation."""
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}

    @property
    def n_trainable(self) -> int:
        """The dimension of theta: the number of trainable scalars."""
        return sum(value.numel() for value in self.parameters.values())


def load_model(name: str = "tiny", *, lora: LoraSettings | None = None, dtype: str = "float64") -> LoadedModel:
    """Load a model and give it a LoRA adapter; the same arguments give the same parameters, bit for bit.

    name: "tiny", or a local folder with a config.json. lora: adapter settings (default: LoraSettings()).
    dtype: "float64", "float32" or "bfloat16". The random A does not depend on dtype beyond rounding.

    The global random state of torch is left as it was. Raises InputError when the name is neither "tiny" nor such a
    folder, the folder cannot be read as a causal language model, the dtype is unknown, or no layer matches
    target_modules.
    """
    settings = LoraSettings() if lora is None else lora
    if dtype not in DTYPES:
        raise expected("dtype", dtype, f"one of {', '.join(DTYPES)}", "choose one of these")
    folder = model_folder(name)
    # Only the CPU generator is forked: everything is created on the CPU.
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        base, tokenizer = _read(name, folder, DTYPES[dtype])
        # Reading may itself draw random numbers; seeding again makes A depend on the seed and the shapes only.
        torch.manual_seed(settings.seed)
        model = _adapt(base, settings)
    model.eval()
    return LoadedModel(name=name, model=model, tokenizer=tokenizer, dtype=dtype)


class _KeepFloat64(TorchFunctionMode):
    """Ignores requests to go from float64 down to float32."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run func, minus a cast of a float64 tensor to float32."""
        kwargs = dict(kwargs or {})
        if args and isinstance(args[0], torch.Tensor) and args[0].dtype == torch.float64:
            if func is torch.Tensor.float:
                return args[0]
            if func is torch.Tensor.to and (torch.float32 in args or kwargs.get("dtype") == torch.float32):
                args = tuple(torch.float64 if value is torch.float32 else value for value in args)
                if "dtype" in kwargs:
                    kwargs["dtype"] = torch.float64
            elif kwargs.get("dtype") == torch.float32:
                # softmax(x, dim, dtype=float32) and its kin.
                kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


def full_precision() -> TorchFunctionMode:
    """A context in which a float64 model really computes in float64: `with full_precision(): model(...)`.

    The layers of transformers cast to float32 inside (RMS norm, attention softmax), which is meant for half precision
    but would round a float64 model to about 1e-7: too coarse for exact gradients, and enough to make a score depend on
    its batch. Models of other dtypes compute as they would without it. Results can be differentiated outside.
    """
    return _KeepFloat64()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence progress bars and notices of transformers within the block, then restore both settings."""
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()


def model_folder(name: str) -> Path:
    """The local folder a name stands for; raises InputError when there is none."""
    folder = TINY_FOLDER if name == "tiny" else Path(name)
    # is_file itself refuses impossible paths (a null byte, a name too long) in several ways; all mean "not there".
    try:
        found = bool(name) and (folder / "config.json").is_file()
    except (OSError, ValueError):
        found = False
    if not found:
        remedy = "download the model first and give its folder, or use tiny"
        raise expected("model", name, 'the word "tiny" or a local folder with a config.json', remedy)
    return folder


def _read(name: str, folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """The base model and tokenizer of a folder; raises InputError when the files cannot be used."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        # Eager attention is plain matrix products: it works in every dtype and can be differentiated twice.
        base, report = AutoModelForCausalLM.from_pretrained(
            str(folder), local_files_only=True, dtype=dtype, attn_implementation="eager", output_loading_info=True
        )
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        remedy = f"check its files ({type(error).__name__}: {reason})"
        raise expected("model", name, "a folder holding a causal language model and its tokenizer", remedy) from error
    # transformers fills weights it does not find with random numbers and only prints a notice.
    missing = sorted(report["missing_keys"])
    if missing:
        remedy = f"check its safetensors files, which lack {missing[0]}"
        raise expected("model", name, "a folder with weights for every layer", remedy)
    return base, tokenizer


def _adapt(base: Any, settings: LoraSettings) -> Any:
    """Wrap the base in a PeftModel with a fresh adapter; raises InputError when no layer matches."""
    targets = settings.target_modules
    config = LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        target_modules=targets if isinstance(targets, str) else list(targets),
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        # peft may call what transformers has deprecated; that is between the two and no news to a user of this module.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            return get_peft_model(base, config)
    except ValueError as error:
        remedy = 'use "all-linear" or the names of its linear layers'
        raise expected("LoRA target_modules", targets, "layers that the model has", remedy) from error
