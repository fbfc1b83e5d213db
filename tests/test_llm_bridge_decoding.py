"""Choosing tokens: where a completion ends, the edges of the distribution, and settings that cannot be used."""

from __future__ import annotations

import pytest
import torch
from test_llm_bridge_rollouts import QUESTIONS

from llm_bridge.models import load_model
from llm_bridge.sampled.decoding import Sampling, choose_tokens, mask_to_first_end, uniforms
from llm_bridge.sampled.rollouts import generate
from simulator.random import words
from theory.errors import InputError


def test_the_first_end_counts_and_the_others_do_not() -> None:
    ids = torch.tensor([[5, 1, 7, 1], [1, 1, 1, 1], [5, 6, 7, 8], [9, 5, 1, 5]])
    assert mask_to_first_end(ids, (1,)).tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]]
    assert mask_to_first_end(ids, (1, 9)).tolist()[3] == [1, 0, 0, 0]


def test_choices_at_the_edges_of_the_distribution() -> None:
    scores = torch.tensor([[float("-inf"), 0.0, float("-inf"), 0.0, float("-inf")]] * 4)
    uniform = torch.tensor([0.0, 0.5 - 2.0**-53, 0.5, 1 - 2.0**-53], dtype=torch.float64)
    assert choose_tokens(scores, uniform, Sampling()).tolist() == [1, 1, 3, 3]
    drawn = uniforms(words(0, 0, 3), 1000)
    assert drawn.dtype == torch.float64
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_p": 0.0}, "top-p is 0.0"),
        ({"top_k": -1}, "top-k is -1"),
        ({"max_new_tokens": 0}, "max-new-tokens is 0"),
        ({"max_new_tokens": 60}, "longest sequence is 66"),
    ],
)
def test_unusable_settings_are_refused(fields: dict, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        generate(load_model("tiny"), QUESTIONS, 2, Sampling(**{"max_new_tokens": 2, **fields}), 0)
    assert "\n" not in str(caught.value)
