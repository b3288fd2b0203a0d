"""The forest family: random forests on hand-made features, grown from rung to rung."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import skops.io
from numpy.typing import NDArray
from safetensors.numpy import save_file
from sklearn.ensemble import RandomForestClassifier

from spaces.errors import InputError
from spaces.forest import ForestConfig
from trainables.base import Model, class_weights
from trainables.data.faceset import CLASSES, Images
from trainables.features import Features, describe, mirrored
from trainables.files import read_arrays, read_form
from trainables.handmade import HandmadeLearner
from trainables.subsets import require
from trainables.threads import limit_threads

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
        probabilities = np.empty((len(images), len(CLASSES)), dtype=np.float32)
        for start in range(0, len(images), PREDICT_BATCH):
            part = slice(start, start + PREDICT_BATCH)
            probabilities[part] = self.forest.predict_proba(self.features.transform(images[part]))
        return probabilities

    def save(self, folder: Path) -> None:
        (folder / "model.json").write_text(self.config.model_dump_json(indent=2))
        save_file(self.features.arrays(), folder / "features.safetensors")
        skops.io.dump(self.forest, folder / "forest.skops", compression=zipfile.ZIP_DEFLATED, compresslevel=1)

    @classmethod
    def load(cls, folder: Path) -> Self:
        config = read_form(ForestConfig, folder / "model.json")
        arrays = read_arrays(folder / "features.safetensors", Features.shapes(config.features))
        features = Features(config.features, **arrays)
        return cls(config, features, _read_forest(folder / "forest.skops", features.width))


def _read_forest(path: Path, width: int) -> RandomForestClassifier:
    try:
        forest = skops.io.load(path, trusted=TRUSTED)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception as error:  # garbled bytes make skops and its libraries raise errors of many kinds
        raise InputError(f"{path}: not a forest that can be read without running code ({error})") from error
    if not isinstance(forest, RandomForestClassifier) or getattr(forest, "n_features_in_", None) != width:
        raise InputError(f"{path}: must hold a random forest on {width} features")
    return forest


class ForestLearner(HandmadeLearner[ForestConfig, ForestModel]):
    """Grows a forest tree by tree; the features are fitted once, on all training images."""

    model_class = ForestModel

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._vectors: NDArray[np.float32] | None = None
