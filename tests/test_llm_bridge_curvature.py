"""Curvature of the real network: products, eigenvalues, the split into softmax and network, and one-step gains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from compare import assert_agree
from scipy.sparse.linalg import ArpackNoConvergence
from tiny_case import PROMPTS, case

from llm_bridge.gradients import logit_features
from llm_bridge.measurement import curvature
from llm_bridge.measurement.curvature import HessianProduct, largest_eigenvalue, prompt_curvature, softmax_eigenvalue
from llm_bridge.measurement.hidden_states import hidden_cosines, hidden_states
from llm_bridge.measurement.measuring import spread_prompts
from llm_bridge.measurement.moves import moved
from llm_bridge.measurement.step_gains import step_gains
from llm_bridge.policies import answer_logits, log_odds
from theory.errors import InputError
from theory.policy import PolicyState, odds
from theory.rules import GRPO, REINFORCE


def _direction(size: int, seed: int = 0) -> np.ndarray:
    v = np.random.default_rng(seed).standard_normal(size)
    return v / np.linalg.norm(v)


def test_the_hessian_is_its_softmax_part_and_its_network_part() -> None:
    loaded, batch, measured = case()
    single = batch.prompt(1)
    full, network = HessianProduct(loaded, single), HessianProduct(loaded, single, "network")
    assert_agree(full.gradient, network.gradient, 0.0, "gradient", atol=1e-12 * np.abs(full.gradient).max())
    x = logit_features(loaded, single)[1].numpy()
    softmax = PolicyState(x, measured.answers[1:2], odds(measured.logits[1:2].copy(), measured.answers[1:2]))
    for seed in range(3):
        v = _direction(len(full.gradient), seed)
        exact = softmax.hessian_vector(v)[0] + network(v)
        assert_agree(full(v), exact, 0.0, "split", atol=1e-9 * np.abs(exact).max())


def test_a_product_is_the_difference_of_gradients() -> None:
    loaded, batch, _ = case()
    single = batch.prompt(0)
    product = HessianProduct(loaded, single)
    v, h = _direction(len(product.gradient)), 1e-4
    exact = product(v)
    ends = [moved(loaded, s * h * v, lambda: HessianProduct(loaded, single).gradient) for s in (1, -1)]
    assert_agree((ends[0] - ends[1]) / (2 * h), exact, 0.0, "difference", atol=1e-5 * np.abs(exact).max())


def test_lanczos_finds_the_largest_eigenvalue_of_either_sign() -> None:
    rng = np.random.default_rng(2)
    basis = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    for sign in (1, -1):
        values = np.linspace(-3, 4, 40) * sign
        value, vector = largest_eigenvalue(lambda v, w=values: basis @ (w * (basis.T @ v)), 40)
        assert value == pytest.approx(4 * sign, rel=1e-3)
        assert vector is not None
        assert abs(vector @ basis[:, -1]) == pytest.approx(1, abs=1e-2)
    assert largest_eigenvalue(lambda v: 0 * v, 40) == (0.0, None)


def test_the_softmax_part_comes_from_the_gram_matrix_alone() -> None:
    loaded, batch, measured = case()
    x = logit_features(loaded, batch.prompt(2))[1].numpy()
    state = PolicyState(x, measured.answers[2:3], odds(measured.logits[2:3].copy(), measured.answers[2:3]))
    value, _ = largest_eigenvalue(lambda v: state.hessian_vector(v)[0], x.shape[2], tolerance=1e-6)
    assert softmax_eigenvalue(measured, 2) == pytest.approx(value, rel=1e-5)


def test_curvature_of_a_prompt() -> None:
    loaded, batch, measured = case()
    before = {name: value.detach().clone() for name, value in loaded.parameters.items()}
    found = prompt_curvature(loaded, batch, measured, 3, ball=1)
    assert all(torch.equal(before[name], value) for name, value in loaded.parameters.items())
    assert found["finite_difference"] < 1e-5
    assert found["ball"] == pytest.approx(abs(found["eigenvalue"]), rel=0.5)
    assert abs(found["eigenvalue"]) <= abs(found["softmax"]) + abs(found["network"]) + 1e-9
    x_max_sq = max(np.linalg.norm(each, 2) for each in measured.blocks.sum(axis=0))
    for lemma, bound in (("3.1, 4 X^2 V", 4 * x_max_sq * found["variance"]), ("3.1, X^2", x_max_sq)):
        assert found["lemmas"][lemma] == pytest.approx(abs(found["eigenvalue"]) / bound)
    assert found["lemmas"]["3.2, X / 2"] == pytest.approx(found["gradient"] / (0.5 * x_max_sq**0.5))
    assert found["products"] > 10


def test_an_eigenvalue_that_did_not_converge_is_said_to_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a lower bound then, and so are the shares of the lemmas' bounds; nothing said so once."""
    loaded, batch, measured = case()
    assert prompt_curvature(loaded, batch, measured, 3, ball=0)["converged"]

    def fails(*_: object, **__: object) -> None:
        raise ArpackNoConvergence("no", np.zeros(0), np.zeros((0, 0)))

    monkeypatch.setattr(curvature, "eigsh", fails)
    found = prompt_curvature(loaded, batch, measured, 3)
    assert not found["converged"]
    assert found["ball"] is None


def test_a_prompt_solved_to_the_last_digit_has_no_share_of_a_bound_that_is_0() -> None:
    loaded, batch, measured = case()
    logits = np.zeros_like(measured.logits)
    logits[np.arange(measured.n), measured.answers] = 1e4
    found = prompt_curvature(loaded, batch, replace(measured, logits=logits), 3, ball=0)
    assert found["variance"] == 0
    assert found["lemmas"]["3.1, 4 X^2 V"] is found["lemmas"]["3.3, 5/2 X^2 sqrt(V)"] is None
    assert found["lemmas"]["3.1, X^2"] > 0


@pytest.mark.parametrize("n", range(1, 12))
def test_prompts_whose_curvature_is_measured_are_different_ones(n: int) -> None:
    rank = np.random.default_rng(n).permutation(n)
    for count in range(n + 2):
        chosen = spread_prompts(rank / n, count)
        assert len(set(chosen)) == len(chosen) == min(count, n)
        assert (np.diff(rank[chosen]) > 0).all()
        if count < n - 1:
            wanted = (n - 1) * np.arange(1, count + 1) / (count + 1)
            assert (abs(rank[chosen] - wanted) <= 0.5 + 1e-9).all()


@pytest.mark.parametrize("rule", [REINFORCE, GRPO], ids=lambda rule: rule.name)
def test_one_step_gains_are_those_of_the_step(rule: object) -> None:
    loaded, batch, measured = case()
    x_max_sq = float(max(np.linalg.norm(each, 2) for each in measured.blocks.sum(axis=0)))
    found = step_gains(loaded, batch, rule, x_max_sq)  # type: ignore[arg-type]
    expected = {"reinforce": 2.0, "grpo": 8 / 3}[found["rule"]]
    # The theorem's step is so small that J is nearly linear along it.
    assert_agree(found["ratio"], np.full(4, expected), 0.05)
    assert found["unresolved"] == 0
    assert found["minimum_ratio"] == min(found["ratio"])
    product = HessianProduct(loaded, batch.prompt(2))
    p = float(measured.odds.p[2])
    weight = float(found["eta"] * rule.weight(p, 1 - p))  # type: ignore[attr-defined]
    gain = moved(loaded, weight * product.gradient, lambda: _success(2)) - _success(2)
    assert found["gain"][2] == pytest.approx(gain, rel=1e-6)


def _success(i: int) -> float:
    loaded, batch, _ = case()
    with torch.no_grad():
        single = batch.prompt(i)
        return float(torch.sigmoid(log_odds(answer_logits(loaded.model, single), single.correct))[0])


def test_hidden_states_are_the_penultimate_layers() -> None:
    loaded, batch, _ = case()
    found = hidden_states(loaded, batch)
    ids = torch.tensor([loaded.tokenizer(PROMPTS[1].question)["input_ids"]])
    with torch.no_grad():
        states = loaded.model(input_ids=ids, output_hidden_states=True).hidden_states
    layers = len(states) - 1
    tokens = states[layers - 1][0].double().numpy()
    assert_agree(found["mean"][1], tokens.mean(axis=0), 1e-5, "mean", atol=1e-6)
    assert_agree(found["last"][1], tokens[-1], 1e-5, "last", atol=1e-6)
    with pytest.raises(InputError):
        hidden_states(loaded, batch, layer=9)


def test_statistics_of_hidden_states_by_hand() -> None:
    rows = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    found = hidden_cosines({"mean": rows}, resamples=10)["mean"]["raw"]
    cosines = np.array([0.0, 0.5**0.5, 0.5**0.5])
    assert found["mean"][0] == pytest.approx(cosines.mean())
    assert found["std"][0] == pytest.approx(cosines.std())
    assert found["below"][0] == pytest.approx(1 / 3)
    assert found["pairs"] == 3
