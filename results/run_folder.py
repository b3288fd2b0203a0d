"""The layout of a run folder, in one place."""

from pathlib import Path
from typing import Any

import yaml

from spaces.errors import InputError
from trainables.data.spec import DataSpec


class RunFolder:
    """One run: one search, one folder.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plan = path / "plan.yaml"
        self.provenance = path / "provenance.json"
        self.measurements = path / "measurements.jsonl"
        self.study = path / "study.journal"
        self.checkpoints = path / "checkpoints"
        self.tensorboard = path / "tensorboard"
        self.tune = path / "tune"
        self.leaderboard = path / "leaderboard.csv"
        self.test_readings = path / "test_readings.jsonl"
        self.lock = path / ".lock"

    @classmethod
    def existing(cls, path: Path) -> "RunFolder":
        """The run at `path`.

        Raises:
            InputError: If there is none.
        """
        run = cls(path)
        if not run.plan.is_file():
            raise InputError(f"{path}: no run here (a run folder holds a plan.yaml); `ls runs` lists the runs you have")
        return run

    def plan_values(self) -> dict[str, Any]:
        """The saved plan as plain values."""
        values = yaml.safe_load(self.plan.read_text())
        if not isinstance(values, dict):
            raise InputError(f"{self.plan}: a saved plan is a mapping, found {type(values).__name__}")
        return values

    def data_spec(self) -> DataSpec:
        """What the saved plan says about data."""
        return DataSpec.model_validate(self.plan_values()["data"])
