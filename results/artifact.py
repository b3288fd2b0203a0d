"""Artifacts: folders that can be copied, checked and used without the run that they come from.

    <artifact>/manifest.json   what it is (see `results/manifest.py`), with the sha256 of every other file
    <artifact>/README.md       the model card
    <artifact>/model/          what the family's `Model.save` wrote; of an ensemble, a folder in it for each member
    <artifact>/model.onnx      the same, features and all, for any runtime of ONNX
    <artifact>/detector.onnx   the detector that cropped its pictures, if that was a file the user brought

Nothing in it needs unpickling, and nothing beside the manifest is parsed before its hash has been checked.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from results.manifest import FORMAT, Manifest
from spaces.errors import InputError
from trainables.base import Model
from trainables.data.faceset import CLASSES, Images
from trainables.data.spec import CropSpec
from trainables.families import load_model

MANIFEST = "manifest.json"
CARD = "README.md"
MODEL = "model"
ONNX = "model.onnx"
DETECTOR = "detector.onnx"


class Predictor(Protocol):
    """What predicts: a model, or several of them together."""

    def predict_proba(self, images: Images) -> NDArray[np.float32]:
        """See `Model.predict_proba`."""


@dataclass(frozen=True)
class Blend:
    """Several models as one: the weighted mean of their probabilities.

    Attributes:
        models: The models.
        weights: Theirs, summing to one.
    """

    models: Sequence[Model]
    weights: Sequence[float]

    def predict_proba(self, images: Images) -> NDArray[np.float32]:
        total = np.zeros((len(images), len(CLASSES)))
        for model, weight in zip(self.models, self.weights, strict=True):
            total += weight * model.predict_proba(images)
        return total.astype(np.float32)


@dataclass(frozen=True)
class Artifact:
    """A checked artifact, ready to predict.

    Attributes:
        manifest: What it is.
        model: What predicts.
        crop: How its training pictures were cropped, by the artifact's own copy of the detector's file; None if they
            were taken whole.
    """

    manifest: Manifest
    model: Predictor
    crop: CropSpec | None


def load_artifact(folder: Path) -> Artifact:
    """Read an artifact after checking every byte of it against its manifest.

    Hidden files (names that start with a dot, as version control and desktops leave them) are passed over.

    Raises:
        InputError: If there is no artifact, it is of an unknown format, a file is missing, changed or not in the
            manifest, or a model cannot be read.
    """
    manifest = _read_manifest(folder)
    _check_hashes(folder, manifest)
    crop = manifest.data.crop
    if brought(crop):
        crop = crop.model_copy(update={"model": str(folder / DETECTOR)})
    return Artifact(manifest, _predictor(folder / MODEL, manifest), crop)


def member_folder(trial: int) -> str:
    """The name of the folder that holds the model of `trial` in an ensemble's artifact."""
    return f"{trial:05d}"


def brought(crop: CropSpec | None) -> TypeGuard[CropSpec]:
    """Whether pictures were cropped with a file that the user brought."""
    return crop is not None and crop.model is not None


def hashes(folder: Path) -> dict[str, str]:
    """sha256, hexadecimal, of every file under `folder` that is not hidden, by its path from there, in order."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    visible = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    return {name.as_posix(): _sha256(folder / name) for name in visible}


def _predictor(folder: Path, manifest: Manifest) -> Predictor:
    if manifest.family is not None:
        return load_model(manifest.family, folder)
    models = [load_model(member.family, folder / member_folder(member.trial)) for member in manifest.members]
    return Blend(models, [member.weight for member in manifest.members])


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder}: no artifact here (an artifact is a folder with a {MANIFEST})")
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: not a manifest: {error}") from error
    version = values.get("format") if isinstance(values, dict) else None
    if version != FORMAT:
        raise InputError(
            f"{path}: received an artifact of format {version!r}; this version reads format {FORMAT}; export it again"
        )
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {field}: {first['msg']}; received {first['input']!r}") from error


def _check_hashes(folder: Path, manifest: Manifest) -> None:
    found = {name: digest for name, digest in hashes(folder).items() if name != MANIFEST}
    for name in sorted(found.keys() | manifest.files.keys()):
        if name not in found:
            raise InputError(f"{folder}: the file {name!r} that the manifest names is missing; export it again")
        if name not in manifest.files:
            raise InputError(f"{folder}: the file {name!r} is not in the manifest; an artifact holds nothing else")
        if found[name] != manifest.files[name]:
            raise InputError(
                f"{folder}: the file {name!r} is not the one that was exported: its sha256 is {found[name]}, "
                f"the manifest says {manifest.files[name]}"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
