"""The generated code: every multiply-add of the engine's inner loop is a packed one, on the machine's widest registers.

No timing: the instructions are counted, so that a lost vectorisation is noticed on any machine, however busy.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from llvmlite import binding

from simulator.engines.arrays import Shape
from simulator.engines.kernel import compile_run
from simulator.engines.lanes import lanes
from simulator.engines.layout import lay_out
from simulator.engines.plan import make_plan
from simulator.problems import Problem
from theory.rules import GRPO

_PACKED = r"\tvfn?m(?:add|sub)\d{3}pd\t.*%"
_SCALAR = r"\tvfn?m(?:add|sub)\d{3}sd\t"
# Of one exponential: 3 of the reduction, 11 of the polynomial.
_EXP = 14


def _registers() -> tuple[str, int]:
    """The widest registers of the machine, and how many doubles they hold."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return "zmm", 8
    if features.get("avx2") and features.get("fma"):
        return "ymm", 4
    pytest.skip("the instructions of this test are those of AVX2 and AVX-512; the machine has neither")


def _problem(n: int, outputs: int, d: int) -> Problem:
    features = np.random.default_rng(0).standard_normal((n, outputs, d))
    return Problem(features, np.zeros(n, dtype=np.int64), np.zeros(d))


def _compiled(problem: Problem, space: Any, width: int, across: bool) -> tuple[Shape, Any]:
    """The compiled run of a problem after a run of as many replicas as give this layout."""
    layout = lay_out(problem, space)
    lanes(make_plan(problem, GRPO, 0.1, 1, replicas=1 if across else width, space=layout), threads=1)
    layout = layout.side_by_side(width) if across else layout
    shape = Shape(width, across, problem.outputs - 1, layout.dimension, layout.length, layout.factors.shape[1])
    run = compile_run(shape, GRPO, False, not across)
    assert len(run.signatures) == 1, "the run above used another shape: this test must follow lanes()"
    return shape, run


def _evaluation(run: Any) -> str:
    """The basic block with the most multiply-adds, which is that of ``evaluate_prompts``."""
    (assembly,) = run.inspect_asm().values()
    assert not re.search(r"\bexp\b|llvm\.exp", assembly), "exp is called, not inlined"
    blocks = re.split(r"\n(?=\.L\w+:)", assembly)
    return max(blocks, key=lambda block: len(re.findall(_PACKED, block)) + len(re.findall(_SCALAR, block)))


def _counts(block: str, register: str) -> tuple[int, int]:
    """Packed multiply-adds on these registers, and all others."""
    packed = re.findall(_PACKED + register, block)
    everything = re.findall(r"\tvfn?m(?:add|sub)\w+\t", block)
    return len(packed), len(everything) - len(packed)


def _emitted(shape: Shape) -> int:
    """Vector multiply-adds for one prompt: margins, exponentials, triangular rows, and the squares of the rows."""
    wrong, depth = shape.n_wrong, shape.dimension or 0
    triangle = sum(wrong - row for row in range(shape.rank))
    return wrong * depth + wrong * _EXP + triangle + shape.rank


@pytest.mark.parametrize(
    ("sizes", "space", "width", "across"),
    [
        ((4, 4, 4), "features", 32, False),
        pytest.param((4, 4, 4), "features", 16, False, marks=pytest.mark.deep),
        pytest.param((8, 8, 8), "gram", 32, False, marks=pytest.mark.deep),
        pytest.param((3, 5, 2), "features", 32, False, marks=pytest.mark.deep),
        ((8, 8, 8), "features", 8, True),
    ],
    ids=str,
)
def test_every_multiply_add_of_the_evaluation_is_packed(
    sizes: tuple[int, int, int], space: str, width: int, across: bool
) -> None:
    register, doubles = _registers()
    shape, run = _compiled(_problem(*sizes), space, width, across)
    packed, others = _counts(_evaluation(run), register)
    assert packed == _emitted(shape) * width // doubles
    assert others == 0, f"{others} multiply-adds on narrower registers or on scalars"


@pytest.mark.deep
def test_scalar_code_would_be_noticed() -> None:
    register, _ = _registers()
    shape, run = _compiled(_problem(4, 4, 4), "features", 32, False)
    scalar = compile_run(shape._replace(width=1), GRPO, False, True)
    scalar.compile(run.signatures[0])
    packed, others = _counts(_evaluation(scalar), register)
    assert packed == 0
    assert others >= _emitted(shape)


@pytest.mark.deep
def test_narrower_registers_would_be_noticed() -> None:
    """Vectors of half a register: the same arithmetic in twice as many instructions."""
    register, doubles = _registers()
    shape, run = _compiled(_problem(4, 4, 4), "features", 32, False)
    narrow = compile_run(shape._replace(width=doubles // 2), GRPO, False, True)
    narrow.compile(run.signatures[0])
    packed, others = _counts(_evaluation(narrow), register)
    assert packed == 0
    assert others >= _emitted(shape)
