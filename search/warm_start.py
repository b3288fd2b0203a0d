"""What a search learns from earlier runs before its first trial."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter

from results.leaderboard import TrialRecord, ranked, trials_in
from results.run_folder import RunFolder, write_whole
from results.schema import Status
from search.plan import Plan
from spaces.errors import InputError
from spaces.points import point_of

# A fidelity below every rung: Optuna ranks what was measured there below all that this run measures itself.
BELOW_ALL = 0


class EarlierTrial(BaseModel):
    """A trial of an earlier run that lies in this run's space.

    Attributes:
        config: Its config.
        status: How it ended; STOPPED for all trials on other data or another scale of fidelities.
        reports: What it measured, by fidelity; on other data or another scale its last value, at `BELOW_ALL`.
        is_point: Whether it is the best of its family in its run, and so among the first to be tried.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: dict[str, Any]
    status: Status
    reports: dict[int, float]
    is_point: bool


_TRIALS: TypeAdapter[list[EarlierTrial]] = TypeAdapter(list[EarlierTrial])


def earlier_trials(plan: Plan, run: RunFolder, fingerprint: str, split: str) -> tuple[list[EarlierTrial], list[str]]:
    """The trials from which `run` learns, and sentences that say so.

    They are kept in the run, so that a resume learns from the same ones even if the earlier runs are gone.

    Args:
        plan: Its `warm_start` names the earlier runs.
        run: The run that is searched.
        fingerprint: The content hash of its data.
        split: The hash of what is held out.

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
    for path in plan.warm_start:
        earlier = RunFolder.existing(path)
        records = [record for record in ranked(trials_in([earlier])) if record.measurements]
        is_alike = _is_alike(plan, earlier, fingerprint, split)
        trials = list(_translated(plan, records, is_alike))
        found += trials
        kind = "the same data and rungs" if is_alike else "other data or rungs: they rank below this run's own trials"
        sentences.append(f"warm start from {path}: {len(trials)} of {len(records)} trials lie in this space; {kind}")
    write_whole(run.warm_start, json.dumps(_TRIALS.dump_python(found, mode="json")))
    return found, sentences


def _is_alike(plan: Plan, earlier: RunFolder, fingerprint: str, split: str) -> bool:
    data = earlier.provenance_values().get("data", {})
    same_goal = earlier.goals().objectives[0] == plan.goals.objectives[0]
    is_same_data = (data.get("fingerprint"), data.get("split")) == (fingerprint, split)
    return same_goal and is_same_data and earlier.fidelity() == plan.fidelity


def _translated(plan: Plan, records: list[TrialRecord], is_alike: bool) -> Iterator[EarlierTrial]:
    """The trials of `records`, best first, that the space of `plan` holds."""
    families = set()
    for record in records:
        try:
            config = point_of(plan.space, record.config)
        except ValueError:
            continue
        reports = {each.fidelity: plan.goals.value(each) for each in record.measurements}
        last = plan.goals.value(record.measurements[-1])
        is_ended = record.status in (Status.FINISHED, Status.STOPPED)
        yield EarlierTrial(
            config=config.model_dump(mode="json"),
            status=record.status if is_alike and is_ended else Status.STOPPED,
            reports=reports if is_alike else {BELOW_ALL: last},
            is_point=record.family not in families and record.status is Status.FINISHED,
        )
        families |= {record.family} if record.status is Status.FINISHED else set()
