"""An artifact at work: from pictures to the expression of the face in each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from cv2.data import haarcascades
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from results.export import Artifact
from spaces.errors import InputError
from trainables.data.faceset import CLASSES, SIDE, Images

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
CASCADE = "haarcascade_frontalface_default.xml"
LARGEST_CROP = 64
"""An image no larger than this on either side (pixels) is taken as a face already cropped, as those of FER2013 are."""
SMALLEST_FACE = 0.1
"""Faces smaller than this share of the image's shorter side are not looked for."""
MARGIN = 0.025
"""Added on each side of a detected face, as a share of its side. Where this detector found faces in FER2013, its box
covered 95 % of the picture's side at the median: the faces a model is trained on carry just this much."""
NEIGHBORS = 3
"""Overlapping detections a face needs. Of 800 FER2013 faces enlarged into a picture with a background, 72 % were found
and 5 to 6 % were mistaken; asking for 5 found 68.5 % and mistook 4 to 6 %."""

Box = tuple[int, int, int, int]


def predict(artifact: Artifact, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The expression of the largest face in each image.

    The face is looked for with the Haar cascade of Viola and Jones (CVPR 2001) that comes with OpenCV, cropped square
    with a small margin and resized to 48 x 48 gray. Where none is found, and in images of at most 64 x 64 pixels
    (faces already cropped), the whole image is used.

    Args:
        artifact: What `load_artifact` returned.
        paths: Images of any size and mode, and folders, which stand for the images under them, sorted.

    Returns:
        For each image: `image` (its path), `face` (x, y, width, height of the detected face in pixels, None where the
        whole image was used), `label` (the most probable class) and `probabilities` (by class).

    Raises:
        InputError: If a path does not exist, a folder holds no image, or an image cannot be read.
    """
    images = _listed(paths)
    detector = cv2.CascadeClassifier(haarcascades + CASCADE)
    faces: list[Box | None] = []
    crops = np.empty((len(images), SIDE, SIDE), np.uint8)
    for row, path in enumerate(images):
        gray = _read_gray(path)
        face = find_face(gray, detector)
        faces.append(face)
        crops[row] = crop(gray, face)
    classes = artifact.manifest.classes
    return [
        {
            "image": str(path),
            "face": None if face is None else list(face),
            "label": classes[int(shares.argmax())],
            "probabilities": {name: float(share) for name, share in zip(classes, shares, strict=True)},
        }
        for path, face, shares in zip(images, faces, artifact.model.predict_proba(crops), strict=True)
    ]


def table(predictions: Sequence[dict[str, Any]]) -> Table:
    """What `predict` returned, for people."""
    view = Table(box=box.SIMPLE_HEAD, show_edge=False)
    view.add_column("image", overflow="fold")
    view.add_column("face (x, y, width, height)")
    view.add_column("label")
    for name in CLASSES:
        view.add_column(name, justify="right")
    for row in predictions:
        face = "whole image" if row["face"] is None else ", ".join(str(side) for side in row["face"])
        view.add_row(row["image"], face, row["label"], *(f"{row['probabilities'][name]:.3f}" for name in CLASSES))
    return view


def find_face(gray: Images, detector: Any) -> Box | None:
    """The largest face as (x, y, width, height) in pixels; None if there is none or the image is a crop already.

    Args:
        gray: uint8, (h, w).
        detector: The `cv2.CascadeClassifier`.
    """
    if max(gray.shape) <= LARGEST_CROP:
        return None
    smallest = max(24, round(SMALLEST_FACE * min(gray.shape)))
    found = detector.detectMultiScale(gray, scaleFactor=1.1, minNeighbors=NEIGHBORS, minSize=(smallest, smallest))
    if len(found) == 0:
        return None
    x, y, width, height = max(found, key=lambda box: box[2] * box[3])
    return int(x), int(y), int(width), int(height)


def crop(gray: Images, face: Box | None) -> Images:
    """The square around `face` with its margin, moved or shrunk into the image, or else the whole image, as 48 x 48."""
    part: NDArray[Any] = gray
    if face is not None:
        x, y, width, height = face
        side = min(round(max(width, height) * (1 + 2 * MARGIN)), *gray.shape)
        top = min(max(y + (height - side) // 2, 0), gray.shape[0] - side)
        left = min(max(x + (width - side) // 2, 0), gray.shape[1] - side)
        part = gray[top : top + side, left : left + side]
    return np.asarray(cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def _listed(paths: Sequence[Path]) -> list[Path]:
    images: list[Path] = []
    for path in paths:
        if not path.is_dir():
            images.append(path)
            continue
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        if not inside:
            raise InputError(f"{path}: no image in this folder; read are files named {', '.join(SUFFIXES)}")
        images += inside
    return images


def _read_gray(path: Path) -> Images:
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
        gray = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if len(data) else None
    except (OSError, cv2.error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if gray is None:
        raise InputError(f"{path}: not an image that can be read; allowed are {', '.join(SUFFIXES)}")
    return np.asarray(gray, np.uint8)
