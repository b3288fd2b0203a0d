"""Artifacts: the winner of a run as a folder that can be copied, checked and used without the run.

    <artifact>/manifest.json   what it is (see `results/manifest.py`), with the sha256 of every other file
    <artifact>/README.md       the model card
    <artifact>/model/          what the family's `Model.save` wrote
    <artifact>/detector.onnx   the detector that cropped its pictures, if that was a file the user brought

Nothing in it needs unpickling, and nothing beside the manifest is parsed before its hash has been checked.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard
from uuid import uuid4

from pydantic import ValidationError

from results.leaderboard import TrialRecord
from results.manifest import FORMAT, Manifest, Metrics, ValidationFigures
from results.model_card import model_card
from results.readings import reading_for, readings_of
from results.run_folder import RunFolder
from results.selection import selected
from spaces.errors import InputError
from trainables.base import Model
from trainables.data.crop import detector_file
from trainables.data.spec import CropSpec
from trainables.families import load_model

MANIFEST = "manifest.json"
CARD = "README.md"
MODEL = "model"
DETECTOR = "detector.onnx"


@dataclass(frozen=True)
class Artifact:
    """A checked artifact, ready to predict.

    Attributes:
        manifest: What it is.
        model: The model.
        crop: How its training pictures were cropped, by the artifact's own copy of the detector's file; None if they
            were taken whole.
    """

    manifest: Manifest
    model: Model
    crop: CropSpec | None


def export(run: RunFolder, out: Path) -> dict[str, Any]:
    """Write the winner of `run` as an artifact; the test set is not read.

    The winner is that of the last selection, or the incumbent where none was made since the last trial finished.

    Args:
        run: The run.
        out: The folder to make; it may exist if it is empty. It appears whole or not at all.

    Returns:
        `artifact` (the folder) and `files` (sha256 of every file in it by name, the manifest included).

    Raises:
        InputError: If no trial has finished, a file of the run or the detector is missing, or `out` is taken.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: already exists and is not an empty folder; remove it or name another")
    winner = selected(run)
    source = run.fetched(f"{winner.measurements[-1].checkpoint}/{MODEL}")
    if not source.is_dir():
        raise InputError(f"{source}: the model of trial {winner.trial} is missing from the run")
    manifest = _manifest(run, winner)
    with _writing(out), _appearing(out) as folder:
        shutil.copytree(source, folder / MODEL, copy_function=shutil.copyfile)
        if _brought(manifest.data.crop):
            shutil.copyfile(detector_file(manifest.data.crop), folder / DETECTOR)
        (folder / CARD).write_text(model_card(manifest))
        manifest = manifest.model_copy(update={"files": _hashes(folder)})
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
        files = _hashes(folder)
    return {"artifact": str(out), "files": files}


def load_artifact(folder: Path) -> Artifact:
    """Read an artifact after checking every byte of it against its manifest.

    Hidden files (names that start with a dot, as version control and desktops leave them) are passed over.

    Raises:
        InputError: If there is no artifact, it is of an unknown format, a file is missing, changed or not in the
            manifest, or the model cannot be read.
    """
    manifest = _read_manifest(folder)
    found = {name: digest for name, digest in _hashes(folder).items() if name != MANIFEST}
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
    crop = manifest.data.crop
    if _brought(crop):
        crop = crop.model_copy(update={"model": str(folder / DETECTOR)})
    return Artifact(manifest, load_model(manifest.family, folder / MODEL), crop)


def _brought(crop: CropSpec | None) -> TypeGuard[CropSpec]:
    """Whether pictures were cropped with a file that the user brought."""
    return crop is not None and crop.model is not None


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
        raise InputError(f"{path}: received an artifact of format {version!r}; this version reads format {FORMAT}")
    try:
        return Manifest.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {field}: {first['msg']}; received {first['input']!r}") from error


def _manifest(run: RunFolder, winner: TrialRecord) -> Manifest:
    readings = readings_of(run)
    reading = reading_for(winner, readings)
    measured = winner.measurements[-1]
    validation = ValidationFigures(
        accuracy=measured.val_accuracy,
        accuracy_ci=reading.val_accuracy_ci if reading else None,
        macro_f1=measured.val_macro_f1,
        log_loss=measured.val_log_loss,
        recall=measured.val_recall,
    )
    return Manifest(
        run=run.path.resolve().name,
        trial=winner.trial,
        family=winner.family,
        config=winner.config,
        fidelity=winner.fidelity,
        seed=winner.seed,
        data=run.data_spec(),
        metrics=Metrics(validation=validation, test=reading.test if reading else None, test_readings=len(readings)),
        provenance=run.provenance_values(),
        files={},
    )


def _hashes(folder: Path) -> dict[str, str]:
    """sha256, hexadecimal, of every file under `folder` that is not hidden, by its path from there, in order."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    visible = [name for name in names if not any(part.startswith(".") for part in name.parts)]
    return {name.as_posix(): _sha256(folder / name) for name in visible}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _writing(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"{out}: the artifact cannot be written here ({error.strerror or error})") from error


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that takes its name when the block ends, and vanishes if the block fails."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / f".{out.name}-{uuid4().hex}"
    partial.mkdir()
    try:
        yield partial
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
