"""Hypothesis profiles, one torch thread for every test, and a finished sweep."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "quick", max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", parent=settings.get_profile("quick"), max_examples=1000, derandomize=False)
settings.load_profile("quick")

# Two torch threads that share a busy core wait for each other; results must not depend on their number anyway.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def one_torch_thread() -> None:
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture
def sweep(tmp_path: Path) -> Any:
    """A finished sweep of 8 tasks: plan, directory, bytes of its files."""
    from sweeping import contents, plan_of, run_inline, write_spec

    plan = plan_of(write_spec(tmp_path / "spec.toml"))
    assert run_inline(plan, tmp_path / "out") == {}
    assert len(plan.tasks) == 8
    return plan, tmp_path / "out", contents(tmp_path / "out")
