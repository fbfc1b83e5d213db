"""Problems: what is refused and how it is said, the file format, and bandits built from a Gram matrix."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compare import assert_agree
from hypothesis import given
from hypothesis import strategies as st

from simulator.families import make_problem
from simulator.problems import Problem, check_step, load_problem
from theory.errors import InputError

X = np.arange(24.0).reshape(2, 3, 4)
GOOD: dict[str, Any] = {"features": X, "answers": [0, 2], "theta0": np.zeros(4)}
NAN, INF = float("nan"), float("inf")


def _refusal(make: Callable[[], Any]) -> str:
    """The message of the InputError that ``make`` raises; always one line that names a remedy."""
    with pytest.raises(InputError) as caught:
        make()
    message = str(caught.value)
    assert re.fullmatch(r".+ is .+; expected .+; .+", message)
    return message


def _with(where: tuple[int, ...], value: float) -> np.ndarray:
    changed = X.copy()
    changed[where] = value
    return changed


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("features NaN", {"features": _with((1, 2, 3), NAN)}, "features[1, 2, 3] is nan"),
    ("features infinite", {"features": _with((0, 1, 0), -INF)}, "features[0, 1, 0] is -inf"),
    ("features so large that squares overflow", {"features": _with((1, 0, 0), 1e200)}, "features[1, 0, 0] is 1e+200"),
    ("features too large for float64", {"features": X.astype(np.longdouble) * np.longdouble("1e400")}, "is inf"),
    ("features 2-d", {"features": X[0]}, "shape of features is (3, 4)"),
    ("no prompts", {"features": X[:0]}, "shape of features is (0, 3, 4)"),
    ("no features", {"features": X[:, :, :0]}, "shape of features is (2, 3, 0)"),
    ("one output", {"features": X[:, :1], "answers": [0, 0]}, "K is 1"),
    ("features ragged", {"features": [[[1.0], [2.0, 3.0]]]}, "features is 'ragged'"),
    ("features bool", {"features": X > 3}, "dtype of features is 'bool'"),
    ("features complex", {"features": X + 1j}, "dtype of features is 'complex128'"),
    ("features objects", {"features": X.astype(object)}, "dtype of features is 'object'"),
    ("features strings", {"features": X.astype(str)}, "dtype of features is '<U"),
    ("features None", {"features": None}, "dtype of features is 'object'"),
    ("answer K", {"answers": [0, 3]}, "answers[1] is 3; expected an integer from 0 to 2"),
    ("answer negative", {"answers": [-1, 0]}, "answers[0] is -1"),
    ("answer huge", {"answers": np.array([0, 2**64 - 1], dtype=np.uint64)}, f"answers[1] is {2**64 - 1}"),
    ("answers float", {"answers": [0.0, 1.0]}, "dtype of answers is 'float64'"),
    ("answers bool", {"answers": [True, False]}, "dtype of answers is 'bool'"),
    ("answers too many", {"answers": [0, 1, 2]}, "shape of answers is (3,)"),
    ("answers 2-d", {"answers": [[0, 1]]}, "shape of answers is (1, 2)"),
    ("answers ragged", {"answers": [[0], [1, 2]]}, "answers is 'ragged'"),
    ("theta0 too short", {"theta0": np.zeros(3)}, "shape of theta0 is (3,); expected (4,)"),
    ("theta0 2-d", {"theta0": np.zeros((1, 4))}, "shape of theta0 is (1, 4)"),
    ("theta0 NaN", {"theta0": [0, 0, NAN, 0]}, "theta0[2] is nan"),
    ("order n", {"order": [0, 1, 2]}, "order[2] is 2; expected an integer from 0 to 1"),
    ("order negative", {"order": [0, -1]}, "order[1] is -1"),
    ("order 2-d", {"order": [[0, 1]]}, "shape of order is (1, 2)"),
    ("order scalar", {"order": 1}, "shape of order is ()"),
    ("order float", {"order": [0.0]}, "dtype of order is 'float64'"),
    ("order ragged", {"order": [[0], [0, 1]]}, "order is 'ragged'"),
]


@pytest.mark.parametrize(("changes", "text"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_input_is_refused_with_its_name_and_value(changes: dict[str, Any], text: str) -> None:
    assert text in _refusal(lambda: Problem(**(GOOD | changes)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, np.uint64, np.longdouble])
def test_every_real_dtype_is_converted_without_change(dtype: Any) -> None:
    problem = Problem(X.astype(dtype), np.array([0, 2], dtype=np.uint8), np.zeros(4, dtype=dtype))
    assert (problem.features.dtype, problem.answers.dtype, problem.theta0.dtype) == (np.float64, np.int64, np.float64)
    assert (problem.features == X).all()


def test_a_problem_does_not_change_with_the_arrays_it_was_built_from() -> None:
    features, answers = X.copy(), np.array([0, 2])
    problem = Problem(features, answers, np.zeros(4))
    features[:], answers[:] = 7.0, 1
    assert (problem.features == X).all()
    assert problem.answers.tolist() == [0, 2]


def test_sizes_and_x_max() -> None:
    problem = Problem(**GOOD)
    assert (problem.n, problem.outputs, problem.d) == (2, 3, 4)
    largest = max(np.linalg.eigvalsh(x @ x.T)[-1] for x in X)
    assert_agree(problem.x_max_sq, largest, 1e-13)


@pytest.mark.parametrize("eta", [0.0, -1.0, NAN, INF])
def test_step_size_must_be_finite_and_positive(eta: float) -> None:
    assert f"eta is {eta}" in _refusal(lambda: check_step(eta, 1))


@pytest.mark.parametrize("steps", [0, -3])
def test_at_least_one_step(steps: int) -> None:
    assert f"steps is {steps}" in _refusal(lambda: check_step(1.0, steps))


@given(seed=st.integers(0, 10**6), length=st.none() | st.integers(0, 9), scale=st.sampled_from([1e-300, 1.0, 1e59]))
def test_npz_round_trip_is_exact(
    tmp_path_factory: pytest.TempPathFactory, seed: int, length: int | None, scale: float
) -> None:
    rng = np.random.default_rng(seed)
    n, outputs, d = rng.integers((1, 2, 1), 5)
    order = None if length is None else rng.integers(0, n, size=length)
    features = rng.uniform(-scale, scale, (n, outputs, d))
    problem = Problem(features, rng.integers(0, outputs, n), rng.standard_normal(d), order)
    path = tmp_path_factory.getbasetemp() / "round trip.npz"
    problem.save(path)
    again = load_problem(path)
    assert again.name == "round trip"
    for name in ("features", "answers", "theta0"):
        assert getattr(again, name).tobytes() == getattr(problem, name).tobytes()
    assert (again.order is None) == (order is None)
    assert order is None or (again.order == order).all()


@pytest.mark.parametrize("missing", ["features", "answers", "theta0"])
def test_a_file_without_an_array_is_refused_by_its_name(tmp_path: Path, missing: str) -> None:
    np.savez(tmp_path / "a.npz", **{name: GOOD[name] for name in GOOD if name != missing})
    assert f"{missing} missing" in _refusal(lambda: load_problem(tmp_path / "a.npz"))


def test_arrays_of_a_file_are_validated(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **(GOOD | {"answers": [0, 9]}))
    assert "answers[1] is 9" in _refusal(lambda: load_problem(tmp_path / "a.npz"))


@pytest.mark.parametrize("name", ["absent.npz", "."])
def test_a_path_without_a_file_is_refused(tmp_path: Path, name: str) -> None:
    assert "an existing file of arrays (.npz)" in _refusal(lambda: load_problem(tmp_path / name))


def test_with_order_keeps_the_rest_and_validates() -> None:
    problem = Problem(**GOOD, name="mine").with_order([1, 0, 1])
    assert problem.order is not None
    assert problem.order.tolist() == [1, 0, 1]
    assert (problem.name, problem.order.dtype) == ("mine", np.int64)
    assert "order[0] is 2" in _refusal(lambda: problem.with_order([2]))
    assert "ragged" in _refusal(lambda: problem.with_order([[0], [0, 1]]))


def _differences(logits: np.ndarray, answers: np.ndarray) -> np.ndarray:
    return logits - logits[np.arange(len(answers)), answers][:, None]


@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.4, 1.0, 2.0]))
def test_from_gram_has_the_gram_matrix_and_the_logits(seed: int, share: float) -> None:
    """Also for a singular Gram matrix (share < 1), if some theta0 has the logits up to a shift of each prompt."""
    rng = np.random.default_rng(seed)
    n, outputs = (int(size) for size in rng.integers((1, 2), 5))
    d = max(2, int(share * n * outputs))
    rows, answers = rng.standard_normal((n * outputs, d)), rng.integers(0, outputs, n)
    logits = (rows @ rng.standard_normal(d)).reshape(n, outputs) + 50 * rng.standard_normal((n, 1))
    problem = Problem.from_gram(rows @ rows.T, logits, answers, name="g")
    flat = problem.features.reshape(n * outputs, -1)
    gram = rows @ rows.T
    assert_agree(flat @ flat.T, gram, 0.0, "gram", atol=1e-10 * float(np.abs(gram).max()))
    start = (problem.features @ problem.theta0).reshape(n, outputs)
    assert_agree(_differences(start, answers), _differences(logits, answers), 0.0, "logits", atol=1e-6)
    assert problem.name == "g"


def test_from_gram_of_a_bandit_is_that_bandit() -> None:
    problem = make_problem("gaussian", 3, 4, p0=[1e-6, 0.3, 0.9], seed=1)
    flat = problem.features.reshape(12, -1)
    logits = problem.features @ problem.theta0
    twin = Problem.from_gram(flat @ flat.T, logits, problem.answers)
    one, two = problem.at(problem.theta0), twin.at(twin.theta0)
    for name in ("p", "q", "grad_sq"):
        assert_agree(getattr(two, name), getattr(one, name), 1e-9, name)
    assert_agree(twin.x_max_sq, problem.x_max_sq, 1e-12)


def test_a_gram_matrix_can_be_read_from_a_file(tmp_path: Path) -> None:
    problem = make_problem("gaussian", 3, 4, p0=[1e-6, 0.3, 0.9], seed=1)
    flat = problem.features.reshape(12, -1)
    arrays = {"gram": flat @ flat.T, "logits": problem.features @ problem.theta0, "answers": problem.answers}
    np.savez(tmp_path / "kernel.npz", **arrays)
    twin = load_problem(tmp_path / "kernel.npz")
    assert (twin.name, twin.order) == ("kernel", None)
    assert_agree(twin.at(twin.theta0).grad_sq, problem.at(problem.theta0).grad_sq, 1e-9)
    np.savez(tmp_path / "ordered.npz", **arrays, order=np.array([2, 0, 1]))
    assert load_problem(tmp_path / "ordered.npz").order.tolist() == [2, 0, 1]  # type: ignore[union-attr]
    for name in ("logits", "answers"):
        np.savez(tmp_path / "less.npz", **{key: value for key, value in arrays.items() if key != name})
        refused = _refusal(lambda: load_problem(tmp_path / "less.npz"))
        assert f"expected the arrays gram, logits, answers; {name} missing" in refused


EYE, FLAT = np.eye(4), np.zeros((2, 2))
BAD_GRAM: list[tuple[str, Any, Any, Any, str]] = [
    ("shape", np.eye(3), FLAT, [0, 0], "shape of gram is (3, 3); expected (4, 4)"),
    ("1-d", np.ones(4), FLAT, [0, 0], "shape of gram is (4,)"),
    ("NaN", EYE * NAN, FLAT, [0, 0], "gram[0, 0] is nan"),
    ("too large", EYE * 1e308, FLAT, [0, 0], "gram[0, 0] is 1e+308"),
    ("negative eigenvalue", np.diag([1.0, 1.0, 1.0, -1e-3]), FLAT, [0, 0], "smallest eigenvalue of gram is -0.001"),
    ("zero", 0 * EYE, FLAT, [0, 0], "largest eigenvalue of gram is 0.0; expected above 0"),
    ("asymmetric", EYE + np.diag([0.5, 0, 0], 1) - np.diag([0.5, 0, 0], -1), FLAT, [0, 0], "|gram - gram^T| is 1.0"),
    ("empty", np.zeros((0, 0)), np.zeros((0, 2)), [], "shape of logits is (0, 2)"),
    ("one output", np.eye(2), np.zeros((2, 1)), [0, 0], "K is 1"),
    ("logits ragged", EYE, [[0.0], [0.0, 1.0]], [0, 0], "logits is 'ragged'"),
    ("logits NaN", EYE, [[0, 0], [0, NAN]], [0, 0], "logits[1, 1] is nan"),
    ("answers ragged", EYE, FLAT, [[0], [0, 1]], "answers is 'ragged'"),
    ("answer out of range", EYE, FLAT, [0, 2], "answers[1] is 2"),
    ("logits out of range", np.diag([1.0, 1, 0, 0]), [[0.0, 1.0], [0.0, 1.0]], [0, 0], "logits is 'off by 1.0e+00'"),
]


@pytest.mark.parametrize("case", BAD_GRAM, ids=[case[0] for case in BAD_GRAM])
def test_from_gram_refuses_what_is_no_gram_matrix(case: tuple[str, Any, Any, Any, str]) -> None:
    _, gram, logits, answers, text = case
    assert text in _refusal(lambda: Problem.from_gram(gram, logits, answers))
