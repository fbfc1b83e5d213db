"""The Gram matrix by every method: against the gradients one by one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from compare import assert_agree
from perturbing import perturb

from llm_bridge.gradients import logit_features
from llm_bridge.measurement.answer_rows import answer_rows
from llm_bridge.measurement.gram import AnswerGram, answer_gram, part_of
from llm_bridge.measurement.row_stores import Sketch
from llm_bridge.models import LoadedModel, load_model
from llm_bridge.policies import AnswerBatch
from llm_bridge.tasks import prompts_from_names
from theory.errors import InputError

NAMES = ["5*7", "57+32", "2+7"]


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    """The packaged model with a perturbed adapter, so that gradients of A do not vanish."""
    return perturb(load_model("tiny"))


@pytest.fixture(scope="module")
def batch(loaded: LoadedModel) -> AnswerBatch:
    return AnswerBatch.of(prompts_from_names(NAMES), loaded.tokenizer)


@pytest.fixture(scope="module")
def rows(loaded: LoadedModel, batch: AnswerBatch) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and the features one gradient at a time."""
    logits, features = logit_features(loaded, batch)
    return logits.numpy(), features.numpy().reshape(57, -1)


@pytest.fixture(scope="module")
def measured(loaded: LoadedModel, batch: AnswerBatch) -> AnswerGram:
    return answer_gram(loaded, batch)


def test_one_pass_gives_the_rows_that_k_passes_give(
    loaded: LoadedModel, batch: AnswerBatch, rows: tuple[np.ndarray, np.ndarray]
) -> None:
    pieces: dict[str, np.ndarray] = {}
    logits, passes = answer_rows(loaded, batch.prompt(1), lambda name, piece: pieces.update({name: piece.numpy()}))
    assert passes == 1
    assert list(pieces) == list(loaded.parameters)
    assert_agree(logits.numpy(), rows[0][1], 1e-12)
    found, exact = np.concatenate(list(pieces.values()), axis=1), rows[1][19:38]
    assert_agree(found, exact, 0.0, "rows", atol=1e-12 * np.abs(exact).max())
    assert all(parameter.grad is None for parameter in loaded.parameters.values())


def test_a_parameter_that_is_no_linear_weight_falls_back_to_one_pass_an_answer(batch: AnswerBatch) -> None:
    model = load_model("tiny")
    norm = next(value for name, value in model.model.named_parameters() if "layernorm" in name)
    norm.requires_grad_(True)
    pieces: dict[str, np.ndarray] = {}
    _, passes = answer_rows(model, batch.prompt(0), lambda name, piece: pieces.update({name: piece.numpy()}))
    assert passes == 19
    assert list(pieces) == list(model.parameters)
    exact = logit_features(model, batch.prompt(0))[1][0].numpy()
    assert_agree(np.concatenate(list(pieces.values()), axis=1), exact, 1e-12)


def test_it_is_the_gram_matrix_of_the_features(measured: AnswerGram, rows: tuple[np.ndarray, np.ndarray]) -> None:
    exact = rows[1] @ rows[1].T
    assert measured.method == "memory"
    assert_agree(measured.gram, exact, 0.0, "gram", atol=1e-12 * np.abs(exact).max())
    assert_agree(measured.logits, rows[0], 1e-12)
    assert (measured.cost["forward"], measured.cost["backward"]) == (3, 3)
    own = np.array([exact[i : i + 19, i : i + 19] for i in range(0, 57, 19)])
    assert_agree(measured.blocks.sum(axis=0), own, 0.0, "blocks", atol=1e-12 * np.abs(own).max())
    a = measured.restricted("A")
    assert_agree(a.blocks.sum(axis=0)[1], a.gram[19:38, 19:38], 0.0, "A", atol=1e-10)
    assert 0 < np.abs(a.gram).max() < np.abs(exact).max()


@pytest.mark.parametrize(
    ("method", "memory", "passes"), [("disk", 1e9, 3), ("auto", 1e6, 3), ("recompute", 57 * 8 * 15_000, 9)]
)
def test_every_method_gives_the_same_matrix(
    method: str,
    memory: float,
    passes: int,
    loaded: LoadedModel,
    batch: AnswerBatch,
    measured: AnswerGram,
    tmp_path: Path,
) -> None:
    done: list[int] = []
    found = answer_gram(loaded, batch, method=method, memory=memory, folder=tmp_path, progress=done.append)
    assert found.method == ("disk" if method == "auto" else method)
    for part, gram in measured.parts.items():
        assert_agree(found.parts[part], gram, 0.0, part, atol=1e-13 * np.abs(gram).max())
    assert (found.blocks == measured.blocks).all()
    assert done == list(range(1, passes + 1))
    assert found.cost["bytes"] < measured.cost["bytes"]
    assert not list(tmp_path.iterdir())


def test_at_the_start_all_gradients_of_a_vanish(batch: AnswerBatch) -> None:
    fresh = answer_gram(load_model("tiny"), batch)
    assert list(fresh.parts) == ["A", "B"]
    assert np.abs(fresh.parts["A"]).max() == 0 < np.abs(fresh.parts["B"]).max()


def test_a_sketch_is_as_good_as_it_says(loaded: LoadedModel, batch: AnswerBatch, measured: AnswerGram) -> None:
    found = answer_gram(loaded, batch, method="sketch", width=2**14, seed=5)
    told = found.sketch
    assert told is not None
    exact = measured.gram
    size = np.sqrt(np.diag(exact))
    error = ((found.gram - exact) / np.outer(size, size))[np.triu_indices(57, k=1)]
    assert told["cosine_error_rms"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1.0)
    assert np.sqrt(np.mean(error**2)) < 2 * told["expected"]
    assert told["cosine_error_max"] >= told["cosine_error_rms"] > 0
    assert (found.blocks == measured.blocks).all()
    again = answer_gram(loaded, batch, method="sketch", width=2**14, seed=5)
    assert (found.gram == again.gram).all()


def test_a_sketch_is_unbiased() -> None:
    """Over seeds, the mean of sketched inner products is the exact one, to four standard errors."""
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 50)))
    found = []
    for seed in range(300):
        sketch = Sketch(3, {"w": 50}, {"w": "B"}, 16, seed)
        sketch.put(0, "w", x)
        found.append(sketch.parts()["B"])
    error = np.std(found, axis=0) / 300**0.5
    assert (np.abs(np.mean(found, axis=0) - (x @ x.T).numpy()) < 4 * error + 1e-12).all()


@pytest.mark.parametrize(
    "options",
    [{"method": "best"}, {"memory": 0}, {"method": "recompute", "memory": 1000}, {"method": "sketch", "width": 7}],
)
def test_bad_options(options: dict, loaded: LoadedModel, batch: AnswerBatch) -> None:
    with pytest.raises(InputError):
        answer_gram(loaded, batch, **options)


@pytest.mark.parametrize(
    ("name", "part"),
    [("x.lora_A.default.weight", "A"), ("x.lora_B.default.weight", "B"), ("x.lora_embedding_A.default", "A")],
)
def test_parts_of_parameters(name: str, part: str) -> None:
    assert part_of(name) == part
    assert part_of("x.norm.weight") == "other"
