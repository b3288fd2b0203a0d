"""What each of Ray Train's workers does in the refit of a resnet."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from spaces.errors import InputError
from spaces.fidelity import Fidelity
from spaces.resnet import ResnetConfig
from trainables.base import Task
from trainables.data.protocol import load_training
from trainables.data.spec import DataSpec

CHECKPOINTS = 9
"""Checkpoints that are written, the last one included."""


class RefitJob(BaseModel):
    """What every worker is told.

    Attributes:
        data: The data of the run.
        fingerprint: The content hash of its source, as the driver read it.
        split: The hash of what is held out, likewise.
        cache: The node's folder for parsed data, absolute.
        config: What to train.
        seed: Fixes every random choice.
        scale: The scale of fidelities.
        threads: CPU threads of a worker.
        weights: Files of weights, by `weights.weights_key`, absolute.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: DataSpec
    fingerprint: str
    split: str
    cache: Path
    config: ResnetConfig
    seed: int
    scale: Fidelity
    threads: int
    weights: dict[str, Path]


def train_share(values: dict[str, Any]) -> None:
    """Train on this worker's share of every batch to the end, from the last checkpoint if there is one.

    Args:
        values: A dumped `RefitJob`.

    Raises:
        InputError: If the data are others than the driver's.
        TrainingError: If training failed; Ray Train then ends all workers and begins again.
    """
    from ray import train
    from ray.train.torch import get_device

    from trainables.data_parallel import ParallelLearner
    from trainables.precision import Compute
    from trainables.threads import limit_threads

    job = RefitJob.model_validate(values)
    limit_threads(job.threads)
    data = load_training(job.data, job.cache)
    if (data.fingerprint, data.split) != (job.fingerprint, job.split):
        raise InputError(f"{job.data.source}: the data are not what they were when the refit began")
    task = Task(data.everything, job.seed, job.scale, job.threads, job.weights)
    learner = ParallelLearner(job.config, task, replace(Compute.best(), device=get_device()))
    if (last := train.get_checkpoint()) is not None:
        with last.as_directory() as folder:
            learner.load(Path(folder))
    for fidelity in milestones(job.scale):
        if fidelity > learner.fidelity:
            _report(learner, {"fidelity": fidelity, **learner.fit_to(fidelity)})


def milestones(scale: Fidelity) -> list[int]:
    """The fidelities at which a checkpoint is written, the last of them the full one."""
    return sorted({-(-scale.maximum * part // CHECKPOINTS) for part in range(1, CHECKPOINTS + 1)})


def _report(learner: Any, metrics: dict[str, Any]) -> None:
    """Report a milestone; the first worker's checkpoint is that of all."""
    from ray import train

    with tempfile.TemporaryDirectory(prefix="fertune-refit-") as folder:
        first = train.get_context().get_world_rank() == 0
        if first:
            learner.save(Path(folder))
        train.report(metrics, checkpoint=train.Checkpoint.from_directory(folder) if first else None)
