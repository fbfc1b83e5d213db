"""TensorBoard, Weights & Biases and trackio behind one small interface: ``log(step, row)`` and ``close()``.

All of them write to this machine. W&B runs in offline mode unless the environment variable WANDB_MODE says otherwise
(``wandb sync`` uploads later), and trackio keeps its database locally unless the user has set TRACKIO_SPACE_ID or
TRACKIO_SERVER_URL. Nothing is opened before the first row, so a run that is refused leaves no trace.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from theory.errors import expected

__all__ = ["TRACKERS", "TensorBoard", "Trackio", "WeightsAndBiases", "get_tracker"]

Row = Mapping[str, float | int | None]
PROJECT = "whynorm"


class _Tracker:
    """What they have in common.

    Attributes:
        folder: of the run.
        name: of the run, as it is shown.
        config: settings of the run, shown beside it.
    """

    package: str

    def __init__(self, folder: Path, name: str, config: Mapping[str, Any]) -> None:
        self.folder, self.name, self.config = folder, name, dict(config)
        self._open: Any = None

    def log(self, step: int, row: Row) -> None:
        """Log one step's metrics; those without a value are left out."""
        if self._open is None:
            self._open = self._start(step)
        self._write(step, {key: value for key, value in row.items() if value is not None and key != "step"})

    def close(self) -> None:
        """The run is over."""
        if self._open is not None:
            self._end()
            self._open = None

    def _start(self, step: int) -> Any:
        raise NotImplementedError

    def _write(self, step: int, values: Mapping[str, float | int]) -> None:
        raise NotImplementedError

    def _end(self) -> None:
        raise NotImplementedError


class TensorBoard(_Tracker):
    """Event files in ``tensorboard/`` of the run's folder: ``tensorboard --logdir FOLDER``."""

    package = "tensorboard"

    def _start(self, step: int) -> Any:
        writer = import_module("torch.utils.tensorboard").SummaryWriter
        # What a killed run has logged of this step and later ones is shown no more.
        return writer(str(self.folder / "tensorboard"), purge_step=step)

    def _write(self, step: int, values: Mapping[str, float | int]) -> None:
        for name, value in values.items():
            self._open.add_scalar(name, value, step)
        self._open.flush()

    def _end(self) -> None:
        self._open.close()


class WeightsAndBiases(_Tracker):
    """W&B, offline by default; a resumed run goes on under the same id, and W&B ignores steps that it has."""

    package = "wandb"

    def _start(self, step: int) -> Any:
        return import_module("wandb").init(
            project=PROJECT,
            name=self.name,
            id=self.name,
            dir=str(self.folder),
            config=self.config,
            resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),
        )

    def _write(self, step: int, values: Mapping[str, float | int]) -> None:
        self._open.log(dict(values), step=step)

    def _end(self) -> None:
        self._open.finish()


class Trackio(_Tracker):
    """trackio's local database: ``trackio show --project whynorm``. A resumed run goes on where it was."""

    package = "trackio"

    def _start(self, step: int) -> Any:
        with _stdout_to_stderr():
            run = import_module("trackio").init(
                project=PROJECT,
                name=self.name,
                config=self.config,
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        # Steps that a killed run has logged are the same again when they are resumed, and are not logged twice.
        self._logged = int(getattr(run, "_next_step", 0)) - 1
        return run

    def _write(self, step: int, values: Mapping[str, float | int]) -> None:
        if step > self._logged:
            self._open.log(dict(values), step=step)

    def _end(self) -> None:
        with _stdout_to_stderr():
            # The run's own method would be called once more when the process ends.
            import_module("trackio").finish()


TRACKERS: dict[str, type[_Tracker]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "trackio": Trackio}


def get_tracker(kind: str, folder: Path, name: str, config: Mapping[str, Any]) -> _Tracker:
    """The tracker called ``kind``.

    Args:
        kind: ``tensorboard``, ``wandb`` or ``trackio``.
        folder: of the run.
        name: of the run; the same for a resumed run.
        config: settings of the run.

    Raises:
        InputError: no such tracker, or its package is not installed.
    """
    if kind not in TRACKERS:
        raise expected("track", kind, f"one of {', '.join(TRACKERS)}", "pick one of those")
    tracker = TRACKERS[kind]
    if find_spec(tracker.package) is None:
        raise expected("track", kind, f"an installed package {tracker.package}", "run pip install 'whynorm[trackers]'")
    return tracker(folder, name, config)


@contextlib.contextmanager
def _stdout_to_stderr() -> Any:
    """stdout is for results; what packages have to say goes to stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
