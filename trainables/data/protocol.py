"""The three-class protocol: what is cleaned away, and which faces train, validate and test.

Everything here depends on the pixels, emotions and splits of the faces alone, not on the order of the rows nor on
names, so that one data set in any layout and on any machine gives the same faces in the same order.

Where pictures are cropped, a leak, a conflict or a duplicate is judged by the crops, for these are what a learner sees:
equal pictures have equal crops, so nothing is missed that would be found on whole pictures, while pictures that differ
outside the face only (a caption, a frame) are told to be the same face too. The draw, instead, ranks the pictures as
they were before (`FaceSet.origins`): with and without cropping it validates on the same people, so that figures can be
compared. No crop is on both sides all the same, since equal crops within a split are one row by then. Dropping pictures
without a face changes validation, though: figures then hold for pictures in which a face can be found.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spaces.errors import InputError
from trainables.data.faceset import CLASSES, EMOTIONS, SIDE, TEST, TRAIN, Faces, FaceSet, Images, Labels, joined
from trainables.data.spec import DataSpec, ProtocolSpec
from trainables.data.store import load_faceset

Rows: TypeAlias = NDArray[np.int64]


class Verdict(IntEnum):
    """Why a row is dropped; the first that applies, in this order.

    Faults of the data come before `NO_FACE` and `NO_CLASS`, which are choices, so that their counts tell about the
    source whatever is chosen; `BLANK` comes first because blank images are equal to each other.
    """

    KEPT = 0
    BLANK = 1
    """The standard deviation of its pixels is below `blank_std`."""
    LEAK = 2
    """A training row whose image also stands in the test split."""
    CONFLICT = 3
    """The same image stands in the same split under another emotion."""
    DUPLICATE = 4
    """The same image stands in the same split under the same emotion and is kept: the first one, or, among equal crops,
    the first of those whose picture has the lowest hash."""
    NO_FACE = 5
    """No face was found in it, and such pictures are to be dropped."""
    NO_CLASS = 6
    """Its emotion belongs to none of the three classes."""


@dataclass(frozen=True)
class Split:
    """Which rows of a source are used for what, and why the others are dropped.

    Attributes:
        train: Rows of the training faces, in training order (a fixed random order).
        validation: Rows of the validation faces; likewise `test`.
        verdicts: int8, (n,), a `Verdict` for each row of the source.
    """

    train: Rows
    validation: Rows
    test: Rows
    verdicts: NDArray[np.int8]


@dataclass(frozen=True)
class TrainingData:
    """What a trial may see.

    Attributes:
        train: The training faces.
        validation: The validation faces.
        fingerprint: The content hash of the whole source.
        split: The hash of the images that nothing fitted may have seen: validation and the whole test split.
    """

    train: Faces
    validation: Faces
    fingerprint: str
    split: str

    @property
    def everything(self) -> Faces:
        """Training and validation faces as one: what is left to learn from once all is decided."""
        return joined(self.train, self.validation)


@dataclass(frozen=True)
class PretrainingData:
    """What a backbone may be pretrained on: all clean training images, of any emotion, that nothing held out equals.

    Attributes:
        images: uint8, (n, 48, 48).
        emotions: int8, (n,), index into `EMOTIONS`.
        fingerprint: As in `TrainingData`; likewise `split`.
    """

    images: Images
    emotions: Labels
    fingerprint: str
    split: str


def load_training(spec: DataSpec, cache: Path) -> TrainingData:
    """The training and validation faces of `spec`; parsed data is kept in `cache`.

    Raises:
        InputError: If the source cannot be read or a class has too few images.
    """
    stored = load_faceset(spec, cache)
    parts = split(stored, spec.protocol, spec.drops_faceless)
    _check_counts(spec, stored, parts.validation, 1, "validation")
    needed = 1 if spec.protocol.balance == "none" else spec.protocol.balance
    _check_counts(spec, stored, parts.train, needed, "training")
    return TrainingData(
        train=_faces(stored, parts.train, spec.protocol),
        validation=_faces(stored, parts.validation, spec.protocol),
        fingerprint=stored.fingerprint,
        split=_split_hash(_held_out(stored, parts)),
    )


def load_pretraining(spec: DataSpec, cache: Path) -> PretrainingData:
    """What `spec` offers for pretraining: training images of emotions without a class too, whatever `balance` says.

    Raises:
        InputError: If the source cannot be read.
    """
    stored = load_faceset(spec, cache)
    parts = split(stored, spec.protocol, spec.drops_faceless)
    held_out = _held_out(stored, parts)
    clean = np.isin(parts.verdicts, (Verdict.KEPT, Verdict.NO_CLASS)) & (stored.usage == TRAIN)
    rows = np.flatnonzero(clean & ~np.isin(stored.digests, held_out))
    rows = _ranked(stored, rows, spec.protocol.seed, "pretraining")
    return PretrainingData(
        images=np.ascontiguousarray(stored.images[rows]),
        emotions=stored.emotions[rows],
        fingerprint=stored.fingerprint,
        split=_split_hash(held_out),
    )


def load_test(spec: DataSpec, cache: Path) -> Faces:
    """The test faces of `spec`; never for anything that trains, tunes or chooses.

    Raises:
        InputError: If the source cannot be read or a class has no test image.
    """
    stored = load_faceset(spec, cache)
    rows = split(stored, spec.protocol, spec.drops_faceless).test
    _check_counts(spec, stored, rows, 1, "test")
    return _faces(stored, rows, spec.protocol)


def split(faces: FaceSet, spec: ProtocolSpec, drop_faceless: bool = False) -> Split:
    """Clean `faces`, where `drop_faceless` of those without a face too, and draw the splits.

    Validation is drawn first: of each emotion, the share of usable training rows that ranks lowest by a hash of seed
    and picture. Whether a row is in it therefore depends on no class, no other emotion and no amount of training data;
    with `balance`, a smaller training set is part of every larger one.
    """
    verdicts = judge(faces, spec, drop_faceless)
    usable = verdicts == Verdict.KEPT
    pool = _ranked(faces, np.flatnonzero(usable & (faces.usage == TRAIN)), spec.seed, "validation")
    validation = _first(pool, faces.emotions[pool], lambda n: max(1, int(spec.validation * n + 0.5)))
    train = _ranked(faces, np.setdiff1d(pool, validation), spec.seed, "training")
    if spec.balance != "none":
        amount = spec.balance
        train = _first(train, class_of(spec)[faces.emotions[train]], lambda n: min(n, amount))
    test = _ranked(faces, np.flatnonzero(usable & (faces.usage == TEST)), spec.seed, "test")
    return Split(train, validation, test, verdicts)


def judge(faces: FaceSet, spec: ProtocolSpec, drop_faceless: bool = False) -> NDArray[np.int8]:
    """A `Verdict` for each row, int8, (n,)."""
    _, image = np.unique(faces.digests, return_inverse=True)
    place = 2 * image + faces.usage  # the same for copies of one image within one split
    order = np.argsort(faces.origins, kind="stable")
    _, firsts = np.unique(place[order], return_index=True)
    first = np.zeros(len(faces), bool)
    first[order[firsts]] = True
    faceless = np.zeros(len(faces), bool) if faces.crops is None else ~faces.crops.found
    emotions_at = np.bincount(np.unique(place * len(EMOTIONS) + faces.emotions) // len(EMOTIONS))
    tests = [
        (Verdict.BLANK, pixel_std(faces.images) < spec.blank_std),
        (Verdict.LEAK, (faces.usage == TRAIN) & np.isin(image, image[faces.usage == TEST])),
        (Verdict.CONFLICT, emotions_at[place] > 1),
        (Verdict.DUPLICATE, ~first),
        (Verdict.NO_FACE, faceless & drop_faceless),
        (Verdict.NO_CLASS, class_of(spec)[faces.emotions] < 0),
    ]
    verdicts = np.select([holds for _, holds in tests], [verdict for verdict, _ in tests], Verdict.KEPT)
    return verdicts.astype(np.int8)


def class_of(spec: ProtocolSpec) -> Labels:
    """The class of each emotion: int8, (7,), an index into `CLASSES`, -1 where it has none."""
    classes = np.full(len(EMOTIONS), -1, np.int8)
    for number, name in enumerate(CLASSES):
        for emotion in getattr(spec, name):
            classes[EMOTIONS.index(emotion)] = number
    return classes


def pixel_std(images: Images) -> NDArray[np.float64]:
    """The standard deviation of the pixels of each image, (n,), in gray levels; sums are whole numbers, so exact."""
    pixels = images.reshape(len(images), -1)
    total = pixels.sum(axis=1, dtype=np.int64)
    squares = np.einsum("ij,ij->i", pixels, pixels, dtype=np.int64)
    size = SIDE * SIDE
    variance: NDArray[np.float64] = (size * squares - total**2) / size**2
    return np.sqrt(variance)


def _ranked(faces: FaceSet, rows: Rows, seed: int, purpose: str) -> Rows:
    """`rows` in an order that a hash of seed, purpose and image gives: random, yet the same for any order of rows."""
    salt = f"{seed} {purpose} ".encode()
    hashes = b"".join(blake2b(salt + origin.tobytes(), digest_size=8).digest() for origin in faces.origins[rows])
    return rows[np.argsort(np.frombuffer(hashes, "<u8"), kind="stable")]


def _first(rows: Rows, groups: NDArray[Any], count: Callable[[int], int]) -> Rows:
    """The first `count(size)` of `rows` in each group, in the order of `rows`."""
    chosen = np.zeros(len(rows), bool)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        chosen[members[: count(len(members))]] = True
    return rows[chosen]


def _held_out(faces: FaceSet, parts: Split) -> NDArray[Any]:
    """The digests of the images that nothing fitted may have seen: validation and the whole test split, sorted."""
    return np.unique(np.concatenate([faces.digests[parts.validation], faces.digests[faces.usage == TEST]]))


def _split_hash(held_out: NDArray[Any]) -> str:
    return blake2b(held_out.tobytes(), digest_size=16).hexdigest()


def _faces(source: FaceSet, rows: Rows, spec: ProtocolSpec) -> Faces:
    emotions = source.emotions[rows]
    return Faces(
        images=np.ascontiguousarray(source.images[rows]),
        labels=class_of(spec)[emotions],
        emotions=emotions,
        names=tuple(source.names[row] for row in rows),
    )


def _check_counts(spec: DataSpec, faces: FaceSet, rows: Rows, needed: int, purpose: str) -> None:
    counts = np.bincount(class_of(spec.protocol)[faces.emotions[rows]], minlength=len(CLASSES))
    for name, count in zip(CLASSES, counts, strict=True):
        if count < needed:
            raise InputError(
                f"{spec.source}: too few images of class {name} for {purpose}: {count}, needed {needed}"
                + ("; lower `balance` or set it to none" if needed > 1 else "")
            )
