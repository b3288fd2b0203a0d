"""Refit: the selected config once more, on training and validation faces together.

A resnet is trained by Ray Train's workers, one to a GPU, or on CPUs; svm and forest in this process. A refit that is
interrupted goes on from its last checkpoint when it is asked for again.
"""

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.address import LOCAL
from cluster.session import Nodes, session
from results.describe import describe
from results.leaderboard import TrialRecord
from results.refits import starting_weights
from results.refitted import MODEL, Refitted, record_path, refitted
from results.run_folder import RunFolder, write_whole
from results.selection import selected
from search.plan import Plan
from search.plan_file import read_plan
from search.refit_worker import RefitJob, train_share
from spaces.errors import InputError
from spaces.family import Family
from spaces.joint import parse_config
from spaces.resnet import ResnetConfig
from trainables.base import Task, TrainingError
from trainables.data.protocol import TrainingData, load_training
from trainables.families import build_learner
from trainables.storage import is_url
from trainables.threads import limit_threads, usable_cpus

MAX_LOST_WORKERS = 3
_LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"}  # workers of one machine need listen nowhere else


def refit(run: RunFolder, cache: Path, workers: int | None, say: Callable[[str], None]) -> dict[str, Any]:
    """Train the selected config of `run`, else its incumbent's, on training and validation faces; test is not read.

    Args:
        run: The run.
        cache: The node's folder for parsed data and pretrained weights.
        workers: Processes that train a resnet together; by default one for each GPU of the plan's cluster, or one for
            each node if it has none.
        say: Shows a person what is under way.

    Returns:
        The fields of `Refitted`, and `model`, the model's folder.

    Raises:
        InputError: If no trial has finished, the data are not the run's, there is no room for the workers, or training
            failed.
        ClusterError: If Ray cannot be started.
    """
    record = selected(run)
    known = refitted(run)
    if known is None or known.checkpoint != record.measurements[-1].checkpoint:
        data = load_training(run.data_spec(), cache)
        run.check_data(data)
        run.refit.mkdir(exist_ok=True)
        say(f"refit of trial {record.trial}, {describe(record.config)}, on {len(data.everything):,} faces ...")
        known = _fit(run, record, data, cache, workers, say)
        write_whole(record_path(run), known.model_dump_json(indent=2))
    return {**known.model_dump(mode="json"), "model": str(run.refit / MODEL)}


def _fit(
    run: RunFolder,
    record: TrialRecord,
    data: TrainingData,
    cache: Path,
    workers: int | None,
    say: Callable[[str], None],
) -> Refitted:
    began = time.perf_counter()
    weights = starting_weights(run, record, run.data_spec(), cache, usable_cpus(), say)
    if record.family is Family.RESNET:
        count, measured = _train_with_ray(run, record, data, cache, workers, weights, say)
    else:
        if workers not in (None, 1):
            raise InputError(f"--workers {workers}: a refit of family {record.family} has one process")
        count, measured = 1, _train_here(run, record, data, weights)
    return Refitted(
        trial=record.trial,
        checkpoint=record.measurements[-1].checkpoint,
        family=record.family,
        config=record.config,
        seed=record.seed,
        images=len(data.everything),
        workers=count,
        seconds=time.perf_counter() - began,
        train_loss=measured.get("train_loss"),
    )


def _train_here(run: RunFolder, record: TrialRecord, data: TrainingData, weights: dict[str, Path]) -> dict[str, float]:
    scale, threads = run.fidelity(), usable_cpus()
    learner = build_learner(parse_config(record.config), Task(data.everything, record.seed, scale, threads, weights))
    limit_threads(threads)
    try:
        measured = learner.fit_to(scale.maximum)
    except TrainingError as error:
        raise InputError(f"the refit of trial {record.trial} failed: {error}") from error
    partial = run.refit / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    learner.model.save(partial)
    _put(partial, run)
    return measured


def _train_with_ray(
    run: RunFolder,
    record: TrialRecord,
    data: TrainingData,
    cache: Path,
    workers: int | None,
    weights: dict[str, Path],
    say: Callable[[str], None],
) -> tuple[int, dict[str, float]]:
    """How many workers trained the model, and the measurements of its end."""
    plan, config = read_plan(run.plan), parse_config(record.config)
    assert isinstance(config, ResnetConfig)
    where = plan.cluster
    address = where.address
    if is_url(run.location) and address != LOCAL:
        say("the run is at a URL, so it is refitted on this machine alone")
        address = LOCAL
    say("starting Ray ...")
    with session(address, where.cpus, where.gpus) as nodes:
        count, resources = _places(nodes, workers, plan, config)
        job = RefitJob(
            data=plan.data,
            fingerprint=data.fingerprint,
            split=data.split,
            cache=cache.resolve(),
            config=config,
            seed=record.seed,
            scale=plan.fidelity,
            threads=int(resources["CPU"]),
            weights={
                key: Path(run.for_workers(path, is_shared=True) if address != LOCAL else path)
                for key, path in weights.items()
            },
        )
        return count, _run_workers(run, record, job, count, resources, address == LOCAL)


def _run_workers(
    run: RunFolder, record: TrialRecord, job: RefitJob, count: int, resources: dict[str, float], is_local: bool
) -> dict[str, float]:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError

    on_gpus = resources.get("GPU", 0) > 0
    kept = run.refit / "workers"
    trainer = TorchTrainer(
        train_share,
        train_loop_config=job.model_dump(mode="json"),
        scaling_config=ScalingConfig(num_workers=count, use_gpu=on_gpus, resources_per_worker=resources),
        run_config=RunConfig(  # type: ignore[call-arg]  # what is typed is the RunConfig before Train's second version
            # a run of this name that was interrupted is taken up again
            name=f"trial-{record.trial:05d}-{count}",
            storage_path=str(kept.resolve()),
            failure_config=FailureConfig(max_failures=MAX_LOST_WORKERS),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            worker_runtime_env={"env_vars": _LOOPBACK if is_local and sys.platform == "linux" else {}},
        ),
        torch_config=TorchConfig(backend="nccl" if on_gpus else "gloo"),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as error:
        causes = list(error.worker_failures.values()) if isinstance(error, WorkerGroupError) else [error]
        raise InputError(f"the refit of trial {record.trial} failed: {causes[0]}") from error
    assert result.checkpoint is not None, "the last thing a worker does is to report one"
    measured: dict[str, Any] = result.metrics or {}
    with result.checkpoint.as_directory() as folder:
        _put(Path(folder) / MODEL, run)
    shutil.rmtree(kept)
    return measured


def _places(nodes: Nodes, workers: int | None, plan: Plan, config: ResnetConfig) -> tuple[int, dict[str, float]]:
    """How many workers there are, and what each occupies."""
    own = [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes]
    gpus = sum(each for _, each in own) if plan.resources.of(Family.RESNET).gpus != 0 else 0
    count = workers or gpus or sum(cpus > 0 for cpus, _ in own)
    if count > config.batch_size:
        raise InputError(f"--workers {count}: a batch of {config.batch_size} faces has no share for so many")
    if gpus and count > gpus:
        raise InputError(f"--workers {count}: the cluster has {gpus} GPUs, each worker takes one")
    # The most CPUs for each that the nodes, one by one, can give to so many.
    for cpus in range(max((each for each, _ in own), default=0), 0, -1):
        if sum(min(all_cpus // cpus, its_gpus if gpus else all_cpus) for all_cpus, its_gpus in own) >= count:
            return count, {"CPU": cpus, **({"GPU": 1.0} if gpus else {})}
    beside = " beside its GPU" if gpus else ""
    raise InputError(f"--workers {count}: the cluster has {sum(cpus for cpus, _ in own)} CPUs, each needs one{beside}")


def _put(model: Path, run: RunFolder) -> None:
    """Let the run's refit be the model in the folder `model`."""
    fresh = run.refit / f".{MODEL}.partial"
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(model, fresh)
    record_path(run).unlink(missing_ok=True)  # of the model that goes now
    shutil.rmtree(run.refit / MODEL, ignore_errors=True)
    fresh.rename(run.refit / MODEL)
    shutil.rmtree(run.refit / "partial", ignore_errors=True)
