"""All measurements at one checkpoint of a model, with intervals, and what each of them costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from llm_bridge.costs import Costs
from llm_bridge.measurement.curvature import prompt_curvature
from llm_bridge.measurement.feature_sizes import feature_sizes
from llm_bridge.measurement.fisher import fisher_against_variance, fisher_traces
from llm_bridge.measurement.gram import DEFAULT_MEMORY, AnswerGram, answer_gram
from llm_bridge.measurement.hidden_states import hidden_cosines, hidden_states
from llm_bridge.measurement.interactions import interactions, pair_arrays, sampled_cosines
from llm_bridge.measurement.step_gains import step_gains
from llm_bridge.measures import geometry_of
from llm_bridge.models import LoadedModel
from llm_bridge.policies import AnswerBatch
from llm_bridge.tasks import Prompt
from theory.errors import expected
from theory.rules import RULES

__all__ = ["PARTS", "MeasureOptions", "Measures", "measure", "parse_parts", "spread_prompts"]

# What can be measured; each but "hidden" needs the Gram matrix, which is computed once.
PARTS = {
    "gram": "Gram matrix of per-answer gradients: X_max by layer, orthogonality defect, success probabilities",
    "interactions": "Table 3 of the paper, M and the share of pairs that have none, R1, R2; for A and B apart",
    "sampling": "cosines as sampled groups show them, and corrected by split halves",
    "hidden": "hidden-state cosines (Fig. 1)",
    "fisher": "Fisher information against reward variance (Table 1)",
    "curvature": "Hessians against Lemmas 3.1 to 3.3, softmax part and network part",
    "gains": "one-step gains against Theorems 3.1 and 3.2",
}


@dataclass(frozen=True)
class MeasureOptions:
    """How to measure.

    Attributes:
        parts: keys of ``PARTS``.
        method, memory, width: of the Gram matrix, see ``answer_gram``.
        curved: number of prompts whose curvature is measured, spread over the success probabilities.
        ball: see ``prompt_curvature``.
        groups: group sizes of ``sampled_cosines``.
        resamples: of every bootstrap.
        seed: of everything random.
    """

    parts: tuple[str, ...] = tuple(PARTS)
    method: str = "auto"
    memory: float = DEFAULT_MEMORY
    width: int = 2**15
    curved: int = 1
    ball: int = 2
    groups: tuple[int, ...] = (8, 64)
    resamples: int = 999
    seed: int = 0


@dataclass(frozen=True)
class Measures:
    """What was measured: plain data by part, arrays for figures and further work, and the Gram matrix if there is one.

    ``content["cost"]`` holds the cost of each part, see ``llm_bridge.costs``; of the Gram matrix also how it was stored
    (``method``) and the ``bytes`` of rows held at most.
    """

    content: dict[str, Any]
    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    gram: AnswerGram | None = None


def parse_parts(text: str) -> tuple[str, ...]:
    """Names of parts, separated by commas; ``all`` or nothing stands for all.

    Raises:
        InputError: there is no such part.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names or names == ("all",):
        return tuple(PARTS)
    for name in names:
        if name not in PARTS:
            raise expected("part", name, f"one of {', '.join(PARTS)}", "choose some of these, separated by commas")
    return tuple(name for name in PARTS if name in names)


def measure(
    loaded: LoadedModel,
    prompts: Sequence[Prompt],
    batch: AnswerBatch,
    options: MeasureOptions | None = None,
    progress: Callable[[str, int], Any] = lambda part, done: None,
) -> Measures:
    """Measure a model at its present parameters, which are left as they are.

    Args:
        loaded: the model.
        prompts: what is asked.
        batch: the same, tokenised.
        options: how.
        progress: called with the name of a part and how many of its units (prompts) are done.

    Raises:
        InputError: an option is out of range.
    """
    options = options or MeasureOptions()
    content: dict[str, Any] = {"cost": {}}
    costs = Costs()
    arrays: dict[str, npt.NDArray[Any]] = {}
    measured: AnswerGram | None = None
    if set(options.parts) - {"hidden"}:
        with costs.part("gram"):
            measured = answer_gram(
                loaded,
                batch,
                method=options.method,
                memory=options.memory,
                width=options.width,
                seed=options.seed,
                progress=lambda done: progress("gram", done),
            )
        state = measured.odds
        arrays |= {"gram": measured.gram, "logits": measured.logits, "answers": measured.answers, "p": state.p}
        arrays["variance"] = state.p * state.q
    for part in options.parts:
        with costs.part(part):
            told, more = _MEASURE[part](loaded, prompts, batch, measured, options, lambda i: progress(part, i))  # noqa: B023
        content[part] = told
        arrays |= more
    content["cost"] = costs.to_json()
    if measured is not None:
        content["cost"]["gram"] |= {"bytes": measured.cost["bytes"], "method": measured.method}
    return Measures(content, arrays, measured)


def spread_prompts(p: npt.NDArray[np.float64], count: int) -> list[int]:
    """At most ``count`` different prompts, spread over the success probabilities ``(n,)``, hardest first."""
    n = len(p)
    count = min(count, n)
    # Without both ends where there are prompts enough: closer than a place apart, two of the places would round to one.
    inner = count < n - 1
    places = np.linspace(0, n - 1, count + 2)[1:-1] if inner else np.linspace(0, n - 1, count)
    return [int(i) for i in np.argsort(p)[places.round().astype(int)]]


def _gram(loaded: Any, prompts: Any, batch: Any, measured: AnswerGram, options: Any, tick: Any) -> Any:
    geometry = geometry_of(measured, loaded.name).to_json()
    return {**geometry, "sketch": measured.sketch, "features": feature_sizes(measured)}, {}


def _interactions(loaded: Any, prompts: Any, batch: Any, measured: AnswerGram, options: Any, tick: Any) -> Any:
    cosines, least = pair_arrays(measured)
    content = interactions(measured, resamples=options.resamples, seed=options.seed)
    return content, {"cosines": cosines, "least_m": least}


def _sampling(loaded: Any, prompts: Any, batch: Any, measured: AnswerGram, options: Any, tick: Any) -> Any:
    content = {str(group): sampled_cosines(measured, group, seed=options.seed) for group in options.groups}
    return content, {}


def _hidden(loaded: Any, prompts: Any, batch: AnswerBatch, measured: Any, options: Any, tick: Any) -> Any:
    vectors = hidden_states(loaded, batch)
    content = hidden_cosines(vectors, resamples=options.resamples, seed=options.seed)
    arrays = {f"hidden_{pooling}": rows for pooling, rows in vectors.items()}
    return content, arrays


def _fisher(loaded: Any, prompts: Any, batch: Any, measured: AnswerGram, options: Any, tick: Any) -> Any:
    state, traces = measured.odds, fisher_traces(measured)
    table = fisher_against_variance(
        traces[None], (state.p * state.q)[None], resamples=options.resamples, seed=options.seed
    )
    return {"traces": traces.tolist(), **table}, {"fisher": traces}


def _curvature(loaded: Any, prompts: Any, batch: Any, measured: AnswerGram, options: Any, tick: Any) -> Any:
    chosen = spread_prompts(measured.odds.p, options.curved)
    content = []
    for done, i in enumerate(chosen):
        # Products in single precision do not carry more digits.
        tolerance = 1e-3 if loaded.dtype == "float64" else 1e-2
        found = prompt_curvature(loaded, batch, measured, i, ball=options.ball, tolerance=tolerance, seed=options.seed)
        content.append({"prompt": prompts[i].question, **found})
        tick(done + 1)
    return content, {}


def _gains(loaded: Any, prompts: Any, batch: Any, measured: AnswerGram, options: Any, tick: Any) -> Any:
    x_max_sq = feature_sizes(measured)["raw"]["x_max_sq"]
    found = [step_gains(loaded, batch, rule, x_max_sq) for rule in RULES.values()]
    return {each["rule"]: each for each in found}, {}


_MEASURE: dict[str, Callable[..., Any]] = {
    "gram": _gram,
    "interactions": _interactions,
    "sampling": _sampling,
    "hidden": _hidden,
    "fisher": _fisher,
    "curvature": _curvature,
    "gains": _gains,
}
