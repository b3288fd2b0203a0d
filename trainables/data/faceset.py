"""The two shapes of data: what a source holds, and what a learner is given."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Images: TypeAlias = NDArray[np.uint8]
Labels: TypeAlias = NDArray[np.int8]

SIDE = 48
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
CLASSES = ("negative", "neutral", "positive")
TRAIN, TEST = 0, 1


@dataclass(frozen=True)
class Crops:
    """How the pictures of a source were cropped.

    Attributes:
        found: bool, (n,), whether a face was found; where none was, the picture was taken whole.
        origins: Dtype V16, (n,), the identity of each picture before it was cropped: the digest that it has in a
            `FaceSet` that is not cropped.
    """

    found: NDArray[np.bool_]
    origins: NDArray[Any]


@dataclass(frozen=True)
class FaceSet:
    """All faces of a source, before any cleaning.

    Attributes:
        images: uint8, (n, 48, 48), gray values.
        emotions: int8, (n,), index into `EMOTIONS`.
        usage: int8, (n,), `TRAIN` or `TEST`: the split as the source gives it.
        names: n names, unique within an emotion at best; for messages and pictures only.
        crops: How the pictures were cropped; None if they were taken whole.
    """

    images: Images
    emotions: Labels
    usage: Labels
    names: tuple[str, ...]
    crops: Crops | None = field(default=None, kw_only=True)

    def __len__(self) -> int:
        return len(self.emotions)

    @cached_property
    def digests(self) -> NDArray[Any]:
        """The identity of each image: 16 bytes (dtype V16, (n,)) of BLAKE2b over its pixels, equal for equal images."""
        return digests(self.images)

    @property
    def origins(self) -> NDArray[Any]:
        """The identity of each picture before it was cropped; `digests` if none was."""
        return self.digests if self.crops is None else self.crops.origins


def digests(images: Iterable[Images]) -> NDArray[Any]:
    """The identity of each of n images: 16 bytes (dtype V16, (n,)) of BLAKE2b over its pixels."""
    return np.frombuffer(b"".join(blake2b(image.tobytes(), digest_size=16).digest() for image in images), dtype="V16")


@dataclass(frozen=True)
class Faces:
    """Cleaned, labelled faces of one split.

    Attributes:
        images: uint8, (n, 48, 48).
        labels: int8, (n,), index into `CLASSES`.
        emotions: int8, (n,), index into `EMOTIONS`.
        names: n names.
    """

    images: Images
    labels: Labels
    emotions: Labels
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.intp]) -> "Faces":
        """The faces at `rows`, (m,), in that order."""
        names = tuple(self.names[row] for row in rows)
        return Faces(self.images[rows], self.labels[rows], self.emotions[rows], names)


def joined(first: Faces, second: Faces) -> Faces:
    """The faces of `first`, then those of `second`."""
    images, labels, emotions = (
        np.concatenate([getattr(first, name), getattr(second, name)]) for name in ("images", "labels", "emotions")
    )
    return Faces(images, labels, emotions, (*first.names, *second.names))
