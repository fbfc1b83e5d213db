"""Damaged, missing and left-over files of a sweep: found, kept, done again."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sweeping import (
    Inline,
    Sweep,
    assert_whole,
    contents,
    finish,
    run_inline,
)

from simulator.files import atomic
from simulator.sweeps.manifest import NAME
from simulator.sweeps.pack import DamagedFileError, pack, unpack
from simulator.sweeps.results import status
from simulator.sweeps.store import Store


def test_any_number_of_workers_writes_the_same_bytes(sweep: Sweep, tmp_path: Path) -> None:
    plan, _, desired = sweep
    for workers in (1, 3):
        directory = tmp_path / f"by {workers}"
        assert finish(plan, directory, workers) == {}
        assert_whole(plan, directory, desired)


def _damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    middle = len(content) // 2
    changed = {
        "empty": b"",
        "truncated": content[:middle],
        "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "zeros": content[:middle] + bytes(len(content) - middle),
        "another file": b"PAR1 nothing of the kind",
    }
    path.write_bytes(changed[how])


@pytest.mark.parametrize("how", ["empty", "truncated", "one bit", "zeros", "another file", "another task"])
@pytest.mark.parametrize("manifest", [True, False])
def test_a_damaged_file_is_found_kept_and_done_again(how: str, manifest: bool, sweep: Sweep) -> None:
    plan, directory, desired = sweep
    store = Store(directory, plan.engine)
    victim, other = store.path(plan.tasks[3].id), store.path(plan.tasks[0].id)
    if how == "another task":
        victim.write_bytes(other.read_bytes())
    else:
        _damage(victim, how)
    damaged = victim.read_bytes()
    if not manifest:
        (directory / NAME).unlink()
    now = status(plan, store)
    assert (now.damaged_files, now.done, now.pending) == (1, 14, 2)
    said: list[str] = []
    assert run_inline(plan, directory, said=said) == {}
    assert "damaged result file" in said[0]
    kept = list((directory / "damaged").iterdir())
    assert [path.read_bytes() for path in kept] == [damaged]
    assert contents(directory) == desired
    assert status(plan, store).damaged_files == 0


def test_a_file_damaged_twice_is_kept_twice(sweep: Sweep) -> None:
    plan, directory, desired = sweep
    for how in ("truncated", "one bit"):
        _damage(Store(directory, plan.engine).path(plan.tasks[0].id), how)
        run_inline(plan, directory)
    assert len(list((directory / "damaged").iterdir())) == 2
    assert contents(directory) == desired


def test_no_byte_of_a_file_can_change_unseen(sweep: Sweep) -> None:
    """A changed byte is found, unless the rows that are read are the same (as where the writer's name is spelled)."""
    plan, directory, _ = sweep
    task = plan.tasks[0].id
    content = Store(directory, plan.engine).read(task)
    intact = unpack(content, task, plan.engine)
    unseen = 0
    for place in range(0, len(content), 7):
        changed = content[:place] + bytes([content[place] ^ 0x15]) + content[place + 1 :]
        try:
            assert unpack(changed, task, plan.engine).equals(intact), place
            unseen += 1
        except DamagedFileError:
            pass
    assert unseen < len(content) / 7 / 3


def test_the_same_rows_are_the_same_bytes(sweep: Sweep) -> None:
    plan, directory, desired = sweep
    for task in plan.tasks:
        rows = Store(directory, plan.engine).table(task.id).to_pylist()
        assert pack(task.id, plan.engine, rows) == desired[f"{task.id}.parquet"]


def _garbage(path: Path) -> None:
    path.write_bytes(b"garbage " * 2000)


def _foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE tasks (a, b)")
    database.close()


def _half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _wrong_types(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE tasks SET runs = 'x'")
    database.close()


@pytest.mark.parametrize("spoil", [_garbage, _foreign, _half, _wrong_types])
def test_a_damaged_manifest_is_made_anew_from_the_files(spoil: Any, sweep: Sweep) -> None:
    plan, directory, desired = sweep
    spoil(directory / NAME)
    assert status(plan, Store(directory, plan.engine)).done == 16
    said: list[str] = []
    assert run_inline(plan, directory, said=said) == {}
    assert "the manifest was damaged" in said[0]
    assert "8 intact result files were not in the manifest" in said[1]
    assert (directory / "damaged" / NAME).exists()
    shutil.rmtree(directory / "damaged")
    assert_whole(plan, directory, desired)


def test_a_manifest_that_is_gone_loses_nothing(sweep: Sweep) -> None:
    plan, directory, desired = sweep
    (directory / NAME).unlink()
    before = {path: path.stat().st_mtime_ns for path in (directory / "results").rglob("*.parquet")}
    run_inline(plan, directory, Inline(lambda message: pytest.fail("nothing is to be done")))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert_whole(plan, directory, desired)


def test_files_that_are_gone_are_done_again(sweep: Sweep) -> None:
    plan, directory, desired = sweep
    Store(directory, plan.engine).path(plan.tasks[2].id).unlink()
    said: list[str] = []
    run_inline(plan, directory, said=said)
    assert said == ["1 result files of the manifest are gone: their runs are done again"]
    assert_whole(plan, directory, desired)


def _half_written(path: Path) -> None:
    """What a process leaves behind that is killed while it writes a file."""
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(KeyboardInterrupt), atomic(path) as handle:
        patch.setattr("os.unlink", lambda name: None)
        handle.write(b"half")
        raise KeyboardInterrupt


def test_leftovers_of_killed_writers_are_removed(sweep: Sweep, tmp_path: Path) -> None:
    """Those of earlier coordinators, and those of workers that were killed under this one."""
    plan, directory, desired = sweep
    _half_written(Store(directory, plan.engine).path(plan.tasks[0].id))
    assert len(contents(directory)) == len(desired) + 1
    run_inline(plan, directory)
    assert_whole(plan, directory, desired)

    new = Store(tmp_path / "new", plan.engine)
    run_inline(plan, new.directory, Inline(lambda message: _half_written(new.path(message["task"]))))
    assert_whole(plan, new.directory, desired)


def test_what_others_keep_in_the_directory_stays(sweep: Sweep) -> None:
    """Files whose names begin with a dot too, and what is called like a leftover but is no file."""
    plan, directory, _ = sweep
    results = Store(directory, plan.engine).results
    task = plan.tasks[0].id
    names = [".env", ".bashrc", ".notes.parquet.abcdefgh", f".{task}.parquet.tmp", f".{task}.parquet"]
    kept = [folder / name for folder in (directory, directory / "results", results) for name in names]
    kept += [directory / f".{task}.parquet.abcdefgh"]
    for path in kept:
        path.write_bytes(b"mine")
    (results / f".{task}.parquet.abcdefgh").mkdir()
    (results / f".{task}.parquet.12345678").symlink_to(directory / ".env")
    run_inline(plan, directory)
    assert all(path.read_bytes() == b"mine" for path in kept)
    assert (results / f".{task}.parquet.abcdefgh").is_dir()
    assert (results / f".{task}.parquet.12345678").is_symlink()


def test_a_pipe_in_place_of_a_file_is_never_opened(sweep: Sweep) -> None:
    """It would keep whoever reads it waiting for ever."""
    plan, directory, desired = sweep
    store = Store(directory, plan.engine)
    other = directory / "results" / "another-engine"
    other.mkdir()
    for path in (store.path(plan.tasks[0].id), directory / NAME, other / "x.parquet"):
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    now = status(plan, store)
    assert (now.done, now.errors) == (14, {plan.tasks[0].id: "it is no regular file"})
    (directory / NAME).unlink()
    (other / "x.parquet").unlink()
    other.rmdir()
    run_inline(plan, directory)
    assert contents(directory) == desired
