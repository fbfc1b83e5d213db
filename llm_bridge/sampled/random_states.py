"""The global random states of Python, numpy and torch: a run has its own, and hands the caller's back.

No completion depends on them (see ``sampled.decoding``); a reward function may. They are kept as plain integers in a
safetensors file, so nothing is pickled.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["own_random_states", "random_states", "restore_random_states", "seed_random_states"]


def random_states() -> dict[str, torch.Tensor]:
    """All global random states as tensors by name."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    assert (version, name) == (3, "MT19937")
    states = {
        "python": torch.tensor(words, dtype=torch.int64),
        # One number, or none where no second normal deviate is in store.
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.tensor(np.append(keys, [position, has_gauss]).astype(np.int64)),
        "numpy_gauss": torch.tensor([cached], dtype=torch.float64),
        "torch": torch.random.get_rng_state(),
    }
    for index in range(torch.cuda.device_count()):
        states[f"cuda{index}"] = torch.cuda.get_rng_state(index)
    return states


def restore_random_states(states: Mapping[str, torch.Tensor]) -> None:
    """Put back what :func:`random_states` returned; states of devices that are not there are passed over."""
    gauss = states["python_gauss"].tolist()
    random.setstate((3, tuple(states["python"].tolist()), gauss[0] if gauss else None))
    numbers = states["numpy"].numpy()
    keys, (position, has_gauss) = numbers[:-2].astype(np.uint32), numbers[-2:].tolist()
    np.random.set_state(("MT19937", keys, position, has_gauss, states["numpy_gauss"].item()))  # noqa: NPY002
    torch.random.set_rng_state(states["torch"])
    for index in range(torch.cuda.device_count()):
        if f"cuda{index}" in states:
            torch.cuda.set_rng_state(states[f"cuda{index}"], index)


def seed_random_states(seed: int) -> None:
    """Start all of them from one seed."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)


@contextmanager
def own_random_states(seed: int) -> Iterator[None]:
    """States that start from a seed within the block; those of before are restored."""
    before = random_states()
    seed_random_states(seed)
    try:
        yield
    finally:
        restore_random_states(before)
