"""Hand-written C with libmvec's exp (``c_lanes.c``), compiled for the case by gcc and called through ctypes.

Tried, at 1024 replicas of (4, 4, 4) / (8, 8, 8) / (32, 16, 16), ns per replica-step on one busy core, (lanes, rows):
(8, 4) 23 / 82 / 915; (8, 8) 23 / 98 / 907; (16, 3) 20 / 77 / 825; (16, 4) 20 / 79 / 758; (16, 5) 20 / 80 / 694;
(32, 4) 18 / 74 / 705, which is kept; (32, 6) 19 / 78 / 729. The norm goes through triangular factors, as in the engine.
Not tried: prompts side by side for a single replica (one lane of 8 works there), and grouping replicas by the prompt
they draw, which is what Gram space with a matrix beyond the caches would need.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import Case, Result

__all__ = ["FLAGS", "LINK", "build", "prepare"]

FLAGS = ("-O3", "-march=native", "-mprefer-vector-width=512", "-ffast-math", "-fopenmp", "-fPIC")
# Linked apart, without -ffast-math: with it gcc adds start-up code that flushes subnormals to 0 in the whole process.
LINK = ("-shared", "-fopenmp")
_VECTOR = 8


@lru_cache(maxsize=8)
def build(case: Case, lanes: int, rows: int) -> ctypes.CDLL:
    """Compile for the dimensions of the case.

    Raises:
        ImportError: there is no gcc, or it fails, as it does where there is no libmvec.
    """
    compiler = shutil.which("gcc")
    if compiler is None:
        raise ImportError("needs gcc")
    n, wrong, d = case.layout.differences.shape
    sizes = {
        "N": n,
        "W": wrong,
        "DIM": d if case.layout.space == "features" else 0,
        "LENGTH": case.layout.length,
        "RANK": case.layout.factors.shape[1],
        "LANES": lanes,
        "ROWS": rows,
    }
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "lanes.so"
        defines = [f"-D{name}={value}" for name, value in sizes.items()]
        parts = str(Path(folder) / "lanes.o")
        source = str(Path(__file__).with_suffix(".c"))
        commands = [
            [compiler, *FLAGS, *defines, "-c", source, "-o", parts],
            [compiler, *LINK, parts, "-o", str(library), "-lmvec", "-lm"],
        ]
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise ImportError(f"gcc: {done.stderr.strip().splitlines()[0]}")
        return ctypes.CDLL(str(library))


def _pointer(array: Any) -> Any:
    return array.ctypes.data_as(ctypes.c_void_p)


def prepare(case: Case, steps: int, replicas: int, threads: int, variant: str = "") -> Callable[[], Result]:
    """See :mod:`benchmarks.peers`; ``variant`` is ``LANES,ROWS``."""
    n, wrong, _ = case.layout.differences.shape
    default = (next((size for size in (8, 16) if replicas <= size), 32), 4)
    lanes, at_once = (int(x) for x in variant.split(",")) if variant else default
    library = build(case, lanes, at_once)
    rows = np.zeros((n, wrong, -(-case.layout.length // _VECTOR) * _VECTOR))
    rows[:, :, : case.layout.length] = case.rows
    matrices = [np.ascontiguousarray(x) for x in (case.layout.differences, case.layout.factors, rows, case.start)]
    blocks = -(-replicas // lanes)

    def order(replica: int) -> Any:
        drawn = np.empty(steps, dtype=np.int64)
        library.order(ctypes.c_int64(replica), ctypes.c_int64(steps), _pointer(drawn))
        return drawn

    def run() -> Result:
        out = np.empty((4, blocks, n, lanes))
        counts = ctypes.c_int64(steps), ctypes.c_int64(blocks), ctypes.c_int(threads)
        library.run(*map(_pointer, matrices), ctypes.c_double(case.scaled_eta), *counts, _pointer(out))
        return Result(*out.transpose(0, 1, 3, 2).reshape(4, blocks * lanes, n)[:, :replicas], order)

    return run
