"""The forest family: random forests on hand-made features, grown from rung to rung."""

import zipfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from sklearn.ensemble import RandomForestClassifier

from spaces.errors import InputError
from spaces.forest import ForestConfig
from trainables.base import Model, Task, class_weights
from trainables.data.faceset import CLASSES, Images, Labels
from trainables.descriptors import copies
from trainables.features import Features
from trainables.files import read_arrays, read_form
from trainables.handmade import HandmadeLearner, over_flips
from trainables.subsets import require

# All that a forest needs besides the types that skops itself holds to be safe.
TRUSTED = ["sklearn.tree._tree.Tree"]
PREDICT_BATCH = 4096


@dataclass(frozen=True)
class ForestModel(Model):
    """A random forest; its probabilities are the mean of its trees' class shares in the leaf.

    Attributes:
        config: What was trained.
        features: What turns faces into the vectors that the trees see.
        forest: The fitted forest; it goes on growing when training does.
    """

    config: ForestConfig
    features: Features
    forest: RandomForestClassifier

    def predict_proba(self, images: Images) -> NDArray[np.float32]:
        return over_flips(self.config.features, images, self._probabilities)

    def _probabilities(self, images: Images) -> NDArray[np.float32]:
        probabilities = np.empty((len(images), len(CLASSES)), dtype=np.float32)
        for start in range(0, len(images), PREDICT_BATCH):
            part = slice(start, start + PREDICT_BATCH)
            probabilities[part] = self.judge(self.features.transform(images[part]))
        return probabilities

    def judge(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Class probabilities, float32, (n, 3), of vectors, (n, d)."""
        probabilities: NDArray[np.float32] = self.forest.predict_proba(vectors).astype(np.float32)
        return probabilities

    def save(self, folder: Path) -> None:
        (folder / "model.json").write_text(self.config.model_dump_json(indent=2))
        save_file(self.features.arrays(), folder / "features.safetensors")
        skops_io().dump(self.forest, folder / "forest.skops", compression=zipfile.ZIP_DEFLATED, compresslevel=1)

    @classmethod
    def load(cls, folder: Path) -> Self:
        config = read_form(ForestConfig, folder / "model.json")
        arrays = read_arrays(folder / "features.safetensors", Features.shapes(config.features))
        features = Features.from_arrays(config.features, arrays)
        return cls(config, features, _read_forest(folder / "forest.skops", features.width))


def skops_io() -> ModuleType:
    """`skops.io`, imported only by those who read or write: it takes seconds and imports torch where there is one."""
    return import_module("skops.io")


def _read_forest(path: Path, width: int) -> RandomForestClassifier:
    try:
        forest = skops_io().load(path, trusted=TRUSTED)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # garbled bytes make skops and its libraries raise errors of many kinds
        raise InputError(f"{path}: not a forest that can be read without running code ({error})") from error
    shape = (width, len(CLASSES))
    fitted = isinstance(forest, RandomForestClassifier) and hasattr(forest, "estimators_")
    if not fitted or (forest.n_features_in_, forest.n_classes_) != shape:
        raise InputError(f"{path}: must hold a random forest from {width} features to {len(CLASSES)} classes")
    return forest


class ForestLearner(HandmadeLearner[ForestConfig, ForestModel]):
    """Grows a forest tree by tree; the features are fitted once, on all training images."""

    model_class = ForestModel

    def __init__(self, config: ForestConfig, task: Task) -> None:
        super().__init__(config, task)
        self._vectors: NDArray[np.float32] | None = None

    def _train(self, fidelity: int) -> int:
        vectors, labels = self._training_set()
        forest = self.model.forest
        grown = len(forest.estimators_) if self.fidelity else 0
        trees = self.task.scale.units(self.config.trees, fidelity)
        # With fewer trees than fidelities, neighbouring fidelities are the same forest.
        if trees > grown:
            forest.set_params(n_estimators=trees, n_jobs=self.task.threads)
            balanced = self.config.class_weight == "balanced"
            self._note_batch()
            forest.fit(vectors, labels, sample_weight=class_weights(labels)[labels] if balanced else None)
            # One thread adds up the trees' votes in their order: predictions are the same bits everywhere.
            forest.set_params(n_jobs=1)
        return len(labels) * (trees - grown)

    def _training_set(self) -> tuple[NDArray[np.float32], Labels]:
        """Vectors, float32, (n, d), and labels, int8, (n,), of the training images."""
        faces, config = self.task.faces, self.config
        require(faces.labels, 1)
        labels = np.tile(faces.labels, copies(config.features))
        if self._vectors is None:
            features, self._vectors = self._fit_features(faces)
            forest = self._model.forest if self._model else self._seedling()
            self._model = ForestModel(config, features, forest)
        return self._vectors, labels

    def _features(self) -> Features:
        return self.model.features

    def _judge(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.model.judge(vectors)

    def _seedling(self) -> RandomForestClassifier:
        config = self.config
        return RandomForestClassifier(
            criterion=config.criterion,
            max_depth=config.depth,
            min_samples_leaf=config.min_samples_leaf,
            max_features=config.max_features,
            random_state=self.task.seed % 2**32,  # the seeds it takes
            warm_start=True,
        )
