"""Labelled sets of faces that an artifact can be measured on: any source of a search, and plain folders of pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from results.pictures import IMAGES
from spaces.errors import InputError
from trainables.data.crop import FaceDetector
from trainables.data.faceset import CLASSES, EMOTIONS, TEST, TRAIN, Faces, FaceSet
from trainables.data.folder import SPELLINGS, FaceFile
from trainables.data.protocol import Verdict, class_of, judge
from trainables.data.sources import read_files, read_source, reading
from trainables.data.spec import DataSpec
from trainables.data.store import fingerprint

Part: TypeAlias = Literal["test", "train", "all"]


@dataclass(frozen=True)
class LabelledSet:
    """Faces with their classes, cleaned as the protocol says.

    Attributes:
        faces: The faces.
        emotions_known: Whether their emotions are known, or their classes alone.
        dropped: How many pictures were dropped, by the reason.
        fingerprint: The content hash of all that was read.
    """

    faces: Faces
    emotions_known: bool
    dropped: dict[str, int]
    fingerprint: str


def read_labelled(spec: DataSpec, part: Part) -> LabelledSet:
    """The faces of `spec.source`, cropped and cleaned as `spec` says.

    Args:
        spec: Names a source of a search, which may lack one of its splits, or a folder of which every folder is named
            after an emotion or every one after a class.
        part: Which of a source's splits; of a plain folder, all pictures are taken.

    Raises:
        InputError: If nothing can be read, or the part holds no usable face.
    """
    found = _plain_folder(spec)
    named_after_classes = False
    if found is None:
        faces, sides = read_source(spec, one_split=True), {"test": [TEST], "train": [TRAIN], "all": [TRAIN, TEST]}[part]
    else:
        (faces, named_after_classes), sides = found, [TEST]
    verdicts = judge(faces, spec.protocol, spec.drops_faceless)
    asked = np.isin(faces.usage, sides)
    rows = np.flatnonzero(asked & (verdicts == Verdict.KEPT))
    if not len(rows):
        raise InputError(f"{spec.source}: no usable face in its part {part!r} ({int(asked.sum()):,} pictures)")
    counts = np.bincount(verdicts[asked], minlength=len(Verdict))
    emotions = faces.emotions[rows]
    names = tuple(faces.names[row] for row in rows)
    return LabelledSet(
        faces=Faces(np.ascontiguousarray(faces.images[rows]), class_of(spec.protocol)[emotions], emotions, names),
        emotions_known=not named_after_classes,
        dropped={verdict.name.lower(): int(counts[verdict]) for verdict in Verdict if verdict and counts[verdict]},
        fingerprint=fingerprint(faces),
    )


def _plain_folder(spec: DataSpec) -> tuple[FaceSet, bool] | None:
    """The pictures of a folder without splits, and whether its folders name classes; None if it is no such folder."""
    path = Path(spec.source).expanduser()
    if spec.source == "demo" or not path.is_dir():
        return None
    folders = {entry.name.lower(): entry for entry in path.iterdir() if entry.is_dir() and entry.name[0] != "."}
    if {"train", "test"} <= folders.keys():
        return None
    # An emotion of each class stands for all of it.
    classes = {name: EMOTIONS.index(getattr(spec.protocol, name)[0]) for name in CLASSES}
    for numbers in (classes, SPELLINGS):
        if folders and folders.keys() <= numbers.keys():
            files = [
                FaceFile(TEST, numbers[name], file.name, str(file))
                for name in sorted(folders)
                for file in sorted(folders[name].rglob("*"))
                if file.suffix.lower() in IMAGES and file.is_file()
            ]
            detector = FaceDetector(spec.crop) if spec.crop else None
            with reading(path):
                return read_files(path, files, detector), numbers is classes
    raise InputError(
        f"{path}: its folders are {', '.join(sorted(folders)) or 'none'}; they must be train and test, or be named "
        f"after classes ({', '.join(CLASSES)}) or emotions ({', '.join(EMOTIONS)})"
    )
