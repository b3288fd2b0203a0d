"""The faces that a model is sure and wrong about: what it has not understood, or who labelled them wrongly."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainables.data.faceset import CLASSES, EMOTIONS, Faces, Images

MISTAKES = 24


@dataclass(frozen=True)
class Mistake:
    """A face that a model was sure and wrong about.

    Attributes:
        image: uint8, (48, 48).
        name: Its name in the source.
        emotion: Its original emotion.
        true: Its class.
        predicted: What the model said, `probability` how surely.
    """

    image: Images
    name: str
    emotion: str
    true: str
    predicted: str
    probability: float


def most_confident(faces: Faces, probabilities: NDArray[np.float32]) -> list[Mistake]:
    """The faces that a model got wrong with the highest probability, the surest first, at most `MISTAKES`.

    Args:
        faces: The faces, n of them.
        probabilities: What the model says of them, (n, 3).
    """
    predicted, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != faces.labels)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:MISTAKES]
    return [
        Mistake(
            image=faces.images[place],
            name=faces.names[place],
            emotion=EMOTIONS[faces.emotions[place]],
            true=CLASSES[faces.labels[place]],
            predicted=CLASSES[predicted[place]],
            probability=float(sure[place]),
        )
        for place in worst
    ]
