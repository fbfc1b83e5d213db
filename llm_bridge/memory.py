"""Out of memory is bad input: the model, the batch or the precision asked for more than the machine has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from theory.errors import InputError, expected

__all__ = ["clear_memory_errors"]

# What torch says where it has no exception class of its own: the allocators of CPU and other devices, cuBLAS, cuDNN.
_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


@contextmanager
def clear_memory_errors(what: str = "this run") -> Iterator[None]:
    """Turn any way of running out of memory within the block into one line that says what to do.

    Args:
        what: what was being done.

    Raises:
        InputError: memory ran out. Other errors pass as they are.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _too_large(what, error) from None
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _SIGNS):
            raise
        raise _too_large(what, error) from None


def _too_large(what: str, error: BaseException) -> InputError:
    # Torch explains itself over several sentences; the first says how much was asked for.
    reason = " ".join(str(error).split()).split(". ")[0][:120] or type(error).__name__
    remedy = "take fewer prompts or generations at a time, gradient checkpointing, bfloat16 or float32, or a lower rank"
    return expected("memory", reason, f"enough for {what}", remedy)
