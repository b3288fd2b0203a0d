"""TensorBoard's events, written into the run folder while the search runs."""

import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.text.summary_v2 import text_pb

from results.mistakes import most_confident
from results.predictions import kept_probabilities
from results.run_folder import RunFolder
from results.schema import Event, Measurement, TrialEnd, TrialStart
from search import hparams
from search.engine import Engine
from search.event_file import EventFile
from search.pictures import Picture, confusion_picture, mistakes_picture, png
from spaces.errors import InputError
from spaces.joint import JointSpace
from trainables.data.faceset import Faces
from trainables.metrics import score

COLUMNS = "columns"
"""The folder that tells the columns of the HPARAMS tab."""

_SCALARS = {
    "fidelity": "fidelity",
    "validation/accuracy": "val_accuracy",
    "validation/macro_f1": "val_macro_f1",
    "validation/log_loss": "val_log_loss",
    "training/loss": "train_loss",
    "training/learning_rate": "learning_rate",
    "cost/total_seconds": "total_seconds",
    "cost/images_per_second": "images_per_second",
    "cost/latency_ms": "latency_ms",
    "cost/model_mb": "model_mb",
    "cache/hits": "cache_hits",
    "cache/misses": "cache_misses",
    "cache/bytes": "cache_bytes",
    "cache/seconds_saved": "cache_seconds_saved",
    "cache/wait_seconds": "cache_wait_seconds",
}


class Board:
    """Writes scalars, hyperparameters and pictures of every trial by fidelity, and the search by wall-clock seconds.

    Each trial has a folder of its own, `trial-00007-svm`, so that TensorBoard shows it as a run that can be filtered by
    family; the search has the folder `search`, with its plan as text.

    Args:
        run: The run.
        engine: Its search.
        faces: The validation faces.
    """

    def __init__(self, run: RunFolder, engine: Engine, faces: Faces) -> None:
        self._run = run
        self._engine = engine
        self._faces = faces
        self._writers: dict[str, EventFile] = {}

    def __enter__(self) -> Self:
        now = time.time()
        write_columns(self._run.tensorboard / COLUMNS, [self._engine.plan.space])
        plan = f"```yaml\n{self._run.plan.read_text()}```"
        self._writer("search").add(text_pb("plan", plan), int(self._engine.elapsed), now)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._writers):
            self._close(name)

    def hear(self, event: Event) -> None:
        """Write what `event` changed, so that it can be seen at once."""
        if isinstance(event, TrialStart):
            self._trial(event)
        elif isinstance(event, Measurement):
            writer = self._trial(event)
            scalars = {tag: getattr(event, field) for tag, field in _SCALARS.items()}
            writer.add(_scalars(scalars), event.fidelity, event.time)
            writer.add(self._pictures(event), event.fidelity, event.time)
        elif isinstance(event, TrialEnd):
            self._trial(event).add(hparams.trial_end(event.status, event.time), 0, event.time)
            self._close(self._name(event.trial))
            self._write_search(event.time)

    def _write_search(self, now: float) -> None:
        best = self._engine.incumbent
        found = best.val_accuracy if best else None
        scalars = {"search/best_accuracy": found, "search/trials_ended": float(self._engine.ended)}
        self._writer("search").add(_scalars(scalars), int(self._engine.elapsed), now)

    def _pictures(self, measured: Measurement) -> Summary:
        """The confusion matrix at a rung and, of a trial at full fidelity, its most confident mistakes."""
        record = self._engine.trials[measured.trial]
        try:
            probabilities = kept_probabilities(self._run, record, self._faces.labels)
        except InputError as error:  # a picture is not worth a search
            return text_pb("pictures", f"not drawn: {error}")
        pictures = {"confusion": confusion_picture(score(self._faces.labels, probabilities).confusion)}
        if measured.fidelity == self._engine.plan.fidelity.maximum:
            mistakes = mistakes_picture(most_confident(self._faces, probabilities))
            pictures |= {} if mistakes is None else {"most_confident_mistakes": mistakes}
        return Summary(value=[_image(tag, picture) for tag, picture in pictures.items()])

    def _name(self, trial: int) -> str:
        return f"trial-{trial:05d}-{self._engine.trials[trial].family}"

    def _trial(self, event: TrialStart | Measurement | TrialEnd) -> EventFile:
        """The writer of a trial; it tells the trial's hyperparameters first, in every session that hears of it."""
        name = self._name(event.trial)
        is_new = name not in self._writers
        writer = self._writer(name)
        if is_new:
            record = self._engine.trials[event.trial]
            writer.add(hparams.trial_start(self._engine.plan.space, record, event.time), 0, event.time)
        return writer

    def _writer(self, name: str) -> EventFile:
        if name not in self._writers:
            self._writers[name] = EventFile(self._run.tensorboard / name)
        return self._writers[name]

    def _close(self, name: str) -> None:
        if name in self._writers:
            self._writers.pop(name).close()


def write_columns(folder: Path, spaces: Iterable[JointSpace]) -> None:
    """Tell in `folder` the columns that the HPARAMS tab has for searches of `spaces`."""
    writer = EventFile(folder)
    writer.add(hparams.columns(spaces), 0, time.time())
    writer.close()


def _scalars(scalars: dict[str, float | None]) -> Summary:
    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items() if value is not None]
    return Summary(value=values)


def _image(tag: str, picture: Picture) -> Summary.Value:
    height, width, *_ = picture.shape
    colours = 1 if picture.ndim == 2 else 3
    image = Summary.Image(height=height, width=width, colorspace=colours, encoded_image_string=png(picture))
    return Summary.Value(tag=tag, image=image)
