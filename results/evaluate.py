"""An artifact measured on any labelled set, with every figure that says something of it."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from sklearn.metrics import roc_auc_score

from results.artifact import Artifact
from results.calibration import calibration_error, recall_by_emotion, reliability, thresholds
from results.labelled import LabelledSet, Part, read_labelled
from results.selection_view import with_interval
from results.statistics import accuracy_interval
from spaces.errors import InputError
from trainables.data.faceset import CLASSES
from trainables.metrics import score


def evaluate(artifact: Artifact, data: str, part: Part = "test") -> dict[str, Any]:
    """Measure `artifact` on `data`, whose pictures are cropped, cleaned and put into classes as its training data were.

    Args:
        artifact: What `load_artifact` returned.
        data: As of a search (`demo`, a csv or parquet file, a folder with train and test), or a folder of folders of
            pictures, named after the emotions or the classes.
        part: Which split of a source; plain folders have none.

    Returns:
        `artifact` (its run's name), `data`, `part` and `n`, the faces; `accuracy` (balanced) with `accuracy_ci`,
        `plain_accuracy` (each face counts once), `macro_f1`, `log_loss` (nats), `brier` (mean squared distance of the
        probabilities from the truth, 0..2), `roc_auc` (mean over the classes, each against the rest), `recall` and
        `precision` by class (None where a class was never predicted), `confusion` (rows true), `calibration_error`,
        `reliability` (by bins: `confidence`, `accuracy`, `n`), `thresholds`, `recall_by_emotion` (None where emotions
        are not known), `dropped` (pictures by reason) and `warning`, a sentence if these are the data of the
        artifact's own run, else None.

    Raises:
        InputError: If the data cannot be read or a class has no face.
    """
    spec = artifact.manifest.data.model_copy(update={"source": data, "crop": artifact.crop})
    found = read_labelled(spec, part)
    labels = found.faces.labels
    counts = np.bincount(labels, minlength=len(CLASSES))
    if (counts == 0).any():
        named = ", ".join(f"{name} {count}" for name, count in zip(CLASSES, counts, strict=True))
        raise InputError(f"{data}: every class needs a face to be measured on; received {named}")
    probabilities = artifact.model.predict_proba(found.faces.images)
    return {
        "artifact": artifact.manifest.run,
        "data": data,
        "part": part,
        **_figures(labels, probabilities),
        "recall_by_emotion": recall_by_emotion(found.faces, probabilities) if found.emotions_known else None,
        "dropped": found.dropped,
        "warning": _warning(artifact, found, part),
    }


def _figures(labels: NDArray[Any], probabilities: NDArray[np.float32]) -> dict[str, Any]:
    scores = score(labels, probabilities)
    confusion = np.array(scores.confusion)
    predicted, hits = confusion.sum(axis=0), confusion.diagonal()
    truth = np.eye(len(CLASSES))[labels]
    bins = reliability(labels, probabilities)
    return asdict(scores) | {
        "accuracy_ci": accuracy_interval(confusion),
        "plain_accuracy": float(hits.sum() / len(labels)),
        "brier": float(np.square(probabilities - truth).sum(axis=1).mean()),
        "roc_auc": float(np.mean([roc_auc_score(truth[:, k], probabilities[:, k]) for k in range(len(CLASSES))])),
        "recall": dict(zip(CLASSES, scores.recall, strict=True)),
        "precision": {
            name: float(right / all_of_it) if all_of_it else None
            for name, right, all_of_it in zip(CLASSES, hits, predicted, strict=True)
        },
        "calibration_error": calibration_error(labels, probabilities),
        "reliability": {name: getattr(bins, name).tolist() for name in ("confidence", "accuracy", "n")},
        "thresholds": [part.model_dump() for part in thresholds(labels, probabilities)],
    }


def _warning(artifact: Artifact, found: LabelledSet, part: Part) -> str | None:
    if artifact.manifest.provenance.get("data", {}).get("fingerprint") != found.fingerprint:
        return None
    if part == "test":
        return (
            "this is the test split of the artifact's own run, of which the run keeps every reading that `fertune "
            "select` makes; this one is not on its record: choose nothing by it"
        )
    return "the artifact was trained and chosen on faces of this very data: the figures flatter it"


def render(found: dict[str, Any]) -> RenderableType:
    """What `evaluate` returned, for people."""
    lines = [
        f"{found['artifact']} on {found['data']} ({found['part']}): {found['n']:,} faces",
        f"accuracy {with_interval(found['accuracy'], found['accuracy_ci'])} (balanced; 95 % bootstrap interval), "
        f"plain {found['plain_accuracy']:.4f}, macro-F1 {found['macro_f1']:.4f}, AUC {found['roc_auc']:.4f}",
        f"log-loss {found['log_loss']:.4f}, Brier score {found['brier']:.4f}, "
        f"expected calibration error {found['calibration_error']:.4f}",
    ]
    if found["dropped"]:
        dropped = ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in found["dropped"].items())
        lines.append(f"dropped: {dropped}")
    if found["warning"]:
        lines.append(f"note: {found['warning']}")
    views: list[RenderableType] = [Text("\n".join(lines)), _confusion(found), _sureness(found)]
    if found["recall_by_emotion"] is not None:
        views.append(_emotions(found["recall_by_emotion"]))
    return Group(*views)


def _confusion(found: dict[str, Any]) -> Table:
    table = _table("faces (rows true, columns predicted)", "", *CLASSES, "recall", "precision")
    for name, counts in zip(CLASSES, found["confusion"], strict=True):
        precision = found["precision"][name]
        shares = [f"{found['recall'][name]:.4f}", "-" if precision is None else f"{precision:.4f}"]
        table.add_row(name, *(f"{count:,}" for count in counts), *shares)
    return table


def _sureness(found: dict[str, Any]) -> Table:
    table = _table("if less sure labels are passed over", "least probability", "faces left", "right")
    for row in found["thresholds"]:
        table.add_row(f"{row['confidence']:.3f}", f"{row['coverage']:.1%}", f"{row['accuracy']:.4f}")
    return table


def _emotions(recalls: dict[str, Any]) -> Table:
    table = _table("by original emotion", "emotion", "class", "faces", "recall")
    for emotion, found in recalls.items():
        table.add_row(emotion, found["class"], f"{found['n']:,}", f"{found['recall']:.4f}")
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
