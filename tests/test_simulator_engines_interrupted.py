"""An interrupt during compiled steps, which know nothing of signals."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_RUN = """
import signal
import numpy as np
from simulator.engines.run import simulate_many
from simulator.problems import Problem
from theory.rules import GRPO

signal.signal(signal.SIGINT, signal.default_int_handler)
problem = Problem(np.random.default_rng(0).standard_normal((2, 3, 2)), np.zeros(2, dtype=np.int64), np.zeros(2))
run = lambda steps: simulate_many(problem, GRPO, 1e-3, steps, replicas=64, engine_options={"threads": THREADS})
run(1)
print("compiled", flush=True)
try:
    run(1 << 32)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def _interrupted(threads: int) -> str:
    command = [sys.executable, "-c", _RUN.replace("THREADS", str(threads))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "compiled\n"
        try:
            # Undisturbed, the steps would take some twenty minutes.
            process.wait(1)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=60)[0]
        finally:
            process.kill()


@pytest.mark.deep
@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_ends_compiled_steps(threads: int) -> None:
    assert _interrupted(threads) == "interrupted\n"
