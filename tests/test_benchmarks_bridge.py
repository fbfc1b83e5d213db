"""The step that is timed beside TRL's: what is rewarded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bridge_peers import alternating


@given(st.integers(2, 9), st.integers(1, 5))
def test_no_group_of_the_benchmark_is_without_variance(group: int, prompts: int) -> None:
    """A group without variance costs whynorm nothing and TRL a whole update, which would flatter the ratio."""
    rewards = alternating([[7]] * (group * prompts))
    for first in range(0, len(rewards), group):
        assert set(rewards[first : first + group]) == {0.0, 1.0}
