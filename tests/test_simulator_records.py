"""Records: when a run is recorded, what is saved comes back bit by bit, and damage is told in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import assert_agree
from hypothesis import given
from hypothesis import strategies as st

from simulator.families import make_problem
from simulator.records import Record, snapshot_times, stable_difference
from simulator.reference import simulate
from theory.errors import InputError
from theory.rules import GRPO, REINFORCE, power

SCALARS = ("origin", "problem", "rule", "schedule", "eta", "x_max_sq")
ARRAYS = tuple(f.name for f in fields(Record) if f.name not in (*SCALARS, "extra"))


@given(steps=st.integers(0, 10**6) | st.integers(1, 10**15) | st.integers(0, 15).map(lambda e: 10**e - 1))
def test_log_times_are_increasing_sparse_and_hold_both_ends(steps: int) -> None:
    times = snapshot_times(steps, "log")
    assert (times[0], times[-1]) == (0, steps)
    assert (np.diff(times) > 0).all()
    assert len(times) <= 3 + 20 * np.log10(max(steps, 1)) + 1
    late = times[(times >= 20) & (times < steps)]
    assert (late[1:] <= 1.2 * late[:-1]).all()
    assert set(range(min(steps, 6) + 1)) - {7} <= set(times.tolist())


@given(steps=st.integers(0, 3000))
def test_full_times_are_all_times(steps: int) -> None:
    assert snapshot_times(steps, "full").tolist() == list(range(steps + 1))


@given(steps=st.integers(1, 10**6))
def test_log_times_do_not_move_when_a_run_is_longer(steps: int) -> None:
    short, long = snapshot_times(steps, "log"), snapshot_times(3 * steps, "log")
    assert set(short.tolist()) - set(long.tolist()) <= {steps}


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(InputError, match="record is 'all'; expected log or full"):
        snapshot_times(10, "all")


def test_stable_difference_takes_the_side_that_holds_the_digits() -> None:
    p0, q0 = np.array([1e-20, 0.3, 1.0, 0.9]), np.array([1.0, 0.7, 3e-20, 0.1])
    p1, q1 = np.array([3e-20, 0.8, 1.0, 0.2]), np.array([1.0, 0.2, 1e-20, 0.8])
    assert_agree(stable_difference(p0, q0, p1, q1), [2e-20, 0.5, 2e-20, -0.7], 1e-15)


def _record(seed: int = 0, rule: Any = GRPO, steps: int = 30) -> Record:
    problem = make_problem("orthogonal", 3, 4, p0=[1e-9, 0.3, 1 - 1e-9], seed=seed)
    return simulate(problem, rule, float(GRPO.step_size(problem.x_max_sq)), steps, seed=seed)  # type: ignore[misc]


def _assert_same(one: Record, two: Record) -> None:
    for name in SCALARS:
        assert getattr(one, name) == getattr(two, name)
    for name in ARRAYS:
        a, b = getattr(one, name), getattr(two, name)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes()), name
    assert one.extra.keys() == two.extra.keys()
    assert all(one.extra[name].tobytes() == two.extra[name].tobytes() for name in one.extra)


@given(seed=st.integers(0, 10**6), rule=st.sampled_from([REINFORCE, GRPO, power(0.25)]), steps=st.integers(1, 40))
def test_a_saved_record_comes_back_bit_by_bit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rule: Any, steps: int
) -> None:
    record = _record(seed, rule, steps)
    extra = {"cosines": np.array([[0.1, np.nan], [-1.0, 1e-320]]), "empty": np.zeros((0, 3))}
    record = replace(record, extra=extra, eta=record.eta * (1 + seed * 1e-9), problem="näme\n")
    directory = tmp_path_factory.getbasetemp() / "run" / "nested"
    record.save(directory)
    _assert_same(record, Record.load(directory))
    assert sorted(path.name for path in directory.iterdir()) == ["record.npz", "summary.json"]


def test_a_language_model_record_has_no_theta_and_comes_back(tmp_path: Path) -> None:
    record = _record()
    record = replace(record, origin="language model", theta=np.zeros((len(record.t), 0)))
    record.save(tmp_path)
    _assert_same(record, Record.load(tmp_path))


def test_the_summary_says_what_the_arrays_hold(tmp_path: Path) -> None:
    record = _record(rule=REINFORCE)
    record.save(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary == record.summary()
    assert (summary["prompts"], summary["steps"], summary["rule"]) == (3, 30, "reinforce")
    assert summary["J_start"] == record.J[0].tolist()
    assert summary["J_end"] == record.J[-1].tolist()
    assert_agree(summary["mean_J_end"], sum(summary["J_end"]) / 3, 1e-15)
    assert_agree(summary["eta"] * summary["x_max_sq"], 0.5, 1e-15)


def test_the_summary_counts_descents_and_compares_gains_with_the_guarantee() -> None:
    record = _record()
    gains = np.full(30, 2.0)
    gains[[3, 8]] = -1.0, 0.0
    changed = replace(record, step_gain=gains, step_grad_sq=np.full(30, 16.0), step_std=np.full(30, 0.5), x_max_sq=4.0)
    summary = changed.summary()
    assert summary["descending_steps"] == 1
    # 3 * 16 / (16 * 4 * 0.5) = 1.5 is GRPO's guarantee.
    assert summary["gain_over_bound_min"] == -1.0 / 1.5
    assert summary["gain_over_bound_median"] == 2.0 / 1.5
    assert replace(changed, step_grad_sq=np.zeros(30)).summary()["gain_over_bound_min"] is None


@pytest.mark.parametrize("rule", [REINFORCE, GRPO], ids=lambda rule: rule.name)
def test_gains_meet_the_guarantee_at_the_step_of_the_theorem(rule: Any) -> None:
    problem = make_problem("orthogonal", 4, 5, p0=[1e-3, 0.1, 0.5, 0.95], seed=3)
    record = simulate(problem, rule, float(rule.step_size(problem.x_max_sq)), 400, seed=1)
    assert record.step_bound is not None
    assert (record.step_bound > 0).all()
    assert (record.step_gain >= record.step_bound).all()
    assert record.summary()["gain_over_bound_min"] >= 1.0


def test_the_step_bound_is_that_of_the_theorem() -> None:
    record = _record(rule=REINFORCE)
    assert_agree(record.step_bound, record.step_grad_sq / (2 * record.x_max_sq), 1e-15)
    record = _record(rule=GRPO)
    assert_agree(record.step_bound, 3 * record.step_grad_sq / (16 * record.x_max_sq * record.step_std), 1e-15)


def test_rules_without_a_theorem_have_no_bound() -> None:
    record = _record(rule=power(0.25))
    assert record.step_bound is None
    assert not {"gain_over_bound_min", "gain_over_bound_median"} & record.summary().keys()


def _arrays(directory: Path) -> dict[str, Any]:
    with np.load(directory / "record.npz") as archive:
        return dict(archive)


def _rewrite(**changes: Any) -> Callable[[Path], None]:
    """Damage: arrays replaced, or removed where the value is None."""

    def damage(directory: Path) -> None:
        arrays = _arrays(directory) | changes
        np.savez(directory / "record.npz", **{name: a for name, a in arrays.items() if a is not None})

    return damage


def _summary(text: str | bytes) -> Callable[[Path], None]:
    return lambda d: (d / "summary.json").write_bytes(text if isinstance(text, bytes) else text.encode()) and None


def _scalar(name: str, value: Any) -> Callable[[Path], None]:
    def damage(directory: Path) -> None:
        content = json.loads((directory / "summary.json").read_text())
        content[name] = value
        (directory / "summary.json").write_text(json.dumps(content))

    return damage


def _truncate(directory: Path) -> None:
    data = (directory / "record.npz").read_bytes()
    (directory / "record.npz").write_bytes(data[: len(data) // 2])


def _as_npy(directory: Path) -> None:
    np.save(directory / "a.npy", np.zeros(3))
    (directory / "a.npy").rename(directory / "record.npz")


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "no arrays": lambda d: (d / "record.npz").unlink(),
    "no summary": lambda d: (d / "summary.json").unlink(),
    "truncated": _truncate,
    "a single array": _as_npy,
    "text as arrays": lambda d: (d / "record.npz").write_text("hello"),
    "order of objects": _rewrite(order=np.array([None], dtype=object)),
    "J of integers": _rewrite(J=np.zeros((21, 3), dtype=np.int64)),
    "order of floats": _rewrite(order=np.zeros(30)),
    "J flat": _rewrite(J=np.zeros(21)),
    "no steps": _rewrite(**{name: np.zeros(0) for name in ("step_gain", "step_grad_sq", "step_std")}),
    "summary empty": _summary(""),
    "summary truncated": _summary('{"origin": "simul'),
    "summary binary": _summary(b"\xff\xfe\x00"),
    "summary nested too deep": _summary("[" * 100_000),
    **{f"summary {text}": _summary(text) for text in ("null", "[]", "3", '"x"', "{}", "NaN")},
    **{f"without {name}": _rewrite(**{name: None}) for name in ARRAYS},
    **{f"{name} one row longer": _rewrite(**{name: np.ones((22, 3))}) for name in ("J", "q", "grad_sq")},
    **{f"{name} one entry longer": _rewrite(**{name: np.ones(31)}) for name in ("step_gain", "step_std")},
    "eta a word": _scalar("eta", "1.0"),
    "eta NaN": _scalar("eta", float("nan")),
    "eta too large": _scalar("eta", 10**400),
    "eta true": _scalar("eta", True),
    "rule a number": _scalar("rule", 1),
    "problem missing": _scalar("problem", None),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_directories_are_refused_in_one_line(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    _record().save(tmp_path)
    assert Record.load(tmp_path).J.shape == (21, 3)
    damage(tmp_path)
    with pytest.raises(InputError) as caught:
        Record.load(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"run directory is '{str(tmp_path)[:20]}")
    assert "\n" not in message
    assert len(message) < 700
