"""What the README's first command takes: the processor time of `whynorm reproduce` with its default settings.

    python -m benchmarks.main_job [--out benchmarks/results/main_job.json]

Processor time is summed over all processes of the job, so that what else the machine does changes it little; the job
uses all cores, and on two of them takes somewhat more than half of it.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.commands import module_command
from benchmarks.engines import machine
from simulator.files import write_json
from whynorm.outputs import usable_cores

__all__ = ["main", "measure"]


def measure(settings: Sequence[str] = ()) -> dict[str, Any]:
    """Run the job into a directory that is thrown away; CalledProcessError if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        before, start = _used(), time.perf_counter()
        subprocess.run([sys.executable, "-m", "whynorm", "reproduce", "--out", folder, *settings], check=True)
        return {
            "cores": usable_cores(),
            "processor_seconds": round(_used() - before, 1),
            "seconds": round(time.perf_counter() - start, 1),
        }


def _used() -> float:
    """Processor seconds of this process's children that have ended, and of theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/main_job.json"))
    options, settings = parser.parse_known_args(arguments)
    told = {"command": module_command("main_job", arguments), "machine": machine()}
    write_json(options.out, {**told, **measure(settings)})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
