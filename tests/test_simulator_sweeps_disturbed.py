"""What may disturb a sweep: no room, no permission, two coordinators, interrupts, dying workers, another engine."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sweeping import (
    ROOT,
    Inline,
    Sweep,
    assert_whole,
    call,
    contents,
    finish,
    plan_of,
    run_inline,
    start,
    wait_until,
    write_spec,
)

from simulator.sweeps.manifest import NAME
from simulator.sweeps.results import status
from simulator.sweeps.store import Store
from theory.errors import InputError


def _limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_full_disk_ends_the_sweep_on_one_line_and_keeps_what_is_done(tmp_path: Path) -> None:
    """The kernel refuses files beyond a size, as it does without room; small tasks come first."""
    spec = tmp_path / "spec.toml"
    big = '\n[[lists]]\nrecord = "full"\nsteps = 6000\n'
    spec.write_text(
        'pack = 1\n[run]\nn = 1\nk = 2\nengine = "reference"\n[[lists]]\nsteps = 5\n[[lists]]\nsteps = 6\n' + big
    )
    plan, limit = plan_of(spec), 45_000
    code, out, err = call("run", spec, "--workers", 1, preexec_fn=lambda: _limit_files(limit))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "File too large" in err
    assert "what is done is kept" in err
    directory = tmp_path / "spec"
    before = contents(directory)
    assert len(before) == 2
    code, out, err = call("resume", spec)
    assert (code, err) == (0, "")
    assert {name: contents(directory)[name] for name in before} == before
    assert max(map(len, contents(directory).values())) > limit
    run_inline(plan, tmp_path / "undisturbed")
    assert_whole(plan, directory, contents(tmp_path / "undisturbed"))


def test_no_room_for_the_manifest_is_one_line(tmp_path: Path) -> None:
    spec = write_spec(tmp_path / "spec.toml")
    code, out, err = call("run", spec, preexec_fn=lambda: _limit_files(2000))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "manifest is" in err


def test_a_directory_that_becomes_read_only_keeps_what_is_done(
    sweep: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, _, desired = sweep

    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    def spoil(message: dict[str, Any]) -> None:
        if message["task"] == plan.tasks[5].id:
            monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)

    with pytest.raises(InputError, match=r"Read-only file system.*what is done is kept"):
        run_inline(plan, tmp_path / "new", Inline(spoil))
    monkeypatch.undo()
    done = {f"{task.id}.parquet": desired[f"{task.id}.parquet"] for task in plan.tasks[:5]}
    assert contents(tmp_path / "new") == done
    run_inline(plan, tmp_path / "new")
    assert_whole(plan, tmp_path / "new", desired)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_is_one_line_and_can_be_read(sweep: Sweep) -> None:
    plan, directory, _ = sweep
    for path in [directory, *directory.rglob("*")]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        with pytest.raises(InputError, match=r"results directory is .* writable"):
            run_inline(plan, directory)
        assert status(plan, Store(directory, plan.engine)).done == 16
    finally:
        for path in [directory, *directory.rglob("*")]:
            path.chmod(0o700)


def test_two_coordinators_at_once(tmp_path: Path) -> None:
    """The second gets one line; the first goes on; a killed one leaves no lock behind."""
    spec = write_spec(tmp_path / "spec.toml", steps=2000)
    first = start("run", spec, "--workers", 1)
    try:
        wait_until(lambda: (tmp_path / "spec" / NAME).exists())
        code, out, err = call("run", spec)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "no other process is at work" in err
        assert first.poll() is None
        assert call("status", spec)[0] == 0
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    store = Store(tmp_path / "spec", plan_of(spec).engine)
    with store.locked(), pytest.raises(InputError, match="no other process"), store.locked():
        pass


def test_an_interrupt_is_one_line_and_the_sweep_resumes(tmp_path: Path) -> None:
    """As ^C at a terminal does, it reaches the workers too."""
    spec = write_spec(tmp_path / "spec.toml", steps=1200, seeds=10)
    # A shell that runs the tests in the background has interrupts ignored, which would be inherited.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    process = start("run", spec, "--workers", 2, start_new_session=True, **heard)
    wait_until(lambda: len(list((tmp_path / "spec" / "results").rglob("*.parquet"))) > 1)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", "whynorm: interrupted\n")
    plan = plan_of(spec)
    before = contents(tmp_path / "spec")
    assert 1 < len(before) < len(plan.tasks)
    assert finish(plan, tmp_path / "spec", workers=2) == {}
    found = contents(tmp_path / "spec")
    assert {name: found[name] for name in before} == before
    assert len(found) == len(plan.tasks)


def test_verifying_a_file_does_not_import_pandas(sweep: Sweep) -> None:
    """pyarrow imports it in passing, for a second in which an interrupt is swallowed."""
    pytest.importorskip("pandas")
    plan, directory, _ = sweep
    code = "import sys; from pathlib import Path; from simulator.sweeps.store import Store; "
    code += "Store(Path(sys.argv[1]), sys.argv[2]).table(sys.argv[3]); sys.exit('pandas' in sys.modules)"
    argv = [sys.executable, "-c", code, directory, plan.engine, plan.tasks[0].id]
    assert subprocess.run(argv, check=False).returncode == 0


_MOUNTED = """
set -e
mount -t tmpfs -o size=200k tmpfs "$1"
mkdir "$1/out"
set +e
"$2" -m whynorm sweep run "$3" --out "$1/out"; echo "full $?"
cp -r "$1/out/results" "$4"
mount -o remount,ro "$1"
"$2" -m whynorm sweep run "$3" --out "$1/out"; echo "read-only $?"
"$2" -m whynorm sweep status "$3" --out "$1/out" --json; echo "status $?"
mount -o remount,rw,size=50m "$1"
"$2" -m whynorm sweep resume "$3" --out "$1/out"; echo "room $?"
cp -r "$1/out" "$5"
"""


def test_a_file_system_that_fills_up_and_one_that_is_read_only(tmp_path: Path) -> None:
    """A real one, mounted for this test alone where that is allowed."""
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    place, early, late = (tmp_path / name for name in ("mount", "early", "late"))
    place.mkdir()
    if shutil.which("unshare") is None or subprocess.run([*unshare, "mount", "-t", "tmpfs", "x", place]).returncode:
        pytest.skip("file systems cannot be mounted here")
    spec = write_spec(tmp_path / "spec.toml", pack=4, steps=20, seeds=24)
    plan = plan_of(spec)
    argv = [*unshare, "bash", "-c", _MOUNTED, "sweep", place, sys.executable, spec, early, late]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([str(arg) for arg in argv], env=environment, capture_output=True, text=True, timeout=120)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith(("full", "read", "room"))] == ["full 2", "read-only 2", "room 0"]
    # Either a result file or the manifest is the first to find no room; then its last entry may be missing.
    first, second, *rest = done.stderr.splitlines()
    assert "No space left on device" in first or "disk is full" in first
    assert "what is done is kept" in first
    assert rest in ([], ["1 intact result files were not in the manifest: added"])
    assert "Read-only file system" in second
    before = {path.name: path.read_bytes() for path in early.rglob("*.parquet")}
    assert 0 < len(before) < len(plan.tasks)
    assert f'"done": {4 * len(before)},' in done.stdout
    finish(plan, tmp_path / "undisturbed")
    assert_whole(plan, late, contents(tmp_path / "undisturbed"))
    assert all(contents(late)[name] == content for name, content in before.items())
