"""What a search learns from earlier runs before its first trial."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from results.goals import broken_by
from results.leaderboard import TrialRecord, ranked, trials_in
from results.run_folder import RunFolder, write_whole
from results.schema import Status
from search.place import open_run
from search.plan import Plan
from search.sections import Resources
from spaces.errors import InputError
from spaces.family import Family
from spaces.points import point_of
from trainables.data.faceset import CLASSES
from trainables.data.spec import ProtocolSpec
from trainables.storage import Storage, is_url

# A fidelity below every rung: what was measured there compares with nothing that this run measures itself.
BELOW_ALL = 0


class EarlierTrial(BaseModel):
    """A trial of an earlier run that lies in this run's space.

    Attributes:
        config: Its config.
        status: How it ended; STOPPED for all trials of which the order alone counts.
        reports: What it measured, by fidelity; where the order alone counts its last value, at `BELOW_ALL`.
        is_point: Whether it is the best of its family in its run, and so among the first to be tried.
        place: Where the order alone counts, the share of its run's trials that TPE ranks above it; None elsewhere.
        violations: By how much its last measurement breaks each of this run's constraints.
        values: All objectives as it measured them last, where it is FINISHED and there are several.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: dict[str, Any]
    status: Status
    reports: dict[int, float]
    is_point: bool
    place: float | None = None
    violations: dict[str, float] = {}
    values: tuple[float, ...] | None = None


_TRIALS: TypeAdapter[list[EarlierTrial]] = TypeAdapter(list[EarlierTrial])


def earlier_trials(
    plan: Plan, run: RunFolder, fingerprint: str, split: str, machine: Mapping[str, Any]
) -> tuple[list[EarlierTrial], list[str]]:
    """The trials from which `run` learns, and sentences that say so.

    They are kept in the run, so that a resume learns from the same ones even if the earlier runs are gone.

    Args:
        plan: Its `warm_start` names the earlier runs.
        run: The run that is searched.
        fingerprint: The content hash of its data.
        split: The hash of what is held out.
        machine: The machine, as `provenance.hardware` describes it.

    Raises:
        InputError: If an earlier run is not there or damaged.
    """
    if not plan.warm_start:
        return [], []
    if run.warm_start.exists():
        try:
            return _TRIALS.validate_json(run.warm_start.read_text()), []
        except ValueError as error:
            raise InputError(f"{run.warm_start}: cannot read what the run learned from earlier ones") from error
    found, sentences = [], []
    for location in plan.warm_start:
        with open_run(location) as earlier:
            differences = _differences(plan, earlier, fingerprint, split, machine)
            trials, sentence = _learned_from(plan, earlier, differences)
        found += trials
        sentences.append(f"warm start from {location}: {sentence}")
    write_whole(run.warm_start, json.dumps(_TRIALS.dump_python(found, mode="json")))
    return found, sentences


def check_earlier(plan: Plan) -> None:
    """Make sure that the runs from which `plan` is to learn are there, before anything that takes time.

    Raises:
        InputError: If one is not.
    """
    for location in plan.warm_start:
        if not is_url(location):
            RunFolder.existing(Path(location))
        elif not Storage(location).exists("plan.yaml"):
            raise InputError(f"{location}: no run here")


def _learned_from(plan: Plan, earlier: RunFolder, differences: Sequence[str]) -> tuple[list[EarlierTrial], str]:
    """The trials of `earlier` in the space of `plan`, and how many they are and what they are good for."""
    # A trial that failed has told its own run nothing either.
    records = [each for each in trials_in([earlier]) if each.measurements and each.status is not Status.FAILED]
    measured = [record for record in records if plan.goals.has_values(record.measurements[-1])]
    in_space, outside = _translated(plan, ranked(measured, plan.goals), not differences)
    learns = plan.sampler not in ("random", "grid")
    takes_order = plan.sampler == "tpe" and len(plan.goals.objectives) == 1
    counts_all = learns and (takes_order or not differences)
    trials = in_space if counts_all else [trial for trial in in_space if trial.is_point]
    kind = f"other {', '.join(differences)}" if differences else "the same data, pretraining and rungs"
    if not counts_all:
        kind += ": only the best of each family count"
        kind += "" if learns else f", since the sampler {plan.sampler} does not learn"
    elif differences:
        kind += ": the sampler learns from their order alone"
    why = f" (the best of the others does not: {outside[0]})" if outside else ""
    lacking = len(records) - len(measured)
    unknown = f"; {lacking} more did not measure {plan.goals.describe()}" if lacking else ""
    return trials, f"{len(in_space)} of {len(measured)} trials lie in this space{why}; {kind}{unknown}"


def _differences(plan: Plan, earlier: RunFolder, fingerprint: str, split: str, machine: Mapping[str, Any]) -> list[str]:
    """In what `earlier` differs so that what it measured does not compare with what `plan` will measure."""
    data, values = earlier.provenance_values().get("data", {}), earlier.plan_values()
    has_start = "pretraining" in values  # older plans have none
    is_same_start = not plan.needs_pretraining or (has_start and earlier.pretraining() == plan.pretraining)
    found = {
        "data": data.get("fingerprint") != fingerprint,
        "faces held out": data.get("split") != split and data.get("fingerprint") == fingerprint,
        "balance or classes": _use(earlier.data_spec().protocol) != _use(plan.data.protocol),
        "pretraining": not is_same_start,
        "learners": bool(values.get("fake")) != bool(plan.fake),
        "rungs": earlier.fidelity() != plan.fidelity,
    }
    if "latency_ms" in plan.goals.measures:
        there = {_speed(session["hardware"]) for session in earlier.provenance_values().get("sessions", [])}
        found["machine"] = there != {_speed(machine)}
        found["resources"] = Resources.model_validate(values.get("resources", {})) != plan.resources
    return [name for name, is_so in found.items() if is_so]


def _speed(machine: Mapping[str, Any]) -> tuple[object, bool]:
    """What tells machines apart by their pace: the driver's processor, and whether there are GPUs."""
    return machine.get("processor"), bool(machine.get("resources", {}).get("GPU"))


def _use(protocol: ProtocolSpec) -> tuple[object, ...]:
    """What the hashes do not know: how many faces are kept for training, and which emotions are which class."""
    return protocol.balance, *(frozenset(getattr(protocol, name)) for name in CLASSES)


def _translated(plan: Plan, records: list[TrialRecord], is_alike: bool) -> tuple[list[EarlierTrial], list[str]]:
    """The trials of `records`, best first, that the space of `plan` holds, and why not the others."""
    found, outside = [], []
    families = set[Family]()
    violations = [plan.goals.violations(record.measurements[-1]) for record in records]
    # TPE ranks any trial that breaks a constraint below all that break none, however far these were trained.
    order = sorted(range(len(records)), key=lambda index: broken_by(violations[index]))
    better = {index: count for count, index in enumerate(order)}
    for index, record in enumerate(records):
        try:
            config = point_of(plan.space, record.config)
        except ValueError as error:
            outside.append(str(error))
            continue
        reports = {each.fidelity: plan.goals.value(each) for each in record.measurements}
        last = plan.goals.value(record.measurements[-1])
        is_ended = record.status in (Status.FINISHED, Status.STOPPED)
        is_eligible = record.status is Status.FINISHED and plan.goals.are_kept_by(record.measurements[-1])
        status = record.status if is_alike and is_ended else Status.STOPPED
        has_several = status is Status.FINISHED and len(plan.goals.objectives) > 1
        trial = EarlierTrial(
            config=config.model_dump(mode="json"),
            status=status,
            reports=reports if is_alike else {BELOW_ALL: last},
            is_point=record.family not in families and is_eligible,
            place=None if is_alike else better[index] / len(records),
            violations=dict(zip(plan.goals.constraints, violations[index], strict=True)),
            values=tuple(plan.goals.values(record.measurements[-1])) if has_several else None,
        )
        found.append(trial)
        families |= {record.family} if is_eligible else set()
    return found, outside
