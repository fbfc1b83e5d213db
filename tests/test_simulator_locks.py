"""One process at a time in a directory: the second gets one line, and nothing that is there is touched."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from simulator.locks import held
from theory.errors import InputError
from whynorm.cli import main

Capture = pytest.CaptureFixture[str]

_HOLD = """
import sys, pathlib
from simulator.locks import held
with held(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    input()
"""
COMMANDS = [
    "simulate --steps 5",
    "simulate --steps 5 --replicas 3 --engine reference",
    "bridge run --n 2 --steps 1",
    "bridge train --steps 1 --task arithmetic:sum --rule paper:4",
    "bridge measure --n 2",
    "bridge compare --n 2 --steps 1",
    "bridge experiment --part easy=arithmetic:sum --steps 1 --seeds 2",
    "bridge split --task arithmetic:sum --mode exact",
    "study compare",
    "study phases",
    "reproduce --steps 1",
]


def _other(path: Path) -> subprocess.Popen[str]:
    """A process that holds the directory."""
    command = [sys.executable, "-c", _HOLD, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_command_with_the_same_out_gets_one_line(command: str, tmp_path: Path, capsys: Capture) -> None:
    if command.startswith(("bridge", "reproduce")):
        pytest.importorskip("torch")
    (tmp_path / "summary.json").write_text("of the first")
    with held(tmp_path):
        before = sorted(path.name for path in tmp_path.iterdir())
        assert main([*command.split(), "--out", str(tmp_path)]) == 2
        assert sorted(path.name for path in tmp_path.iterdir()) == before
    told = capsys.readouterr().err
    assert "no other process is at work" in told
    assert told.strip().count("\n") == 0
    assert (tmp_path / "summary.json").read_text() == "of the first"


def test_the_lock_is_that_of_a_process_and_ends_with_it(tmp_path: Path) -> None:
    other = _other(tmp_path)
    try:
        with pytest.raises(InputError, match="no other process"), held(tmp_path):
            pass
    finally:
        other.kill()
        other.communicate()
    # Killed, it left its file; that means nothing.
    assert [path.name for path in tmp_path.iterdir()] == ["whynorm.lock"]
    with held(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_one_that_waits_gets_the_lock_when_the_other_has_removed_its_file(tmp_path: Path) -> None:
    order: list[str] = []
    waits = threading.Event()

    def wait() -> None:
        order.append("waits")
        waits.set()

    def second() -> None:
        with held(tmp_path, wait=wait):
            order.append("second")
            with pytest.raises(InputError), held(tmp_path):
                pass

    with held(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(60)
        order.append("first")
    thread.join()
    assert order == ["waits", "first", "second"]
    assert not list(tmp_path.iterdir())


def test_a_finished_command_leaves_no_lock(tmp_path: Path) -> None:
    for _ in range(2):
        assert main(["simulate", "--steps", "5", "--out", str(tmp_path / "out")]) == 0
    assert "whynorm.lock" not in {path.name for path in (tmp_path / "out").iterdir()}


def test_a_place_that_cannot_be_locked_is_told(tmp_path: Path) -> None:
    (tmp_path / "whynorm.lock").mkdir()
    with pytest.raises(InputError, match="whose files can be locked"), held(tmp_path):
        pass
