"""Trackers: the same rows reach each of them, a resumed run shows every step once, and nothing leaves the machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from llm_bridge.sampled.trackers import TRACKERS, get_tracker
from theory.errors import InputError

ROWS = {step: {"step": step, "reward": step / 4, "theory/m": None if step == 2 else 3.0} for step in (1, 2, 3)}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_the_steps_of_a_resumed_run_once(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for steps in ((1, 2), (2, 3)):
        tracker = get_tracker("tensorboard", tmp_path, "name", {})
        for step in steps:
            tracker.log(step, ROWS[step])
        tracker.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("reward")] == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert [event.step for event in events.Scalars("theory/m")] == [1, 3]
    assert set(events.Tags()["scalars"]) == {"reward", "theory/m"}


TRACKIO = """
import json, sys
from pathlib import Path
from llm_bridge.sampled.trackers import get_tracker
rows = {int(step): row for step, row in json.loads(sys.argv[1]).items()}
for steps in ((1, 2), (2, 3)):
    tracker = get_tracker("trackio", Path("."), "name", {"eta": 0.5})
    for step in steps:
        tracker.log(step, rows[step])
    tracker.close()
from trackio.sqlite_storage import SQLiteStorage
logs = SQLiteStorage.get_logs("whynorm", "name")
print(json.dumps([[row.get("step"), row.get("reward"), row.get("theory/m")] for row in logs]))
"""


def _printed(script: str, folder: Path, **own: str) -> str:
    """What a script prints that runs in ``folder``, without a network and without the user's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRACKIO_", "WANDB_"))}
    own |= {"PYTHONPATH": str(Path(__file__).resolve().parent.parent), "HOME": str(folder)}
    # Whoever opens a connection gets nowhere.
    environment = {**kept, **own, "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    command = [sys.executable, "-c", script, json.dumps(ROWS)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_trackio_keeps_the_steps_of_a_resumed_run_once_and_on_this_machine(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    # Nothing else on stdout, which is for results.
    printed = _printed(TRACKIO, tmp_path, TRACKIO_DIR=str(tmp_path))
    assert json.loads(printed) == [[1, 0.25, 3.0], [2, 0.5, None], [3, 0.75, 3.0]]


WANDB = """
import json, sys
from pathlib import Path
from llm_bridge.sampled.trackers import get_tracker
rows = {int(step): row for step, row in json.loads(sys.argv[1]).items()}
tracker = get_tracker("wandb", Path("."), "name", {"eta": 0.5})
for step in rows:
    tracker.log(step, rows[step])
tracker.close()
"""


def _wandb_records(path: Path) -> list[Any]:
    """Records of a run's file, which is a log in LevelDB's format behind 7 bytes: each a checksum, length and type."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, found = path.read_bytes(), 7, []
    assert data[:4] == b":W&B"
    assert len(data) < 1 << 15, "records of longer files may be cut"
    while at < len(data):
        length = int.from_bytes(data[at + 4 : at + 6], "little")
        found.append(Record.FromString(data[at + 7 : at + 7 + length]))
        at += 7 + length
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_weights_and_biases_itself_keeps_the_rows_on_this_machine(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    assert _printed(WANDB, tmp_path) == ""
    (path,) = tmp_path.glob("wandb/offline-run-*-name/run-name.wandb")
    records = _wandb_records(path)
    logged = [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    wanted = [{name: value for name, value in row.items() if value is not None} for row in ROWS.values()]
    assert [{"step": row["_step"], **{k: v for k, v in row.items() if k[0] != "_"}} for row in logged] == wanted
    runs = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert (runs[0].run_id, runs[0].project) == ("name", "whynorm")
    assert {item.key: item.value_json for item in runs[0].config.update}["eta"] == "0.5"


class _Wandb(ModuleType):
    """What is used of W&B, remembering how."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None)
        self.calls: list[Any] = []

    def init(self, **options: Any) -> Any:
        self.calls.append(options)
        return self

    def log(self, values: dict, step: int) -> None:
        self.calls.append((step, values))

    def finish(self) -> None:
        self.calls.append("finish")


def test_weights_and_biases_is_offline_unless_the_user_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = _Wandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    tracker = get_tracker("wandb", tmp_path, "name", {"eta": 0.5})
    assert fake.calls == []
    tracker.log(2, ROWS[2])
    tracker.close()
    tracker.close()
    options, logged, end = fake.calls
    assert options["mode"] == "offline"
    assert (options["id"], options["resume"], options["config"]) == ("name", "allow", {"eta": 0.5})
    assert (logged, end) == ((2, {"reward": 0.5}), "finish")
    monkeypatch.setenv("WANDB_MODE", "online")
    get_tracker("wandb", tmp_path, "name", {}).log(1, ROWS[1])
    assert fake.calls[3]["mode"] == "online"


def test_unknown_and_missing_trackers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="track is 'paper'; expected one of tensorboard, wandb, trackio"):
        get_tracker("paper", tmp_path, "name", {})
    monkeypatch.setattr(TRACKERS["wandb"], "package", "no_such_package_at_all")
    with pytest.raises(InputError, match=r"whynorm\[trackers\]"):
        get_tracker("wandb", tmp_path, "name", {})
