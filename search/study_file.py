"""The file of the study, without a sync to disk for every parameter of every trial."""

import json
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend


def new_storage(path: Path) -> JournalStorage:
    """An empty storage at `path`, in place of what is there."""
    path.unlink(missing_ok=True)
    Path(f"{path}.lock").unlink(missing_ok=True)
    return JournalStorage(StudyFile(str(path)))


class StudyFile(JournalFileBackend):
    """Optuna's journal file for a study that is rebuilt from the run's measurements at each start.

    Optuna syncs each of some twenty lines a trial to disk, which is most of a decision's time on a busy disk. Nothing
    is read from the file after a crash, and one driver writes it, so neither the sync nor the lock is needed; other
    processes (optuna-dashboard) still read every whole line.

    Args:
        path: The file.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with open(self._path, "ab") as file:  # noqa: PTH123 (called for every parameter)
            file.write(text.encode())
