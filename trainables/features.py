"""Features of faces: descriptors, standardized, and projected on principal and discriminant axes where asked for."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh  # type: ignore[import-untyped]  # scipy ships no types
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.utils.extmath import randomized_svd

from spaces.features import FeatureConfig
from trainables.base import TrainingError
from trainables.data.faceset import Images, Labels
from trainables.descriptors import describe, raw_width, raw_widths
from trainables.files import Shape

if TYPE_CHECKING:  # it imports torch, which takes seconds and is of no use to other features
    from trainables.embeddings import Embedder

PREFIX = "backbone."  # of the names of the tensors of an embedding's network
# Raw features lie in 0..1. One that varies by less than this among the training images tells nothing, and must not
# become large on a face in which it happens to vary.
LEAST_STD = 1e-3
# Eigenvectors of matrices up to this size are computed exactly, in a fraction of a second.
EXACT_UP_TO = 1000


def raw_features(config: FeatureConfig, images: Images, embedder: "Embedder | None") -> NDArray[np.float32]:
    """Raw features, float32, (n, r), of faces, uint8, (n, 48, 48); `embedder` is there if they are embeddings."""
    return describe(config, images) if embedder is None else embedder.describe(images)


def principal_axes(centred: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """The directions in which `centred`, (n, d), varies most, as orthonormal rows: (k, d), strongest first.

    k is `count` or, if that is less, the number of directions in which n points can vary: at most d and n - 1.
    Eigenvectors of the smaller of the covariance and the Gram matrix. Where few are asked of many, they are found by
    subspace iteration from a fixed random start (Halko, Martinsson and Tropp, SIAM Review 2011): several times faster,
    the last of them are approximate, and together they hold as much of the variance but for some ten-thousandths.
    """
    n, d = centred.shape
    wide = n < d
    product = centred @ centred.T if wide else centred.T @ centred
    size, count = len(product), min(count, n - 1, d)
    if size > EXACT_UP_TO and size > 4 * count:
        vectors, values, _ = randomized_svd(product, count, n_oversamples=count // 4 + 10, n_iter=4, random_state=0)
    else:
        values, vectors = eigh(product, subset_by_index=(size - count, size - 1), overwrite_a=True)
        values, vectors = values[::-1], vectors[:, ::-1]
    kept = values >= 1e-6 * values[0]
    vectors, lengths = vectors[:, kept], np.sqrt(np.maximum(values[kept, None], np.finfo(np.float32).tiny))
    axes: NDArray[np.float32] = (vectors.T @ centred) / lengths if wide else vectors.T
    return np.ascontiguousarray(axes)


def discriminant_axes(vectors: NDArray[np.float32], emotions: Labels) -> NDArray[np.float32]:
    """The directions in which the emotions of `vectors`, (n, d), stand farthest apart: (k, d), strongest first.

    Along each the variance within an emotion is one. k is one less than the number of different `emotions`, int8,
    (n,), or d if that is less.

    Raises:
        TrainingError: If the vectors do not vary.
    """
    if not vectors.any():
        raise TrainingError("the training images do not vary: no directions set their emotions apart")
    fitted = LinearDiscriminantAnalysis().fit(vectors, emotions)
    count = len(fitted.explained_variance_ratio_)
    return np.ascontiguousarray(fitted.scalings_[:, :count].T, dtype=np.float32)


@dataclass(frozen=True)
class Features:
    """What was fitted on training images to turn faces into the vectors that svm and forest see.

    Attributes:
        config: Which features.
        mean: float32, (r,), mean of the raw features.
        factor: float32, (r,), what a raw feature is multiplied by once its mean is taken away: 1 / its standard
            deviation; of several descriptors, one factor for each, under which all weigh the same, however many values
            they have; and one factor for all that makes the mean squared length of the training vectors one. So a
            kernel's gamma is in units of scikit-learn's "scale", and C means the same for all features.
        axes: float32, (d, r), the principal axes, if PCA is asked for; to whiten, each is divided by the standard
            deviation along it. The axes of discriminants follow them, or stand in their place.
        embedder: The network behind the raw features, if they are embeddings.
    """

    config: FeatureConfig
    mean: NDArray[np.float32]
    factor: NDArray[np.float32]
    axes: NDArray[np.float32] | None = None
    embedder: "Embedder | None" = None

    @classmethod
    def fit(
        cls, config: FeatureConfig, raw: NDArray[np.float32], emotions: Labels, embedder: "Embedder | None" = None
    ) -> Self:
        """Fit on the raw features of training images, (n, r), and their emotions, int8, (n,).

        `config.pca` above what n images allow is lowered.

        Raises:
            TrainingError: If discriminants are asked for and the images do not vary.
        """
        mean = raw.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = raw - mean
        std = np.sqrt(np.square(centred).mean(axis=0, dtype=np.float64))
        widths = raw_widths(config)
        weight = np.sqrt(np.repeat(np.divide(np.mean(widths), widths), widths))
        factor = (weight / np.maximum(std, LEAST_STD)).astype(np.float32)
        vectors = np.multiply(centred, factor, out=centred)
        axes = principal_axes(vectors, config.pca) if config.pca else None
        if axes is not None:
            vectors = vectors @ axes.T
            if config.whiten:
                spread = np.maximum(vectors.std(axis=0, keepdims=True), LEAST_STD)
                axes, vectors = axes / spread.T, vectors / spread
            if config.discriminants != "none":
                found = discriminant_axes(vectors, emotions)
                if config.discriminants == "added":
                    found = np.concatenate([np.eye(len(axes), dtype=np.float32), found])
                axes, vectors = found @ axes, vectors @ found.T
        length = np.sqrt(np.square(vectors).sum(axis=1, dtype=np.float64).mean())
        return cls(config, mean, (factor / (length or 1.0)).astype(np.float32), axes, embedder)

    def apply(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """The vectors, float32, (n, d), of raw features, (n, r)."""
        vectors: NDArray[np.float32] = (raw - self.mean) * self.factor
        if self.axes is not None:
            vectors = vectors @ self.axes.T
        return vectors

    def transform(self, images: Images) -> NDArray[np.float32]:
        """The vectors, float32, (n, d), of faces, uint8, (n, 48, 48)."""
        return self.apply(raw_features(self.config, images, self.embedder))

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """All that was fitted, by name, and the network of embeddings; `from_arrays` makes the same of it again."""
        fitted = {"mean": self.mean, "factor": self.factor}
        if self.axes is not None:
            fitted["axes"] = self.axes
        return fitted if self.embedder is None else fitted | self.embedder.arrays()

    @classmethod
    def from_arrays(cls, config: FeatureConfig, arrays: dict[str, NDArray[np.float32]]) -> Self:
        """The features that gave `arrays`."""
        network = {name: array for name, array in arrays.items() if name.startswith(PREFIX)}
        embedder = None
        if network:
            from trainables.embeddings import Embedder

            embedder = Embedder.of(config, network)
        return cls(config, arrays["mean"], arrays["factor"], arrays.get("axes"), embedder)

    @staticmethod
    def shapes(config: FeatureConfig) -> dict[str, Shape]:
        """The shapes of `arrays`; d stands for the number of axes."""
        width = raw_width(config)
        shapes: dict[str, Shape] = {"mean": (width,), "factor": (width,)}
        if config.pca:
            shapes["axes"] = ("d", width)
        if config.kind != "embedding":
            return shapes
        from trainables.embeddings import Embedder

        return shapes | Embedder.shapes(config)

    @property
    def width(self) -> int:
        """d, the length of the vectors."""
        return len(self.mean if self.axes is None else self.axes)
