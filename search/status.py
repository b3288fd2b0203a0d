"""How far a run has come, read from its folder alone: also while another process searches it."""

from collections.abc import Callable
from typing import Any

from rich.text import Text

from results.describe import describe
from results.goals import Goals
from results.journal import read_events
from results.leaderboard import figures, record_json
from results.run_folder import RunFolder
from results.schema import Status
from results.sharing import Shared, shared
from search.budget import Budget, Spend, budget_text
from search.ledger import Ledger
from search.limits import searching_seconds
from search.place import is_driven
from search.plan import Plan
from search.plan_file import read_plan
from search.room import Room, Shape
from spaces.family import Family


def status_of(run: RunFolder) -> dict[str, Any]:
    """Counts, seconds, spend, shared work, budget and incumbent of `run`; `active`: whether a driver is at it now."""
    events = read_events(run.measurements)
    plan = read_plan(run.plan)
    ledger = Ledger(plan.goals, _shape(run, plan))
    for event in events:
        ledger.apply(event)
    records, best = list(ledger.trials.values()), ledger.patience.incumbent
    unfinished = {record.trial for record in records if record.status is Status.RUNNING}
    # With rungs in seconds a trial that has measured something may have passed none.
    paused = len(unfinished & ledger.at_a_rung) if plan.promotion and plan.rungs != "seconds" else 0
    return {
        "run": run.location,
        "active": is_driven(run),
        "trials": len(records),
        "running": len(unfinished) - paused,
        "paused": paused,
        "finished": sum(record.status is Status.FINISHED for record in records),
        "stopped": sum(record.status is Status.STOPPED for record in records),
        "failed": sum(record.status is Status.FAILED for record in records),
        "seconds": searching_seconds(events),
        **ledger.spend._asdict(),
        **shared(records)._asdict(),
        "without_improvement": ledger.patience.waited,
        "budget": plan.budget.model_dump(mode="json"),
        "constraints": list(plan.constraints),
        "objectives": list(plan.objectives),
        "incumbent": record_json(best, plan.goals) if best else None,
    }


def status_text(info: dict[str, Any]) -> Text:
    """`status_of` for people."""
    best = info["incumbent"]
    goals = Goals(objectives=info["objectives"], constraints=info["constraints"])
    leader = f"none at full fidelity yet{goals.within}"
    if best:
        leader = f"{figures(best, goals)}, trial {best['trial']}, {best['family']} {describe(best['config'])}"
    spent = Spend(info["cpu_seconds"], info["gpu_seconds"]).describe(Budget.model_validate(info["budget"]))
    found = Shared(**{name: info[name] for name in Shared._fields})
    unfinished = "running" if info["active"] else "unfinished"
    counts = f"{info['finished']} finished, {info['stopped']} stopped, {info['failed']} failed"
    counts += f", {info['paused']} paused" if info["paused"] else ""
    return Text(
        f"run       {info['run']} ({'being searched' if info['active'] else 'not being searched'})\n"
        f"budget    {budget_text(info['budget'], goals)}\n"
        f"trials    {info['trials']}: {counts}, {info['running']} {unfinished}\n"
        f"time      {info['seconds']:.0f} s\n"
        f"spent     {spent}\n"
        f"shared    {found.describe()}\n"
        f"waited    {info['without_improvement']} trials ended since the best one\n"
        f"best      {leader}"
    )


def _shape(run: RunFolder, plan: Plan) -> Callable[[Family], Shape]:
    """What a trial of each family occupies; a run killed before its first trial has no provenance yet."""
    sessions = run.provenance_values().get("sessions") if run.provenance.exists() else None
    if not sessions:
        return lambda family: Shape(0, 0.0)
    return Room(plan.resources, sessions[-1]["hardware"]["resources"], plan.space.families, grows=True).shape
