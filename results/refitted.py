"""The record of a refit: the selected config, trained once more on training and validation faces together."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from results.run_folder import RunFolder
from spaces.family import Family
from trainables.files import read_form

MODEL = "model"
_RECORD = "refit.json"


class Refitted(BaseModel):
    """What `refit/refit.json` holds; the model lies beside it, in `refit/model`.

    No face is left to measure it on but those of the test set: what is known of it are the figures of the trial.

    Attributes:
        trial: The trial whose config it is.
        checkpoint: That trial's checkpoint, relative to the run.
        family: Its family.
        config: Its config as plain values.
        seed: Seed of the learner, that of the trial.
        images: Faces it was trained on.
        workers: Processes that trained it.
        seconds: Seconds that training took, from the last time it was taken up.
        train_loss: Mean training loss at the end, where the family has one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    trial: int
    checkpoint: str
    family: Family
    config: dict[str, Any]
    seed: int
    images: int
    workers: int
    seconds: float
    train_loss: float | None


def record_path(run: RunFolder) -> Path:
    """Where the record of `run` is, or would be."""
    return run.refit / _RECORD


def refitted(run: RunFolder) -> Refitted | None:
    """The last refit of `run`, None if there is none.

    Raises:
        InputError: If its record is damaged.
    """
    path = record_path(run)
    return read_form(Refitted, path) if path.exists() else None
