"""Read a causal language model and its tokenizer from a folder: safetensors, or one GGUF file that is dequantised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from importlib.util import find_spec
from io import StringIO
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as hf_logging

from llm_bridge.weights.catalogue import ModelFiles
from theory.errors import expected

__all__ = ["quiet_transformers", "read_model"]

# What transformers, tokenizers and gguf raise on files that they cannot use.
_UNREADABLE = (OSError, ValueError, KeyError, IndexError, TypeError, ImportError, NotImplementedError, SafetensorError)


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


def read_model(name: str, files: ModelFiles, dtype: torch.dtype) -> tuple[Any, Any]:
    """The base model, on the CPU, and the tokenizer.

    A GGUF model is dequantised to ``dtype`` and is then a plain model, which can be saved.

    Args:
        name: for error messages.
        files: from `llm_bridge.weights.catalogue.find_model`.
        dtype: of the weights.

    Raises:
        InputError: the files cannot be used, lack weights, or are GGUF and the package gguf is missing.
    """
    if files.gguf is not None and find_spec("gguf") is None:
        raise expected("missing package", "gguf", f"it, to read {files.gguf}", "run pip install 'whynorm[llm]'")
    options: dict[str, Any] = {"local_files_only": True}
    if files.gguf is not None:
        options["gguf_file"] = files.gguf
    try:
        # The bar that counts dequantised tensors obeys no setting of transformers.
        with quiet_transformers(), redirect_stderr(StringIO()) if files.gguf else nullcontext():
            tokenizer = AutoTokenizer.from_pretrained(str(files.folder), **options)
            # Eager attention is plain matrix products: it works in every dtype and can be differentiated twice.
            base, report = AutoModelForCausalLM.from_pretrained(
                str(files.folder),
                dtype=dtype,
                attn_implementation="eager",
                output_loading_info=True,
                **_dequantising(files),
                **options,
            )
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        remedy = f"check its files ({type(error).__name__}: {reason})"
        raise expected("model", name, "a folder holding a causal language model and its tokenizer", remedy) from error
    # transformers fills weights it does not find with random numbers and only prints a notice.
    missing = sorted(report["missing_keys"])
    if missing:
        remedy = f"check its weights, which lack {missing[0]}"
        raise expected("model", name, "a folder with weights for every layer", remedy)
    return (base if files.gguf is None else _plain(base)), tokenizer


def _dequantising(files: ModelFiles) -> dict[str, Any]:
    """Newer releases of transformers would keep the weights in blocks where they can, and must be told not to."""
    config = getattr(transformers, "GgufConfig", None)
    return {} if files.gguf is None or config is None else {"quantization_config": config(dequantize=True)}


def _plain(base: Any) -> Any:
    """The model without the traces of its quantizer, which would make save_pretrained refuse."""
    base.hf_quantizer = None
    for config in (base.config, base.generation_config):
        for trace in ("quantization_config", "_pre_quantization_dtype"):
            if hasattr(config, trace):
                delattr(config, trace)
    return base
