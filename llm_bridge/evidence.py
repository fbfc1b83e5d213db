"""The empirical statements of the sources (E-*), and what the theory says of this model: printed, simulated, measured.

A verdict is about *this model*, and follows from a measured interval and a rule that is fixed beforehand: ``supported``
or ``refuted`` if the whole interval lies on one side, ``undecided`` if it does not or nothing was measured, ``vacuous``
if there is nothing to measure. Of the sources' own model nothing is claimed: ``here`` says whether their figure is
``reproduced in kind`` (the statement holds here), ``not reproduced here``, or ``not measured here``. E-CONSISTENT alone
is about the sources themselves: their printed figures, in exact arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from theory.consistency import checks
from theory.reported import figures_of

__all__ = ["EvidenceRow", "consistency_row", "evidence_rows"]

Verdict = Literal["supported", "refuted", "undecided", "vacuous"]
# Levels of the two-sided tests of Table 1.
LEVEL = 0.05


@dataclass(frozen=True)
class EvidenceRow:
    """One line of the table *claim or constant | printed | simulator | this model | verdict*.

    Attributes:
        id: ``E-...``, or the claim that the row is about.
        statement: what is held against the measurement.
        printed: the figures of the sources with their places; empty for our own claims.
        simulator: what the bandit says.
        model: what this model says, with its interval.
        verdict: on this model; of E-CONSISTENT, on the sources' figures.
        here: whether the sources' figure is reproduced on this model.
        remark: what to know.
    """

    id: str
    statement: str
    printed: str
    simulator: str
    model: str
    verdict: Verdict
    here: str = ""
    remark: str = ""

    def to_json(self) -> dict[str, str]:
        """Plain data."""
        return asdict(self)


def decide(interval: Any, threshold: float, relation: Literal["above", "below"]) -> Verdict:
    """Whether ``[value, low, high]`` lies above (or below) a threshold; undecided without an interval."""
    if interval is None or len(interval) < 3 or interval[1] is None or interval[2] is None:
        return "undecided"
    low, high = float(interval[1]), float(interval[2])
    if relation == "below":
        low, high, threshold = -high, -low, -threshold
    return "supported" if low >= threshold else "refuted" if high < threshold else "undecided"


def evidence_rows(content: Mapping[str, Any], experiment: Mapping[str, Any] | None = None) -> list[EvidenceRow]:
    """All rows.

    Args:
        content: what ``llm_bridge.headline.Headline.to_json`` gives.
        experiment: summary of the normalisation experiment (``llm_bridge.normalisation_summary``), if there is one.
    """
    measured = content["measured"]
    return [
        _hidden(measured["hidden"]),
        _fisher(measured["fisher"]),
        *_table_3(measured["interactions"], measured["linearised_cosines"]),
        _assumption_4(measured["interactions"]),
        *_accuracy(experiment),
        consistency_row(),
        *_own(content),
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
        parts.append(f"{quantity} {figure.printed} ({figure.source}, {figure.place})")
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


def _hidden(hidden: Mapping[str, Any]) -> EvidenceRow:
    raw, centred = hidden["mean"]["raw"], hidden["mean"]["centred"]
    verdict = decide(raw["below"], 0.9, "above")
    return EvidenceRow(
        "E-FIG1",
        "hidden states of different prompts are nearly orthogonal: over 90% of pairs with |cosine| below 0.15",
        _printed("mean of the |cosine| of Fig. 1", "std of the |cosine| of Fig. 1", "share of Fig. 1 below 0.15"),
        "–",
        f"share below 0.15: {_value(raw['below'])}; mean {_value(raw['mean'])}",
        verdict,
        _here(verdict),
        f"mean over tokens, penultimate layer; after subtracting the mean over prompts: mean {_value(centred['mean'])}",
    )


def _fisher(fisher: Mapping[str, Any]) -> EvidenceRow:
    same, other = fisher["pearson"]["same"], fisher["pearson"]["different"]
    statement = "Fisher information correlates with reward variance at the same iteration, not at different ones"
    printed = _printed("Pearson(Fisher, reward variance), same iteration", "the same, different iterations")
    if same is None or other is None:
        return EvidenceRow("E-TAB1", statement, printed, "–", "not measured", "undecided", "not measured here")
    told = f"same {same['value']:.3g} (p = {same['p']:.2g}), different {other['value']:.3g} (p = {other['p']:.2g})"
    positive = same["value"] > 0 and same["p"] < LEVEL
    verdict: Verdict = "undecided"
    if positive and other["p"] >= LEVEL:
        verdict = "supported"
    elif other["p"] < LEVEL or (same["value"] <= 0 and same["p"] < LEVEL):
        verdict = "refuted"
    rest = f"same prompts at all iterations: {fisher['prompts']} prompts, {fisher['checkpoints']} checkpoints"
    return EvidenceRow("E-TAB1", statement, printed, "the same Gram matrix", told, verdict, _here(verdict), rest)


def _table_3(tables: Mapping[str, Any], linear: Mapping[str, Any]) -> list[EvidenceRow]:
    steps = sorted(tables, key=int)
    first, last = tables[steps[0]], tables[steps[-1]]
    small = _of(first, "cosine_small_share")
    near = decide(small, 0.8, "above")
    spread = [_of(table, "cosine_std") for table in (first, last)]
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
            f"share {_value(small)}, mean {_value(_of(first, 'cosine_mean'))}, std {_value(spread[0])}",
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
        verdict = decide(end, 0.0, "above")
        told = f"lead of std at the end {_value(end)}, mean over the run {_value(found['measured']['mean_difference'])}"
        rows.append(EvidenceRow("E-FIG3", statement, printed, _value(ahead), told, verdict, _here(verdict)))
    rest = "the same comparison on MATH Level 2 was not run"
    statement = "std leads no_std on MATH Level 2 until late in training"
    return [
        *rows,
        EvidenceRow("E-FIG5", statement, "F.3, Fig. 5", "–", "not measured", "undecided", "not measured here", rest),
    ]


def _own(content: Mapping[str, Any]) -> list[EvidenceRow]:
    """What the theory, and whynorm's own claims, say of the model."""
    found = content["comparison"]
    rows = [_prediction_row(found, each) for each in found["predictions"]]
    for gap in content["gaps"]:
        linear = [each["linear"] for each in gap["prompts"] if each["linear"] is not None]
        least = min(each["own"]["value"] for each in gap["prompts"])
        rows.append(
            EvidenceRow(
                f"P-T{'31' if gap['rule'] == 'reinforce' else '32'}-DESCENT-FIXED",
                f"the theorem's step size is safe: no drawn prompt falls, at step {gap['step']}",
                "1/X^2 (Theorem 3.1)" if gap["rule"] == "reinforce" else "1/(2 X^2) (Theorem 3.2)",
                f"safe up to {min(linear):.3g} times it" if linear else "safe at any step size",
                f"safe up to {least:.3g} times it; whole epochs "
                + ("not measured" if gap["epoch_own"] is None else f"up to {gap['epoch_own']['value']:.3g} times"),
                "supported" if least >= 1 else "refuted",
                remark=f"X_max^2 = {gap['x_max_sq']:.4g}",
            )
        )
    rows += [_step_rule_row(each) for each in content["step_rules"]]
    if content["sampled"] is not None:
        rows.append(_group_row(content["sampled"]))
    return rows


def _prediction_row(found: Mapping[str, Any], each: Mapping[str, Any]) -> EvidenceRow:
    label = "the start alone" if each["period"] is None else f"every {each['period']} steps"
    skill, broken = "none" if each["skill"] is None else f"{each['skill']:.3f}", each["first_break"]
    return EvidenceRow(
        "linear picture",
        f"the bandit anchored at {label} is never off by more than {found['tolerance']:g} in {found['steps']} steps",
        "",
        "exact, if features were fixed",
        f"largest error {each['largest_error']:.2g}, mean {each['mean_error']:.2g}, skill {skill}",
        "supported" if each["largest_error"] <= found["tolerance"] else "refuted",
        remark="held throughout" if broken is None else f"first broken {broken} steps after an anchor",
    )


def _step_rule_row(each: Mapping[str, Any]) -> EvidenceRow:
    lowered, steps = each["steps_that_lowered_the_drawn_J"], each["steps"]
    names = {"theorem": "theorem's step", "directional": f"X-DIRECTIONAL-{each['rule'].upper()}", "peak": "peak step"}
    return EvidenceRow(
        names[each["step"]],
        f"no step of the {each['step']} size lowers the drawn prompt's J",
        "",
        "proved",
        f"{lowered} of {steps} steps did, by at most {each['largest_fall_in_a_step']:.2g}; steps "
        f"{each['times_theorem_median']:.3g} times the theorem's; mean J {each['mean_J_start']:.3f} to "
        f"{each['mean_J_end']:.3f}",
        "refuted" if lowered else "supported",
        remark="one run; a fall is the network's own curvature, which the linear picture has not",
    )


def _group_row(sampled: Mapping[str, Any]) -> EvidenceRow:
    inside = sampled["share_within_interval"]
    return EvidenceRow(
        "X-GROUP",
        f"the expected weight of {sampled['rule']} predicts the mean curve over {sampled['seeds']} seeds",
        "",
        f"mean J at the end {sampled['bandit'][-1]:.3f} sampled, {sampled['expected_rule'][-1]:.3f} by the weight",
        f"{sampled['measured'][-1]:.3f} +- {sampled['measured_half_width'][-1]:.2g}; largest error "
        f"{sampled['largest_error_of_expected_rule']:.2g}",
        "supported" if inside == 1 else "refuted" if inside < 0.5 else "undecided",
        remark=f"within the 95% interval of the mean at {inside:.0%} of the steps",
    )
