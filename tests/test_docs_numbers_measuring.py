"""The numbers of docs/measuring.md are those of the stored measures."""

from __future__ import annotations

from typing import Any

import pytest
from pages import assert_told, close, holds, numbers, rows, section, stored

from theory.reported import FIGURES

START = stored("tiny-measures/start/measures.json")["measures"]
TINY = stored("tiny-measures/along/measures.json")["measures"]
LARGE = stored("smollm2-measures/along/measures.json")["measures"]
CURVED = stored("smollm2-measures/curvature/measures.json")["measures"]
GAINED = stored("smollm2-measures/gains/measures.json")["measures"]


def _shown() -> str:
    return section("measuring", "## What the shipped runs showed")


def _first(content: dict[str, Any], part: str) -> dict[str, Any]:
    return content["checkpoints"][0][part]


def test_table_3() -> None:
    found = {
        name: {str(each["t"]): each["interactions"]["all"] for each in content["checkpoints"]}
        for name, content in (("tiny", TINY), ("smollm2", LARGE))
    }
    told = [cells for cells in rows(_shown(), "| step | mean") if cells[0] != "printed"]
    assert [cells[:2] for cells in told] == [["tiny", t] for t in ("0", "100", "200")] + [["smollm2", t] for t in "08"]
    for name, t, *cells in told:
        each = found[name][t]
        for cell, key, scale in zip(
            cells,
            ("cosine_mean", "cosine_std", "cosine_positive_share", "cosine_small_share", "no_m_share", "m", "r1", "r2"),
            (1, 1, 100, 100, 100, 1, 1, 1),
            strict=True,
        ):
            values = [each[key], *(each["intervals"][key] if "[" in cell else [])]
            assert_told(numbers(cell), [scale * value for value in values], f"{name} {t} {key}")


def test_prose_on_table_3() -> None:
    holds("measuring", "the defect of the features is # (# on `tiny` too).",
          _first(LARGE, "gram")["orthogonality_defect"], _first(TINY, "gram")["orthogonality_defect"])  # fmt: skip
    assert all(each["interactions"]["all"]["m"] < 10 for each in LARGE["checkpoints"])
    assert all(each["interactions"]["all"]["no_m_share"] == 0 for each in LARGE["checkpoints"])


def test_what_was_measured() -> None:
    for content, prompts, steps in ((TINY, 20, 200), (LARGE, 6, 8)):
        assert (content["run"]["prompts"], content["run"]["steps"]) == (prompts, steps)
        scale = 2 * content["run"]["eta"] * content["run"]["x_max_sq"]
        assert scale == pytest.approx(100)
    holds("measuring", "`tiny`: # prompts in float64", 20)
    holds("measuring", "along # steps of exact GRPO at # times the theorem's step. `smollm2`: # prompts", 200, 100, 6)
    holds("measuring", "along # such steps; curvature of # of # prompts", 8, len(CURVED["curvature"]), 2)


def test_sampling_noise() -> None:
    small, large = (START["sampling"], _first(LARGE, "sampling"))
    eight, many = ([each[group] for each in (small, large)] for group in ("8", "64"))
    holds("measuring", "Groups of 8 miss the exact cosines by # (tiny) and # (smollm2), rms",
          *(each["error_raw"] for each in eight))  # fmt: skip
    holds("measuring", "for #% and nearly all pairs the halves", 100 * eight[0]["undefined_share"])
    assert eight[1]["undefined_share"] > 0.99
    holds("measuring", "With groups of 64 the error is # and #, and #% and #% of the pairs are undefined.",
          *(each["error_raw"] for each in many), *(100 * each["undefined_share"] for each in many))  # fmt: skip
    holds("measuring", "but are noisier (# and #).", *(each["error_corrected"] for each in many))


def test_table_1() -> None:
    told = {cells[0]: cells[2:] for cells in rows(_shown(), "| printed | Pearson")}
    for row, key in (("same iteration", "same"), ("different iterations, same prompts", "different")):
        for cell, kind in zip(told[row], ("pearson", "spearman"), strict=True):
            each = TINY["table1"][kind][key]
            assert_told(numbers(cell), [each[part] for part in ("value", "low", "high", "p")], f"{row}, {kind}")
    others = [TINY["table1"][kind]["other_prompts"] for kind in ("pearson", "spearman")]
    assert_told(told["different iterations, different prompts"], others, "different prompts")
    size = (TINY["table1"]["checkpoints"], TINY["table1"]["prompts"])
    holds("measuring", "tiny, # checkpoints, # prompts:", *size)
    same = LARGE["table1"]["pearson"]["same"]
    holds("measuring", "nothing can be said (# [#, #]).", same["value"], same["low"], same["high"])


def test_hidden_states() -> None:
    small, large = START["hidden"], _first(LARGE, "hidden")
    means = {
        (name, pool, kind): each[pool][kind]["mean"][0]
        for name, each in (("tiny", small), ("smollm2", large))
        for pool in ("mean", "last")
        for kind in ("raw", "centred")
    }
    order = [
        (name, pool, kind) for name in ("tiny", "smollm2") for kind in ("raw", "centred") for pool in ("mean", "last")
    ]
    values = [means[key] for key in order]
    holds("measuring", "tiny # (mean over tokens) and # (last token), centred # and #;", *values[:4])
    holds("measuring", "smollm2 # and #, centred # and #.", *values[4:])


def test_x_max() -> None:
    small, large = START["gram"], _first(LARGE, "gram")
    raw, wide = small["features"]["raw"]["shares"], large["features"]["raw"]["shares"]
    holds("measuring", "tiny: `X_max^2` = # (# centred), #% of it in the first of # layers, #% in `v_proj`;",
          small["x_max_sq"], small["x_max_sq_centred"], 100 * raw["layer"]["0"], len(raw["layer"]),
          100 * raw["module"]["v_proj"])  # fmt: skip
    later = [each["gram"] for each in TINY["checkpoints"]]
    assert later[1]["x_max_sq"] / later[0]["x_max_sq"] == pytest.approx(2, abs=0.05)
    assert later[-1]["x_max_sq"] < 0.65 * later[1]["x_max_sq"]
    holds("measuring", "A holds #% of it after # steps.",
          100 * later[-1]["features"]["raw"]["shares"]["part"]["A"], TINY["run"]["steps"])  # fmt: skip
    most = list(wide["layer"])[:7]
    assert sorted(map(int, most)) == list(range(10, 17))
    holds("measuring", "smollm2: # (# centred), spread over layers # to # (layer # alone #%), #% in `v_proj`.",
          large["x_max_sq"], large["x_max_sq_centred"], 10, 16, int(most[0]), 100 * wide["layer"][most[0]],
          100 * wide["module"]["v_proj"])  # fmt: skip


def _ends(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)


def test_curvature() -> None:
    small, large = START["curvature"], CURVED["curvature"][0]
    shares = [abs(each["network"] / each["softmax"]) for each in small]
    holds("measuring", "#% to #% of it on `tiny` (# prompts), #% on smollm2 (#).",
          *(100 * share for share in _ends(shares)), len(small), 100 * abs(large["network"] / large["softmax"]),
          len(CURVED["curvature"]))  # fmt: skip
    holds("measuring", "Largest eigenvalues are # to # (tiny) and # (smollm2):",
          *_ends([abs(each["eigenvalue"]) for each in small]), large["eigenvalue"])  # fmt: skip
    ratios = [_ends([100 * each["lemmas"][name] for each in small]) for name in ("3.1, 4 X^2 V", "3.1, X^2")]
    holds("measuring", "#% to #% of `4 X_max^2 V`, #% to #% of `X_max^2`;", *ratios[0], *ratios[1])
    assert large["lemmas"]["3.1, X^2"] < large["lemmas"]["3.1, 4 X^2 V"]
    holds("measuring", "#% and #% on smollm2. The lemmas",
          *(100 * large["lemmas"][name] for name in ("3.1, 4 X^2 V", "3.1, X^2")))  # fmt: skip


def test_gains() -> None:
    small, large = ({rule: _ends(each["ratio"]) for rule, each in c["gains"].items()} for c in (START, GAINED))
    holds("measuring", "the drawn prompt is # to # times Theorem 3.1's bound and # to # times Theorem 3.2's on tiny, "
          "# to # and # to # on smollm2",
          *small["reinforce"], *small["grpo"], *large["reinforce"], *large["grpo"])  # fmt: skip
    taken = max(-min(each["worst_other"]) for each in START["gains"].values())
    holds("measuring", "the draw of one prompt takes up to # times its gain from another", taken)
    assert min(min(each["worst_other"]) for each in GAINED["gains"].values()) > 0
    unresolved = sum(each["unresolved"] for each in CURVED["gains"].values())
    holds("measuring", "In float32 none of the # is resolved", unresolved)
    run = TINY["run"]
    assert run["descending_steps"] == 0
    holds("measuring", "At # times the step all # steps of tiny ascend, mean J from # to #.",
          100, run["steps"], run["mean_J_start"], run["mean_J_end"])  # fmt: skip


def test_c_of_t() -> None:
    small, large = TINY["run"], LARGE["run"]
    holds("measuring", "is # on tiny, but # when prompts are weighted", small["C(T)"], small["C(T)_weighted"])
    holds("measuring", "smollm2: # and #. **Phases.**", large["C(T)"], large["C(T)_weighted"])


def test_phases() -> None:
    assert TINY["phases"]["verdict"] == "none"
    holds("measuring", "(margin #), but #% of curves without", TINY["phases"]["margin"], 100 * TINY["phases"]["p"])


def test_rows_of_the_sources_are_theirs() -> None:
    printed = [cells for cells in rows(_shown(), "| step | mean") if cells[0] == "printed"]
    assert [cells[1] for cells in printed] == ["0", "260", "500"]
    for _, step, *cells in printed:
        known = [float(each.printed) for each in FIGURES if each.place == f"Table 3, step {step}"]
        for told in filter(None, cells):
            scale = 100 if told.endswith("%") else 1
            assert any(close(numbers(told)[0], scale * value) for value in known), (step, told)


def test_figures_of_the_sources_in_prose() -> None:
    printed = [float(each.printed.replace("−", "-")) for each in FIGURES if each.place == "Table 1"]
    same, p_same, different, p_different = printed
    table = {cells[0]: numbers(cells[1]) for cells in rows(_shown(), "| printed | Pearson")}
    assert_told(table["same iteration"], (same, p_same), "Table 1")
    assert_told(table["different iterations (which prompts is not said)"], (different, p_different), "Table 1")
    holds("measuring", "The printed # is what pairing", different)
    mean = next(each for each in FIGURES if each.quantity == "mean of the |cosine| of Fig. 1")
    holds("measuring", "hidden states (printed: #, 90% of pairs below 0.15)", float(mean.printed))
