"""kill -9 at random moments, of the coordinator and of workers: nothing lost, nothing twice, bit-identical."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from sweeping import alive, assert_whole, children, contents, finish, plan_of, start, wait_until, write_spec

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children are found in /proc")


def _files(directory: Path) -> int:
    return sum(1 for _ in directory.glob("results/*/*.parquet"))


def _moment(directory: Path, process: subprocess.Popen[str], chance: random.Random) -> None:
    """Wait for a random moment: any, or soon after a commit, where most is going on."""
    end = time.monotonic() + chance.uniform(0.0, 1.5)
    wanted = _files(directory) + chance.randrange(4) if chance.random() < 0.6 else 10**9
    while time.monotonic() < end and process.poll() is None and _files(directory) < wanted:
        time.sleep(0.002)
    time.sleep(chance.uniform(0.0, 0.03))


def _kill(pid: int) -> bool:
    """Whether there was something to kill."""
    if not alive(pid):
        return False
    os.kill(pid, signal.SIGKILL)
    return True


def _end_by_themselves(orphans: list[int]) -> None:
    wait_until(lambda: not any(alive(worker) for worker in orphans))


def _life(spec: Path, directory: Path, kills: Counter[str], wanted: int, chance: random.Random) -> int | None:
    """One coordinator, from its start to its end; its exit code."""
    process = start("run", spec, "--out", directory, "--workers", 2)
    try:
        while process.poll() is None and kills.total() < wanted:
            _moment(directory, process, chance)
            workers = children(process.pid)
            if chance.random() < 0.5 and workers:
                kills["worker"] += _kill(chance.choice(workers))
            elif chance.random() < 0.5:
                kills["coordinator"] += _kill(process.pid)
                process.wait()
                _end_by_themselves(workers)
        return None if process.returncode == -signal.SIGKILL else process.wait(timeout=120)
    finally:
        process.kill()
        process.communicate()


def _storm(directory: Path, wanted: int, seed: int, repeats: int, engine: str = "reference") -> Counter[str]:
    """Kill until so many were killed; as many sweeps as that takes, each of which must end whole."""
    chance, kills, number = random.Random(seed), Counter[str](), 0
    while kills.total() < wanted:
        number += 1
        place = directory / str(number)
        place.mkdir()
        spec = write_spec(place / "spec.toml", pack=2, steps=100 + number, seeds=repeats, engine=engine)
        plan = plan_of(spec)
        codes = []
        while not codes or codes[-1] != 0:
            codes.append(_life(spec, place / "killed", kills, wanted, chance))
            assert len(codes) < 500
        finish(plan, place / "undisturbed")
        assert len(plan.tasks) == 2 * repeats
        assert_whole(plan, place / "killed", contents(place / "undisturbed"))
        # A coordinator that lives reports success, or a task whose worker was killed three times; nothing else.
        assert set(codes) <= {None, 0, 1}
    return kills


def test_killed_a_few_times(tmp_path: Path) -> None:
    kills = _storm(tmp_path, wanted=6, seed=1, repeats=12)
    assert kills.total() >= 6


@pytest.mark.deep
def test_killed_while_the_fast_engine_runs(tmp_path: Path) -> None:
    """Other workers, and workers that find other tasks done, compile and compute the same bits."""
    kills = _storm(tmp_path, wanted=2, seed=3, repeats=4, engine="lanes")
    assert kills.total() >= 2


@pytest.mark.deep
def test_killed_a_hundred_times(tmp_path: Path) -> None:
    kills = _storm(tmp_path, wanted=120, seed=2, repeats=40)
    print(f"killed: {dict(kills)}")
    assert kills.total() >= 120
    assert min(kills["coordinator"], kills["worker"]) >= 30
