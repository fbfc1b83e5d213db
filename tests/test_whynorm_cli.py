"""The command as a person meets it: help, what goes to which stream, exit codes, what is left behind."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

import whynorm.console
from whynorm.cli import main

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ["", "reproduce", "verify", "refute", "recheck", "simulate", "report"]
COMMANDS += [
    "bridge",
    *(f"bridge {name}" for name in ("fetch", "models", "run", "measure", "tasks", "split", "experiment")),
]
COMMANDS += ["sweep", *(f"sweep {name}" for name in ("init", "run", "resume", "status", "export", "plot", "query"))]

Capture = pytest.CaptureFixture[str]


def call(capsys: Capture, *argv: object) -> tuple[int, str, str]:
    """Run the command for a terminal of 80 columns: exit code, stdout, stderr.

    Time stands still, or a slow machine would add lines of progress to stderr.
    """
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        patch.setattr(whynorm.console, "time", SimpleNamespace(monotonic=lambda: 0.0))
        code = main([str(arg) for arg in argv])
    return (code, *capsys.readouterr())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_80_columns_and_explains_every_option(command: str, capsys: Capture) -> None:
    code, out, err = call(capsys, *command.split(), "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: whynorm {command}".rstrip())
    assert max(map(len, out.splitlines())) <= 80
    # A list of commands whose summaries end in dots tells nobody what they do.
    lists = ("[ARGS]...", "{files}...", "files...", "[claim]...", "claim... <")
    assert "..." not in functools.reduce(lambda text, part: text.replace(part, ""), lists, out)
    section = out.partition("\nOptions:\n")[2].partition("\n\n")[0]
    options = re.findall(r"^  (--[-\w]+)(?: <[^>]+>| [A-Z]+)?\s+(\S.*)$", section, flags=re.MULTILINE)
    assert len(options) == section.count("  --") > 0
    assert all(text[0].isupper() or text.startswith(("tiny", "reinforce", "log")) for _, text in options), options


def test_the_command_alone_shows_its_help(capsys: Capture) -> None:
    for argv in ([], ["bridge"]):
        code, out, err = call(capsys, *argv)
        assert (code, err) == (2, "")
        assert out == call(capsys, *argv, "--help")[1]


def test_version(capsys: Capture) -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert call(capsys, "--version") == (0, f"{declared}\n", "")


@pytest.mark.parametrize("program", [[str(Path(sys.executable).parent / "whynorm")], [sys.executable, "-m", "whynorm"]])
def test_a_real_process_lists_the_claims(program: list[str], tmp_path: Path) -> None:
    done = subprocess.run([*program, "verify", "--list"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "X-IDENTITY" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_real_process_reports_bad_input_on_one_line(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "whynorm", "simulate", "--eta", "0", "--out", "new"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("whynorm: eta is 0.0; expected")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [(KeyboardInterrupt, 130, "whynorm: interrupted"), (MemoryError, 2, "whynorm: not enough memory")],
)
def test_interrupted_runs_leave_nothing(
    raised: type[BaseException],
    code: int,
    message: str,
    capsys: Capture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*args: object, **kwargs: object) -> None:
        raise raised

    monkeypatch.setattr("simulator.reference.evaluate", stop)
    found, stdout, stderr = call(capsys, "simulate", "--out", tmp_path / "a" / "b")
    assert (found, stdout, stderr.count("\n")) == (code, "", 1)
    assert stderr.startswith(message)
    assert not list(tmp_path.iterdir())


def test_a_failed_run_keeps_directories_that_were_there(capsys: Capture, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    assert call(capsys, "simulate", "--out", kept / "new", "--eta", "-1")[0] == 2
    assert call(capsys, "simulate", "--out", kept, "--eta", "-1")[0] == 2
    assert kept.is_dir()
    assert not list(kept.iterdir())


def test_a_bug_is_not_passed_off_as_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(name: str) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("simulator.sampled.get_any_rule", bug)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        main(["simulate"])
