"""The layout of a run folder, in one place."""

import json
import shutil
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from results.goals import Goals
from spaces.errors import InputError
from spaces.fidelity import Fidelity
from spaces.joint import JointSpace
from spaces.resnet import ResnetConfig
from trainables.cache import SHARED, Cache
from trainables.data.protocol import TrainingData
from trainables.data.spec import DataSpec

Section = TypeVar("Section", bound=BaseModel)


def write_whole(path: Path, text: str) -> None:
    """Write `text` so that `path` holds it all or is as it was, whenever the process is killed."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)


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
        self.warm_start = path / "warm_start.json"
        self.leaderboard = path / "leaderboard.csv"
        self.selection = path / "selection"
        self.refit = path / "refit"
        self.report = path / "report.html"
        self.test_readings = path / "test_readings.jsonl"
        self.lock = path / ".lock"

    @classmethod
    def existing(cls, path: Path) -> "RunFolder":
        """The run at `path`.

        Raises:
            InputError: If there is none.
        """
        run = cls(path)
        run.check_exists()
        return run

    def check_exists(self) -> None:
        """Make sure that there is a run.

        Raises:
            InputError: If there is none.
        """
        if not self.plan.is_file():
            raise InputError(
                f"{self.location}: no run here (a run folder holds a plan.yaml); `ls runs` lists the runs you have"
            )

    @property
    def location(self) -> str:
        """What names the run: its path, or its URL where `path` is a copy of it."""
        return str(self.path)

    @property
    def checkpoints_location(self) -> str:
        """The folder of checkpoints as workers know it: an absolute path or a URL."""
        return str(self.checkpoints.resolve())

    def fetched(self, name: str) -> Path:
        """The path of a checkpoint, or of a file or folder in one; `name` is relative to the run."""
        return self.path / name

    def for_workers(self, path: Path, is_shared: bool) -> str:
        """Where every worker finds the file at `path`, which is on this node.

        Args:
            path: The file.
            is_shared: Whether workers may be on other nodes, which see the run's folder and may not see the file: it is
                then copied into the run.
        """
        if not is_shared:
            return str(path.resolve())
        copy = self.path.resolve() / "weights" / path.name
        if not copy.exists() or copy.stat().st_size != path.stat().st_size:
            copy.parent.mkdir(exist_ok=True)
            partial = copy.with_suffix(f".partial{copy.suffix}")
            shutil.copyfile(path, partial)
            partial.replace(copy)
        return str(copy)

    def changed(self) -> None:
        """Whoever keeps a copy of the run up to date may do so now."""

    def refresh(self) -> None:
        """Bring `path` up to date, where it is a copy."""

    def plan_values(self) -> dict[str, Any]:
        """The saved plan as plain values."""
        try:
            values = yaml.safe_load(self.plan.read_text())
        except (OSError, ValueError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{self.plan}: the saved plan cannot be read ({reason})") from error
        if not isinstance(values, dict):
            raise InputError(f"{self.plan}: a saved plan is a mapping, found {type(values).__name__}")
        return values

    def data_spec(self) -> DataSpec:
        """What the saved plan says about data."""
        return self._section("data", DataSpec)

    def fidelity(self) -> Fidelity:
        """The scale of fidelities that the saved plan gives."""
        return self._section("fidelity", Fidelity)

    def goals(self) -> Goals:
        """The objectives and constraints of the saved plan; where it says nothing of them, the defaults."""
        values = self.plan_values() if self.plan.exists() else {}
        try:
            return Goals.model_validate({name: values[name] for name in Goals.model_fields if name in values})
        except ValueError as error:
            raise InputError(f"{self.plan}: the objectives or constraints of the saved plan cannot be used") from error

    def space(self) -> JointSpace:
        """The joint space that the saved plan searches."""
        return self._section("space", JointSpace)

    def pretraining(self) -> ResnetConfig:
        """How the saved plan has the backbone of `faces` weights pretrained."""
        return self._section("pretraining", ResnetConfig)

    def cache(self, folder: Path) -> Cache | None:
        """The work that trials share in the node's cache `folder`; None if the saved plan shares nothing."""
        size = self.plan_values().get("cache", "off")
        return None if size == "off" else Cache(folder / SHARED, int(float(size) * 1e9))

    def _section(self, name: str, kind: type[Section]) -> Section:
        try:
            return kind.model_validate(self.plan_values()[name])
        except (KeyError, ValueError) as error:
            raise InputError(f"{self.plan}: what the saved plan says of `{name}` cannot be used") from error

    def provenance_values(self) -> dict[str, Any]:
        """The run's provenance as plain values.

        Raises:
            InputError: If it is missing or cannot be read.
        """
        try:
            values = json.loads(self.provenance.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{self.provenance}: cannot read the run's provenance ({error})") from error
        if not isinstance(values, dict):
            raise InputError(f"{self.provenance}: a run's provenance is a mapping, found {type(values).__name__}")
        return values

    def check_data(self, data: TrainingData) -> None:
        """Make sure that `data` is what the run was made on.

        Raises:
            InputError: If the source or the split has changed since the run began.
        """
        began_with = self.provenance_values().get("data", {})
        if (began_with.get("fingerprint"), began_with.get("split")) != (data.fingerprint, data.split):
            raise InputError(
                f"{self.location}: the data at {self.data_spec().source} or their split are not those the run began "
                f"with, so its figures do not hold for them; bring the data back or start another run"
            )
