"""Every engine against the reference: one case table, one comparer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
from compare import assert_agree

from simulator.engines.ensemble import Ensemble
from simulator.engines.run import ENGINES, simulate_many
from simulator.families import make_problem
from simulator.problems import Problem
from simulator.reference import simulate
from simulator.sampled import get_any_rule
from theory.rules import Rule

STEPS = 60
FAST = [name for name in ENGINES if name != "reference"]


@dataclass(frozen=True)
class EngineCase:
    """A problem, a rule and how to run it. ``d`` None takes the family's own; a tall d reaches any p0."""

    family: str = "gaussian"
    n: int = 5
    outputs: int = 4
    d: int | None = 40
    p0: Any = 0.3
    rule: str = "grpo"
    schedule: str = "uniform"
    spaces: tuple[str, ...] = ("features", "gram")
    rtol: float = 1e-12

    @property
    def name(self) -> str:
        """Shown by pytest."""
        parts = (self.family, f"{self.n}x{self.outputs}x{self.d}", f"p0={self.p0}", self.rule, self.schedule)
        return " ".join(map(str, parts))

    def problem(self) -> Problem:
        """The bandit."""
        return make_problem(self.family, self.n, self.outputs, self.d, p0=self.p0, seed=4)


FEATURES, GRAM = ("features",), ("gram",)
# Every shape and every exact rule is compiled anew, a second each: the shapes but one are run in one space only.
CASES = [
    EngineCase(rule="reinforce"),
    EngineCase(),
    EngineCase(rule="power:0.3"),
    EngineCase(rule="power:1", spaces=GRAM),
    EngineCase(p0=1e-12),
    EngineCase(p0=1 - 1e-12),
    EngineCase(p0=1e-12, rule="power:0.3"),
    EngineCase(p0=1 - 1e-12, rule="reinforce"),
    EngineCase(family="tabular", d=None, p0=1e-12, spaces=GRAM),
    EngineCase(family="tabular", d=None, p0=1 - 1e-12, spaces=GRAM),
    EngineCase(family="shared-skill", d=None, rule="reinforce", spaces=FEATURES),
    EngineCase(n=1, outputs=2, d=3, spaces=FEATURES),
    EngineCase(n=17, outputs=2, d=40, spaces=GRAM),
    EngineCase(n=3, outputs=9, d=40, spaces=FEATURES),
    EngineCase(n=2, outputs=40, d=90, spaces=GRAM),
    EngineCase(n=33, outputs=3, d=101, spaces=FEATURES),
    EngineCase(schedule="all"),
    EngineCase(schedule="cyclic"),
    EngineCase(schedule="minibatch:3"),
    EngineCase(schedule="minibatch:5", rule="power:0.3"),
    EngineCase(rule="plain:3"),
    EngineCase(rule="paper:4", schedule="minibatch:2"),
    EngineCase(rule="rloo:2", schedule="all"),
    EngineCase(rule="trl_batch:5", schedule="minibatch:3"),
    EngineCase(rule="dapo:3"),
    EngineCase(rule="dapo:3", schedule="minibatch:2", n=20, d=80, spaces=FEATURES),
    EngineCase(rule="trl:8", p0=1 - 1e-4),
]
# What the lanes engine runs every day: shapes that many tests share, and one of each kind of rule and schedule.
DAILY = [
    EngineCase(),
    EngineCase(p0=1e-12),
    EngineCase(p0=1 - 1e-12),
    EngineCase(n=17, outputs=2, d=40, spaces=GRAM),
    EngineCase(schedule="cyclic"),
    EngineCase(schedule="minibatch:3"),
    EngineCase(rule="trl:8"),
    EngineCase(rule="rloo:2", schedule="all"),
    EngineCase(rule="dapo:3", schedule="minibatch:2", n=20, d=80, spaces=FEATURES),
]


def _runs() -> Iterator[Any]:
    for case, engine in product(CASES, FAST):
        marks = pytest.mark.deep if engine == "lanes" and case not in DAILY else ()
        yield from (pytest.param(case, engine, space, marks=marks) for space in case.spaces)


@cache
def _reference(case: EngineCase, replica: int) -> Any:
    problem = case.problem()
    eta = 0.7 / problem.x_max_sq
    rule = get_any_rule(case.rule)
    return simulate(problem, rule, eta, STEPS, schedule=case.schedule, seed=9, replica=replica, record="full")


def _run(case: EngineCase, engine: str, replicas: range, **options: Any) -> Ensemble:
    problem = case.problem()
    settings = {"schedule": case.schedule, "seed": 9, "record": "full"} | options
    eta = 0.7 / problem.x_max_sq
    return simulate_many(problem, get_any_rule(case.rule), eta, STEPS, engine=engine, replicas=replicas, **settings)


def _assert_run(ensemble: Ensemble, row: int, record: Any, rtol: float) -> None:
    for name in ("J", "q", "grad_sq"):
        assert_agree(getattr(ensemble, name)[row], getattr(record, name), rtol, f"{ensemble.engine}, {name}")


@pytest.mark.parametrize(
    ("case", "engine", "space"), list(_runs()), ids=lambda value: getattr(value, "name", str(value))
)
def test_engine_agrees_with_the_reference(case: EngineCase, engine: str, space: str) -> None:
    ensemble = _run(case, engine, range(3, 21), space=space)
    for replica in (3, 20):
        _assert_run(ensemble, replica - 3, _reference(case, replica), case.rtol)


# Every case compiles a kernel of its own here: an exact rule is quick enough for every day.
QUICK = [case for case in CASES if case.d == 40 and case.n == 5 and case.rule == "grpo" and case.schedule == "uniform"]
DEEP = [pytest.param(case, marks=pytest.mark.deep) for case in CASES if case not in QUICK]


@pytest.mark.parametrize("case", [*QUICK, *DEEP], ids=lambda case: case.name)
def test_one_replica_with_its_prompts_side_by_side(case: EngineCase) -> None:
    for space in case.spaces:
        _assert_run(_run(case, "lanes", range(20, 21), space=space), 0, _reference(case, 20), case.rtol)


@pytest.mark.parametrize("engine", FAST)
@pytest.mark.parametrize("replicas", [1, 2, 16, 33])
def test_theta_is_recorded(engine: str, replicas: int) -> None:
    case = EngineCase()
    ensemble = _run(case, engine, range(20, 20 + replicas), keep_theta=True)
    assert_agree(ensemble.theta[0], _reference(case, 20).theta, 1e-11, f"{engine}, theta", atol=1e-13)


@pytest.mark.parametrize("engine", [*FAST, "reference"])
def test_log_record_and_block_sums(engine: str) -> None:
    case = EngineCase(rule="trl:8", schedule="minibatch:2")
    ensemble = _run(case, engine, range(20, 22), record="log")
    full = _reference(case, 20)
    assert list(ensemble.t) == [0, 1, 2, 3, *ensemble.t[4:-1].tolist(), STEPS]
    assert_agree(ensemble.J[0], full.J[ensemble.t], 1e-12)
    for sums, values in ((ensemble.sum_J, full.J), (ensemble.sum_grad_sq, full.grad_sq)):
        ends = ensemble.t
        starts = np.r_[-1, ends[:-1]]
        blocks = [values[a + 1 : b + 1].sum(axis=0) for a, b in zip(starts, ends, strict=True)]
        assert_agree(sums[0], np.array(blocks), 1e-12)
    mean = ensemble.mean_over_steps(ensemble.sum_grad_sq, ensemble.grad_sq)
    assert_agree(mean[0], full.grad_sq[:STEPS].mean(axis=0), 1e-11)


@pytest.mark.parametrize("engine", FAST)
def test_own_order_step_sizes_and_starts(engine: str) -> None:
    """A given prompt order, a step size and a start of its own for each replica."""
    rng = np.random.default_rng(0)
    problem = EngineCase().problem().with_order(rng.integers(0, 5, STEPS))
    rule, etas = get_any_rule("grpo"), np.linspace(0.1, 1.0, 3)
    starts = problem.theta0 + 0.1 * rng.standard_normal((3, problem.d))
    ensemble = simulate_many(problem, rule, etas, STEPS, engine=engine, replicas=3, theta0=starts, record="full")
    assert ensemble.schedule == "given"
    for row in range(3):
        own = Problem(problem.features, problem.answers, starts[row], problem.order)
        _assert_run(ensemble, row, simulate(own, rule, etas[row], STEPS, record="full"), 1e-12)


@pytest.mark.parametrize(
    ("rule", "space"),
    [
        ("trl:8", "gram"),
        pytest.param("trl:8", "features", marks=pytest.mark.deep),
        pytest.param("grpo", "gram", marks=pytest.mark.deep),
        ("grpo", "features"),
    ],
)
def test_results_do_not_depend_on_threads_or_company(rule: str, space: str) -> None:
    """The same bits with 1 or 3 threads (columns of 32, 16 or 8), and for a run alone, among 20, 64 or 100."""
    case = EngineCase(rule=rule)
    many = _run(case, "lanes", range(100), space=space, engine_options={"threads": 3})
    fewer = _run(case, "lanes", range(64), space=space, engine_options={"threads": 1})
    few = _run(case, "lanes", range(20), space=space, engine_options={"threads": 3})
    alone = _run(case, "lanes", range(7, 8), space=space)
    for name in ("J", "q", "grad_sq", "sum_J", "sum_grad_sq"):
        np.testing.assert_array_equal(getattr(many, name)[:64], getattr(fewer, name))
        np.testing.assert_array_equal(getattr(many, name)[:20], getattr(few, name))
        np.testing.assert_array_equal(getattr(many, name)[7:8], getattr(alone, name))


def test_scale_of_the_features_does_not_matter() -> None:
    """Features times 2^60, theta and step size to match: the same probabilities, gradients times 2^60."""
    problem = EngineCase().problem()
    large = Problem(problem.features * 2.0**60, problem.answers, problem.theta0 * 2.0**-60)
    rule = get_any_rule("grpo")
    plain = simulate_many(problem, rule, 0.3, STEPS, replicas=20)
    scaled = simulate_many(large, rule, 0.3 * 2.0**-120, STEPS, replicas=20)
    assert_agree(scaled.J, plain.J, 1e-12)
    assert_agree(scaled.grad_sq * 2.0**-120, plain.grad_sq, 1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_that_overflows_is_told_apart(engine: str) -> None:
    # Features this long carry theta beyond the largest number; a margin inf - inf is no number and must stay none.
    base = EngineCase().problem()
    problem = Problem(1e3 * base.features, base.answers, 1e-3 * base.theta0)
    with np.errstate(all="ignore"):
        ensemble = simulate_many(problem, get_any_rule("grpo"), [1e-7, 1e308], STEPS, replicas=2, engine=engine)
    assert ensemble.finite.tolist() == [True, False]
    assert np.isnan(ensemble.J[1, -1]).any()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_rule_of_the_user_runs_by_its_weight_not_its_name(engine: str) -> None:
    own = Rule("grpo", lambda p, q: (p * q) ** -0.25 * (1 + p), "", "a test")
    problem = EngineCase().problem()
    ensemble = simulate_many(problem, own, 0.1, STEPS, engine=engine)
    assert_agree(ensemble.J[0], simulate(problem, own, 0.1, STEPS).J, 1e-12)


@pytest.mark.parametrize("engine", FAST)
def test_negative_control_another_seed_is_another_run(engine: str) -> None:
    """The comparison is able to fail: the same case with another seed does not agree."""
    case = EngineCase()
    with pytest.raises(AssertionError, match="entries differ"):
        _assert_run(_run(case, engine, range(20, 22), seed=10), 0, _reference(case, 20), 1e-9)
