"""The svm family: pairwise support vector machines with calibrated probabilities."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from spaces.svm import SvmConfig
from trainables.base import Model, TrainingError
from trainables.data.faceset import Images, Labels
from trainables.descriptors import copies, raw_width
from trainables.features import Features
from trainables.files import read_arrays, read_form
from trainables.handmade import HandmadeLearner, over_flips
from trainables.platt import PAIRS, couple, fit_platt
from trainables.shared_features import fit_on_part, is_taught
from trainables.subsets import held_out, subset
from trainables.svc import fit_pairs

PREDICT_BATCH = 512
HELD_OUT = 0.2
SUBSET_SEED = 0


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
        """Decision values, float32, (n, 3), of faces, positive for the first class of the pair."""
        decisions = np.empty((len(images), len(PAIRS)), dtype=np.float32)
        for start in range(0, len(images), PREDICT_BATCH):
            part = slice(start, start + PREDICT_BATCH)
            decisions[part] = self.decide(self.features.transform(images[part]))
        return decisions

    def decide(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Decision values, float32, (n, 3), of vectors, (n, d)."""
        decisions = np.empty((len(vectors), len(PAIRS)), dtype=np.float32)
        for start in range(0, len(vectors), PREDICT_BATCH):
            part = slice(start, start + PREDICT_BATCH)
            kernels = kernel(self.config, vectors[part], self.vectors)
            decisions[part] = kernels @ self.coefficients + self.intercepts
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


def fit_machines(config: SvmConfig, features: Features, vectors: NDArray[np.float32], labels: Labels) -> Machines:
    """Fit machines on vectors, (n, d), that `features` gave, of the classes `labels`, int8, (n,).

    Raises:
        TrainingError: If the machines cannot be fitted.
    """
    vectors, coefficients, intercepts = fit_pairs(config, vectors, labels)
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

    Each fidelity is fitted anew on its subset, the same for every seed: so trials are compared on the same faces, and
    share the features fitted on them. Probabilities come from Platt scaling by hold-out: machines fitted on 80 % of the
    subset, drawn by the seed, decide on the other 20 %, altered copies left out, which calibrates the decisions of the
    machines fitted on the whole subset. Features other than discriminants were fitted on the held-out faces too. With
    embeddings of `faces` weights they are not quite unseen, for the backbone was pretrained on them: such probabilities
    are somewhat too sure of themselves. Averages over mirror images (`flip`) are of calibrated probabilities, and
    somewhat too unsure.
    """

    model_class = SvmModel

    def _train(self, fidelity: int) -> int:
        whole = self.task.faces
        # In the order of the faces, so that at full fidelity a forest shares the features.
        faces = whole.take(np.sort(subset(whole.labels, SUBSET_SEED, self.task.scale, fidelity)))
        order = np.random.default_rng(self.task.seed).permutation(len(faces))
        held = np.empty(len(faces), dtype=np.bool_)
        held[order] = held_out(faces.labels[order], HELD_OUT)
        times = copies(self.config.features)
        labels, rehearsed = np.tile(faces.labels, times), np.tile(~held, times)
        features, vectors = self._fit_features(faces)
        # What knows the emotions of the faces it was fitted on cannot tell how it does on faces it has not seen.
        seen, seen_vectors = features, vectors
        if is_taught(self.config.features):
            seen, seen_vectors = fit_on_part(self.config.features, faces, ~held, self._embedder, self.task.cache)
        self._note_batch()
        rehearsal = fit_machines(self.config, seen, seen_vectors[rehearsed], labels[rehearsed])
        curves = fit_platt(_finite(rehearsal.decide(seen_vectors[: len(faces)][held])), faces.labels[held])
        self._model = SvmModel(fit_machines(self.config, features, vectors, labels), curves)
        return (len(faces) + int(np.count_nonzero(~held))) * times

    def _features(self) -> Features:
        return self.model.machines.features

    def _judge(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        return couple(self.model.machines.decide(vectors), self.model.curves)


def _finite(decisions: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(decisions).all():
        raise TrainingError("the svm's decisions are not finite; lower gamma or degree")
    return decisions
