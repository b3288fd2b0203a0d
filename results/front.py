"""The Pareto front of a search with several objectives."""

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.table import Table

from results.describe import describe
from results.goals import MEASURES, Goals
from results.leaderboard import TrialRecord, record_json
from results.schema import Status


def pareto_front(records: Iterable[TrialRecord], goals: Goals) -> list[TrialRecord]:
    """The finished trials that no other one beats in one objective and at least equals in the rest.

    Those that break a constraint are left out. Best in the first objective first, then the lower number.
    """
    signs = [1 if MEASURES[objective] else -1 for objective in goals.objectives]
    turned = [
        ([sign * value for sign, value in zip(signs, goals.values(record.measurements[-1]), strict=True)], record)
        for record in records
        if record.status is Status.FINISHED and record.measurements and goals.are_kept_by(record.measurements[-1])
    ]

    def is_beaten(own: list[float]) -> bool:
        return any(
            other != own and all(theirs >= mine for theirs, mine in zip(other, own, strict=True)) for other, _ in turned
        )

    undefeated = [(own, record) for own, record in turned if not is_beaten(own)]
    return [record for _, record in sorted(undefeated, key=lambda pair: ([-each for each in pair[0]], pair[1].trial))]


def front_json(records: Iterable[TrialRecord], goals: Goals, is_run_told: bool = False) -> list[dict[str, Any]]:
    """The Pareto front of a run's `records`, each trial with all objectives, as `results --json` prints it."""
    front = pareto_front(records, goals)
    return [record_json(record, goals) | ({"run": record.run} if is_run_told else {}) for record in front]


def front_table(records: Iterable[TrialRecord], goals: Goals, of: str = "") -> Table:
    """The same for people; `of` is the run, where there are several."""
    title = f"Pareto front of {of}" if of else "Pareto front"
    view = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for name in ("trial", "family", "config"):
        view.add_column(name)
    for objective in goals.objectives:
        view.add_column(objective, justify="right")
    for row in front_json(records, goals):
        values = [f"{row[objective]:.4f}" for objective in goals.objectives]
        view.add_row(str(row["trial"]), row["family"], describe(row["config"]), *values)
    return view
