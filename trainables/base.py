"""The contract of every learner: what a trial trains, and what is exported when it wins.

A `Model` predicts. A `Learner` trains a model, rung by rung, on a scale of fidelities. Neither knows of Ray, Optuna
or the run folder. `tests/test_learner_conformance.py` holds every learner to what is written here.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from spaces.fidelity import Fidelity
from trainables.cache import Cache
from trainables.data.faceset import CLASSES, Faces, Images


class Model(ABC):
    """A fitted model: everything needed to predict, nothing needed to train further."""

    @abstractmethod
    def predict_proba(self, images: Images) -> NDArray[np.float32]:
        """Class probabilities of faces.

        Args:
            images: uint8, (n, 48, 48); n may be 0.

        Returns:
            float32, (n, 3), columns in the order of `CLASSES`, rows summing to one.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the model's files into the existing `folder`, none of which needs unpickling to read."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: If a file is missing or is not what `save` writes.
        """


@dataclass(frozen=True)
class Task:
    """What a learner is trained on, and how.

    Attributes:
        faces: The training faces.
        seed: Fixes every random choice of the learner.
        scale: The scale of fidelities.
        threads: CPU threads the learner may use; never more.
        weights: Files of weights that were made or fetched for the learners of a search, by `weights.weights_key`.
        cache: Work that learners share; None to share nothing. The result is the same up to rounding, see the learners.
        views: How many augmented views of each training face networks with frozen stages share, by `cache`; with 0 each
            step has variations of its own.
    """

    faces: Faces
    seed: int = 0
    scale: Fidelity = Fidelity()
    threads: int = 1
    weights: Mapping[str, Path] = field(default_factory=dict)
    cache: Cache | None = None
    views: int = 0


class FirstBatch(NamedTuple):
    """The moment at which training began.

    Attributes:
        time: Unix time in seconds.
        computing: Seconds that the learner had spent by then on shared work that was not there yet, see `Cache`.
    """

    time: float
    computing: float


class Learner(ABC):
    """Trains one model from a config.

    A learner is cheap to build; work happens in `fit_to`. Its result depends on (config, task, fidelity) alone: trained
    to 9 and then to 27 it equals one trained straight to 27, and `save` with `load` in between changes nothing.

    Attributes:
        first_batch: When it began to train here, the inputs of its first batch at hand; None before.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.fidelity = 0
        self.first_batch: FirstBatch | None = None

    @abstractmethod
    def fit_to(self, fidelity: int) -> dict[str, float]:
        """Continue training until `fidelity` units of the full budget have been spent.

        Args:
            fidelity: Above `self.fidelity` and at most `task.scale.maximum`.

        Returns:
            Measurements of the training itself: `images` (training images seen by this call, counting repeats) and,
            where they mean something, `train_loss` (mean over this call) and `learning_rate` (of the head, at its end).

        Raises:
            ValueError: If `fidelity` is not in that range.
            TrainingError: If training failed (a loss that is not finite, too little memory); the learner is then
                unusable.
        """

    @property
    @abstractmethod
    def model(self) -> Model:
        """The model as trained so far.

        Raises:
            RuntimeError: Before the first `fit_to` or `load`.
        """

    def predict_proba(self, images: Images) -> NDArray[np.float32]:
        """Class probabilities of the model as trained so far; see `Model.predict_proba`."""
        return self.model.predict_proba(images)

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write a checkpoint: the model under `folder/model`, and beside it what continuing needs."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Continue from a checkpoint that a learner of the same config and task wrote.

        Raises:
            InputError: If a file is missing or is not what `save` writes.
        """

    def _note_batch(self) -> None:
        """To be called when the inputs of a batch, at least of the first one, are at hand."""
        if self.first_batch is None:
            cache = self.task.cache
            self.first_batch = FirstBatch(time.time(), 0.0 if cache is None else cache.computing)

    def _check_target(self, fidelity: int) -> None:
        if not self.fidelity < fidelity <= self.task.scale.maximum:
            raise ValueError(
                f"fit_to({fidelity}): the target must be above the present fidelity {self.fidelity} "
                f"and at most {self.task.scale.maximum}"
            )


class TrainingError(RuntimeError):
    """A trial cannot go on: the message is the reason recorded with its FAILED status."""


def class_weights(labels: NDArray[Any], classes: int = len(CLASSES)) -> NDArray[np.float64]:
    """Weights n / (classes * count) of classes 0 .. classes - 1, (classes,): under them every class weighs the same.

    Raises:
        TrainingError: If a class has no image.
    """
    counts = np.bincount(labels, minlength=classes)
    if (counts == 0).any():
        raise TrainingError(f"every class needs an image; counts are {counts.tolist()}")
    return len(labels) / (float(classes) * counts)


def weights_key(arch: str, weights: str) -> str:
    """The key of `Task.weights` under which the file that `weights` means for `arch` is found."""
    return f"{arch} {weights}"
