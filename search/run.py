"""One session of a search on a Ray session: start or resume, run to the end, leave the run folder complete."""

import fcntl
import json
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from cluster.address import LOCAL
from cluster.session import session, total
from results.journal import Journal, read_events
from results.leaderboard import frame, trials_of, write_csv
from results.run_folder import RunFolder, write_whole
from results.schema import Event, TrialEnd
from search.board import Board
from search.engine import Engine
from search.growth import Growth
from search.outcome import Outcome
from search.plan import Plan
from search.plan_file import read_plan, write_plan
from search.progress import Progress
from search.provenance import hardware, provenance
from search.quota import Quota
from search.room import Room
from search.searcher import Searcher
from search.tracking import check_tracker, tracking_callbacks
from search.warm_start import check_earlier, earlier_trials
from search.weights import check_same_weights, find_weights, pretrain, weights_provenance
from spaces.errors import InputError
from spaces.family import Family
from trainables.data.protocol import TrainingData, load_training

_MAX_PENDING = 100_000  # how many trials may start at once is the engine's to say, not Tune's
_MAY_CHANGE = ("budget", "resources", "cluster")


def start(plan: Plan, run: RunFolder, cache: Path, console: Console) -> Outcome:
    """Run `plan` as a new run.

    Raises:
        InputError: If the folder holds a run already, or the data cannot be used.
        ClusterError: If Ray cannot be started.
    """
    _check_new(run)
    check_tracker(plan)
    check_earlier(plan)
    console.print("reading the data ...")
    data, weights = load_training(plan.data, cache), find_weights(plan)
    try:
        run.path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{run.location}: the run's folder cannot be made ({error.strerror})") from error
    with _locked(run):
        _check_new(run)
        return _session(plan, run, data, weights, cache, console, past=())


def check_same_search(plan: Plan, run: RunFolder) -> None:
    """Make sure that `plan` is the one that `run` was begun with, but for its budget and the machines it asks for.

    Raises:
        InputError: Naming the sections that differ.
    """
    # What a plan saved by an earlier version lacks has its default, as a resume reads it.
    began, now = read_plan(run.plan).model_dump(mode="json"), plan.model_dump(mode="json")
    differing = [name for name in now if name not in _MAY_CHANGE and began[name] != now[name]]
    if differing:
        raise InputError(
            f"{run.location}: was begun with another plan ({', '.join(differing)} differ), so this is not its "
            "continuation; choose another --name"
        )


def resume(plan: Plan, run: RunFolder, cache: Path, console: Console) -> Outcome:
    """Continue `run` to the end of `plan`, its own or one with another budget.

    Raises:
        InputError: If the run is being searched already, its files are damaged, or its data are not what they were.
        ClusterError: If Ray cannot be started.
    """
    with _locked(run):
        past = read_events(run.measurements)
        check_tracker(plan)
        console.print("reading the data ...")
        data, weights = load_training(plan.data, cache), find_weights(plan)
        _check_same_data(run, data)
        return _session(plan, run, data, weights, cache, console, past)


def _session(
    plan: Plan,
    run: RunFolder,
    data: TrainingData,
    found: dict[str, Path],
    cache: Path,
    console: Console,
    past: Sequence[Event],
) -> Outcome:
    where = plan.cluster
    console.print("starting Ray ..." if where.address == LOCAL else f"joining the cluster {where.address} ...")
    with session(where.address, where.cpus, where.gpus) as nodes, Journal(run.measurements) as journal:
        room = Room(plan.resources, nodes, plan.space.families, grows=where.autoscale is not None)
        machine = hardware(total(nodes))
        earlier, sentences = earlier_trials(plan, run, data.fingerprint, data.split, machine)
        write_plan(plan, run.plan)
        _write_provenance(plan, run, data, total(nodes))
        for sentence in sentences:
            console.print(sentence, soft_wrap=True, markup=False)
        searcher = Searcher(run.study, plan, trials_of(past), earlier)
        engine = Engine(plan, searcher, past, journal.append, room, len(data.validation))
        board = Board(run, engine, data.validation)
        with board, Progress(engine, console) as progress, _interruptible(engine):
            engine.listen(board.hear)
            engine.listen(progress.hear)
            quota = Quota(run.checkpoints_location, plan.models, engine.trials.__getitem__, plan.goals)
            quota.replay(engine.trials.values())
            engine.listen(lambda event: quota.end(event.trial) if isinstance(event, TrialEnd) else None)
            engine.listen(lambda event: run.changed())
            engine.begin()
            if engine.is_exhausted and engine.limits_reached:
                console.print(_nothing_left(plan, engine.limits_reached), soft_wrap=True, markup=False)
            weights = pretrain(plan, engine, cache, room.cpus, found, progress.say)
            if weights is not None:
                _remember_weights(run, weights)
                with Growth(plan, room, lambda: engine.ended, progress.say) as growth:

                    def tick(states: Iterable[str]) -> None:
                        progress.update()
                        growth.update(states)

                    _search(engine, run, data, cache, tick, room, weights)
            engine.close()
            quota.settle()
        # Not from the journal, whose records are all in memory already.
        write_csv(frame(engine.trials.values(), plan.goals).assign(run=run.location), run.leaderboard)
        how = engine.was_interrupted, engine.has_given_up
        return Outcome(run, tuple(engine.trials.values()), engine.elapsed, engine.incumbent, *how)


def _search(
    engine: Engine,
    run: RunFolder,
    data: TrainingData,
    cache: Path,
    tick: Callable[[Iterable[str]], None],
    room: Room,
    weights: dict[str, Path],
) -> None:
    """Let Tune run trials until the engine says that the session is over."""
    from ray import tune

    from search.tune_bridge import Decisions, EndOfSession, Suggestions, folder_name
    from trainables.job import Job
    from trainables.trial import Trial

    plan = engine.plan
    job = Job(
        checkpoints=run.checkpoints_location,
        data=plan.data,
        fingerprint=data.fingerprint,
        split=data.split,
        cache=cache.resolve(),
        scale=plan.fidelity,
        threads={family: room.shape(family).cpus for family in Family},
        weights={key: run.for_workers(path, is_shared=plan.cluster.address != LOCAL) for key, path in weights.items()},
        timed=plan.goals.needs_timing,
        tracked=plan.track is not None,
        cache_bytes=plan.cache_bytes,
        views=plan.shared_views,
        fake_seconds=plan.fake.seconds if plan.fake else None,
    )

    def resources_of(config: dict[str, Any]) -> tune.PlacementGroupFactory:
        resources = room.shape(Family(config["config"]["family"]))
        gpu = {"GPU": resources.gpus} if resources.gpus else {}
        return tune.PlacementGroupFactory([{"CPU": resources.cpus, **gpu}])

    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(_MAX_PENDING)
    shutil.rmtree(run.tune, ignore_errors=True)
    tune.Tuner(
        tune.with_resources(Trial, resources_of),
        param_space={"job": job.model_dump(mode="json")},
        tune_config=tune.TuneConfig(
            search_alg=Suggestions(engine, tick),
            scheduler=Decisions(engine, tick),
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=folder_name,
        ),
        run_config=tune.RunConfig(
            name=run.tune.name,
            storage_path=str(run.path.resolve()),
            stop=EndOfSession(engine),
            callbacks=tracking_callbacks(plan, run),
            failure_config=tune.FailureConfig(max_failures=0),  # the engine hands a trial out again
            verbose=0,
        ),
    ).fit()


def _nothing_left(plan: Plan, reached: Sequence[str]) -> str:
    spent = ", ".join(f"budget.{name} {getattr(plan.budget, name):g}" for name in reached)
    flags = " ".join(f"--{name.replace('_', '-')} {'BETTER' if name == 'target' else 'MORE'}" for name in reached)
    return f"nothing is left to do within {spent}; `fertune resume RUN {flags}` goes on"


def _write_provenance(plan: Plan, run: RunFolder, data: TrainingData, resources: dict[str, float]) -> None:
    earlier = run.provenance_values() if run.provenance.exists() else None
    write_whole(run.provenance, json.dumps(provenance(plan, data, resources, earlier), indent=2))


def _remember_weights(run: RunFolder, weights: dict[str, Path]) -> None:
    """Add the weights to the run's provenance, where a resume finds that they are still the same.

    Raises:
        InputError: If they are not.
    """
    if not weights:
        return
    values, now = run.provenance_values(), weights_provenance(weights)
    check_same_weights(values.get("weights", {}), now)
    write_whole(run.provenance, json.dumps({**values, "weights": now}, indent=2))


def _check_new(run: RunFolder) -> None:
    if run.plan.exists():
        raise InputError(
            f"{run.location}: holds a run already; continue it with `fertune resume` or choose another --name"
        )


def _check_same_data(run: RunFolder, data: TrainingData) -> None:
    if not run.provenance.exists():
        return  # killed before its first trial
    run.check_data(data)


@contextmanager
def _locked(run: RunFolder) -> Iterator[None]:
    """Hold the run for this driver; the lock dies with the process, however it dies."""
    with run.lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{run.path}: another process is searching this run; wait for it or stop it") from None
        yield


@contextmanager
def _interruptible(engine: Engine) -> Iterator[None]:
    """The first Ctrl-C ends the session in order, a second one at once."""
    previous = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        engine.stop()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
