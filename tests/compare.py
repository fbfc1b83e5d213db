"""The one comparer: arrays agree to a relative tolerance, or the message says where and by how much they do not."""

from __future__ import annotations

from typing import Any

import numpy as np

from theory.exact import as_floats, is_exact

__all__ = ["assert_agree"]


def assert_agree(actual: Any, desired: Any, rtol: float, what: str = "", atol: float = 0.0) -> None:
    """Assert ``|actual - desired| <= atol + rtol * |desired|`` elementwise; balls count by their midpoints."""
    a, b = (as_floats(x) if is_exact(x) else np.asarray(x, dtype=np.float64) for x in (actual, desired))
    assert a.shape == b.shape, f"{what}: shape {a.shape} against {b.shape}"
    excess = np.abs(a - b) - (atol + rtol * np.abs(b))
    bad = ~(excess <= 0)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        relative = abs(a[where] - b[where]) / max(abs(b[where]), 1e-323)
        raise AssertionError(
            f"{what}: {int(bad.sum())} of {bad.size} entries differ; first at {where}: "
            f"{a[where]!r} against {b[where]!r}, relative {relative:.2e}, allowed {rtol:.1e}"
        )
