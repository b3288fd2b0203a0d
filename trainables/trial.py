"""The adapter that makes a learner a Tune trial: the only file of this package that knows Ray.

One class serves every family, so that a warm worker process can go from trial to trial. `setup` and `reset_config` only
note what to do (Tune may set up a second worker for a running trial); all work happens in `step`.
"""

import json
import os
import time
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import ray
from ray import tune

from spaces.errors import InputError
from trainables.base import Learner, Task, TrainingError
from trainables.cache import SHARED, Cache, Counts
from trainables.data.protocol import TrainingData
from trainables.data.remote import local_copy
from trainables.devices import memory_failure
from trainables.fake import FakeLearner
from trainables.families import build_learner
from trainables.footprint import measure_footprint
from trainables.job import REPORT, Assignment, Job
from trainables.metrics import score
from trainables.remote_checkpoint import checkpoints_at
from trainables.shared_data import training_data
from trainables.storage import StorageError
from trainables.threads import limit_threads

# Seconds between the tries where storage cannot be reached: five minutes in all, as long as the driver waits for it.
STORAGE_WAITS = (5, 10, 20, 40, 75, 150)

Done = TypeVar("Done")


def _cache(job: Job) -> Cache | None:
    return None if job.cache_bytes is None else Cache(job.cache / SHARED, job.cache_bytes)


@lru_cache(maxsize=1)
def _faces(data_of_job: str) -> tuple[TrainingData, Cache | None]:
    job = Job.model_validate_json(data_of_job)
    cache = _cache(job)
    return training_data(job.data, job.cache, job.fingerprint, job.split, cache), cache


def _training_data(job: Job) -> tuple[TrainingData, Cache | None]:
    """The faces of `job`, kept in this process for the next trial, and the cache that was asked for them, if any."""
    return _faces(job.model_dump_json())  # a job cannot be hashed


def _worker() -> dict[str, Any]:
    """Where this process runs: the Ray node, the process, and the GPUs it may use, as CUDA names them."""
    node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else None
    return {"node": node, "pid": os.getpid(), "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", "")}


def _keep_to_own_gpus() -> None:
    """See no GPU if Ray gave this worker none, and keep to its part of one if that is what it got.

    Ray hides GPUs from such a worker only where the node was started with a variable of ours.
    """
    if not ray.is_initialized():
        return
    assigned: dict[str, float] = ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-untyped-call]
    share = assigned.get("GPU", 0)
    if share == 0:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif share < 1:
        from trainables.precision import bound_gpu_memory

        bound_gpu_memory(share)


class Trial(tune.Trainable):
    """Trains one config from rung to rung; each step is one rung and one report."""

    def setup(self, config: dict[str, Any]) -> None:
        """Note what to train.

        Args:
            config: `job`, a dumped `Job`, and the fields of a dumped `Assignment`.
        """
        values = dict(config)
        self.job = Job.model_validate(values.pop("job"))
        self.assignment = Assignment.model_validate(values)
        self.checkpoints = checkpoints_at(self.job.checkpoints, self.assignment.trial)
        self.learner: Learner | None = None
        self.cache: Cache | None = None
        self.fit_seconds = 0.0
        self.predict_seconds = 0.0
        self.total_seconds = 0.0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in this warm worker."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """What Tune calls for the next rung: the report of `advance`, as text, and as it is where trackers read it.

        Of each number in a result Tune keeps statistics for as long as the search lasts, 0.1 MB a trial.
        """
        for seconds in STORAGE_WAITS:
            try:
                report = self.advance()
                break
            except StorageError:
                self.learner = None  # it goes on from the last checkpoint
                time.sleep(seconds)
        else:
            report = self.advance()
        seen = report.get("fidelity", self.assignment.recorded)
        self.assignment = self.assignment.model_copy(update={"recorded": seen})
        return {REPORT: json.dumps(report), **(report if self.job.tracked else {})}

    def advance(self) -> dict[str, Any]:
        """Train to the next rung, measure on validation, write the checkpoint and report.

        A learner that cannot go on, or finds too little memory, ends its trial with `failed`, the reason; the worker
        lives on. Any other exception ends the worker: the engine then hands the trial out again, and it goes on from
        its last checkpoint. Where storage cannot be reached, `step` first tries again for five minutes.
        """
        began = time.perf_counter()
        try:
            if self.learner is None:
                unseen = self._begin()
                if unseen is not None:
                    return unseen
            return self._next_rung(began)
        except StorageError:
            raise
        except (TrainingError, InputError) as error:
            return self._failed(str(error))
        except (RuntimeError, MemoryError) as error:
            why = memory_failure(error)
            if why is None:
                raise
        # Only past the handler: its exception held the frames that held the memory.
        return self._failed(why)

    def _failed(self, reason: str) -> dict[str, Any]:
        self.learner = None
        return {"trial": self.assignment.trial, "failed": reason}

    def _begin(self) -> dict[str, Any] | None:
        """Build the learner, continue from its checkpoint; the checkpoint's report if the driver has not seen it."""
        limit_threads(self._threads)
        _keep_to_own_gpus()
        latest = self.checkpoints.latest()
        report = self.checkpoints.report(latest) if latest else None
        self.cache = _cache(self.job)
        if report is not None:
            if self.cache is not None:
                self.cache.counts = Counts(*(report.get(f"cache_{name}", 0) for name in Counts._fields))
            self.fit_seconds, self.total_seconds = report["fit_seconds"], report["total_seconds"]
            self.predict_seconds = report.get("predict_seconds", 0.0)  # older checkpoints lack it, and the counts
            if latest == self.job.scale.maximum:
                return report
        hits = _faces.cache_info().hits
        data, asked = _training_data(self.job)
        self.cache_hit = _faces.cache_info().hits > hits
        if self.cache is not None and asked is not None and not self.cache_hit:
            self.cache.counts = self.cache.counts.plus(asked.counts)
            self.cache.computing += asked.computing
        job = self.job
        weights = {key: local_copy(location, job.cache) for key, location in job.weights.items()}
        self.learner = self._build(
            Task(data.train, self.assignment.seed, job.scale, self._threads, weights, self.cache, job.views)
        )
        if latest:
            self.learner.load(self.checkpoints.path(latest))
        return report if latest > self.assignment.recorded else None

    def _next_rung(self, began: float) -> dict[str, Any]:
        assert self.learner is not None
        validation = _training_data(self.job)[0].validation
        rung = self.job.scale.next_rung(self.learner.fidelity)
        fitted, fit_seconds = self._timed(partial(self.learner.fit_to, rung))
        self.fit_seconds += fit_seconds
        probabilities, predict_seconds = self._timed(partial(self.learner.predict_proba, validation.images))
        self.predict_seconds += predict_seconds
        if not np.isfinite(probabilities).all():
            raise TrainingError(f"a predicted probability is not finite at fidelity {self.learner.fidelity}")
        scores = score(validation.labels, probabilities)
        footprint = measure_footprint(self.learner.model, validation.images) if self.job.timed else {}
        self.total_seconds += time.perf_counter() - began
        fidelity = self.learner.fidelity
        complete = fidelity == self.job.scale.maximum
        report = {
            "trial": self.assignment.trial,
            "fidelity": fidelity,
            "val_accuracy": scores.accuracy,
            "val_macro_f1": scores.macro_f1,
            "val_log_loss": scores.log_loss,
            "val_recall": list(scores.recall),
            "fit_seconds": self.fit_seconds,
            "predict_seconds": self.predict_seconds,
            "total_seconds": self.total_seconds,
            "images_per_second": fitted["images"] / max(fit_seconds, 1e-9),
            "train_loss": fitted.get("train_loss"),
            "learning_rate": fitted.get("learning_rate"),
            "cache_hit": self.cache_hit,
            **footprint,
            **{f"cache_{name}": value for name, value in self._counts._asdict().items()},
            "start_seconds": self._start_seconds,
            "worker": _worker(),
            "checkpoint": f"{self.job.checkpoints.rpartition('/')[2]}/{self.assignment.trial:05d}/{fidelity}",
        }
        write_began = time.perf_counter()
        self.checkpoints.write(self.learner, probabilities, report, keep_state=not complete)
        self.total_seconds += time.perf_counter() - write_began
        if complete:
            self.learner = None
        return report

    def _timed(self, work: Callable[[], Done]) -> tuple[Done, float]:
        """What `work` gives, and its seconds, less those in which another trial was at a piece of it."""
        waited, began = self._counts.wait_seconds, time.perf_counter()
        done = work()
        return done, time.perf_counter() - began - (self._counts.wait_seconds - waited)

    def _build(self, task: Task) -> Learner:
        config, seconds = self.assignment.config, self.job.fake_seconds
        return build_learner(config, task) if seconds is None else FakeLearner(config, task, seconds)

    @property
    def _start_seconds(self) -> float | None:
        """From the hand-out to the first batch, shared work that was not there yet left out; None if unknown."""
        handed, first = self.assignment.handed, self.learner.first_batch if self.learner else None
        if handed is None or first is None:
            return None
        return max(0.0, first.time - first.computing - handed)  # the driver's clock may be ahead

    @property
    def _counts(self) -> Counts:
        return Counts() if self.cache is None else self.cache.counts

    @property
    def _threads(self) -> int:
        return self.job.threads[self.assignment.config.family]

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write a pointer: the checkpoint itself was written by `step`, before it reported."""
        pointer = {"trial": self.assignment.trial, "fidelity": self.checkpoints.latest()}
        (Path(checkpoint_dir) / "pointer.json").write_text(json.dumps(pointer))

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to read: the next `step` continues from the trial's last checkpoint in the run folder."""
