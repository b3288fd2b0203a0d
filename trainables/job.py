"""What a worker is told: the job, the same for every trial of a search, and the assignment, one trial."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from spaces.fidelity import Fidelity
from spaces.joint import Config
from trainables.data.spec import DataSpec

REPORT = "report"  # under which a trial's report travels through Tune, as JSON


class Job(BaseModel):
    """What is the same for every trial of a search.

    Attributes:
        checkpoints: The run's folder of checkpoints, an absolute path or a URL, reachable from every node.
        data: The data of the search.
        fingerprint: The content hash of its source, as the driver read it.
        split: The hash of what is held out, likewise.
        cache: The node's folder for parsed data, absolute.
        scale: The scale of fidelities.
        threads: CPU threads of a trial, by family.
        weights: Files of weights, by `weights.weights_key`, absolute paths or URLs.
        timed: Whether trials measure how long a prediction takes and how large the model is.
        cache_bytes: How large the work that trials share may become, under `cache`; None to share nothing.
        views: How many augmented views of each training face networks with frozen stages share; 0 to augment anew.
        tracked: Whether trackers of Ray's own listen, which read numbers from the results of trials.
        fake_seconds: If given, trials wait this long at full fidelity instead of learning.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoints: str
    data: DataSpec
    fingerprint: str
    split: str
    cache: Path
    scale: Fidelity
    threads: dict[str, int]
    weights: dict[str, str] = {}
    timed: bool = False
    tracked: bool = False
    cache_bytes: int | None = None
    views: int = 0
    fake_seconds: float | None = None


class Assignment(BaseModel):
    """One trial, as the searcher hands it to a worker.

    Attributes:
        trial: Its number in the run.
        config: Its config.
        seed: Fixes every random choice of the learner.
        recorded: The highest fidelity the driver has a measurement of (0 for a new trial).
        handed: Unix time in seconds at which the driver handed it out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trial: int
    config: Config
    seed: int
    recorded: int = 0
    handed: float | None = None
