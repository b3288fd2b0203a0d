"""Features that trials share: raw features of faces, fitted features, and the vectors they give, each computed once.

With no cache all is computed on the spot, by the same code. Results agree: hand-made features but for the order of some
sums, embeddings up to the rounding of the network's precision, which depends on which faces share a batch.
"""

from typing import TYPE_CHECKING

import cv2
import numpy as np
import scipy  # type: ignore[import-untyped]  # scipy ships no types
import sklearn
from numpy.typing import NDArray

from spaces.features import DESCRIPTORS, FeatureConfig
from trainables.cache import Cache
from trainables.data.faceset import Faces, Images, Labels
from trainables.descriptors import copies, raw_width, training_copies
from trainables.draft import Draft
from trainables.features import Features, raw_features
from trainables.keys import Key, code_digest, digest

if TYPE_CHECKING:  # it imports torch, which takes seconds and is of no use to other features
    from trainables.embeddings import Embedder

_BATCH = 2048


def fit_features(
    config: FeatureConfig, faces: Faces, embedder: "Embedder | None", cache: Cache | None
) -> tuple[Features, NDArray[np.float32]]:
    """Features fitted on training faces and the copies of them that `config` asks for.

    Args:
        config: Which features.
        faces: n training faces and nothing else.
        embedder: The network behind the raw features, if they are embeddings.
        cache: Shared work; None to share nothing.

    Returns:
        The features, and the vectors, float32, (`copies(config)` * n, d), of faces and copies, in the order of
        `training_copies`.

    Raises:
        TrainingError: See `Features.fit`.
    """

    def compute(draft: Draft) -> None:
        raw = _raw_of_copies(config, faces, embedder, cache)
        features = Features.fit(config, raw, _emotions(config, faces))
        for name, array in features.arrays().items():
            draft.put(name, array)
        _apply(features, raw, draft)

    if cache is None:
        return fit_on_part(config, faces, np.ones(len(faces), dtype=np.bool_), embedder, None)
    found = cache.get(fitted_key(config, faces, embedder), compute)
    return Features(config, found["mean"], found["factor"], found.get("axes"), embedder), found["vectors"]


def fit_on_part(
    config: FeatureConfig, faces: Faces, part: NDArray[np.bool_], embedder: "Embedder | None", cache: Cache | None
) -> tuple[Features, NDArray[np.float32]]:
    """As `fit_features`, but fitted on `part` of the faces alone, bool (n,), and not kept; raw features are shared.

    The vectors are those of all faces and their copies.
    """
    raw = _raw_of_copies(config, faces, embedder, cache)
    fitted = np.tile(part, copies(config))
    features = Features.fit(config, raw if part.all() else raw[fitted], _emotions(config, faces)[fitted], embedder)
    return features, features.apply(raw)


def is_taught(config: FeatureConfig) -> bool:
    """Whether fitting heeds the emotions of the faces, not their pixels alone."""
    return config.pca > 0 and config.discriminants != "none"


def _raw_of_copies(
    config: FeatureConfig, faces: Faces, embedder: "Embedder | None", cache: Cache | None
) -> NDArray[np.float32]:
    blocks = np.split(training_copies(config, faces.images), copies(config))
    found = [raw_of(config, block, embedder, cache) for block in blocks]
    return found[0] if len(found) == 1 else np.concatenate(found)


def _emotions(config: FeatureConfig, faces: Faces) -> Labels:
    return np.tile(faces.emotions, copies(config))


def vectors_of(features: Features, images: Images, cache: Cache) -> NDArray[np.float32]:
    """The vectors, float32, (n, d), of faces, uint8, (n, 48, 48), computed once for all who ask."""

    def compute(draft: Draft) -> None:
        _apply(features, raw_of(features.config, images, features.embedder, cache), draft)

    key = raw_key(features.config, images, features.embedder)
    fitted = {"mean": features.mean, "factor": features.factor}
    if features.axes is not None:
        fitted["axes"] = features.axes
    traits = {name: digest(array) for name, array in fitted.items()}
    return cache.get(key.also("vectors", code=code_digest("features.py"), **traits), compute)["vectors"]


def raw_of(
    config: FeatureConfig, images: Images, embedder: "Embedder | None", cache: Cache | None
) -> NDArray[np.float32]:
    """Raw features, float32, (n, r), of faces, uint8, (n, 48, 48), as `raw_features` gives them."""

    def compute(draft: Draft) -> None:
        raw = draft.array("raw", (len(images), raw_width(config)), np.float32)
        for start in range(0, len(images), _BATCH):
            part = slice(start, start + _BATCH)
            raw[part] = raw_features(config, images[part], embedder)

    if cache is None:
        return raw_features(config, images, embedder)
    return cache.get(raw_key(config, images, embedder), compute)["raw"]


def raw_key(config: FeatureConfig, images: Images, embedder: "Embedder | None") -> Key:
    """What the raw features of `images` depend on; parameters that their kind leaves unused are none of it."""
    names = {name for descriptor in config.descriptors for name in DESCRIPTORS[descriptor]} - {"weights"}
    traits = {name: getattr(config, name) for name in names}
    maker = f"{code_digest('descriptors.py')} {cv2.__version__}" if embedder is None else embedder.key
    return Key.of("raw", kind_of=config.kind, images=digest(images), maker=maker, numpy=np.__version__, **traits)


def fitted_key(config: FeatureConfig, faces: Faces, embedder: "Embedder | None") -> Key:
    """What features fitted on `faces` depend on, and their vectors."""
    return raw_key(config, faces.images, embedder).also(
        "fitted",
        mirror=config.mirror,
        shift=config.shift,
        pca=config.pca,
        whiten=config.whiten if config.pca else None,
        discriminants=config.discriminants if config.pca else None,
        emotions=digest(faces.emotions) if is_taught(config) else None,
        code=code_digest("features.py", "descriptors.py"),
        libraries=f"{scipy.__version__} {sklearn.__version__}",
    )


def _apply(features: Features, raw: NDArray[np.float32], draft: Draft) -> None:
    vectors = draft.array("vectors", (len(raw), features.width), np.float32)
    for start in range(0, len(raw), _BATCH):
        part = slice(start, start + _BATCH)
        vectors[part] = features.apply(raw[part])
