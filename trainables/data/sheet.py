"""Contact sheets: a few faces of each emotion, to look at before anything is trained."""

from pathlib import Path

import cv2
import numpy as np

from spaces.errors import InputError
from trainables.data.faceset import EMOTIONS, SIDE, FaceSet, Images

SCALE = 2
MARGIN = 4
LABEL_WIDTH = 120
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def contact_sheet(faces: FaceSet, per_emotion: int = 10, seed: int = 0) -> Images:
    """Faces drawn at random, a row for each emotion, its name at the left; a row may stay short or empty.

    Args:
        faces: What to draw from, all splits alike.
        per_emotion: Faces in a row.
        seed: Fixes the drawing.

    Returns:
        uint8, (height, width), faces at twice their size on white.
    """
    generator = np.random.default_rng(seed)
    cell = SCALE * SIDE + MARGIN
    sheet = np.full((len(EMOTIONS) * cell + MARGIN, LABEL_WIDTH + per_emotion * cell + MARGIN), 255, np.uint8)
    for number, emotion in enumerate(EMOTIONS):
        top = MARGIN + number * cell
        baseline = top + cell // 2 + 4
        cv2.putText(sheet, emotion, (MARGIN, baseline), cv2.FONT_HERSHEY_SIMPLEX, 0.65, 0, 1, cv2.LINE_AA)
        rows = np.flatnonzero(faces.emotions == number)
        for column, row in enumerate(generator.permutation(rows)[:per_emotion]):
            left = LABEL_WIDTH + MARGIN + column * cell
            face = cv2.resize(faces.images[row], None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
            sheet[top : top + SCALE * SIDE, left : left + SCALE * SIDE] = face
    return sheet


def write_sheet(path: Path, faces: FaceSet, per_emotion: int = 10, seed: int = 0) -> None:
    """Write `contact_sheet` to `path`.

    Raises:
        InputError: If the folder does not exist or cannot be written, or the suffix is not an image type.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{path}: a sheet is an image; received suffix {path.suffix!r}, allowed are {', '.join(SUFFIXES)}"
        )
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist")
    _, data = cv2.imencode(path.suffix.lower(), contact_sheet(faces, per_emotion, seed))
    try:
        path.write_bytes(data.tobytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
