"""Rows of the table of evidence that are not about figures of the sources: what the theory says of this very model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_bridge.comparing.evidence_row import EvidenceRow

__all__ = ["model_rows"]


def model_rows(content: Mapping[str, Any]) -> list[EvidenceRow]:
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
    # Earlier versions kept no paired differences: there the interval is that of the model's own mean.
    paired = "share_within_paired_interval" in sampled
    inside = sampled["share_within_paired_interval" if paired else "share_within_interval"]
    measured = f"{sampled['measured'][-1]:.3f} +- {sampled['measured_half_width'][-1]:.2g}; largest error "
    measured += f"{sampled['largest_error_of_expected_rule']:.2g}"
    interval = "within the 95% interval of the mean at"
    if paired:
        ahead, half = sampled["over_expected_rule"][-1], sampled["over_expected_rule_half_width"][-1]
        measured += f"; over the weight's, seed by seed, {ahead:.3f} [{ahead - half:.3f}, {ahead + half:.3f}]"
        interval = "the 95% interval of the difference, each step for itself, holds 0 at"
    return EvidenceRow(
        "sampled groups",
        f"the bandit under the expected weight of {sampled['rule']} predicts the mean over {sampled['seeds']} seeds",
        "",
        f"mean J at the end {sampled['bandit'][-1]:.3f} sampled, {sampled['expected_rule'][-1]:.3f} by the weight",
        measured,
        "supported" if inside == 1 else "refuted" if inside < 0.5 else "undecided",
        remark=f"{interval} {inside:.0%} of the steps; X-GROUP is about one step; run at {sampled['step']}",
    )
