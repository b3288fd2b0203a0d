"""Exports: the winner of a run, its refit or the ensemble as an artifact, which `results/artifact.py` describes."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

from results.artifact import CARD, DETECTOR, MANIFEST, MODEL, ONNX, brought, hashes, member_folder
from results.goals import Goals
from results.leaderboard import TrialRecord
from results.manifest import Choice, EnsembleFigures, Manifest, Member, Metrics, OnnxFile, Refit, ValidationFigures
from results.model_card import model_card
from results.predictions import kept_model
from results.readings import reading_for, readings_of
from results.refitted import refitted
from results.run_folder import RunFolder
from results.selection import comparison_of, selected, selected_ensemble
from spaces.errors import InputError
from trainables.data.crop import detector_file


class Which(StrEnum):
    """Which model of a run is meant: the winner, what `fertune refit` made of it, or the ensemble."""

    WINNER = "winner"
    REFIT = "refit"
    ENSEMBLE = "ensemble"


def export(run: RunFolder, out: Path, which: Which = Which.WINNER, onnx: bool = True) -> dict[str, Any]:
    """Write a model of `run` as an artifact; the test set is not read.

    The winner is that of the last selection, or the incumbent where none was made since the last trial finished.

    Args:
        run: The run.
        out: The folder to make; it may exist if it is empty. It appears whole or not at all.
        which: The model to write.
        onnx: Whether to write `model.onnx`, which takes seconds: ONNX Runtime is compared with the model.

    Returns:
        `artifact` (the folder) and `files` (sha256 of every file in it by name, the manifest included).

    Raises:
        InputError: If no trial has finished, there is no ensemble or no refit of this winner, a file of the run or the
            detector is missing, or `out` is taken, or a network cannot be written as ONNX.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: already exists and is not an empty folder; remove it or name another")
    manifest, sources = {Which.WINNER: _single, Which.REFIT: _refit, Which.ENSEMBLE: _ensemble}[which](run)
    with _writing(out), _appearing(out) as folder:
        for name, source in sources.items():
            shutil.copytree(source, folder / name, copy_function=shutil.copyfile)
        if brought(manifest.data.crop):
            shutil.copyfile(detector_file(manifest.data.crop), folder / DETECTOR)
        if onnx:
            manifest = manifest.model_copy(update={"onnx": _write_onnx(manifest, folder)})
        (folder / CARD).write_text(model_card(manifest))
        manifest = manifest.model_copy(update={"files": hashes(folder)})
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
        files = hashes(folder)
    return {"artifact": str(out), "files": files}


def _write_onnx(manifest: Manifest, folder: Path) -> OnnxFile:
    from results.onnx_file import write_onnx

    if manifest.family is not None:
        return write_onnx([(manifest.family, folder / MODEL)], [1.0], folder / ONNX)
    members = manifest.members
    models = [(member.family, folder / MODEL / member_folder(member.trial)) for member in members]
    return write_onnx(models, [member.weight for member in members], folder / ONNX)


def _single(run: RunFolder) -> tuple[Manifest, dict[str, Path]]:
    """The manifest of the winner, without files, and the folders to copy by their names in the artifact."""
    winner = selected(run)
    readings = readings_of(run)
    reading = reading_for(winner, readings)
    measured = winner.measurements[-1]
    compared = comparison_of(run, winner)
    validation = ValidationFigures(
        accuracy=measured.val_accuracy,
        accuracy_ci=reading.val_accuracy_ci if reading else None,
        macro_f1=measured.val_macro_f1,
        log_loss=measured.val_log_loss,
        recall=measured.val_recall,
    )
    manifest = Manifest(
        run=run.path.resolve().name,
        trial=winner.trial,
        family=winner.family,
        config=winner.config,
        seed=winner.seed,
        fidelity=winner.fidelity,
        thresholds=() if compared is None else compared["thresholds"],
        choice=None if compared is None else _choice(compared, winner, run.goals()),
        data=run.data_spec(),
        metrics=Metrics(validation=validation, test=reading.test if reading else None, test_readings=len(readings)),
        provenance=run.provenance_values(),
        files={},
    )
    return manifest, {MODEL: kept_model(run, winner)}


def _choice(compared: dict[str, Any], winner: TrialRecord, goals: Goals) -> Choice:
    row = next(row for row in compared["candidates"] if row["trial"] == winner.trial)
    calibration = compared["calibration"]
    return Choice(
        candidates=len(compared["candidates"]),
        refits=len(row["seeds"]) if row["refitted"] else 0,
        accuracy=row["val_accuracy_mean"],
        accuracy_ci=row["val_accuracy_ci"],
        mcnemar_p=compared["mcnemar_p"],
        optimism=compared["optimism"]["expected"] if goals.objectives[0] == "val_accuracy" else None,
        temperature=calibration["temperature"],
        ece=calibration["ece"],
        ece_scaled=calibration["ece_scaled"],
    )


def _refit(run: RunFolder) -> tuple[Manifest, dict[str, Path]]:
    """The same of the winner's refit, whose figures are the winner's: nothing is left to measure it on."""
    manifest, _ = _single(run)
    known = refitted(run)
    if known is None or known.trial != manifest.trial or known.config != manifest.config:
        found = "there is none" if known is None else f"the last was of trial {known.trial}"
        raise InputError(
            f"{run.location}: no refit of trial {manifest.trial}, {found}; make one with `fertune refit {run.location}`"
        )
    refit = Refit(images=known.images, workers=known.workers, seconds=known.seconds)
    return manifest.model_copy(update={"refit": refit}), {MODEL: run.refit / MODEL}


def _ensemble(run: RunFolder) -> tuple[Manifest, dict[str, Path]]:
    """The same of the ensemble."""
    records, figures = selected_ensemble(run)
    weights = [part["weight"] for part in figures["members"]]
    validation = EnsembleFigures(
        accuracy=figures["val_accuracy"],
        accuracy_ci=figures["val_accuracy_ci"],
        log_loss=figures["val_log_loss"],
        gain=figures["gain"],
        gain_ci=figures["gain_ci"],
        mcnemar_p=figures["mcnemar_p"],
    )
    manifest = Manifest(
        run=run.path.resolve().name,
        members=tuple(_member(record, weight) for record, weight in zip(records, weights, strict=True)),
        fidelity=records[0].fidelity,
        thresholds=figures["thresholds"],
        data=run.data_spec(),
        metrics=Metrics(validation=validation, test=None, test_readings=len(readings_of(run))),
        provenance=run.provenance_values(),
        files={},
    )
    return manifest, {f"{MODEL}/{member_folder(record.trial)}": kept_model(run, record) for record in records}


def _member(record: TrialRecord, weight: float) -> Member:
    return Member(trial=record.trial, family=record.family, config=record.config, seed=record.seed, weight=weight)


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
