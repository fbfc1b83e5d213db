"""Counter-based randomness: every stream is named by (seed, run, replica), so workers and order cannot matter."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from theory.errors import expected

__all__ = ["generator", "many_words", "philox", "sample_stream", "uniform_order", "words"]

# Streams of one (seed, run, replica): what each is for is written here and nowhere else. Every stored result depends on
# these numbers, so none may change.
# Seeds of a language model's completions, and the words of each completion's tokens.
COMPLETION_STREAM = 0
# Prompt orders; features of problem families, and which questions are drawn; sampled outputs, first attempt; p0.
ORDER_STREAM, FEATURE_STREAM, SAMPLE_STREAM, DIFFICULTY_STREAM = 1, 2, 3, 4
# Values that a sweep draws; the run is a checksum of the key.
VALUE_STREAM = 5
# Samples of attempt a have the stream SAMPLE_STREAM + ATTEMPT_STRIDE a: see sample_stream.
ATTEMPT_STRIDE = 16
# The verifier's: directions of its instances, and the prompt orders of many runs at once.
DIRECTION_STREAM, MANY_ORDERS_STREAM = 3, 5
# Waiting times and groups of runs that escape from a hard prompt.
ESCAPE_STREAM = 11
# Measuring a model: rows that a sketch keeps, its signs and places; resampled prompts; groups of answers; permuted
# prompts; where Lanczos starts; noise of curves without phases.
HELD_OUT_STREAM, SKETCH_STREAM, RESAMPLE_STREAM, ROLLOUT_STREAM = 63, 64, 65, 66
PERMUTATION_STREAM, START_STREAM, NOISE_STREAM = 67, 68, 69

# The numbers that have two uses, as found when they were first compared, and why the same words are never used twice
# in one statistic. No more may be added: a test compares all of them.
COINCIDENCES = {
    (
        "DIRECTION_STREAM",
        "SAMPLE_STREAM",
    ): "the verifier's instances lie along runs of exact rules, without samples",
    (
        "MANY_ORDERS_STREAM",
        "VALUE_STREAM",
    ): "values have the checksum of their key for a run, orders have run 0",
    ("PERMUTATION_STREAM", "SAMPLE_STREAM"): "permutations are of an exact run; the fifth attempt, of a sampled one",
}


def philox(seed: int, run: int = 0, replica: int = 0, stream: int = 0) -> np.random.Philox:
    """Philox4x64-10 keyed by (seed, run), its counter starting at (0, 0, replica, stream).

    Word ``4 b + j`` is the j-th output of
    the counter (b + 1, 0, replica, stream).

    Raises:
        InputError: seed is not in [0, 2^64).
    """
    if not 0 <= seed < 2**64:
        raise expected("seed", seed, "an integer from 0 to 2^64 - 1", "choose one in that range")
    key = np.array([seed, run], dtype=np.uint64)
    counter = np.array([0, 0, replica, stream], dtype=np.uint64)
    return np.random.Philox(key=key, counter=counter)


def generator(seed: int, run: int = 0, replica: int = 0, stream: int = 0) -> np.random.Generator:
    """A generator on :func:`philox`; same arguments, same errors."""
    return np.random.Generator(philox(seed, run, replica, stream))


def words(
    seed: int, start: int, count: int, *, run: int = 0, replica: int = 0, stream: int = 0
) -> npt.NDArray[np.uint64]:
    """Words number ``start`` to ``start + count - 1`` of :func:`philox`, uint64 ``(count,)``, wherever they lie.

    Raises:
        InputError: seed is not in [0, 2^64).
    """
    source = philox(seed, run, replica, stream)
    if start >= 4:
        state = source.state
        state["state"]["counter"][0] = start // 4
        source.state = state
    return np.asarray(source.random_raw(start % 4 + count)[start % 4 :])


def many_words(seeds: npt.NDArray[np.uint64], count: int, *, stream: int = 0) -> npt.NDArray[np.uint64]:
    """The first words of many seeds, uint64 ``(len(seeds), count)``: row r is ``words(seeds[r], 0, count)``.

    One generator is keyed anew for each row, as making one takes longer than drawing.
    """
    source = philox(0, stream=stream)
    state = source.state
    drawn = np.empty((len(seeds), count), dtype=np.uint64)
    for row, seed in enumerate(seeds):
        state["state"]["key"][0] = seed
        source.state = state
        drawn[row] = source.random_raw(count)
    return drawn


def sample_stream(attempt: int) -> int:
    """The stream of the outputs that are drawn at an attempt, 0, 1, ... (see ``simulator.sampled``)."""
    return SAMPLE_STREAM + ATTEMPT_STRIDE * attempt


def uniform_order(n: int, steps: int, seed: int, replica: int = 0) -> npt.NDArray[np.int64]:
    """Prompts drawn uniformly at random, ``(steps,)`` (Algorithms 1 and 2).

    Draw t is ``floor(n h_t / 2^32)`` with ``h_t`` the t-th half word of the stream, low half first; no prompt is more
    likely than another by more than ``2^-32``.
    """
    words = philox(seed, replica=replica, stream=ORDER_STREAM).random_raw((steps + 1) // 2)
    halves = np.stack([words & np.uint64(0xFFFFFFFF), words >> np.uint64(32)], axis=1).ravel()[:steps]
    return ((halves * np.uint64(n)) >> np.uint64(32)).astype(np.int64)
