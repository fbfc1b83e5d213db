"""Load a causal language model with a LoRA adapter, from files on this machine only, silently and reproducibly.

Names are those of `weights.catalogue`: tiny, smollm2, a local folder, or a hub model that was fetched. Nothing here
ever opens a network connection; `whynorm bridge fetch` does.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from llm_bridge.precision import full_precision
from llm_bridge.recomputation import checkpoint_layers
from llm_bridge.weights.catalogue import TINY_FOLDER, find_model, model_folder
from llm_bridge.weights.model_files import quiet_transformers, read_model
from theory.errors import expected

__all__ = [
    "DTYPES",
    "TINY_FOLDER",
    "LoadedModel",
    "LoraSettings",
    "find_device",
    "full_precision",
    "load_model",
    "model_folder",
    "quiet_transformers",
]

DTYPES: dict[str, torch.dtype] = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}


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
    a key of DTYPES (the adapter has the same dtype, except that a bfloat16 base gets a float32 adapter). checkpointing:
    whether its layers are computed again in the backward pass. lora_seed: of the adapter's random A; None where its
    numbers are from elsewhere.
    """

    name: str
    model: Any
    tokenizer: Any
    dtype: str
    checkpointing: bool = False
    lora_seed: int | None = None

    @property
    def device(self) -> torch.device:
        """Where the model's parameters lie."""
        return next(iter(self.model.parameters())).device

    @property
    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """The trainable (LoRA) parameters by name, always in the same order: theta is their concatenation."""
        return {name: value for name, value in self.model.named_parameters() if value.requires_grad}

    @property
    def n_trainable(self) -> int:
        """The dimension of theta: the number of trainable scalars."""
        return sum(value.numel() for value in self.parameters.values())


def load_model(
    name: str = "tiny",
    *,
    lora: LoraSettings | None = None,
    dtype: str = "float64",
    device: str | torch.device = "cpu",
    checkpointing: bool = False,
) -> LoadedModel:
    """Load a model and give it a LoRA adapter; the same arguments give the same parameters, bit for bit.

    name: as in `weights.catalogue`. lora: adapter settings (default: LoraSettings()). dtype: "float64", "float32" or
    "bfloat16". device: "cpu", "cuda", "cuda:1", ... checkpointing: compute the layers again in the backward pass, which
    saves memory and costs time; values and gradients stay the same to rounding. The random A depends on neither
    dtype (beyond rounding) nor device.

    The global random state of torch is left as it was. Raises InputError when there is no such model on this machine,
    its files cannot be read as a causal language model, the dtype is unknown, the device is not there, or no layer
    matches target_modules.
    """
    settings = LoraSettings() if lora is None else lora
    if dtype not in DTYPES:
        raise expected("dtype", dtype, f"one of {', '.join(DTYPES)}", "choose one of these")
    place = find_device(device)
    files = find_model(name)
    # Only the CPU generator is forked: everything is created on the CPU.
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        base, tokenizer = read_model(name, files, DTYPES[dtype])
        # Reading may itself draw random numbers; seeding again makes A depend on the seed and the shapes only.
        torch.manual_seed(settings.seed)
        model = _adapt(base, settings)
    model.eval()
    if checkpointing:
        checkpoint_layers(model)
    return LoadedModel(name, model.to(place), tokenizer, dtype, checkpointing, settings.seed)


def find_device(name: str | torch.device) -> torch.device:
    """The torch device of a name such as "cpu" or "cuda:0".

    Raises:
        InputError: there is no such device on this machine.
    """
    try:
        device = torch.device(name)
        # Asking for one number is the one test that holds for every kind of device.
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise expected("device", str(name), f"one that torch can use here ({reason})", "use for example cpu") from None
    return device


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
