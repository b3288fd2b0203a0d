"""The svm family: pairwise support vector machines with calibrated probabilities."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from spaces.svm import SvmConfig
from trainables.base import Model, TrainingError
from trainables.data.faceset import Faces, Images
from trainables.descriptors import copies, raw_width, training_copies
from trainables.features import Features, raw_features
from trainables.files import read_arrays, read_form
from trainables.handmade import HandmadeLearner, over_flips
from trainables.platt import PAIRS, couple, fit_platt
from trainables.subsets import held_out, subset
from trainables.svc import fit_pairs

if TYPE_CHECKING:
    from trainables.embeddings import Embedder

PREDICT_BATCH = 512
HELD_OUT = 0.2


@dataclass(frozen=True)
class Machines:
    """The three pairwise machines of one fit, as arrays.

    Attributes:
        config: What was trained.
        features: What turns faces into the vectors that the kernel sees.
        vectors: float32, (m, d), the support vectors; for the linear kernel the normals of the three planes.
        coefficients: float32, (m, 3), weight of each kernel value in each decision, columns in the order of `PAIRS`.
        intercepts: float32, (3,), added to the decisions.
    """

    config: SvmConfig
    features: Features
    vectors: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    intercepts: NDArray[np.float32]

    def decisions(self, images: Images) -> NDArray[np.float32]:
        """Decision values, float32, (n, 3), positive for the first class of the pair."""
        decisions = np.empty((len(images), len(PAIRS)), dtype=np.float32)
        for start in range(0, len(images), PREDICT_BATCH):
            part = slice(start, start + PREDICT_BATCH)
            vectors = self.features.transform(images[part])
            decisions[part] = kernel(self.config, vectors, self.vectors) @ self.coefficients + self.intercepts
        return decisions


def kernel(config: SvmConfig, left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """Kernel values, float32, (n, m), of vectors (n, d) and (m, d), as scikit-learn's `SVC` defines them."""
    products = left @ right.T
    if config.kernel == "linear":
        return products
    if config.kernel == "rbf":
        lengths = np.square(left).sum(axis=1)[:, None] + np.square(right).sum(axis=1)
        values: NDArray[np.float32] = np.exp(-np.float32(config.gamma) * np.maximum(lengths - 2 * products, 0))
        return values
    values = np.float32(config.gamma) * products + np.float32(config.coef0)
    return np.tanh(values) if config.kernel == "sigmoid" else values**config.degree


def fit_machines(config: SvmConfig, faces: Faces, embedder: "Embedder | None" = None) -> Machines:
    """Fit features and machines on `faces` and the copies of them that the config asks for.

    Args:
        config: What to fit.
        faces: Training faces, of all three classes.
        embedder: Is there if the features are embeddings.

    Raises:
        TrainingError: If the machines cannot be fitted.
    """
    times = copies(config.features)
    labels, emotions = np.tile(faces.labels, times), np.tile(faces.emotions, times)
    raw = raw_features(config.features, training_copies(config.features, faces.images), embedder)
    features = Features.fit(config.features, raw, emotions, embedder)
    vectors, coefficients, intercepts = fit_pairs(config, features.apply(raw), labels)
    if config.kernel == "linear":
        vectors, coefficients = coefficients.T @ vectors, np.eye(len(PAIRS), dtype=np.float32)
    if not all(np.isfinite(values).all() for values in (vectors, coefficients, intercepts)):
        raise TrainingError("the svm's coefficients are not finite; lower C, gamma or degree")
    return Machines(config, features, vectors, coefficients, intercepts)


@dataclass(frozen=True)
class SvmModel(Model):
    """Pairwise machines and the curves that make their decisions probabilities.

    Attributes:
        machines: Fitted on all images of the trial's subset.
        curves: float32, (3, 2), from `fit_platt`.
    """

    machines: Machines
    curves: NDArray[np.float32]

    def predict_proba(self, images: Images) -> NDArray[np.float32]:
        return over_flips(self.machines.config.features, images, self._probabilities)

    def _probabilities(self, images: Images) -> NDArray[np.float32]:
        return couple(self.machines.decisions(images), self.curves)

    def save(self, folder: Path) -> None:
        machines = self.machines
        arrays = machines.features.arrays() | {
            "vectors": machines.vectors,
            "coefficients": machines.coefficients,
            "intercepts": machines.intercepts,
            "curves": self.curves,
        }
        # The format stores plain layouts only.
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / "model.safetensors")
        (folder / "model.json").write_text(machines.config.model_dump_json(indent=2))

    @classmethod
    def load(cls, folder: Path) -> Self:
        config = read_form(SvmConfig, folder / "model.json")
        pairs = len(PAIRS)
        shapes = Features.shapes(config.features) | {
            "vectors": ("m", "d" if config.features.pca else raw_width(config.features)),
            "coefficients": ("m", pairs),
            "intercepts": (pairs,),
            "curves": (pairs, 2),
        }
        arrays = read_arrays(folder / "model.safetensors", shapes)
        curves = arrays.pop("curves")
        fitted = {name: arrays.pop(name) for name in ("vectors", "coefficients", "intercepts")}
        return cls(Machines(config, Features.from_arrays(config.features, arrays), **fitted), curves)


class SvmLearner(HandmadeLearner[SvmConfig, SvmModel]):
    """Fits machines on a growing, nested and stratified share of the training images.

    Each fidelity is fitted anew on its subset. Probabilities come from Platt scaling by hold-out: machines fitted on
    80 % of the subset decide on the other 20 %, altered copies left out, which calibrates the decisions of the machines
    fitted on the whole subset. With embeddings of `faces` weights the held-out faces are not quite unseen, for the
    backbone was pretrained on them: such probabilities are somewhat too sure of themselves.
    """

    model_class = SvmModel

    def _train(self, fidelity: int) -> int:
        whole = self.task.faces
        faces = whole.take(subset(whole.labels, self.task.seed, self.task.scale, fidelity))
        held = held_out(faces.labels, HELD_OUT)
        embedder = self._embedder
        rehearsal = fit_machines(self.config, faces.take(np.flatnonzero(~held)), embedder)
        curves = fit_platt(_finite(rehearsal.decisions(faces.images[held])), faces.labels[held])
        self._model = SvmModel(fit_machines(self.config, faces, embedder), curves)
        seen = len(faces) + int(np.count_nonzero(~held))
        return seen * copies(self.config.features)


def _finite(decisions: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(decisions).all():
        raise TrainingError("the svm's decisions are not finite; lower gamma or degree")
    return decisions
