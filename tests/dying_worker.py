"""A worker that is killed by every task with a run of seed 3."""

from __future__ import annotations

import os
import signal
from typing import Any

import simulator.sweeps.perform as module
from simulator.sweeps.worker import main

_perform = module.perform


def _perform_or_die(message: dict[str, Any]) -> dict[str, Any]:
    if any(run["seed"] == 3 for run in message["runs"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return _perform(message)


if __name__ == "__main__":
    module.perform = _perform_or_die  # type: ignore[assignment]
    main()
