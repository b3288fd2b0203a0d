"""TensorBoard: events written into the run folder while the search runs, and the server that shows them."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorboard.compat.proto.event_pb2 import Event as TensorBoardEvent
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from results.schema import Event, Measurement, Status, TrialEnd
from search.engine import Engine
from spaces.errors import InputError

_REFRESH_SECONDS = 5.0
_SCALARS = {
    "validation/accuracy": "val_accuracy",
    "validation/macro_f1": "val_macro_f1",
    "validation/log_loss": "val_log_loss",
    "training/loss": "train_loss",
    "training/learning_rate": "learning_rate",
    "cost/total_seconds": "total_seconds",
    "cost/images_per_second": "images_per_second",
    "cache/hits": "cache_hits",
    "cache/misses": "cache_misses",
    "cache/bytes": "cache_bytes",
    "cache/seconds_saved": "cache_seconds_saved",
}


class Board:
    """Writes scalars of every trial by fidelity, and of the search by wall-clock seconds.

    Each trial has a folder of its own, `trial-00007-svm`, so that TensorBoard shows it as a run that can be filtered by
    family; the search has the folder `search`.
    """

    def __init__(self, folder: Path, engine: Engine) -> None:
        self._folder = folder
        self._engine = engine
        self._writers: dict[str, EventFileWriter] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self._writers):
            self._close(name)

    def hear(self, event: Event) -> None:
        """Write what `event` changed, so that it can be seen at once."""
        if isinstance(event, Measurement):
            scalars = {tag: getattr(event, field) for tag, field in _SCALARS.items()}
            _write(self._writer(self._name(event.trial)), scalars, event.fidelity, event.time)
        elif isinstance(event, TrialEnd):
            self._close(self._name(event.trial))
            self._write_search(event.time)

    def _write_search(self, now: float) -> None:
        best = self._engine.incumbent
        ended = sum(record.status is not Status.RUNNING for record in self._engine.trials.values())
        scalars = {"search/best_accuracy": best.val_accuracy if best else None, "search/trials_ended": ended}
        _write(self._writer("search"), scalars, int(self._engine.elapsed), now)

    def _name(self, trial: int) -> str:
        return f"trial-{trial:05d}-{self._engine.trials[trial].family}"

    def _writer(self, name: str) -> EventFileWriter:
        if name not in self._writers:
            self._writers[name] = EventFileWriter(str(self._folder / name))
        return self._writers[name]

    def _close(self, name: str) -> None:
        if name in self._writers:
            self._writers.pop(name).close()


def _write(writer: EventFileWriter, scalars: dict[str, float | None], step: int, now: float) -> None:
    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items() if value is not None]
    writer.add_event(TensorBoardEvent(wall_time=now, step=step, summary=Summary(value=values)))
    writer.flush()


def serve(folder: Path, port: int) -> str:
    """Start TensorBoard on loopback in this process; returns its address.

    Args:
        folder: A run's TensorBoard folder.
        port: The port, 0 for any free one.

    Raises:
        InputError: If there are no events or the port is taken.
    """
    from tensorboard import program

    if not folder.is_dir():
        raise InputError(f"{folder}: no TensorBoard events here yet; they come with the first measurement")
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    server = program.TensorBoard()
    server.configure(logdir=str(folder), host="127.0.0.1", port=port, reload_interval=2)
    try:
        address: str = server.launch()
    except (OSError, SystemExit, program.TensorBoardServerException) as error:
        raise InputError(f"port {port} cannot be used for TensorBoard ({error}); choose another with --port") from error
    return address


def wait_until_interrupted(refresh: Callable[[], None]) -> None:
    """Sleep until Ctrl-C; call `refresh` every few seconds."""
    try:
        while True:
            time.sleep(_REFRESH_SECONDS)
            refresh()
    except KeyboardInterrupt:
        return
