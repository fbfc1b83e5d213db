"""A local worker process: tasks come in as lines of JSON, outcomes go out as lines of JSON.

When its coordinator is gone, its input ends, and it ends at once: nothing is lost, as files appear whole or not at all.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from queue import SimpleQueue
from typing import Any, TextIO

__all__ = ["main"]


def _read(tasks: SimpleQueue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        tasks.put(json.loads(line))
    os._exit(0)


def _private_output() -> TextIO:
    """Standard output for outcomes alone: whatever else is printed goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def main() -> None:
    """Serve until the input ends."""
    # An interrupt at the terminal reaches all processes; the coordinator decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = _private_output()
    tasks: SimpleQueue[dict[str, Any]] = SimpleQueue()
    threading.Thread(target=_read, args=(tasks,), daemon=True).start()
    from simulator.sweeps.perform import perform

    while True:
        print(json.dumps(perform(tasks.get())), file=answers, flush=True)


if __name__ == "__main__":
    main()
