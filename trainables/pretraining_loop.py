"""The training of `faces` weights: part by part, with a checkpoint after each."""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from spaces.fidelity import Fidelity
from spaces.resnet import ResnetConfig
from trainables.base import TrainingError
from trainables.data.faceset import EMOTIONS
from trainables.data.protocol import PretrainingData
from trainables.files import read_form
from trainables.finetuning import Examples, FineTuning
from trainables.precision import Compute, cpu_threads, out_of_memory, release_memory
from trainables.pretraining import RECORD, Listener, PretrainingStopped, Record, checkpoints
from trainables.weights import read_into, read_tensors, starting_net, write_tensors

_SCALE = Fidelity()
_SEED = 0


def train(
    config: ResnetConfig,
    data: PretrainingData,
    folder: Path,
    threads: int,
    listener: Listener,
    files: Mapping[str, Path],
) -> None:
    """Train from the last checkpoint in `folder` to the end, whose checkpoint stays.

    Args:
        config: How to train.
        data: What to train on.
        folder: That of this pretraining.
        threads: CPU threads to use.
        listener: Hears of progress.
        files: Files of weights by `weights_key`, for what pretraining itself starts from.

    Raises:
        PretrainingStopped: If `listener` asks for it.
        TrainingError: If training diverged or memory did not suffice.
    """
    compute = Compute.best()
    try:
        with cpu_threads(threads):
            _train_on(compute, config, data, folder, listener, files)
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, TrainingError) or not out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        raise TrainingError(f"out of memory with batches of {config.batch_size} ({reason})") from None
    finally:
        release_memory(compute)  # the trials to come need it


def _train_on(
    compute: Compute,
    config: ResnetConfig,
    data: PretrainingData,
    folder: Path,
    listener: Listener,
    files: Mapping[str, Path],
) -> None:
    examples = Examples(data.images, data.emotions, len(EMOTIONS), data.emotions, balanced=False)
    done = checkpoints(folder)[-1:]
    if done and int(done[0].name) == _SCALE.maximum:
        return
    net = starting_net(config, _SEED, len(EMOTIONS), files)
    if done:
        net.load_state_dict(read_tensors(done[0] / "net.safetensors"))
    training = FineTuning(compute.place(net), config, examples, _SEED, compute)
    if done:
        read_into(training.state(), done[0] / "training.safetensors")
    record = read_form(Record, done[0] / RECORD) if done else Record(config=config, images=len(data.images), seconds=0)
    first, began = int(done[0].name) if done else 0, time.perf_counter()
    for part in range(first + 1, _SCALE.maximum + 1):
        begin = _SCALE.units(training.total_steps, part - 1) if part > 1 else 0
        steps = range(begin, _SCALE.units(training.total_steps, part))
        loss = training.run(steps) if steps else 0.0
        spent = record.seconds + time.perf_counter() - began
        _keep(training, folder, part, record.model_copy(update={"seconds": spent}))
        if not listener(part / _SCALE.maximum, loss) and part < _SCALE.maximum:
            raise PretrainingStopped


def _keep(training: FineTuning, folder: Path, part: int, record: Record) -> None:
    """Write a checkpoint, whole or not at all, then remove the older ones."""
    older = checkpoints(folder)
    partial = folder / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    write_tensors(training.predictor.state_dict(), partial / "net.safetensors")
    write_tensors(training.state(), partial / "training.safetensors")
    (partial / RECORD).write_text(record.model_dump_json(indent=2))
    partial.rename(folder / str(part))
    for path in older:
        shutil.rmtree(path)
