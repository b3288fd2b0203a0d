"""Timed probes: what trials of each family take here, and what a search by the plan would take and cost.

A probe trains one config of a family, drawn at random, to its second rung, in this process. From there its seconds are
carried on to full fidelity: in proportion to the training, or for svm to its square, as kernel machines grow. Where a
config starts from weights, random ones stand in for them: nothing is fetched or made, and it takes as long.
"""

import itertools
import random
import time
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from search.budget import Spend
from search.plan import Plan
from search.room import Room
from spaces.errors import InputError
from spaces.family import Family
from spaces.fidelity import Fidelity
from spaces.tree import RandomDraw
from trainables.base import Learner, Task, TrainingError
from trainables.data.protocol import TrainingData, load_training
from trainables.fake import FakeLearner
from trainables.families import build_learner
from trainables.threads import limit_threads

_GROWTH = {Family.SVM: 2, Family.FOREST: 1, Family.RESNET: 1}


def estimate(plan: Plan, room: Room, cache: Path, probes: int) -> dict[str, Any]:
    """What the search would take and cost, from `probes` probes of each family, as the dry run shows it.

    Keys: `families` (for each the `seconds` of a trial at each rung, means of its probes, and `trial`, those that a
    trial takes on average until it stops; or `why_not`), and if all were probed `trials` (how many the budget allows),
    `seconds` (wall-clock), `cpu_seconds`, `gpu_seconds` and, with prices, `cost`.

    Raises:
        InputError: If the data cannot be read.
    """
    data = load_training(plan.data, cache)
    families: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        weights = {} if plan.fake else stand_ins(plan, Path(folder))
        for family in plan.space.families:
            threads = room.shape(family).cpus
            try:
                probed = [_probe(plan, family, number, data, threads, weights) for number in range(probes)]
            except (TrainingError, InputError) as error:
                families[str(family)] = {"why_not": str(error)}
                continue
            seconds = [fmean(each) for each in zip(*probed, strict=True)]
            families[str(family)] = {"seconds": seconds, "trial": mean_seconds(plan, seconds)}
    if any("why_not" in values for values in families.values()):
        return {"families": families}
    trial = {Family(name): values["trial"] for name, values in families.items()}
    return {"families": families, **_whole(plan, room, trial)}


def stand_ins(plan: Plan, folder: Path) -> dict[str, Path]:
    """Files of random weights in place of those that `plan` names, by `weights_key`, written to `folder`."""
    from trainables.weights import weights_key, write_random

    wanted = {(arch, weights) for _, arch, weights in plan.starting_weights if weights != "none"}
    files = {arch: folder / f"{arch}.safetensors" for arch, _ in wanted}
    for arch, path in files.items():
        write_random(arch, path)
    return {weights_key(arch, weights): files[arch] for arch, weights in wanted}


def _probe(
    plan: Plan, family: Family, number: int, data: TrainingData, threads: int, weights: dict[str, Path]
) -> list[float]:
    """Seconds of one config at each rung: measured at the first two, carried on from there."""
    alone = plan.space.model_copy(update={"families": (family,)})
    config = alone.suggest(RandomDraw(random.Random(plan.seed + number)))  # noqa: S311 (no secret)
    task = Task(data.train, plan.seed, plan.fidelity, threads, weights=weights)
    learner: Learner = FakeLearner(config, task, plan.fake.seconds) if plan.fake else build_learner(config, task)
    limit_threads(threads)
    began, measured = time.perf_counter(), []
    for rung in plan.fidelity.rungs[:2]:
        learner.fit_to(rung)
        learner.predict_proba(data.validation.images)
        measured.append(time.perf_counter() - began)
    return carried_on(measured, plan.fidelity, _GROWTH[family])


def carried_on(measured: list[float], scale: Fidelity, growth: int) -> list[float]:
    """Seconds at every rung from those `measured` at the first two, training growing with the power `growth`."""
    if len(measured) < 2:
        return measured
    first, second = (rung**growth for rung in scale.rungs[:2])
    slope = (measured[1] - measured[0]) / (second - first)
    return [measured[0], *(measured[1] + slope * (rung**growth - second) for rung in scale.rungs[1:])]


def mean_seconds(plan: Plan, seconds: list[float]) -> float:
    """What a trial takes on average, if the scheduler lets the share go on at each rung that it is meant to."""
    share = {"asha": 1 / plan.fidelity.eta, "hyperband": 1 / plan.fidelity.eta, "median": 0.5, "none": 1.0}
    steps = [seconds[0], *(later - sooner for sooner, later in itertools.pairwise(seconds))]
    return sum(share[plan.scheduler] ** rung * step for rung, step in enumerate(steps))


def _whole(plan: Plan, room: Room, trial: dict[Family, float]) -> dict[str, Any]:
    """The whole search, if families are tried equally often and workers are never idle."""
    budget, count = plan.budget, len(trial)
    spent = Spend(0.0, 0.0)
    for family, seconds in trial.items():
        spent = spent.plus(seconds / count, room.shape(family))
    by_cpus, by_gpus = spent.cpu_seconds / room.cpus, spent.gpu_seconds / room.gpus if room.gpus else 0.0
    busy = max(by_cpus, by_gpus)  # seconds a trial adds to the search: whichever of the two is short decides
    limits = [
        budget.trials,
        60 * budget.minutes / busy if budget.minutes else None,
        budget.cpu_seconds / spent.cpu_seconds if budget.cpu_seconds else None,
        budget.gpu_seconds / spent.gpu_seconds if budget.gpu_seconds and spent.gpu_seconds else None,
        budget.cost / spent.cost(budget) if budget.cost and spent.cost(budget) else None,
    ]
    trials = min((limit for limit in limits if limit is not None), default=None)
    if trials is None:
        return {}  # patience or a target: nobody knows when it ends
    whole = {
        "trials": int(trials),
        "seconds": trials * busy,
        "cpu_seconds": trials * spent.cpu_seconds,
        "gpu_seconds": trials * spent.gpu_seconds,
    }
    return whole | ({"cost": trials * spent.cost(budget)} if budget.cpu_price or budget.gpu_price else {})


def estimate_lines(estimated: dict[str, Any], rungs: list[int]) -> list[str]:
    """`estimate` for people."""
    lines = []
    for family, values in estimated["families"].items():
        if "why_not" in values:
            lines.append(f"{family:<10} not probed: {values['why_not']}")
            continue
        at = ", ".join(f"{seconds:.1f}" for seconds in values["seconds"])
        lines.append(
            f"{family:<10} about {at} s at rungs {', '.join(str(rung) for rung in rungs)}; "
            f"{values['trial']:.1f} s a trial with stopping"
        )
    if "trials" in estimated:
        cost = f", cost {estimated['cost']:.2f}" if "cost" in estimated else ""
        lines.append(
            f"estimate   {estimated['trials']} trials, {estimated['seconds'] / 60:.1f} min, "
            f"{estimated['cpu_seconds']:.0f} CPU-seconds, {estimated['gpu_seconds']:.0f} GPU-seconds{cost}"
        )
    return lines
