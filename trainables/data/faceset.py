"""The two shapes of data: what a source holds, and what a learner is given."""

from dataclasses import dataclass
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
class FaceSet:
    """All faces of a source, before any cleaning.

    Attributes:
        images: uint8, (n, 48, 48), gray values.
        emotions: int8, (n,), index into `EMOTIONS`.
        usage: int8, (n,), `TRAIN` or `TEST`: the split as the source gives it.
        names: n names, unique within an emotion at best; for messages and pictures only.
    """

    images: Images
    emotions: Labels
    usage: Labels
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.emotions)

    @cached_property
    def digests(self) -> NDArray[Any]:
        """The identity of each image: 16 bytes (dtype V16, (n,)) of BLAKE2b over its pixels, equal for equal images."""
        return np.frombuffer(b"".join(blake2b(image, digest_size=16).digest() for image in self.images), dtype="V16")


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
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)
