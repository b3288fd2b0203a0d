"""Checkpoints of one trial: a folder for each rung it reached, complete or absent.

A checkpoint is written under a temporary name and renamed, holds the measurement made at its rung, and replaces the
trial's older ones. So a measurement the driver has seen always has its checkpoint, and a measurement the driver has
not seen (it was killed in between) can be reported again without training again.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaces.errors import InputError
from trainables.base import Learner

REPORT = "report.json"
VALIDATION = "validation.npy"


class TrialCheckpoints:
    """The checkpoints of trial `trial` under `folder`, the run's folder of checkpoints."""

    def __init__(self, folder: Path, trial: int) -> None:
        self.folder = folder / f"{trial:05d}"

    def latest(self) -> int:
        """The highest fidelity with a checkpoint, 0 if there is none."""
        return max((int(path.name) for path in self.folder.glob("[0-9]*") if path.name.isdigit()), default=0)

    def path(self, fidelity: int) -> Path:
        """The folder of the checkpoint at `fidelity`."""
        return self.folder / str(fidelity)

    def write(
        self, learner: Learner, probabilities: NDArray[np.float32], report: dict[str, Any], keep_state: bool
    ) -> None:
        """Write the checkpoint at the learner's fidelity, then remove the older ones.

        Args:
            learner: Saved under the checkpoint folder.
            probabilities: float32, (n, 3), on validation; selection and ensembling need them.
            report: What the trial reports for this rung.
            keep_state: Whether training goes on from here; without it only the model is kept.
        """
        fidelity = learner.fidelity
        partial = self.folder / f"tmp-{fidelity}-{os.getpid()}"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        if keep_state:
            learner.save(partial)
        else:
            (partial / "model").mkdir()
            learner.model.save(partial / "model")
        np.save(partial / VALIDATION, probabilities, allow_pickle=False)
        (partial / REPORT).write_text(json.dumps(report))
        final = self.path(fidelity)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        for other in self.folder.iterdir():
            if other != final:
                shutil.rmtree(other)

    def drop_state(self) -> None:
        """Remove what continuing would need; the model and the validation probabilities stay."""
        for path in self.path(self.latest()).iterdir():
            if path.name not in ("model", VALIDATION, REPORT):
                path.unlink()

    def drop_model(self) -> None:
        """Remove the model; the validation probabilities stay."""
        shutil.rmtree(self.path(self.latest()) / "model", ignore_errors=True)

    def report(self, fidelity: int) -> dict[str, Any]:
        """What the trial reported when it wrote the checkpoint at `fidelity`.

        Raises:
            InputError: If the checkpoint cannot be read.
        """
        path = self.path(fidelity) / REPORT
        try:
            report: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: not a checkpoint's report ({error})") from error
        return report
