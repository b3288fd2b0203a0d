"""Pictures for TensorBoard: a confusion matrix, and the most confident mistakes."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from results.mistakes import Mistake
from trainables.data.faceset import CLASSES, SIDE

Picture = NDArray[np.uint8]
"""Gray, (height, width), or blue, green and red, (height, width, 3), as OpenCV has it."""

_CELL, _LABELS = 88, 76
_WIDTH, _TEXT, _COLUMNS = 160, 44, 6
_INK, _PAPER = (34, 34, 34), (255, 255, 255)
_SURE = np.array((181, 113, 33))  # the darkest cell


def confusion_picture(confusion: Sequence[Sequence[int]]) -> Picture:
    """`confusion` (rows true class, columns predicted class) as counts, coloured by their share of the row."""
    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = _LABELS + _CELL * len(CLASSES)
    picture = np.full((size, size, 3), 255, np.uint8)
    for row, name in enumerate(CLASSES):
        corner = _LABELS + row * _CELL
        _write(picture, name, (2, corner + _CELL // 2))
        _write(picture, name, (corner + 4, _LABELS - 12))
        for column in range(len(CLASSES)):
            x, share = _LABELS + column * _CELL, shares[row, column]
            colour = (255 + share * (_SURE - 255)).astype(np.uint8)
            picture[corner : corner + _CELL - 2, x : x + _CELL - 2] = colour
            ink = _PAPER if share > 0.6 else _INK
            _write(picture, f"{counts[row, column]:,}", (x + 8, corner + 40), ink, 0.6)
            _write(picture, f"{share:.1%}", (x + 8, corner + 64), ink)
    _write(picture, "true", (2, _LABELS - 12))
    _write(picture, "predicted", (_LABELS + _CELL, 30))
    return picture


def mistakes_picture(mistakes: Sequence[Mistake]) -> Picture | None:
    """The faces of `mistakes` with what they are and what they were told to be; None without any."""
    if not mistakes:
        return None
    rows, face = -(-len(mistakes) // _COLUMNS), 2 * SIDE
    picture = np.full((rows * (face + _TEXT), _COLUMNS * _WIDTH), 255, np.uint8)
    for place, mistake in enumerate(mistakes):
        y, x = place // _COLUMNS * (face + _TEXT), place % _COLUMNS * _WIDTH
        enlarged = cv2.resize(mistake.image, (face, face), interpolation=cv2.INTER_NEAREST)
        picture[y : y + face, x : x + face] = enlarged
        _write(picture, f"{mistake.emotion} ({mistake.true})", (x, y + face + 15))
        _write(picture, f"said {mistake.predicted} {mistake.probability:.0%}", (x, y + face + 31))
    return picture


def png(picture: Picture) -> bytes:
    """`picture` as a PNG file."""
    _, data = cv2.imencode(".png", picture)
    return data.tobytes()


def _write(
    picture: Picture, text: str, place: tuple[int, int], ink: tuple[int, ...] = _INK, size: float = 0.42
) -> None:
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, ink, 1, cv2.LINE_AA)
