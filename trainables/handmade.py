"""What the learners on hand-made features share: threads, checkpoints, and the model so far."""

from abc import abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from spaces.errors import InputError
from spaces.features import FeatureConfig
from spaces.fidelity import Fidelity
from spaces.forest import ForestConfig
from spaces.svm import SvmConfig
from trainables.base import Learner, Model, Task, TrainingError
from trainables.data.faceset import Faces, Images
from trainables.descriptors import mirror
from trainables.features import Features
from trainables.files import read_form
from trainables.shared_features import fit_features, vectors_of
from trainables.threads import limit_threads

if TYPE_CHECKING:
    from trainables.embeddings import Embedder

C = TypeVar("C", SvmConfig, ForestConfig)
M = TypeVar("M", bound=Model)


def over_flips(
    config: FeatureConfig, images: Images, probabilities: Callable[[Images], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """The probabilities, float32, (n, 3), of faces; the mean of those for them and their mirror images if so asked."""
    plain = probabilities(images)
    return (plain + probabilities(mirror(images))) * np.float32(0.5) if config.flip else plain


class Progress(BaseModel):
    """What a checkpoint is of, and how far: `training.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: Annotated[SvmConfig | ForestConfig, Field(discriminator="family")]
    scale: Fidelity
    seed: int
    images: int
    fidelity: int = Field(ge=1)


class HandmadeLearner(Learner, Generic[C, M]):
    """A learner all of whose state is its model and its fidelity.

    Args:
        config: What to train.
        task: What to train it on.
    """

    model_class: ClassVar[type[Model]]

    def __init__(self, config: C, task: Task) -> None:
        super().__init__(task)
        self.config: C = config
        self._model: M | None = None

    @property
    def model(self) -> M:
        if self._model is None:
            raise RuntimeError("no model yet: call fit_to or load first")
        return self._model

    def fit_to(self, fidelity: int) -> dict[str, float]:
        self._check_target(fidelity)
        limit_threads(self.task.threads)
        try:
            images = self._train(fidelity)
        except MemoryError as error:
            raise TrainingError(f"too little memory at fidelity {fidelity} ({error})") from error
        self.fidelity = fidelity
        return {"images": float(images)}

    @cached_property
    def _embedder(self) -> "Embedder | None":
        """The network of the features; None if they are no embeddings."""
        if self.config.features.kind != "embedding":
            return None
        from trainables.embeddings import Embedder

        embedder = Embedder.start(self.config.features, self.task.weights)
        limit_threads(self.task.threads)  # torch may have been loaded just now
        return embedder

    def _fit_features(self, faces: Faces) -> tuple[Features, NDArray[np.float32]]:
        """Features fitted on the training faces `faces`, and the vectors of these and their copies."""
        return fit_features(self.config.features, faces, self._embedder, self.task.cache)

    @abstractmethod
    def _judge(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Class probabilities, float32, (n, 3), that the model as trained so far gives to vectors, (n, d)."""

    @abstractmethod
    def _features(self) -> Features:
        """The features of the model as trained so far."""

    @abstractmethod
    def _train(self, fidelity: int) -> int:
        """Make the model that of `fidelity`; returns the number of training images seen, counting repeats."""

    def predict_proba(self, images: Images) -> NDArray[np.float32]:
        limit_threads(self.task.threads)
        cache = self.task.cache
        if cache is None:
            return super().predict_proba(images)
        features = self._features()
        return over_flips(self.config.features, images, lambda seen: self._judge(vectors_of(features, seen, cache)))

    def save(self, folder: Path) -> None:
        (folder / "model").mkdir(parents=True, exist_ok=True)
        self.model.save(folder / "model")
        (folder / "training.json").write_text(self._progress(self.fidelity).model_dump_json(indent=2))

    def load(self, folder: Path) -> None:
        path = folder / "training.json"
        found = read_form(Progress, path)
        mine = self._progress(found.fidelity)
        differing = [name for name in Progress.model_fields if getattr(found, name) != getattr(mine, name)]
        if differing:
            raise InputError(f"{path}: a checkpoint of another training; it differs in {', '.join(differing)}")
        self._model = self.model_class.load(folder / "model")  # type: ignore[assignment]  # M is model_class
        self.fidelity = found.fidelity

    def _progress(self, fidelity: int) -> Progress:
        task = self.task
        return Progress(config=self.config, scale=task.scale, seed=task.seed, images=len(task.faces), fidelity=fidelity)
