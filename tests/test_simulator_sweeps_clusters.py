"""The same sweep beyond one machine: a real Dask scheduler with workers as processes, and submitit's local executor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sweeping import ROOT, alive, assert_whole, contents, finish, plan_of, start, wait_until, write_spec

from simulator.sweeps import clusters
from simulator.sweeps.clusters import SubmititExecutor, choose_executor
from simulator.sweeps.coordinate import coordinate
from simulator.sweeps.plan import Plan
from simulator.sweeps.store import Store
from theory.errors import InputError

Sweep = tuple[Plan, Path, Path]


@pytest.fixture
def sweep(tmp_path: Path, request: pytest.FixtureRequest) -> Sweep:
    """A sweep of a few tasks, done undisturbed: plan, specification, directory."""
    pack, steps = getattr(request, "param", (8, 20))
    spec = write_spec(tmp_path / "spec.toml", pack=pack, steps=steps, seeds=6)
    plan = plan_of(spec)
    finish(plan, tmp_path / "undisturbed")
    return plan, spec, tmp_path / "undisturbed"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """Address of a Dask scheduler, and its two workers; all are processes of their own."""
    pytest.importorskip("distributed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes: list[subprocess.Popen[bytes]] = []

    def launch(command: str, *argv: str) -> None:
        line = [sys.executable, "-m", "distributed.cli.dask_" + command, *argv]
        with (tmp_path / f"{command}{len(processes)}.log").open("wb") as log:
            pipes: Any = {"stdout": log, "stderr": subprocess.STDOUT, "start_new_session": True}
            processes.append(subprocess.Popen(line, cwd=tmp_path, env=environment, **pipes))

    file = tmp_path / "scheduler.json"
    launch("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    try:
        wait_until(file.exists, 60)
        for _ in range(2):
            # Without a nanny the worker is the process itself, and nobody replaces it.
            launch("worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-nanny", "--no-dashboard")
        yield json.loads(file.read_text())["address"], processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize("sweep", [(2, 200)], indirect=True)
def test_a_dask_cluster_of_which_a_worker_is_killed(
    sweep: Sweep, cluster: tuple[str, list[subprocess.Popen[bytes]]], tmp_path: Path
) -> None:
    plan, spec, undisturbed = sweep
    address, workers = cluster
    directory = tmp_path / "dask"
    process = start("run", spec, "--out", directory, "--on", f"dask:{address}", "--json")
    wait_until(lambda: len(contents(directory)) >= 2 if directory.exists() else process.poll() is not None, 90)
    workers[0].send_signal(signal.SIGKILL)
    assert process.poll() is None, process.communicate()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["done"] == len(plan)
    assert_whole(plan, directory, contents(undisturbed))


def test_no_dask_scheduler_is_one_line(sweep: Sweep, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    process = start("run", sweep[1], "--out", tmp_path / "none", "--on", "dask:tcp://127.0.0.1:9")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (2, "")
    assert "expected the address of a Dask scheduler" in err.splitlines()[-1]
    assert "Traceback" not in err


def test_submitit_with_its_local_executor(sweep: Sweep, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    plan, spec, undisturbed = sweep
    directory = tmp_path / "jobs"
    argv = ("--out", directory, "--on", "slurm:local", "--slurm", "timeout_min=2", "--json")
    process = start("run", spec, *argv)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 0, err
    assert json.loads(out)["done"] == len(plan)
    assert_whole(plan, directory, contents(undisturbed))


def test_a_killed_job_is_submitted_again(sweep: Sweep, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    plan, _, undisturbed = sweep
    directory = tmp_path / "jobs"
    killed: list[int] = []

    class Killing(SubmititExecutor):
        """Kills the first job as soon as it runs."""

        def submit(self, message: dict[str, Any]) -> None:
            super().submit(message)
            if not killed:
                pid = int(next(iter(self._jobs)).job_id)
                killed.append(pid)
                time.sleep(0.2)
                assert alive(pid)
                os.kill(pid, signal.SIGKILL)

    store = Store(directory, plan.engine)
    assert coordinate(plan, store, lambda: Killing(directory / "jobs", "local", {"timeout_min": "2"})) == {}
    assert killed
    assert_whole(plan, directory, contents(undisturbed))


@pytest.mark.parametrize(
    ("on", "settings", "message"),
    [
        ("cloud", {}, "on is 'cloud'; expected local, dask:ADDRESS, slurm or slurm:local"),
        ("dask", {}, "on is 'dask'"),
        ("local", {"a": "b"}, "on is 'local'; expected slurm, where --slurm is given"),
    ],
)
def test_what_is_no_executor(on: str, settings: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        choose_executor(on, 1, tmp_path, settings)
    assert str(caught.value).startswith(message)


def test_settings_that_submitit_refuses_are_one_line(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    with pytest.raises(InputError, match="submitit cannot use local"):
        choose_executor("slurm:local", 1, tmp_path, {"nonsense": "1"})()
    if not any((Path(place) / "srun").exists() for place in os.environ["PATH"].split(":")):
        with pytest.raises(InputError, match="submitit cannot use slurm"):
            choose_executor("slurm", 1, tmp_path, {})()


@pytest.mark.parametrize(("on", "extra"), [("dask:tcp://x", "dask"), ("slurm", "slurm")])
def test_a_missing_extra_is_named(on: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(clusters, "import_module", missing)
    with pytest.raises(InputError, match=rf"pip install 'whynorm\[{extra}\]'"):
        choose_executor(on, 1, tmp_path, {})
