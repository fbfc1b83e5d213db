"""``whynorm sweep`` as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from sweeping import Inline, contents, plan_of, write_spec
from test_whynorm_bad_input import check_refusal
from test_whynorm_cli import Capture, call

from simulator.sweeps.store import Store
from simulator.sweeps.summarise import Group
from whynorm.commands.sweep_results import size_text, time_text
from whynorm.figures_sweep import line_figure, map_figure


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a specification of 8 runs, run in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("simulator.sweeps.clusters.LocalExecutor", lambda workers: Inline())
    write_spec(tmp_path / "spec.toml", seeds=2)
    return tmp_path


def test_from_example_to_figure(place: Path, capsys: Capture) -> None:
    assert call(capsys, "sweep", "init", "my.toml") == (0, "", "written: my.toml; next: whynorm sweep run my.toml\n")
    code, out, _ = call(capsys, "sweep", "run", "spec.toml")
    assert (code, out.splitlines()[0]) == (0, "runs      8 of 8 done, 0 pending, 0 failed")
    before = contents(place / "spec")
    code, out, err = call(capsys, "sweep", "resume", "spec.toml", "--json")
    assert (code, err, json.loads(out)["done"]) == (0, "", 8)
    assert contents(place / "spec") == before
    code, out, _ = call(capsys, "sweep", "status", "spec.toml", "--json")
    told = json.loads(out)
    assert (code, told["runs"], told["done"], told["pending"], told["failed"]) == (0, 8, 8, 0, 0)
    assert told["bytes"] == sum(map(len, before.values()))
    sql = "SELECT rule, count(*) AS runs, 0.0 / 0 AS none FROM runs GROUP BY rule ORDER BY rule"
    code, out, _ = call(capsys, "sweep", "query", "spec.toml", sql, "--json")
    desired = [{"rule": "grpo", "runs": 4, "none": None}, {"rule": "reinforce", "runs": 4, "none": None}]
    assert (code, json.loads(out)) == (0, desired)
    assert "reinforce" in call(capsys, "sweep", "query", "spec.toml", sql)[1]
    for argv in (["export"], ["export", "--to", "a.csv"]):
        assert call(capsys, "sweep", argv[0], "spec.toml", *argv[1:])[0] == 0
    for argv in (["--x", "p0", "--by", "rule"], ["--x", "p0", "--over", "rule", "--to", "map.png"]):
        assert call(capsys, "sweep", "plot", "spec.toml", *argv)[0] == 0
    names = {path.name for path in place.iterdir()}
    assert names == {"my.toml", "spec.toml", "spec", "runs.parquet", "a.csv", "sweep.png", "map.png"}


def test_a_dry_run_counts_and_leaves_nothing(place: Path, capsys: Capture) -> None:
    code, out, _ = call(capsys, "sweep", "run", "spec.toml", "--dry-run", "--json")
    told = json.loads(out)
    assert (code, told["runs"], told["all_runs"], told["tasks"]) == (0, 8, 8, 4)
    assert told["bytes"] > 0
    assert told["seconds"] > 0
    code, out, _ = call(capsys, "sweep", "run", "spec.toml", "--dry-run")
    assert "runs to do      8 of 8" in out
    assert "measured on this machine, on the first steps of 8 of the runs" in out
    assert [path.name for path in place.iterdir()] == ["spec.toml"]
    call(capsys, "sweep", "run", "spec.toml")
    code, out, _ = call(capsys, "sweep", "run", "spec.toml", "--dry-run")
    assert "runs to do      0 of 8" in out


def test_what_is_not_done_or_damaged_is_said(place: Path, capsys: Capture) -> None:
    call(capsys, "sweep", "run", "spec.toml")
    plan = plan_of(place / "spec.toml")
    store = Store(place / "spec", plan.engine)
    store.path(plan.tasks[0].id).unlink()
    code, out, err = call(capsys, "sweep", "status", "spec.toml")
    assert (code, out.splitlines()[0], err) == (0, "runs      6 of 8 done, 2 pending, 0 failed", "")
    assert "left      about" in out
    store.path(plan.tasks[1].id).write_bytes(b"PAR1")
    code, out, err = call(capsys, "sweep", "status", "spec.toml")
    assert (code, out.splitlines()[0]) == (1, "runs      4 of 8 done, 4 pending, 0 failed")
    assert ", 1 damaged" in out
    assert err.startswith(f"task {plan.tasks[1].id}: ")
    code, _, err = call(capsys, "sweep", "export", "spec.toml")
    assert code == 1
    assert "4 of 8 runs are not done and left out" in err
    assert "1 result files are damaged" in err
    assert call(capsys, "sweep", "resume", "spec.toml")[0] == 0


def test_runs_written_twice_are_run_once(place: Path, capsys: Capture) -> None:
    (place / "twice.toml").write_text("[run]\nn = 1\nk = 2\nsteps = 2\n[repeat]\nseeds = [3, 3, 4]\n")
    code, out, err = call(capsys, "sweep", "run", "twice.toml")
    assert (code, out.splitlines()[0]) == (0, "runs      2 of 2 done, 0 pending, 0 failed")
    assert err == "1 runs are in the specification more than once: each is done once\n"


BAD = [
    (["run", "none.toml"], "sweep is 'none.toml'; expected a readable TOML file"),
    (["run", "bad.toml"], "key in [grid] in bad.toml is 'stepz'; expected one of family, n, k"),
    (["run", "huge.toml"], "sweep huge.toml has an integer of thousands of digits (line 2, steps)"),
    (["run", "spec.toml", "--workers", "0"], "workers is 0; expected at least 1"),
    (["run", "spec.toml", "--on", "cloud"], "on is 'cloud'; expected local, dask:ADDRESS"),
    (["run", "spec.toml", "--slurm", "a=b"], "on is 'local'; expected slurm"),
    (["run", "spec.toml", "--on", "slurm", "--slurm", "ab"], "slurm is 'ab'; expected NAME=VALUE"),
    (["run", "spec.toml", "--out", "bad.toml"], "results directory is 'bad.toml'; expected a writable directory"),
    (["run", "spec.toml", "--out", "bad.toml/below"], "results directory is 'bad.toml/below'"),
    (["run", "spec.toml", "--out", ""], "out is ''; expected a directory; write . for the one you are in"),
    (["status", "spec.toml", "--out="], "out is ''; expected a directory"),
    (["status", "spec.toml", "--out", "bad.toml"], "results directory is 'bad.toml/results/"),
    (["status", "spec.toml", "--out", "odd"], "expected a readable directory (Not a directory); choose another"),
    (["resume", "spec.toml"], "results directory is 'spec'; expected an existing one"),
    (["export", "spec.toml"], "runs done is 0; expected results in spec"),
    (["plot", "spec.toml", "--x", "p0"], "runs done is 0"),
    (["plot", "spec.toml", "--x", "p0", "--by", "n", "--over", "k"], "over is 'k'; expected not both"),
    (["plot", "spec.toml", "--x", "p0", "--to", "a.pdf"], "to is 'a.pdf'; expected a name that ends in .png"),
    (["query", "spec.toml", "SELECT 1"], "runs done is 0"),
    (["init", "spec.toml"], "specification is 'spec.toml'; expected a file that does not exist"),
    (["init", "none/spec.toml"], "output file is 'none/spec.toml'"),
]


@pytest.mark.parametrize(("argv", "message"), BAD, ids=[" ".join(argv) for argv, _ in BAD])
def test_bad_input_is_one_line(argv: list[str], message: str, place: Path, capsys: Capture) -> None:
    (place / "bad.toml").write_text("[grid]\nstepz = [1]\n")
    (place / "huge.toml").write_text(f"[run]\nsteps = {'1' * 5000}\n")
    (place / "odd").mkdir()
    (place / "odd" / "results").write_text("")
    check_refusal(["sweep", *argv], message, place, capsys)


def test_bad_questions_are_one_line(place: Path, capsys: Capture) -> None:
    call(capsys, "sweep", "run", "spec.toml")
    for argv, message in (
        (["query", "spec.toml", "SELECT nothing FROM runs"], "query is 'SELECT nothing FROM runs'"),
        (["plot", "spec.toml", "--x", "nothing"], "column is 'nothing'; expected one of run_id, family"),
        (["plot", "spec.toml", "--x", "p0", "--y", "rule"], "y is 'rule'; expected one of n, k"),
        (["plot", "spec.toml", "--x", "p0"], "a point of the plot is 'runs that differ in rule'"),
        (["plot", "spec.toml", "--x", "p0", "--by", "rule", "--where", "nonsense"], "query is"),
        (["export", "spec.toml", "--to", "a.txt"], "export file is 'a.txt'"),
        (["export", "spec.toml", "--to", "none/a.csv"], "output file is 'none/a.csv'"),
    ):
        check_refusal(["sweep", *argv], message, place, capsys)


def test_a_plot_says_what_it_leaves_out(place: Path, capsys: Capture) -> None:
    """A setting whose every run is impossible, and runs that never came to a threshold."""
    grid = "[grid]\nn = [2, 90000]\np0 = [0.01, 0.6]\n[repeat]\nseeds = 2\n"
    (place / "gaps.toml").write_text(f'[run]\nengine = "reference"\nk = 2\nsteps = 5\n{grid}')
    call(capsys, "sweep", "run", "gaps.toml")
    plot = ("sweep", "plot", "gaps.toml", "--x", "p0", "--by", "n")
    told = "{} runs have no {} and are left out of the means: 4 could not be run (column error){}\n"
    told += "{} of 4 settings have no run with a value of {} and are not drawn\nwritten: sweep.png\n"
    assert call(capsys, *plot) == (0, "", told.format(4, "mean_J_end", "", 2, "mean_J_end"))
    more = ", 2 ended without a value"
    desired = told.format(6, "steps_to_50", more, 3, "steps_to_50")
    assert call(capsys, *plot, "--y", "steps_to_50") == (0, "", desired)


def _axes(groups: list[Group], by: str | None) -> Axes:
    return line_figure(groups, "p0", "steps_to_50", by, "title").axes[0]


def test_lines_pass_through_the_means_and_bands_are_the_intervals() -> None:
    groups = [Group((p0, rule), mean, 1.5, 3, 0) for rule, mean in (("a", 5.0), ("b", 7.0)) for p0 in ("0.2", "0.1")]
    axes = _axes(groups, "rule")
    assert [line.get_label() for line in axes.lines] == ["rule = a", "rule = b"]
    for line, band, mean in zip(axes.lines, axes.collections, (5.0, 7.0), strict=True):
        assert np.asarray(line.get_xdata()).tolist() == [0.1, 0.2]
        assert np.asarray(line.get_ydata()).tolist() == [mean, mean]
        corners = band.get_paths()[0].vertices
        assert (corners[:, 1].min(), corners[:, 1].max()) == (mean - 1.5, mean + 1.5)


def test_words_are_placed_side_by_side_and_wide_ranges_are_logarithmic() -> None:
    axes = _axes([Group((name,), 5.0, None, 1, 0) for name in ("0.05:0.6", "0.2")], None)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["0.2", "0.05:0.6"]
    axes = _axes([Group((p0,), mean, None, 1, 0) for p0, mean in ((0.001, 1.0), (0.5, 900.0))], None)
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_a_map_has_every_mean_in_its_cell() -> None:
    groups = [Group((10, "a"), 1.0, None, 1, 0), Group((9, "a"), 2.0, None, 1, 0), Group((10, "b"), 3.0, None, 1, 0)]
    axes = map_figure(groups, "n", "mean_J_end", "rule", "title").axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["9", "10"]
    values = np.ma.filled(axes.images[0].get_array(), np.nan)
    np.testing.assert_array_equal(values, [[2.0, 1.0], [np.nan, 3.0]])


def test_sizes_and_times_as_a_person_reads_them() -> None:
    assert [size_text(count) for count in (0, 999, 1234, 5_600_000, 7e12)] == [
        "0 B",
        "999 B",
        "1.23 kB",
        "5.6 MB",
        "7e+03 GB",
    ]
    assert [time_text(seconds) for seconds in (0.123, 42, 300, 9000)] == ["0.12 s", "42 s", "5 min", "2.5 h"]
