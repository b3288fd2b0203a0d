"""Refits: a candidate is trained again with other seeds, on other splits of the same training images.

The validation faces on which a candidate was picked flatter it. On another split everything fitted is fitted again:
features, networks, and `faces` weights, which are pretrained once for each split. A refit is a file in the run's folder
`selection`, whole or absent, so that an interrupted selection goes on where it was.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from results.describe import describe
from results.leaderboard import TrialRecord
from results.run_folder import RunFolder, write_whole
from spaces.errors import InputError
from spaces.joint import parse_config
from spaces.resnet import ResnetConfig
from trainables.base import Task, TrainingError
from trainables.data.protocol import TrainingData, load_pretraining, load_training
from trainables.data.spec import DataSpec
from trainables.families import build_learner
from trainables.files import read_form
from trainables.metrics import score
from trainables.threads import limit_threads, usable_cpus

FIRST_SEED = 1_000_000  # far from the seeds of trials, which count up from the plan's


class Refit(BaseModel):
    """One refit of one trial, and what the validation faces of its split say of it.

    Attributes:
        trial: The trial whose config it is.
        seed: Seed of the learner.
        split: Seed of the split.
        accuracy: Balanced accuracy; None if training failed.
        confusion: Counts, rows true class, columns predicted class; None if training failed.
        right: For each validation face whether it was right, `1` or `0`; empty if training failed.
        seconds: Seconds that training and validation took.
        failed: Why training failed; empty otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    trial: int
    seed: int
    split: int
    accuracy: float | None
    confusion: tuple[tuple[int, int, int], ...] | None
    right: str = Field(pattern="^[01]*$")
    seconds: float
    failed: str = ""


def refit_candidates(
    run: RunFolder,
    candidates: Sequence[TrialRecord],
    seeds: int,
    other_splits: bool,
    cache: Path,
    say: Callable[[str], None],
) -> dict[int, list[Refit]]:
    """Refit every candidate `seeds` times, one after another in this process; those on record are not made again.

    Args:
        run: The run of the candidates; it has its folder `selection`.
        candidates: Its trials to refit.
        seeds: How often each is refitted.
        other_splits: Whether each seed has a split of its own, none of them the run's; otherwise all have the run's.
        cache: The node's folder for parsed data and pretrained weights.
        say: Shows a person what is under way.

    Returns:
        The refits of each candidate by its trial, in the order of their seeds.

    Raises:
        InputError: If a refit on record is damaged, or data or weights cannot be read.
    """
    spec = run.data_spec()
    found: dict[int, list[Refit]] = {record.trial: [] for record in candidates}
    for number in range(1, seeds + 1):
        seed, split = FIRST_SEED + number, spec.protocol.seed + (number if other_splits else 0)
        protocol = spec.protocol.model_copy(update={"seed": split})
        workshop = _Workshop(run, spec.model_copy(update={"protocol": protocol}), cache, say)
        for place, record in enumerate(candidates):
            path = run.selection / f"refit-{record.trial:05d}-split{split}-seed{seed}.json"
            label = f"refit {place + 1 + (number - 1) * len(candidates)} of {seeds * len(candidates)}"
            if not path.exists():
                say(f"{label}: trial {record.trial}, {describe(record.config)}, on split {split} ...")
                write_whole(path, workshop.refit(record, seed).model_dump_json(indent=2))
            refit = read_form(Refit, path)
            say(f"{label}: {_outcome(refit)}")
            found[record.trial].append(refit)
    return found


def _outcome(refit: Refit) -> str:
    took = f"in {refit.seconds:.1f} s"
    if refit.accuracy is None:
        return f"trial {refit.trial} failed {took} ({refit.failed})"
    return f"trial {refit.trial}, validation accuracy {refit.accuracy:.4f} {took}"


class _Workshop:
    """Where refits on one split are made: its data and weights are read or made when the first refit needs them."""

    def __init__(self, run: RunFolder, spec: DataSpec, cache: Path, say: Callable[[str], None]) -> None:
        self._run = run
        self._spec = spec
        self._cache = cache
        self._say = say
        self._threads = usable_cpus()
        self._data: TrainingData | None = None

    def refit(self, record: TrialRecord, seed: int) -> Refit:
        """Train the config of `record` to full fidelity with `seed` and measure it on the split's validation faces."""
        data = self._data = self._data or load_training(self._spec, self._cache)
        config, scale = parse_config(record.config), self._run.fidelity()
        weights = starting_weights(self._run, record, self._spec, self._cache, self._threads, self._say)
        refit = Refit(
            trial=record.trial,
            seed=seed,
            split=self._spec.protocol.seed,
            accuracy=None,
            confusion=None,
            right="",
            seconds=0,
        )
        began = time.perf_counter()
        try:
            task = Task(data.train, seed, scale, self._threads, weights, self._run.cache(self._cache))
            learner = build_learner(config, task)
            limit_threads(self._threads)
            learner.fit_to(scale.maximum)
            probabilities = learner.predict_proba(data.validation.images)
            if not np.isfinite(probabilities).all():
                raise TrainingError("a predicted probability is not finite")
        except TrainingError as error:
            return refit.model_copy(update={"failed": str(error), "seconds": time.perf_counter() - began})
        labels, spent = data.validation.labels, time.perf_counter() - began
        scores = score(labels, probabilities)
        right = "".join("01"[each] for each in (probabilities.argmax(axis=1) == labels).astype(int))
        measured = {"accuracy": scores.accuracy, "confusion": scores.confusion, "right": right, "seconds": spent}
        return refit.model_copy(update=measured)


def starting_weights(
    run: RunFolder, record: TrialRecord, spec: DataSpec, cache: Path, threads: int, say: Callable[[str], None]
) -> dict[str, Path]:
    """Files for `Task.weights` of a fit of `record` on the training faces of `spec`: `faces` weights of that split.

    They are pretrained unless they are in the cache. The learner finds all others by itself.

    Raises:
        InputError: If pretraining failed.
    """
    start = _start_of(record)
    if start is None or start[1] != "faces":
        return {}
    from trainables.base import weights_key
    from trainables.pretraining import pretrained

    split = spec.protocol.seed

    def listen(share: float, loss: float) -> bool:
        say(f"pretraining for split {split}: {share:.0%} done, training loss {loss:.3f}")
        return True

    try:
        path = pretrained(run.pretraining(), load_pretraining(spec, cache), cache, threads, listen)
    except TrainingError as error:
        raise InputError(f"pretraining for split {split}: {error}") from error
    return {weights_key(*start): path.resolve()}


def _start_of(record: TrialRecord) -> tuple[str, str] | None:
    """The architecture and weights that a trial's network starts from; None if it has no network."""
    config = parse_config(record.config)
    if isinstance(config, ResnetConfig):
        return config.arch, config.weights
    if "embedding" in config.features.descriptors:
        return config.features.backbone, config.features.weights
    return None
