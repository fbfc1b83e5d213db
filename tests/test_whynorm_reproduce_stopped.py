"""The main job, stopped: nothing that is left passes for a finished one."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_whynorm_cli import Capture

import whynorm.reproduce
from whynorm.cli import main


def test_an_interrupted_job_is_not_mistaken_for_a_finished_one(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results of other settings may lie in the directory; without settings.json nobody reads them as one job's."""

    def stop(*args: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "settings.json").write_text("{}")
    monkeypatch.setattr(whynorm.reproduce, "_verdicts", stop)
    assert main(["reproduce", "--out", str(tmp_path), "--seed", "1"]) == 130
    assert capsys.readouterr() == ("", "whynorm: interrupted\n")
    assert not (tmp_path / "settings.json").exists()
    assert main(["report", str(tmp_path)]) == 2
    assert "settings.json" in capsys.readouterr().err


def test_a_job_that_fails_at_once_leaves_no_directory(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(whynorm.reproduce, "_verdicts", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["reproduce", "--out", str(tmp_path / "a" / "b")])
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().out == ""
