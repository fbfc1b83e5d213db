"""What no engine takes: each call is refused in one line that names what is wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from simulator.engines.run import simulate_many
from simulator.families import make_problem
from simulator.sampled import get_any_rule
from theory.errors import InputError


@dataclass(frozen=True)
class BadCall:
    """Arguments that are refused, and a word of the message."""

    word: str
    options: dict[str, Any] = field(default_factory=dict)
    eta: Any = 0.1
    steps: int = 5


BAD = [
    BadCall("engine", {"engine": "warp"}),
    BadCall("replicas", {"replicas": 0}),
    BadCall("replicas", {"replicas": range(0, 8, 2)}),
    BadCall("shape of eta", {"replicas": 3}, eta=[0.1, 0.2]),
    BadCall("eta", eta=-1.0),
    BadCall("eta", {"replicas": 2}, eta=[0.1, float("nan")]),
    BadCall("steps", steps=0),
    BadCall("shape of theta0", {"theta0": np.zeros(3)}),
    BadCall("theta0", {"theta0": np.full(40, np.inf)}),
    BadCall("schedule", {"schedule": "sometimes"}),
    BadCall("space", {"space": "hilbert"}),
    BadCall("space", {"space": "gram", "keep_theta": True}),
    BadCall("seed", {"seed": -1}),
    BadCall("record", {"record": "none"}),
    BadCall("device", {"engine": "torch", "engine_options": {"device": "abacus"}}),
]


@pytest.mark.parametrize("call", BAD, ids=lambda call: f"{call.word} {call.options} {call.eta} {call.steps}")
def test_bad_calls_are_refused_in_one_line(call: BadCall) -> None:
    problem = make_problem("gaussian", 5, 4, 40, p0=0.3, seed=4)
    with pytest.raises(InputError, match=call.word) as error:
        simulate_many(problem, get_any_rule("grpo"), call.eta, call.steps, **call.options)
    assert "\n" not in str(error.value)
