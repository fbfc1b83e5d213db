r"""X-PLATEAU: how long a hard prompt takes to escape, and how fast a solved one finishes, for every K and every T.

A prompt that is drawn again and again moves its log-odds L by nearly ``eta |g|^2 V^s`` with ``s = 1 - alpha`` and
``g = grad L``. Hence ``(q/p)^s`` falls by at most ``s eta |g|^2`` a step, whatever p: escape from p0 takes the order of
``p0^(-s)`` steps. And ``(p/q)^s`` rises linearly: q falls like ``t^(-1/s)``. A group of G outputs acts like s = 1.

``gamma`` and ``Gamma`` are the least and the largest ``|g_t|^2`` for t < T; with two outputs both are constant.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from theory.assumptions import ORTHOGONAL, UNIQUE_ANSWER
from theory.certificates import Certificate
from theory.claim import Claim, Link, Side
from theory.claims._plateau_proofs import linear_proof, power_proof
from theory.claims._runs import running_max, running_min, steps_column
from theory.claims.power import power_step
from theory.exact import is_exact
from theory.groups import group_rule
from theory.judge import FLOAT_MARGIN
from theory.policy import Array
from theory.rules import Rule, power

__all__ = ["CLAIMS", "GROUP"]

# The group that X-PLATEAU-GROUP is checked with.
GROUP = 8
# Floats keep no digits of a change smaller than this share of what changes; such entries are left to nobody.
CANCELLED = 1e-3


@dataclass(frozen=True)
class _Case:
    """A rule with ``weight V = kappa V^s``, ``low <= kappa <= high``; high is given by its square."""

    s: float
    low: float = 1.0
    high_sq: float = 1.0


_ONE, _HALF, _NONE = _Case(1.0), _Case(0.5), _Case(0.0)
_GROUP = _Case(1.0, low=2 * (GROUP - 1) / GROUP, high_sq=GROUP - 1.0)


def _gap_sq(run: Any) -> Array:
    """``|g|^2`` along the paths, for t < T: ``(T, n)``."""
    v = (run.paths.p * run.paths.q)[:-1]
    return np.asarray(run.paths.grad_sq[:-1] / (v * v))


def _pace(run: Any, case: _Case) -> Array:
    """``s eta T`` for every T (``eta T`` if s = 0), a column."""
    return steps_column(run) * run.eta * (case.s or 1)


def _slow(run: Any, case: _Case) -> Array:
    return running_min(_gap_sq(run)) * _pace(run, case) * case.low


def _fast(run: Any, case: _Case) -> Array:
    return running_max(_gap_sq(run)) * _pace(run, case) * (0 * run.eta + case.high_sq) ** 0.5


def _change(values: Array, sign: int) -> Array:
    """``sign (values[T] - values[0])`` for every T; on floats NaN where cancellation leaves no digits."""
    change = sign * (values[1:] - values[:1])
    if is_exact(values):
        return np.asarray(change)
    return np.where(np.abs(change) > CANCELLED * np.abs(values[:1]), change, np.nan)


def _escape(run: Any, case: _Case) -> Array:
    """``(q_0 / p_0)^s - (q_T / p_T)^s``."""
    return _change((run.paths.q / run.paths.p) ** case.s, -1)


def _tail(run: Any, case: _Case) -> Array:
    """``(p_T / q_T)^s - (p_0 / q_0)^s``."""
    return _change((run.paths.p / run.paths.q) ** case.s, 1)


def _log_odds(run: Any) -> Array:
    """``L_T - L_0``. With two outputs it equals its upper bound, so on floats what differs by rounding is set equal."""
    start, top = np.log(run.paths.p / run.paths.q), _fast(run, _NONE)
    if is_exact(start):
        return _change(start, 1)
    # Log-odds near 0 are differences of logits, whose rounding is that of numbers of size 1 and more.
    change = np.where(np.abs(start[1:] - start[:1]) > CANCELLED, _change(start, 1), np.nan)
    return np.where(np.abs(change - top) < FLOAT_MARGIN * top, top, change)


def _escape_slow(run: Any, case: _Case) -> Array:
    return 3 * _slow(run, case) * run.paths.q[:-1] ** (2 * case.s) / 5


def _tail_slow(run: Any, case: _Case) -> Array:
    return 7 * _slow(run, case) * run.paths.p[:1] ** (2 * case.s) / 8


def _links(case: _Case) -> tuple[Link, ...]:
    def of(side: Callable[..., Array]) -> Side:
        return partial(side, case=case)

    return (
        Link("escape, at least", ">=", of(_escape), of(_escape_slow)),
        Link("escape, at most", "<=", of(_escape), of(_fast)),
        Link("tail, at least", ">=", of(_tail), of(_tail_slow)),
        Link("tail, at most", "<=", of(_tail), lambda run: 3 * _fast(run, case) / 2),
    )


def _claim(
    part: str, rule: Rule, step: Callable[[Any], Any], proof: Callable[[str], Certificate], **more: Any
) -> Claim:
    return Claim(
        id=f"X-PLATEAU-{part}",
        source="whynorm",
        scope="expectation",
        assumptions=(UNIQUE_ANSWER, ORTHOGONAL),
        rule=rule,
        step_size=step,
        proof=partial(proof, f"X-PLATEAU-{part}"),
        **more,
    )


def _statement(case: _Case, low: str = "", high: str = "") -> str:
    def odds(top: str, bottom: str, t: str) -> str:
        fraction = rf"\frac{{{top}_{t}}}{{{bottom}_{t}}}"
        return fraction if case.s == 1 else rf"\sqrt{{{fraction}}}"

    squared, numbers = ("^2", (r"\tfrac35", "", r"\tfrac78", r"\tfrac32"))
    if case.s != 1:
        squared, numbers = ("", (r"\tfrac3{10}", r"\tfrac12", r"\tfrac7{16}", r"\tfrac34"))
    return (
        rf"{numbers[0]}{low}\,\eta\gamma\,q_{{T-1}}{squared}\,T \le {odds('q', 'p', '0')}-{odds('q', 'p', 'T')} "
        rf"\le {numbers[1]}{high}\,\eta\Gamma\,T, \quad "
        rf"{numbers[2]}{low}\,\eta\gamma\,p_0{squared}\,T \le {odds('p', 'q', 'T')}-{odds('p', 'q', '0')} "
        rf"\le {numbers[3]}{high}\,\eta\Gamma\,T"
    )


_MEANING = "p_T and q_T are those after T draws of the prompt. Up to p = 1/2, q_{T-1} >= 1/2."

CLAIMS = (
    _claim(
        "0",
        power(0.0),
        partial(power_step, 0.0),
        partial(power_proof, s="1"),
        place="plateau, alpha = 0",
        title="REINFORCE: escape takes 1 / p0 steps, the tail is 1 / t",
        statement=rf"\alpha=0,\ \eta=\tfrac{{1}}{{X_{{\max}}^2}}: \quad {_statement(_ONE)}",
        chain=_links(_ONE),
        remark=_MEANING,
    ),
    _claim(
        "50",
        power(0.5),
        partial(power_step, 0.5),
        partial(power_proof, s="1/2"),
        place="plateau, alpha = 1/2",
        title="GRPO: escape takes 1 / sqrt(p0) steps, the tail is 1 / t^2",
        statement=rf"\alpha=\tfrac12,\ \eta=\tfrac{{1}}{{2X_{{\max}}^2}}: \quad {_statement(_HALF)}",
        chain=_links(_HALF),
        remark=_MEANING,
    ),
    _claim(
        "100",
        power(1.0),
        partial(power_step, 1.0),
        linear_proof,
        place="plateau, alpha = 1",
        title="log-odds ascent: escape takes log(1 / p0) steps, the tail is exponential",
        statement=(
            r"\alpha=1,\ \eta=\tfrac{1}{4X_{\max}^2}: \quad \tfrac78\eta\gamma T \le "
            r"\log\frac{p_T}{q_T}-\log\frac{p_0}{q_0} \le \eta\Gamma T"
        ),
        chain=(
            Link("at least", ">=", _log_odds, lambda run: 7 * _slow(run, _NONE) / 8),
            Link("at most", "<=", _log_odds, partial(_fast, case=_NONE)),
        ),
        remark="p_T and q_T are those after T draws of the prompt.",
    ),
    _claim(
        "GROUP",
        group_rule(GROUP),
        partial(power_step, 0.5),
        partial(power_proof, s="1", size=GROUP),
        place="plateau, sampled groups",
        title="a group of G outputs: escape takes 1 / (sqrt(G - 1) p0) steps, the tail is 1 / t again",
        statement=(
            rf"\text{{step }}\eta\,w_G\nabla J,\ \eta=\tfrac{{1}}{{2X_{{\max}}^2}},\ G={GROUP}: \quad "
            + _statement(_GROUP, r"\tfrac{2(G-1)}{G}", r"\sqrt{G-1}")
        ),
        chain=_links(_GROUP),
        remark=(
            f"{_MEANING} The path of the expected update; a sampled group moves only if it holds a right output. "
            "Proved in the same way for every G up to 257, and with one right output per prompt for every G; "
            "checked with G = 8."
        ),
    ),
)
