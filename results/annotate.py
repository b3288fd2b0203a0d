"""Copies of pictures with the faces framed and their labels written on them."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from results.pictures import Color, Picture
from spaces.errors import InputError
from trainables.data.crop import Box
from trainables.data.faceset import CLASSES

# Blue, green, red; told apart by people who do not see red and green apart, too.
COLORS = dict(zip(CLASSES, ((40, 60, 220), (200, 200, 200), (220, 160, 30)), strict=True))
READABLE = 320
"""Pictures are enlarged until their shorter side has this many pixels, so that labels can be read."""
FONT = cv2.FONT_HERSHEY_SIMPLEX


class Annotations:
    """A folder of annotated copies, PNG files named after the pictures.

    Raises:
        InputError: If the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made ({error.strerror or error})") from error
        self._folder = folder
        self._names: set[str] = set()

    def write(self, picture: Picture, faces: Sequence[tuple[Box | None, str, float]]) -> None:
        """Write a copy of `picture` with its faces: box (None for all of it), label and the label's probability.

        Raises:
            InputError: If it cannot be written.
        """
        path = self._folder / self._free_name(picture)
        if not cv2.imwrite(str(path), annotated(picture.color(), faces)):
            raise InputError(f"{path}: the picture cannot be written")

    def _free_name(self, picture: Picture) -> str:
        stem = (
            Path(picture.name).stem if picture.second is None else f"{Path(picture.name).stem}-{picture.second:09.3f}"
        )
        name, number = f"{stem}.png", 2
        while name in self._names:
            name, number = f"{stem}-{number}.png", number + 1
        self._names.add(name)
        return name


def annotated(color: Color, faces: Sequence[tuple[Box | None, str, float]]) -> Color:
    """A copy of `color`, (h, w, 3), enlarged if it is small, with each face framed and its label at the frame."""
    factor = max(1, -(-READABLE // min(color.shape[:2])))
    drawn = np.asarray(cv2.resize(color, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST), np.uint8)
    height, width = drawn.shape[:2]
    thickness = max(1, round(min(height, width) / 300))
    scale = max(0.5, min(height, width) / 900)
    stroke = max(1, round(1.5 * scale))
    for face, label, share in faces:
        x, y, w, h = (0, 0, width, height) if face is None else (side * factor for side in face)
        cv2.rectangle(drawn, (x, y), (x + w - 1, y + h - 1), COLORS[label], thickness)
        text = f"{label} {share:.0%}"
        (across, up), below = cv2.getTextSize(text, FONT, scale, stroke)
        left, base = min(max(x, 0), max(width - across, 0)), max(y, up + below)
        cv2.rectangle(drawn, (left, base - up - below), (left + across, base), COLORS[label], -1)
        cv2.putText(drawn, text, (left, base - below // 2), FONT, scale, (0, 0, 0), stroke, cv2.LINE_AA)
    return drawn
