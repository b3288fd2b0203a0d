"""An artifact at work: from pictures to the expression of the face in each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from results.artifact import Artifact
from spaces.errors import InputError
from trainables.data.crop import SMALL, Box, FaceDetector, crop
from trainables.data.decode import decode_gray
from trainables.data.faceset import CLASSES, SIDE, Images
from trainables.data.spec import CropSpec

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

AS_FER2013 = CropSpec(margin=0.025)
"""Crops like the pictures of FER2013 as they are: where the cascade found faces in them, without a mirrored border, its
box covered 95 % of the picture's side at the median, so those faces carry just this much."""


def predict(artifact: Artifact, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """The expression of the largest face in each image.

    The face is looked for and cropped as in the pictures that the artifact was trained on. If those were taken whole,
    images of at most 64 x 64 pixels are too, being faces already cropped, and larger ones are searched with
    `AS_FER2013`. Where no face is found the whole image is used, also if such pictures were dropped from
    training.

    Args:
        artifact: What `load_artifact` returned.
        paths: Images of any size and mode, and folders, which stand for the images under them, sorted.

    Returns:
        For each image: `image` (its path), `face` (x, y, width, height of the detected face in pixels, which may reach
        past the edges of a small image; None where the whole image was used), `label` (the most probable class) and
        `probabilities` (by class).

    Raises:
        InputError: If a path does not exist, a folder holds no image, or an image or the detector cannot be read.
    """
    images = _listed(paths)
    detector = FaceDetector(artifact.crop or AS_FER2013)
    faces: list[Box | None] = []
    crops = np.empty((len(images), SIDE, SIDE), np.uint8)
    for row, path in enumerate(images):
        gray = _read_gray(path)
        face = None if artifact.crop is None and max(gray.shape) <= SMALL else detector.find(gray)
        faces.append(face)
        crops[row] = crop(gray, face, detector.margin)
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
        return decode_gray(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    except InputError as error:
        raise InputError(f"{path}: not an image that can be read; allowed are {', '.join(SUFFIXES)}") from error
