r"""Sampled rules: G outputs are drawn for each prompt, and their rewards become advantages (``theory.advantages``).

One drawn prompt with sampled outputs ``y_1..y_G`` contributes ``(1/G) sum_g A_g (x_{y_g} - E_pi x)``; theta moves by
eta times the mean over the step's prompts. The expectation of this is ``w_G(p) grad J`` (claim ``X-GROUP``): see
:meth:`SampledRule.expected_rule`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import comb
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.random import sample_stream, words
from theory.advantages import PRESETS, Convention, zero_variance_groups
from theory.errors import InputError, expected
from theory.groups import group_weight
from theory.policy import Array, PolicyState
from theory.rules import RULES, Rule, get_rule

__all__ = [
    "DAPO_ATTEMPTS",
    "RULE_FORMS",
    "SampledRule",
    "get_any_rule",
    "group_updates",
    "outputs_of",
    "sample_words",
    "sampled_move",
]

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

# Groups that DAPO-style resampling draws for a prompt at most; if none of them is mixed, the prompt does not move.
DAPO_ATTEMPTS = 16
LARGEST_GROUP = 1 << 20
MOST_RESAMPLES = 1000
# Binomials of larger groups do not fit a float64.
LARGEST_ENUMERATED = 1000
RULE_FORMS = (*RULES, "power:ALPHA", *(f"{name}:G" for name in PRESETS), "dapo:G", "custom:G,KEY=VALUE,...")
# Keys of ``custom:G,...``, each with its values; what is left out is as in the paper.
_KEYS: dict[str, Callable[[str], Any]] = {
    "baseline": lambda text: {"none": "none", "mean": "mean", "leave_one_out": "leave_one_out"}[text],
    "scale": lambda text: {"none": "none", "group": "group", "batch": "batch"}[text],
    "ddof": lambda text: {"0": 0, "1": 1}[text],
    "eps": float,
    "zero_variance": lambda text: {"zero": "zero", "divide": "divide"}[text],
    "resample": lambda text: {str(times): times for times in range(MOST_RESAMPLES + 1)}[text],
}


@dataclass(frozen=True)
class SampledRule:
    """An update from sampled outputs.

    Attributes:
        name: what a user types, e.g. ``trl:8``.
        convention: how rewards become advantages; with scale ``batch`` over all outputs of a step.
        group: G, outputs drawn for each prompt.
        resample: how often a group whose rewards are all equal is drawn again for the same prompt; 0 for never.
    """

    name: str
    convention: Convention
    group: int
    resample: int = 0

    def __post_init__(self) -> None:
        """Refuse groups that the convention cannot handle.

        Raises:
            InputError: G is too small or absurdly large, or the convention contradicts itself.
        """
        least = 1 if self.convention.baseline == "none" and self.convention.scale == "none" else 2
        if not least <= self.group <= LARGEST_GROUP:
            wanted = f"from {least} to {LARGEST_GROUP} for {self.name}"
            raise expected("group size G", self.group, wanted, "change the number of samples")
        # Whether eps, ddof and the policy for groups without variance go together.
        self.convention(np.zeros((1, min(self.group, 2))))

    def expected_rule(self) -> Rule:
        r"""The exact rule that moves by the expectation of this one: ``weight = w_G(p)`` (``X-GROUP``).

        With resampling a prompt moves if one of ``A = 1 + resample`` groups is mixed, which each is with probability
        ``m = sum_{k=1}^{G-1} C(G, k) p^k q^{G-k}``; the weight is then ``w_G(p) (1 - (1 - m)^A) / m``.

        Raises:
            InputError: the scale is ``batch``: then prompts of a step share a divisor, and there is no such weight; or
                G is above ``LARGEST_ENUMERATED``.
        """
        if self.convention.scale == "batch":
            raise expected("rule", self.name, "one not scaled by batch", "prompts of a batch share their divisor")
        if self.group > LARGEST_ENUMERATED:
            raise expected("group size G", self.group, f"at most {LARGEST_ENUMERATED}", "binomials overflow beyond")

        def weight(p: Any, q: Any) -> Any:
            plain = group_weight(p, q, self.group, self.convention)
            return plain * self._tries(p, q) if self.resample else plain

        return Rule(f"E {self.name}", weight, rf"w_{{{self.group}}}(p)", "whynorm, X-GROUP")

    def _tries(self, p: Any, q: Any) -> Any:
        """``(1 - (1 - m)^A) / m``, the expected number of groups drawn; A where m vanishes. Floats."""
        size, attempts = self.group, 1 + self.resample
        mixed = np.asarray(sum(comb(size, k) * p**k * q ** (size - k) for k in range(1, size)))
        safe = np.where(mixed > 0, mixed, 1.0)
        # Rounding may carry m past 1 by a digit, where it is the sum of all chances but two tiny ones.
        tried = -np.expm1(attempts * np.log1p(-np.minimum(safe, 1 - 2.0**-53))) / safe
        return np.where(mixed > 0, tried, float(attempts))


def outputs_of(state: PolicyState, raw: Words) -> Ints:
    r"""Outputs that uniform random words choose, int64 of the shape of ``raw``.

    A word w stands for ``u = 2^-64 w`` in [0, 1); its distance from 1 is ``v = 2^-64 ((2^64 - 1 - w) + 1)``. In both,
    the integer (of v: the bracket's) is rounded to float64 first, and 1 is added there. The right output is chosen if
    ``u < p`` (if p > 1/2: if ``v > q``, which is the same and keeps the digits of q), otherwise the first wrong output
    j in index order with ``r < q cumsum(w)_j``, where ``r = u - p`` (if p > 1/2: ``q - v``), or the last wrong output
    of positive weight if rounding leaves none.

    Chances are met to within ``2^-64`` (5.4e-20) and a rounding of relative ``2^-53``, that of the right output as
    p -> 0 and that of the wrong ones as q -> 0 alike: 1e-12 to a relative 5e-8; at q = 1e-19 a wrong output comes with
    chance 5.4e-20. Below ``2^-64`` a right output still comes at ``u = 0``, and no wrong one comes any more.

    Args:
        state: the policy of B prompts.
        raw: uint64 ``(B, G)``.
    """
    p, q = state.p[:, None], state.q[:, None]
    u = raw.astype(np.float64) * 2.0**-64
    v = ((~raw).astype(np.float64) + 1.0) * 2.0**-64
    likely = p > 0.5
    right = np.where(likely, v > q, u < p)
    excess = np.where(likely, q - v, u - p)
    chances = q * np.cumsum(state.odds.wrong, axis=1)
    # Outputs whose cumulative chance is not beyond the excess are passed over.
    first = np.sum(chances[:, None, :] <= excess[:, :, None], axis=2)
    last = state.odds.wrong.shape[1] - 1 - np.argmax(state.odds.wrong[:, ::-1] > 0, axis=1)
    return np.where(right, state.answers[:, None], np.minimum(first, last[:, None])).astype(np.int64)


def group_updates(rule: SampledRule, state: PolicyState, outputs: Ints) -> Array:
    r"""``(1/G) sum_g A_g (x_{y_g} - E_pi x)`` of every prompt, ``(B, d)``.

    With counts ``c_j`` this is ``(1/G) [sum_j A_j c_j x_j - (sum_g A_g) E_pi x]``. It is formed around the right
    output, as ``(1/G) [sum_{j != a} A_j c_j (x_j - x_a) + (sum_g A_g) q gap]``, in which nothing cancels as q -> 0.

    Args:
        rule: its convention sees all rewards at once, so a batch scale is over all B G of them.
        state: the policy of B prompts.
        outputs: int64 ``(B, G)``.
    """
    prompts = np.arange(len(outputs))
    rewards = (outputs == state.answers[:, None]).astype(np.float64)
    advantages = rule.convention(rewards)
    weights = np.zeros(state.odds.wrong.shape)
    np.add.at(weights, (prompts[:, None], outputs), advantages)
    weights[prompts, state.answers] = 0.0
    right = state.features[prompts, state.answers]
    wrong = (weights[:, None, :] @ (state.features - right[:, None, :]))[:, 0, :]
    return np.asarray((wrong + (np.sum(advantages, axis=1) * state.q)[:, None] * state.gap) / outputs.shape[1])


def sampled_move(rule: SampledRule, state: PolicyState, raw: Callable[[int], Words]) -> Array:
    """The updates of one step, ``(B, d)``, before they are averaged over the prompts.

    A rule that resamples draws all G outputs of a prompt again where their rewards are equal, from the words of the
    next attempt, and lets the prompt stand still where they are equal in the last attempt too.

    Args:
        rule: the rule.
        state: the policy of the step's B prompts.
        raw: from the number of an attempt, 0..resample, to its words, uint64 ``(B, G)``.
    """
    outputs = outputs_of(state, raw(0))
    for attempt in range(1, rule.resample + 1):
        constant = zero_variance_groups((outputs == state.answers[:, None]).astype(np.float64))
        if not constant.any():
            break
        outputs = np.where(constant[:, None], outputs_of(state, raw(attempt)), outputs)
    return group_updates(rule, state, outputs)


def sample_words(rule: SampledRule, batch: int, step: int, seed: int, replica: int) -> Callable[[int], Words]:
    """Words of a step for :func:`sampled_move`.

    The word of step t, drawn prompt b, output g and attempt a is number ``(t B + b) G + g`` of the stream
    ``sample_stream(a)`` of (seed, replica).
    """
    count = batch * rule.group

    def raw(attempt: int) -> Words:
        stream = sample_stream(attempt)
        return words(seed, step * count, count, replica=replica, stream=stream).reshape(batch, rule.group)

    return raw


def get_any_rule(name: str) -> Rule | SampledRule:
    """The exact (``theory.rules.get_rule``) or sampled rule called ``name``, e.g. ``grpo``, ``trl:8``, ``dapo:4``.

    ``custom:G,ddof=1,eps=1e-4,...`` spells a convention out, see ``theory.advantages.Convention``; ``resample`` is how
    often a group without variance is drawn again. ``dapo:G`` takes the advantages of verl, in which DAPO is published,
    and draws groups without variance again, at most ``DAPO_ATTEMPTS`` groups in all; the prompt does not move if none
    of them is mixed.

    Raises:
        InputError: no such rule, or a number out of range.
    """
    preset, colon, text = name.partition(":")
    if colon and text.isascii() and text.isdigit() and (preset in PRESETS or preset == "dapo"):
        size = int(text[:19])
        if preset == "dapo":
            return SampledRule(f"dapo:{size}", PRESETS["verl"], size, DAPO_ATTEMPTS - 1)
        return SampledRule(f"{preset}:{size}", PRESETS[preset], size)
    if colon and preset == "custom":
        return _spelled_out(name, text)
    if preset in (*RULES, "power"):
        return get_rule(name)
    raise _unknown(name)


def _spelled_out(name: str, text: str) -> SampledRule:
    size, *pairs = text.split(",")
    options: dict[str, Any] = {}
    left = dict(_KEYS)
    for pair in pairs:
        key, _, value = pair.partition("=")
        try:
            options[key] = left.pop(key)(value)
        except (KeyError, ValueError):
            keys = "baseline, scale, ddof, eps, zero_variance, resample, each once"
            raise expected("rule", name, f"custom:G,KEY=VALUE,... with keys {keys}", f"correct {pair!r}") from None
    if not (size.isascii() and size.isdigit()):
        raise _unknown(name)
    # One name however it was spelled, as ids are made of it: what differs from the paper, in the order of the keys.
    plain = {**vars(PRESETS["paper"]), "resample": 0}
    told = "".join(f",{key}={options[key]}" for key in _KEYS if options.get(key, plain[key]) != plain[key])
    group, resample = int(size[:19]), options.pop("resample", 0)
    return SampledRule(f"custom:{group}{told}", replace(PRESETS["paper"], source="", **options), group, resample)


def _unknown(name: str) -> InputError:
    return expected("rule", name, f"one of {', '.join(RULE_FORMS)} with ALPHA in [0, 1] and G samples", "pick one")
