"""Timed probes: what trials of each family take here, and what a search by the plan would take and cost.

A probe trains one config of a family, drawn at random, to its second rung, in this process, which leaves GPUs alone
where trials of the family get none. From there its seconds are carried on to full fidelity: in proportion to the
training, or for svm to its square, as kernel machines grow. Where a config starts from weights, random ones stand in
for them: nothing is fetched or made, and it takes as long.
"""

import random
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from search.forecast import forecast
from search.plan import Plan
from search.room import Room
from search.scheduler import GROWTH
from spaces.errors import InputError
from spaces.family import Family
from spaces.fidelity import Fidelity
from spaces.tree import RandomDraw
from trainables.base import Learner, Task, TrainingError
from trainables.data.protocol import TrainingData, load_training
from trainables.devices import memory_failure, without_gpus
from trainables.fake import FakeLearner
from trainables.families import build_learner
from trainables.threads import limit_threads


def estimate(plan: Plan, room: Room, cache: Path, probes: int) -> dict[str, Any]:
    """What the search would take and cost, from `probes` probes of each family, as the dry run shows it.

    Keys: `families` (for each the `seconds` of a trial at each rung, means of its probes, and `trial`, those that a
    trial takes on average until it stops, if the budget allows one; or `why_not`), and if it can be told `trials` (how
    many the budget allows), `seconds` (wall-clock), `cpu_seconds`, `gpu_seconds` and, with prices, `cost`; `notes`,
    sentences on what these leave out, or why they cannot be told.

    Raises:
        InputError: If the data cannot be read.
    """
    data = load_training(plan.data, cache)
    families: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        for family in plan.space.families:
            shape = room.shape(family)
            try:
                weights = {} if plan.fake else stand_ins(plan, family, Path(folder))
                with nullcontext() if shape.gpus else without_gpus():
                    probed = [_probe(plan, family, number, data, shape.cpus, weights) for number in range(probes)]
            except (TrainingError, InputError) as error:
                families[str(family)] = {"why_not": str(error)}
                continue
            except (RuntimeError, MemoryError) as error:
                if (reason := memory_failure(error)) is None:
                    raise
                families[str(family)] = {"why_not": reason}
                continue
            families[str(family)] = {"seconds": [fmean(each) for each in zip(*probed, strict=True)]}
    if any("why_not" in values for values in families.values()):
        return {"families": families, "notes": ["none of the whole search, since not every family was probed"]}
    if not all(room.fits(family, ()) for family in plan.space.families):
        return {"families": families, "notes": ["none of the whole search, since not every family fits here"]}
    whole = forecast(plan, room, {Family(name): values["seconds"] for name, values in families.items()})
    for name, trial in whole.pop("trial").items():
        families[name]["trial"] = trial
    return {"families": families, **whole, "notes": _notes(plan, whole)}


def _notes(plan: Plan, whole: dict[str, Any]) -> list[str]:
    """What the estimate of the `whole` search leaves out, or why there is none."""
    if "trials" not in whole:
        return ["none of the whole search, since nobody can foresee when patience or a target ends it"]
    if not whole["cpu_seconds"] + whole["gpu_seconds"]:
        return ["the budget ends it before any trial comes to its first rung"]
    sooner = [name for name in ("patience", "target") if getattr(plan.budget, name) is not None]
    notes = [f"{' or '.join(sooner)} may end it sooner"] if sooner else []
    is_shared = plan.cache != "off" and plan.fake is None
    return [*notes, *(["work that trials share makes it cheaper; the probes share none"] if is_shared else [])]


def stand_ins(plan: Plan, family: Family, folder: Path) -> dict[str, Path]:
    """Files of random weights in place of those that `family` starts from, by `weights_key`, written to `folder`.

    Raises:
        InputError: If they cannot be written.
    """
    named = [(field, arch, weights) for field, arch, weights in plan.starting_weights if weights != "none"]
    wanted = {(arch, weights) for field, arch, weights in named if field.startswith(f"{family}.")}
    if not wanted:
        return {}
    from trainables.base import weights_key
    from trainables.weights import write_random

    files = {arch: folder / f"{arch}.safetensors" for arch, _ in wanted}
    try:
        for arch, path in files.items():
            write_random(arch, path)
    except OSError as error:
        raise InputError(f"{folder}: random weights cannot be written ({error.strerror or error})") from error
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
    return carried_on(measured, plan.fidelity, GROWTH[family])


def carried_on(measured: list[float], scale: Fidelity, growth: int) -> list[float]:
    """Seconds at every rung from those `measured` at the first two, training growing with the power `growth`."""
    if len(measured) < 2:
        return measured
    first, second = (rung**growth for rung in scale.rungs[:2])
    slope = (measured[1] - measured[0]) / (second - first)
    return [measured[0], *(measured[1] + slope * (rung**growth - second) for rung in scale.rungs[1:])]


def estimate_lines(estimated: dict[str, Any], rungs: list[int]) -> list[str]:
    """`estimate` for people."""
    lines = []
    for family, values in estimated["families"].items():
        if "why_not" in values:
            lines.append(f"{family:<10} not probed: {values['why_not']}")
            continue
        at = ", ".join(f"{seconds:.1f}" for seconds in values["seconds"])
        on_average = f"; {values['trial']:.1f} s a trial with stopping" if "trial" in values else ""
        lines.append(f"{family:<10} about {at} s at rungs {', '.join(str(rung) for rung in rungs)}{on_average}")
    if "trials" in estimated:
        cost = f", cost {estimated['cost']:.2f}" if "cost" in estimated else ""
        lines.append(
            f"estimate   {estimated['trials']} trials, {estimated['seconds'] / 60:.1f} min, "
            f"{estimated['cpu_seconds']:.0f} CPU-seconds, {estimated['gpu_seconds']:.0f} GPU-seconds{cost}"
        )
    head = "" if "trials" in estimated else "estimate"
    return [*lines, *(f"{head:<10} {note}" for note in estimated["notes"])]
