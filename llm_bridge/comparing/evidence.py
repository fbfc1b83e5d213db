"""The empirical statements of the sources (E-*), and what the theory says of this model: printed, simulated, measured.

A verdict is about *this model*, and follows from a measured interval and a rule that is fixed beforehand: ``supported``
or ``refuted`` if the whole interval lies on one side, ``undecided`` if it does not or nothing was measured, ``vacuous``
if there is nothing to measure. E-ASM4 needs no interval: it is about the run's own pairs, and all of them are looked
at (at the steps that are measured; of the others nothing is known). Of the sources' own model nothing is claimed:
``here`` says whether their figure is ``reproduced in kind`` (the statement holds here), ``not reproduced here``, or
``not measured here``. E-CONSISTENT alone is about the sources themselves: their printed figures, in exact arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_bridge.comparing.evidence_row import EvidenceRow, Verdict, decide, over_prompts, share_over_prompts
from llm_bridge.comparing.model_rows import model_rows
from llm_bridge.experiments.normalisation_summary import verdict as lead
from llm_bridge.measurement.fisher import orders_in_words
from llm_bridge.measurement.intervals import Interval
from theory.consistency import checks
from theory.reported import figures_of

__all__ = ["consistency_row", "evidence_rows"]

# Of what the experiment itself says: a difference that is shown as 0.000 is no lead there, so it is none here.
_LEADS: dict[str, Verdict] = {"std": "supported", "no_std": "refuted", "open": "undecided"}


def evidence_rows(content: Mapping[str, Any], experiment: Mapping[str, Any] | None = None) -> list[EvidenceRow]:
    """All rows.

    Args:
        content: what ``comparing.headline.Headline.to_json`` gives.
        experiment: summary of the normalisation experiment (``experiments.normalisation_summary``), if there is one.
    """
    measured = content["measured"]
    prompts = measured["fisher"]["prompts"]
    return [
        _hidden(measured["hidden"], prompts),
        _fisher(measured["fisher"], prompts),
        *_table_3(measured["interactions"], measured["linearised_cosines"], prompts),
        _assumption_4(measured["interactions"]),
        *_accuracy(experiment),
        consistency_row(),
        *model_rows(content),
    ]


def consistency_row() -> EvidenceRow:
    """E-CONSISTENT, by ``theory.consistency``."""
    found = checks()
    apart = [check for check in found if not check.agree]
    within = [check for check in apart if not check.between_sources]
    return EvidenceRow(
        "E-CONSISTENT",
        "the figures given for one and the same quantity agree with each other",
        f"{len(found)} comparisons of printed figures",
        "–",
        "–",
        "refuted" if apart else "supported",
        remark=f"{len(apart)} cannot all be true, {len(within)} of them within the paper: "
        + "; ".join(check.title for check in within),
    )


def _printed(*quantities: str) -> str:
    parts = []
    for quantity in quantities:
        figure = figures_of(quantity)[0]
        word = {"over": "over ", "under": "below "}.get(figure.words, "")
        parts.append(f"{quantity}: {word}{figure.printed} ({figure.source}, {figure.place})")
    return "; ".join(parts)


def _value(interval: Any, digits: int = 3) -> str:
    if interval is None or interval[0] is None:
        return "none"
    if interval[1] is None:
        return f"{interval[0]:.{digits}g}"
    return f"{interval[0]:.{digits}g} [{interval[1]:.{digits}g}, {interval[2]:.{digits}g}]"


def _here(verdict: Verdict) -> str:
    return {"supported": "reproduced in kind", "refuted": "not reproduced here"}.get(verdict, "open here")


def _of(table: Mapping[str, Any], name: str) -> list[Any]:
    low, high = table.get("intervals", {}).get(name, (None, None))
    return [table.get(name), low, high]


def _hidden(hidden: Mapping[str, Any], prompts: int) -> EvidenceRow:
    raw, centred = hidden["mean"]["raw"], hidden["mean"]["centred"]
    near = share_over_prompts(raw["below"], prompts)
    mean, mean_centred = (over_prompts(each["mean"], prompts) for each in (raw, centred))
    verdict = decide(near, 0.9, "above")
    return EvidenceRow(
        "E-FIG1",
        "hidden states of different prompts are nearly orthogonal: over 90% of pairs with |cosine| below 0.15",
        _printed("mean of the |cosine| of Fig. 1", "std of the |cosine| of Fig. 1", "share of Fig. 1 below 0.15"),
        "–",
        f"share below 0.15: {_value(near)}; mean {_value(mean)}",
        verdict,
        _here(verdict),
        f"mean over tokens, penultimate layer; after subtracting the mean over prompts: mean {_value(mean_centred)}",
    )


def _fisher(fisher: Mapping[str, Any], prompts: int) -> EvidenceRow:
    statement = "Fisher information correlates with reward variance at the same iteration, not at different ones"
    printed = _printed("Pearson(Fisher, reward variance), same iteration", "the same, different iterations")
    if None in (fisher["pearson"]["same"], fisher["pearson"]["different"]):
        return EvidenceRow("E-TAB1", statement, printed, "–", "not measured", "undecided", "not measured here")
    found = {
        name: over_prompts([fisher["pearson"][name][end] for end in ("value", "low", "high")], prompts)
        for name in ("same", "different")
    }
    same, other = found.values()
    verdict: Verdict = "undecided"
    if "refuted" in (decide(same, 0.0, "above"), decide(other, 0.0, "below")):
        verdict = "refuted"
    elif decide(same, 0.0, "above") == "supported" and other[2] < same[1]:
        # That there is no correlation cannot be shown; that it is a smaller one can.
        verdict = "supported"
    told = ", ".join(f"{name} {_value(each)} (p = {fisher['pearson'][name]['p']:.2g})" for name, each in found.items())
    rest = f"same prompts at all iterations: {prompts} prompts, {fisher['checkpoints']} checkpoints"
    if orders := orders_in_words(fisher):
        rest += f"; p over {orders} of the prompts"
    return EvidenceRow("E-TAB1", statement, printed, "the same Gram matrix", told, verdict, _here(verdict), rest)


def _table_3(tables: Mapping[str, Any], linear: Mapping[str, Any], prompts: int) -> list[EvidenceRow]:
    steps = sorted(tables, key=int)
    first, last = tables[steps[0]], tables[steps[-1]]
    small = share_over_prompts(_of(first, "cosine_small_share"), prompts)
    mean = over_prompts(_of(first, "cosine_mean"), prompts)
    near = decide(small, 0.8, "above")
    spread = [over_prompts(_of(table, "cosine_std"), prompts) for table in (first, last)]
    grows: Verdict = "undecided"
    if None not in (*spread[0], *spread[1]):
        grows = (
            "supported" if spread[1][1] > spread[0][2] else "refuted" if spread[1][2] < spread[0][1] else "undecided"
        )
    ends = [linear[step] for step in sorted(linear, key=int)]
    return [
        EvidenceRow(
            "E-TAB3",
            "gradients of different prompts are nearly orthogonal at the start: over 80% of pairs with |cosine| < 0.1",
            _printed("share of |cosine| < 0.1, step 0", "std of cosines, step 0"),
            _plain(ends[0]["cosine_small_share"]),
            f"share {_value(small)}, mean {_value(mean)}, std {_value(spread[0])}",
            near,
            _here(near),
        ),
        EvidenceRow(
            "E-TAB3",
            "and their spread grows in training",
            _printed("std of cosines, step 0", "std of cosines, step 260", "std of cosines, step 500"),
            f"{_plain(ends[0]['cosine_std'])} to {_plain(ends[-1]['cosine_std'])}",
            f"std {_value(spread[0])} at step {steps[0]}, {_value(spread[1])} at step {steps[-1]}",
            grows,
            _here(grows),
        ),
    ]


def _plain(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"


def _assumption_4(tables: Mapping[str, Any]) -> EvidenceRow:
    shares = {step: _of(tables[step], "no_m_share") for step in sorted(tables, key=int)}
    known = [share[0] for share in shares.values() if share[0] is not None]
    # One pair with a negative inner product is a counterexample; it needs no interval.
    verdict: Verdict = "undecided" if not known else "refuted" if max(known) > 0 else "supported"
    told = ", ".join(f"{_value(share)} at step {step}" for step, share in shares.items())
    return EvidenceRow(
        "E-ASM4",
        "Assumption 4 holds throughout training: some M serves all pairs of prompts",
        _printed("M, step 0", "M, step 260", "M, step 500"),
        "the same Gram matrix",
        f"share of pairs without any M: {told}",
        verdict,
        _here(verdict),
        "a pair with a negative inner product has no M; by the printed rows of Table 3 such pairs exist at steps 0 and "
        "500 of the paper's run as well (E-CONSISTENT)",
    )


def _accuracy(experiment: Mapping[str, Any] | None) -> list[EvidenceRow]:
    rows = []
    for part in ("easy", "hard"):
        printed = _printed(f"accuracy at iteration 300, {part}, std", f"accuracy at iteration 300, {part}, no_std")
        statement = f"std ends above no_std at the same learning rate, {part} prompts"
        found = None if experiment is None else experiment["parts"].get(part, {}).get("pairings", {}).get("same")
        if found is None:
            rows.append(
                EvidenceRow("E-FIG3", statement, printed, "–", "not measured", "undecided", "not measured here")
            )
            continue
        end, ahead = found["measured"]["end_difference"], found["linearised"]["end_difference"]
        verdict = _LEADS[lead(Interval(*end))]
        told = f"lead of std at the end {_value(end)}, mean over the run {_value(found['measured']['mean_difference'])}"
        rows.append(EvidenceRow("E-FIG3", statement, printed, _value(ahead), told, verdict, _here(verdict)))
    rest = "the same comparison on MATH Level 2 was not run"
    statement = "std leads no_std on MATH Level 2 until late in training"
    return [
        *rows,
        EvidenceRow("E-FIG5", statement, "F.3, Fig. 5", "–", "not measured", "undecided", "not measured here", rest),
    ]
