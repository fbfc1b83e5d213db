"""The README's numbers are those of `benchmarks/results/`, and its counts those of the code."""

from __future__ import annotations

import re
import shlex
from typing import Any

import numpy as np
import pytest
from pages import ROOT, assert_told, close, holds, page, recorded, rows, said, section, stored

from benchmarks.engines import parse_case
from simulator.checks import build_context
from theory.claims import load_registry
from theory.claims._unscaled_sums import MOST_OTHERS, MOST_PASSES, MOST_STEPS
from theory.consistency import checks, conflicts
from theory.judge import compare
from theory.known import kept_instance
from theory.mutants import mutants as mutants_of
from theory.mutants import single_links


def _cells() -> dict[tuple[str, int], dict[str, dict[str, Any]]]:
    """Rows by peer, of each cell that was measured on one thread with JAX beside it."""
    cells = [cell for run in stored("engines.json")["runs"] for cell in run["cells"] if cell["threads"] == 1]
    by_peer = {(c["case"], c["replicas"]): {row["peer"]: row for row in c["rows"]} for c in cells}
    return {key: rows for key, rows in by_peer.items() if "jax" in rows}


def _told(question: str) -> list[str]:
    """The answers for `tiny` and for `smollm2` in the table on language models."""
    table = rows(section("README", "## On real language models"), "question")
    (cells,) = (cells[1:] for cells in table if cells[0] == question)
    return cells


def test_the_speed_table() -> None:
    speed = section("README", "## Speed")
    rows = re.findall(r"^\| (\d+, \d+, \d+)( \(Gram\))? \| (\d+) \| (.+) \|$", speed, flags=re.MULTILINE)
    assert len(rows) == 12
    cells = _cells()
    for case, gram, replicas, told in rows:
        peers = cells[f"({case}) {'gram' if gram else 'features'}", int(replicas)]
        lanes = peers["lanes"]["ns"]
        others = [peers.get(name, {}).get("ns") for name in ("c", "jax", "numba", "numpy", "torch", "torch compiled")]
        values = [lanes, *(ns and ns / lanes for ns in others)]
        for text, value in zip(told.split(" | "), values, strict=True):
            assert text == "–" if value is None else close(text, value), (case, replicas, text, value)


def test_how_near_the_limits() -> None:
    many = [rows["lanes"] for (_, replicas), rows in _cells().items() if replicas == 1024]
    text = " ".join(page("README").split())
    for name in ("over_ports", "over_limit"):
        least, most = (f"{pick(row[name] for row in many):.1f}" for pick in (min, max))
        assert f"{least} to {most} times" in text, name


def _lanes(cell: dict[str, Any]) -> dict[str, Any]:
    return next(row for row in cell["rows"] if row["peer"] == "lanes")


def test_in_how_many_cells_half_of_the_limit_is_reached() -> None:
    rows = [_lanes(cell) for run in stored("engines.json")["runs"] for cell in run["cells"]]
    limit, ports = (np.array([row[name] for row in rows]) for name in ("over_limit", "over_ports"))
    near, nearer = (limit < 2).sum(), (np.minimum(limit, ports) < 2).sum()
    told = "Of # cells, those on two threads among them, # take less than twice that largest one, and # less"
    holds("README", told, len(rows), near, nearer)
    far = [row for row in rows if min(row["over_limit"], row["over_ports"]) >= 2]
    small = [row for row in far if row["replicas"] <= 16 and not row["case"].startswith("(64")]
    assert len(small) > len(far) / 2, "README: most of the others are of one or 16 replicas of a small problem"


def test_where_others_are_ahead() -> None:
    """C and JAX in no cell, on one thread and on two."""
    cells = [cell for run in stored("engines.json")["runs"] for cell in run["cells"]]
    times = [{row["peer"]: row["ns"] for row in cell["rows"]} for cell in cells]
    c, jax = (np.array([one[name] / one["lanes"] for one in times if name in one]) for name in ("c", "jax"))
    told = (
        "C takes as long or longer in all # cells, # to # times; JAX takes longer in all #, by # times and more in #:"
    )
    slow = (jax >= 4).sum()
    holds("README", told, len(c), c.min(), c.max(), len(jax), 4, slow)
    holds("README", "times and more in #: in the other #, of the large problem,", slow, len(jax) - slow)
    assert min(c.min(), jax.min()) > 1
    near = [cell for cell, one in zip(cells, times, strict=True) if one.get("jax", np.inf) < 4 * one["lanes"]]
    assert all(cell["case"].startswith("(64, 64, 1024)") for cell in near)
    most = max(row["over_limit"] for cell in near for row in cell["rows"] if row["peer"] == "jax")
    (bound,) = said("README", "large problem, it needs less than # times the limit itself")
    assert most < float(bound) < 1.05 * most
    lanes = [_lanes(cell) for cell in near]
    holds("README", "in # of them the engine undercuts it", sum(row["over_limit"] < 1 for row in lanes))
    assert {row["limit"] for row in lanes if row["over_limit"] < 1} == {"memory"}


def test_what_the_sources_contradict_themselves_in() -> None:
    apart = conflicts()
    within = sum(not check.between_sources for check in apart)
    assert f"in {len(apart)} of {len(checks())} comparisons, {within} of" in " ".join(page("README").split())
    assert f"{len(checks())} comparisons, {len(apart)} that cannot all be true, {within} of" in " ".join(
        page("compare").split()
    )
    for name in ("tiny", "smollm2"):
        assert stored(f"{name}-compare/comparison.json")["consistency"] == [check.to_json() for check in checks()]


def test_largest_safe_steps() -> None:
    least = [
        min(gap["smallest"] for gap in stored(f"{name}-compare/comparison.json")["gaps"])
        for name in ("tiny", "smollm2")
    ]
    question = "largest step that does not hurt the drawn prompt, over the theorem's"
    assert _told(question) == [f"{value:.0f} and more" for value in least]


def test_errors_of_the_linearised_model() -> None:
    tiny, short = (stored(f"{name}-compare/comparison.json")["comparison"] for name in ("tiny", "smollm2"))
    error = [each["predictions"][0]["largest_error"] for each in (tiny, short)]
    measured, predicted = (recorded(f"smollm2-exact/times100{part}") for part in ("", "/linearised"))
    errors = np.abs(measured - predicted).max(axis=1)
    told = f"{error[1]:.2f} in {short['steps']}, {errors.max():.2f} in {len(measured) - 1}"
    question = "linearised model: largest error of a success probability, at 100 times that step"
    assert _told(question) == [f"{error[0]:.2f} in {tiny['steps']} steps", told]
    assert (errors[:9] <= 0.03).all()
    assert errors[9] > 0.03
    holds("README", "It is right within # for # steps and then falls behind", 0.03, 8)


def test_what_the_theorems_own_step_does_to_the_real_model() -> None:
    """Of `tiny` the run is made again: see test_docs_numbers_runs.py."""
    measured = recorded("smollm2-exact/theorem")
    moved = np.abs(measured - measured[0]).max()
    assert _told("what the theorem's own step does")[1] == f"moves p by {moved:.4f} in {len(measured) - 1} steps"


def test_pairs_without_an_m() -> None:
    along = [each["no_m_share"] for each in stored("tiny-compare/comparison.json")["measured"]["interactions"].values()]
    start = stored("tiny-measures/start/measures.json")["measures"]["interactions"]["all"]["no_m_share"]
    shares = [*along, start]
    large = [each["interactions"]["all"] for each in _along("smollm2")]
    assert {each["no_m_share"] for each in large} == {0.0}
    told = [f"{100 * min(shares):.0f} to {100 * max(shares):.0f}%", f"none of {large[0]['pairs']:.0f}"]
    assert _told("pairs of prompts for which Assumption 4 has no M") == told


def _along(name: str) -> list[dict[str, Any]]:
    return stored(f"{name}-measures/along/measures.json")["measures"]["checkpoints"]


def test_largest_curvature() -> None:
    tiny, large = (
        [each["lemmas"]["3.1, X^2"] for each in stored(f"{name}/measures.json")["measures"]["curvature"]]
        for name in ("tiny-measures/start", "smollm2-measures/curvature")
    )
    told = [f"{min(tiny):.3f} to {max(tiny):.3f}", f"{max(large):.4f}"]
    assert _told("largest curvature over its bound X²") == told


def test_the_step_that_looks_along_the_gradient() -> None:
    runs = {run["step"]: run for run in stored("tiny-compare/comparison.json")["step_rules"]}
    spread = [runs["directional"][f"times_theorem_{end}"] for end in ("least", "most")]
    holds("README", "the steps that allows | proved | # to # times the theorem's step on `tiny` |", *spread)
    large = {run["step"]: run for run in stored("smollm2-compare/comparison.json")["step_rules"]}
    both = [
        each["directional"][f"times_theorem_{part}"] for each in (runs, large) for part in ("least", "most", "median")
    ]
    holds("README", "proved) is # to # times larger on `tiny`, # in the median, and # to #, # in the median,", *both)
    peak = large["peak"]
    assert peak["steps_that_lowered_the_drawn_J"] == 0
    ends = peak["mean_J_start"], peak["mean_J_end"], peak["steps"]
    holds("README", "the peak along it takes `smollm2` from # to # in # steps.", *ends)


def _is_first(cell: dict[str, Any], command: str) -> bool:
    """Whether its process began with it; each number of threads has one. Cells measured anew are not there any more."""
    words = shlex.split(command)
    case, replicas = (words[words.index(f"--{name}") + 1] for name in ("cases", "replicas"))
    return (cell["case"], cell["replicas"]) == (parse_case(case).name, int(replicas))


def test_compile_times() -> None:
    first, later = [], []
    for run in stored("engines.json")["runs"]:
        for cell in run["cells"]:
            seconds = next(row["compile_s"] for row in cell["rows"] if row["peer"] == "lanes")
            (first if _is_first(cell, run["command"]) else later).append(seconds)
    # The first cell of a process compiles what all shapes share; cells of a compiled shape take next to nothing.
    later = [seconds for seconds in later if seconds > 1]
    times = (min(later), max(later), min(first), max(first))
    holds("README", "Compiling a new shape takes # to # s, the first one of a process # to #.", *times)
    holds("sweeps", "takes # to # seconds each, the first one of a process # to #", *times)


def test_how_long_the_main_job_takes() -> None:
    found = stored("main_job.json")
    minutes = found["processor_seconds"] / 60
    holds("README", "(about # minutes of processor time, on as many cores as there are)", round(minutes))


def test_counts_of_the_audit_add_up() -> None:
    """That so many are refuted takes `whynorm audit` to see, for many minutes; how many there are to judge does not."""
    killed, mutants, searched, true = map(
        int, said("README", "# of # such mutants are refuted exactly, # of them by a fresh search; the other # seem")
    )
    assert searched <= killed == mutants - true
    claims = [claim for claim in load_registry() if claim.fixed_by is None]
    least, most = (
        sum(len([*mutants_of(link, ratio)]) for claim in claims for _, link in single_links(claim))
        for ratio in (float("nan"), 1.0)
    )
    assert least <= mutants <= most
    words = "It also drops each of the # assumptions in turn: # are needed"
    dropped, needed = map(int, said("README", words))
    idle = int(said("README", "rechecked exactly) and # are not (")[0])
    assert dropped == needed + idle == sum(len(claim.assumptions) for claim in claims)


def test_where_assumption_5_is_proved_to_be_superfluous() -> None:
    holds("README", "with any number of prompts in the first # f² steps", MOST_STEPS)
    holds("README", "and in the first # f²/Λ passes over them", MOST_PASSES)
    holds("README", "in all steps where for each prompt l at most # f others share features", MOST_OTHERS)
    holds("README", "for two outputs, # million prompts or # million steps", MOST_OTHERS / 1e6, MOST_STEPS / 1e6)


def test_from_when_the_sum_of_theorem_3_2_fails() -> None:
    kept = kept_instance("P-T32-SUM")
    assert kept is not None
    assert (len(kept.answers), kept.features.tolist(), kept.theta.tolist()) == (1, [[[1.0], [0.0]]], [0.0])
    holds("README", "with one prompt, from T = # for features 1 and 0, p0 = 1/2;", kept.steps)


def test_from_when_the_sum_of_theorem_3_4_fails_with_two_prompts() -> None:
    kept = kept_instance("P-T34-SUM")
    assert kept is not None
    assert (kept.features.tolist(), kept.theta.tolist()) == ([[[1.0], [-1.0]]] * 2, [0.0])
    holds("README", "fails with any number of identical ones, with # from T = #", len(kept.answers), kept.steps)


def test_how_often_the_sweeps_are_killed() -> None:
    text = (ROOT / "tests" / "test_simulator_sweeps_kill.py").read_text()
    holds(
        "README", "the deep tests kill it # times", max(map(int, re.findall(r"_storm\(tmp_path, wanted=(\d+)", text)))
    )


@pytest.mark.parametrize(("label", "pairing"), [("at one learning rate", "same"), ("its best proved step", "best")])
def test_std_against_no_std(label: str, pairing: str) -> None:
    parts = stored("tiny-normalisation/exact/summary.json")["parts"]
    leads = [parts[part]["pairings"][pairing]["measured"]["mean_difference"][0] for part in ("easy", "hard", "hardest")]
    line = next(line for line in page("README").splitlines() if label in line and line.startswith("|"))
    large = stored("smollm2-normalisation/exact/summary.json")["parts"]
    means = [large[part]["pairings"][pairing]["measured"]["mean_difference"] for part in ("easy", "hard")]
    told = [f"{mean:+.2f}" + ("" if low > 0 or high < 0 else " (open)") for mean, low, high in means]
    assert line.endswith(f"| {' / '.join(f'{lead:+.2f}' for lead in leads)} | {' / '.join(told)} |")


def test_verdicts_of_the_page_on_comparison() -> None:
    told = re.findall(r"^\| (E-\w+): .+ \| (\w+)(?:, ([\w ]+))? \|$", page("compare"), flags=re.MULTILINE)
    found = [row for row in stored("tiny-compare/comparison.json")["evidence"] if row["id"].startswith("E-")]
    verdicts = [(row["id"], row["verdict"]) for row in found if row["id"] != "E-CONSISTENT"]
    assert [(name, verdict) for name, verdict, _ in told] == verdicts
    assert all(here == row["here"] for (_, _, here), row in zip(told, found, strict=False) if here)


def test_speed_beside_trl() -> None:
    ratio = {
        name: stored(f"bridge_{name}.json")["ratios"]["speedup, tokens_per_second"]
        for name in ("smollm2", "tiny", "tiny_wide")
    }
    large, small, wide = (f"{value:.1f}" for value in ratio.values())
    told = f"{large} times as fast as TRL's on `smollm2`, on `tiny` {small} and {wide} times"
    assert told in " ".join(page("README").split())
    for name in ratio:
        rates = {row["peer"]: row["tokens_per_second"] for row in stored(f"bridge_{name}.json")["rows"]}
        assert f"| {rates['whynorm']:.0f} | {rates['trl']:.0f} | {ratio[name]:.1f} |" in page("trl")


def test_constants_that_would_do_in_place_of_the_printed_ones() -> None:
    """Printed ones times the proved bound over the printed bound, where the proved one is attained or nearly so."""
    found = {}
    for part, name in {"VAR": "P-L31-VAR", "GLOBAL": "P-L31-GLOBAL", "LIPSCHITZ": "P-L32", "BALL": "P-L33"}.items():
        sharp, printed = ({claim.id: claim for claim in load_registry()}[each] for each in (f"X-SHARP-{part}", name))
        assert sharp.witness is not None
        context = build_context(sharp, sharp.witness())
        best, loose = compare(sharp, context), compare(printed, context)
        found[part] = best.right[-1] / loose.right[-1]
        # No smaller constant would do, or hardly (the ball's has no closed form).
        assert best.left[0] / loose.right[-1] > 0.97 * found[part]
    told = said("README", "| # and # in place of # and # would do |")
    assert_told(told[:2], [float(told[2]) * found["VAR"], float(told[3]) * found["GLOBAL"]], "Lemma 3.1")
    holds("README", "| # in place of 1/2, # in place of 5/2 would do |", found["LIPSCHITZ"] / 2, found["BALL"] * 5 / 2)
