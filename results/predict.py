"""An artifact at work: from pictures to the expressions of the faces in each."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from results.annotate import Annotations
from results.artifact import Artifact
from results.pictures import Picture
from spaces.errors import InputError
from trainables.data.crop import SMALL, Box, FaceDetector, crop
from trainables.data.faceset import CLASSES, SIDE, Images
from trainables.data.spec import CropSpec

AS_FER2013 = CropSpec(margin=0.025)
"""Crops like the pictures of FER2013 as they are: where the cascade found faces in them, without a mirrored border, its
box covered 95 % of the picture's side at the median, so those faces carry just this much."""
BATCH = 64
"""Pictures whose faces are predicted together."""


@dataclass(frozen=True)
class Expression:
    """What an artifact says of one face.

    Attributes:
        face: x, y, width, height in pixels of the picture, past whose edges it may reach if that is small; None where
            the whole picture was used.
        label: The most probable class.
        probabilities: By class.
    """

    face: Box | None
    label: str
    probabilities: dict[str, float]

    def json(self) -> dict[str, Any]:
        """As programs are told."""
        face = None if self.face is None else list(self.face)
        return {"face": face, "label": self.label, "probabilities": self.probabilities}


class Onlooker:
    """Looks at pictures with an artifact.

    Faces are looked for and cropped as in the pictures that the artifact was trained on. If those were taken whole,
    pictures of at most 64 x 64 pixels are too, being faces already cropped, and larger ones are searched with
    `AS_FER2013`. Where no face is found the whole picture is used, also if such pictures were dropped from training.

    Args:
        artifact: What `load_artifact` returned.
        all_faces: Whether every face of a picture is told, the largest first; otherwise the largest alone.

    Raises:
        InputError: If the detector cannot be read.
    """

    def __init__(self, artifact: Artifact, all_faces: bool = False) -> None:
        self._artifact = artifact
        self._all_faces = all_faces
        self._detector = FaceDetector(artifact.crop or AS_FER2013)

    def look(self, pictures: Sequence[Images]) -> list[list[Expression]]:
        """The expressions in each of `pictures`, uint8, (h, w); at least one each."""
        boxes = [self._boxes(gray) for gray in pictures]
        margin = self._detector.margin
        crops = [crop(gray, face, margin) for gray, faces in zip(pictures, boxes, strict=True) for face in faces]
        stacked = np.stack(crops) if crops else np.empty((0, SIDE, SIDE), np.uint8)
        shares = iter(self._artifact.model.predict_proba(stacked))
        return [[self._expression(face, next(shares)) for face in faces] for faces in boxes]

    def _boxes(self, gray: Images) -> list[Box | None]:
        if self._artifact.crop is None and max(gray.shape) <= SMALL:
            return [None]
        found = self._detector.find_all(gray)
        return list(found if self._all_faces else found[:1]) or [None]

    def _expression(self, face: Box | None, shares: Any) -> Expression:
        classes = self._artifact.manifest.classes
        probabilities = {name: float(share) for name, share in zip(classes, shares, strict=True)}
        return Expression(face, classes[int(shares.argmax())], probabilities)


def predict(
    onlooker: Onlooker, pictures: Iterable[Picture], draw: Path | None = None, batch: int = BATCH
) -> Iterator[dict[str, Any]]:
    """The expressions in `pictures`, told as they are found.

    Args:
        onlooker: Looks at them.
        pictures: See `results/pictures.py`.
        draw: A folder for copies of the pictures with faces and labels drawn in, made if there is none.
        batch: How many pictures are looked at together.

    Yields:
        For each face: `image` (the picture's name), `face`, `label`, `probabilities` (see `Expression`), and `second`
        where the picture has one.

    Raises:
        InputError: If a picture cannot be read or a copy cannot be written.
    """
    annotations = None if draw is None else Annotations(draw)
    remaining = iter(pictures)
    while group := list(islice(remaining, batch)):
        for picture, found in zip(group, onlooker.look([picture.gray for picture in group]), strict=True):
            if annotations is not None:
                annotations.write(picture, [(one.face, one.label, one.probabilities[one.label]) for one in found])
            taken = {} if picture.second is None else {"second": round(picture.second, 3)}
            yield from ({"image": picture.name, **one.json(), **taken} for one in found)


def table(predictions: Sequence[dict[str, Any]]) -> Table:
    """What `predict` told, for people."""
    timed = any("second" in row for row in predictions)
    view = Table(box=box.SIMPLE_HEAD, show_edge=False)
    view.add_column("image", overflow="fold")
    if timed:
        view.add_column("second", justify="right")
    view.add_column("face (x, y, width, height)")
    view.add_column("label")
    for name in CLASSES:
        view.add_column(name, justify="right")
    for row in predictions:
        second = [f"{row['second']:.2f}" if "second" in row else ""] if timed else []
        face = "whole image" if row["face"] is None else ", ".join(str(side) for side in row["face"])
        shares = [f"{row['probabilities'][name]:.3f}" for name in CLASSES]
        view.add_row(row["image"], *second, face, row["label"], *shares)
    return view


def write_csv(predictions: Sequence[dict[str, Any]], path: Path) -> None:
    """Write what `predict` told as a CSV file, a row a face; `x` to `height` are empty where there was no face.

    Raises:
        InputError: If it cannot be written.
    """
    try:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "second", "x", "y", "width", "height", "label", *CLASSES])
            for row in predictions:
                place = row["face"] or [""] * 4
                shares = [f"{row['probabilities'][name]:.6f}" for name in CLASSES]
                writer.writerow([row["image"], row.get("second", ""), *place, row["label"], *shares])
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
