"""Checkpoints of a trial on object storage, written there by the worker itself.

Nothing can be renamed there, so a checkpoint is complete once its report is, which is written last.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.base import Learner
from trainables.checkpoint import REPORT, VALIDATION, TrialCheckpoints
from trainables.storage import Storage, is_url, join


def checkpoints_at(location: str, trial: int) -> TrialCheckpoints:
    """The checkpoints of `trial` in a run's folder of checkpoints, a path or URL."""
    return RemoteCheckpoints(location, trial) if is_url(location) else TrialCheckpoints(Path(location), trial)


def remove_checkpoints(url: str, trial: int) -> None:
    """Remove all checkpoints of `trial`."""
    storage = Storage(join(url, f"{trial:05d}"))
    _remove(storage, list(storage.sizes()))


class RemoteCheckpoints(TrialCheckpoints):
    """The checkpoints of trial `trial` under `url`, the run's folder of checkpoints; `folder` holds copies."""

    def __init__(self, url: str, trial: int) -> None:
        self._copy = tempfile.TemporaryDirectory(prefix="fertune-checkpoint-")
        super().__init__(Path(self._copy.name), trial)
        self._storage = Storage(join(url, f"{trial:05d}"))

    def latest(self) -> int:
        folders = (name.partition("/") for name in self._storage.sizes() if name.endswith(f"/{REPORT}"))
        return max((int(fidelity) for fidelity, _, name in folders if fidelity.isdigit() and name == REPORT), default=0)

    def path(self, fidelity: int) -> Path:
        folder = super().path(fidelity)
        names = [] if folder.exists() else list(self._storage.sizes(str(fidelity)))
        if names:
            self.folder.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self._copy.name) as part:  # all of it or nothing
                for name in names:
                    self._storage.download(name, Path(part) / name)
                (Path(part) / str(fidelity)).rename(folder)
        return folder

    def write(
        self, learner: Learner, probabilities: NDArray[np.float32], report: dict[str, Any], keep_state: bool
    ) -> None:
        before = list(self._storage.sizes())
        super().write(learner, probabilities, report, keep_state)
        names = [path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()]
        for name in sorted(names, key=lambda name: name.endswith(f"/{REPORT}")):
            self._storage.upload(self.folder / name, name)
        _remove(self._storage, [name for name in before if name not in names])

    def drop_state(self) -> None:
        latest = str(self.latest())
        kept = (f"{latest}/model/", f"{latest}/{VALIDATION}", f"{latest}/{REPORT}")
        _remove(self._storage, [name for name in self._storage.sizes(latest) if not name.startswith(kept)])

    def drop_model(self) -> None:
        _remove(self._storage, list(self._storage.sizes(f"{self.latest()}/model")))


def _remove(storage: Storage, names: list[str]) -> None:
    """Remove files, reports first, so that no half-removed checkpoint looks whole."""
    for name in sorted(names, key=lambda name: not name.endswith(f"/{REPORT}")):
        storage.remove(name)
