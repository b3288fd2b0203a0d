"""The lines of `measurements.jsonl`: what happened in a run, one event a line.

Each driver that takes up the run begins with a `session` line. A trial is one `trial` line, then a `measurement` at
each rung it reached, then one `end` line unless it is still running (or its driver died). Together with the checkpoints
these lines are the truth of a run: the leaderboard, the study and the rungs are all rebuilt from them.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from spaces.family import Family


class Status(StrEnum):
    """What became of a trial."""

    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
    STOPPED = "STOPPED"
    FAILED = "FAILED"


EndStatus: TypeAlias = Literal[Status.FINISHED, Status.STOPPED, Status.FAILED]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    time: float = Field(description="Unix time in seconds at which the driver wrote the line.")


class SessionStart(_Event):
    """A driver took up the run: the first, or one that resumes it."""

    kind: Literal["session"] = "session"


class SessionEnd(_Event):
    """The driver left the run in order; a killed one leaves no such line."""

    kind: Literal["session_end"] = "session_end"


class Preparation(_Event):
    """What trials share was made before the first of them, as a backbone is pretrained.

    Attributes:
        cpu_seconds: Seconds that it took, times the CPUs that it occupied; `gpu_seconds` likewise.
    """

    kind: Literal["preparation"] = "preparation"
    cpu_seconds: float = Field(ge=0)
    gpu_seconds: float = Field(default=0.0, ge=0)


class _TrialEvent(_Event):
    trial: int = Field(ge=0)


class TrialStart(_TrialEvent):
    """A trial was chosen.

    Attributes:
        is_drawn: Whether TPE, which otherwise learns, drew all of it, or all but its family, at random.
    """

    kind: Literal["trial"] = "trial"
    family: Family
    config: dict[str, Any]
    seed: int
    is_drawn: bool = False


class TrialTakenUp(_TrialEvent):
    """A trial that was paused at a rung is to go on."""

    kind: Literal["taken_up"] = "taken_up"


class Measurement(_TrialEvent):
    """A trial reached a rung.

    Attributes:
        fidelity: The rung.
        val_accuracy: Balanced accuracy on validation; the other `val_` fields are likewise on validation.
        val_log_loss: In nats.
        val_recall: Recall of negative, neutral, positive.
        fit_seconds: Seconds spent in training since the trial began, waits for shared work left out.
        predict_seconds: The same of predicting validation; None if unknown.
        total_seconds: Seconds spent in all since the trial began, set-up, waits, validation and earlier checkpoints
            included; that of this rung is written after it.
        images_per_second: Training images seen a second since the last measurement.
        train_loss: Mean training loss since the last measurement, where the family has one.
        learning_rate: Learning rate of the head now, where the family has one.
        cache_hit: Whether the worker found the prepared data in memory.
        latency_ms: Milliseconds to predict one face, where the plan asks for it; likewise `model_mb`, the size of the
            model's files in megabytes.
        cache_hits: Pieces of shared work found since the trial began; `cache_misses` were computed by the trial itself.
        cache_bytes: Bytes of what was found.
        cache_seconds_saved: Seconds that computing it would have taken, less those that finding it took.
        cache_wait_seconds: Seconds in which another trial was computing it: the trial held its CPUs and did nothing.
        start_seconds: Seconds from the hand-out of the trial to a worker until its first batch: the first optimizer
            step, or the fit of an svm or forest, its inputs at hand. Time that went into shared work that was not there
            yet is left out, but what is never shared, or with the cache off, is not. None if unknown.
        cpus: CPUs that the trial occupied since the last measurement, likewise `gpus`; None if unknown.
        checkpoint: Folder of the checkpoint, relative to the run.
    """

    kind: Literal["measurement"] = "measurement"
    fidelity: int = Field(ge=1)
    val_accuracy: float = Field(ge=0, le=1)
    val_macro_f1: float = Field(ge=0, le=1)
    val_log_loss: float = Field(ge=0)
    val_recall: tuple[float, float, float]
    fit_seconds: float = Field(ge=0)
    predict_seconds: float | None = Field(default=None, ge=0)
    total_seconds: float = Field(ge=0)
    images_per_second: float = Field(ge=0)
    train_loss: float | None = None
    learning_rate: float | None = None
    cache_hit: bool
    latency_ms: float | None = Field(default=None, ge=0)
    model_mb: float | None = Field(default=None, ge=0)
    cache_hits: int = Field(default=0, ge=0)
    cache_misses: int = Field(default=0, ge=0)
    cache_bytes: int = Field(default=0, ge=0)
    cache_seconds_saved: float = 0.0
    cache_wait_seconds: float = Field(default=0.0, ge=0)
    start_seconds: float | None = Field(default=None, ge=0)
    cpus: float | None = Field(default=None, ge=0)
    gpus: float | None = Field(default=None, ge=0)
    checkpoint: str


class TrialEnd(_TrialEvent):
    """A trial ended: at full fidelity, stopped at a rung or with the search, or failed; with the reason, if any."""

    kind: Literal["end"] = "end"
    status: EndStatus
    reason: str = ""


Event: TypeAlias = Annotated[
    SessionStart | SessionEnd | Preparation | TrialStart | TrialTakenUp | Measurement | TrialEnd,
    Field(discriminator="kind"),
]
