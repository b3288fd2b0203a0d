"""`faces` weights: a backbone pretrained in the domain, on all training faces with their seven emotions.

A face that stands in validation or test is never seen (`load_pretraining` holds it out), and the file's name holds a
hash of what was held out: another split pretrains again. The work is done once per node; a checkpoint at each of its
27 parts lets a killed pretraining go on where it was. Only then is torch loaded, which takes seconds.
"""

import fcntl
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict

from spaces.errors import InputError
from spaces.resnet import ResnetConfig
from trainables.base import weights_key
from trainables.data.protocol import PretrainingData
from trainables.files import read_form

# Part of the key, to be raised when the training loop changes what it computes. The rounding of another device or
# another version of torch is no reason to spend an hour again, so neither is part of it.
_FORMAT = 2

WEIGHTS, RECORD = "weights.safetensors", "pretraining.json"
LOCK_POLL_SECONDS = 5.0


class Record(BaseModel):
    """What pretraining was, kept beside its weights.

    Attributes:
        config: How it was trained.
        images: On how many faces.
        seconds: How long it took, interruptions not counted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: ResnetConfig
    images: int
    seconds: float


Listener: TypeAlias = Callable[[float, float], bool]
"""Called after each part with the share done and the mean training loss of the part, and while another process is at
it, now and then, with a loss that is not a number; False asks to stop."""


class PretrainingStopped(Exception):  # noqa: N818 (not an error: the caller asked for it)
    """Pretraining was asked to stop; asked for again, it goes on from its last checkpoint."""


def _go_on(share: float, loss: float) -> bool:
    return True


def pretrained(
    config: ResnetConfig,
    data: PretrainingData,
    cache: Path,
    threads: int,
    listener: Listener = _go_on,
    files: Mapping[str, Path] = MappingProxyType({}),
) -> Path:
    """The weights file of a backbone pretrained on `data`, made now unless `cache` holds it.

    Whoever comes second while it is being made waits for the first; the lock dies with the process that holds it.

    Args:
        config: How to train; its `weights` are what pretraining itself starts from.
        data: What to train on.
        cache: The node's folder for shared work.
        threads: CPU threads to use.
        listener: Hears of progress.
        files: Files of weights by `weights_key`, for what pretraining itself starts from.

    Returns:
        A safetensors file: the tensors of `config.arch` by torchvision's names, with a head of seven emotions.
        Beside it lies `RECORD`.

    Raises:
        InputError: If `cache` cannot be written.
        PretrainingStopped: If `listener` returned False.
        TrainingError: If training failed.
    """
    start = files.get(weights_key(config.arch, config.weights)) or _file_of(config)
    folder = cache / f"faces-weights-{config.arch}-{_key(config, data, start)}"
    weights = folder / WEIGHTS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".lock", listener):
            if not weights.is_file():
                from trainables.pretraining_loop import train

                train(config, data, folder, threads, listener, files)
                last = checkpoints(folder)[-1]
                # In this order a kill at any point leaves either a checkpoint to go on from or whole weights.
                shutil.copyfile(last / RECORD, folder / RECORD)
                (last / "net.safetensors").replace(weights)
            for checkpoint in checkpoints(folder):
                shutil.rmtree(checkpoint)
    except OSError as error:
        raise InputError(f"{folder}: cannot keep pretrained weights here ({error.strerror or error})") from error
    return weights


def pretraining_record(weights: Path) -> dict[str, Any]:
    """What lies beside the file `weights` that `pretrained` gave, as plain values."""
    return read_form(Record, weights.parent / RECORD).model_dump(mode="json")


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in the folder of a pretraining, the oldest first; each is named by the part that it follows."""
    return sorted(folder.glob("[0-9]*"), key=lambda path: int(path.name))


def _file_of(config: ResnetConfig) -> Path | None:
    """The file that pretraining itself starts from, if any."""
    if config.weights == "none":
        return None
    from trainables.weights import resolve_weights

    return resolve_weights(config.arch, config.weights)


def _key(config: ResnetConfig, data: PretrainingData, start: Path | None) -> str:
    """A hash of all that the weights depend on, and of what was held out."""
    plain = config.model_copy(update={"weights": "none"})
    parts = (str(_FORMAT), plain.model_dump_json(), data.fingerprint, data.split)
    content = blake2b("\n".join(parts).encode(), digest_size=12)
    content.update(np.ascontiguousarray(data.images).data)
    content.update(data.emotions.tobytes())
    if start is not None:
        content.update(start.read_bytes())
    return content.hexdigest()


@contextmanager
def _locked(path: Path, listener: Listener) -> Iterator[None]:
    """Hold the lock at `path`; while another process does, ask `listener` now and then whether to go on waiting.

    Raises:
        PretrainingStopped: If not.
    """
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not listener(0.0, math.nan):
                    raise PretrainingStopped from None
                time.sleep(LOCK_POLL_SECONDS)
        yield
