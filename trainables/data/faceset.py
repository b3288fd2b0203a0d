"""The two shapes of data: what a source holds, and what a learner is given."""

from dataclasses import dataclass
from typing import TypeAlias

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
