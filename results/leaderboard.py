"""From events to trials, and from trials to the ranking, the incumbent and the tables people and programs read."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table

from results.describe import describe
from results.goals import Goals
from results.journal import read_events
from results.run_folder import RunFolder
from results.schema import Event, Measurement, Status, TrialEnd, TrialStart
from spaces.errors import InputError
from spaces.family import Family

COLUMNS = (
    "run",
    "trial",
    "family",
    "config",
    "status",
    "fidelity",
    "val_accuracy",
    "val_macro_f1",
    "val_log_loss",
    "seconds",
    "seed",
)

BREAKS = "breaks_limits"
"""The column or key that says, where there are constraints, whether a trial breaks one."""

ACCURACY = Goals()


@dataclass(frozen=True)
class TrialRecord:
    """One trial as its events tell it.

    Attributes:
        run: Path of the run.
        trial: Number of the trial in its run.
        family: Its family.
        config: Its config as plain values.
        status: What became of it.
        fidelity: The highest rung it was measured at, 0 before the first.
        val_accuracy: Balanced accuracy on validation at that rung; the other `val_` fields are likewise on validation.
            None before the first rung.
        val_log_loss: In nats.
        seconds: Seconds spent in all up to that rung.
        seed: Seed of its learner.
        is_drawn: Whether TPE, which otherwise learns, drew all of it, or all but its family, at random.
        reason: Why it failed, or was stopped by the end of the search; empty otherwise.
        measurements: One for each rung it reached, lowest first.
    """

    run: str
    trial: int
    family: Family
    config: dict[str, Any]
    status: Status
    fidelity: int
    val_accuracy: float | None
    val_macro_f1: float | None
    val_log_loss: float | None
    seconds: float
    seed: int
    is_drawn: bool
    reason: str
    measurements: tuple[Measurement, ...]


def trials_of(events: Iterable[Event], run: str = "") -> list[TrialRecord]:
    """The trials that `events` tell of, by number.

    A resumed run may say a thing twice (start, end, or measurement of the same rung): the later line wins.

    Raises:
        InputError: If a trial has other lines but none that starts it.
    """
    starts: dict[int, TrialStart] = {}
    ends: dict[int, TrialEnd] = {}
    measured: dict[int, dict[int, Measurement]] = {}
    for event in events:
        if isinstance(event, TrialStart):
            starts[event.trial] = event
        elif isinstance(event, TrialEnd):
            ends[event.trial] = event
        elif isinstance(event, Measurement):
            measured.setdefault(event.trial, {})[event.fidelity] = event
    if orphans := sorted((ends.keys() | measured.keys()) - starts.keys()):
        raise InputError(f"{run}: trial {orphans[0]} has lines but none of kind trial, which every trial begins with")
    return [_record(run, start, measured.get(trial, {}), ends.get(trial)) for trial, start in sorted(starts.items())]


def _record(run: str, start: TrialStart, rungs: dict[int, Measurement], end: TrialEnd | None) -> TrialRecord:
    measurements = tuple(rungs[fidelity] for fidelity in sorted(rungs))
    last = measurements[-1] if measurements else None
    return TrialRecord(
        run=run,
        trial=start.trial,
        family=start.family,
        config=start.config,
        status=end.status if end else Status.RUNNING,
        fidelity=last.fidelity if last else 0,
        val_accuracy=last.val_accuracy if last else None,
        val_macro_f1=last.val_macro_f1 if last else None,
        val_log_loss=last.val_log_loss if last else None,
        seconds=last.total_seconds if last else 0.0,
        seed=start.seed,
        is_drawn=start.is_drawn,
        reason=end.reason if end else "",
        measurements=measurements,
    )


def trials_in(runs: Iterable[RunFolder]) -> list[TrialRecord]:
    """The trials of all `runs`, each run's in the order of their numbers.

    Raises:
        InputError: If a run's measurements are damaged.
    """
    return [trial for run in runs for trial in trials_of(read_events(run.measurements), run.location)]


def rank(record: TrialRecord, goals: Goals = ACCURACY) -> tuple[Any, ...]:
    """What `ranked` sorts by: the lower, the better."""
    finished = record.status is Status.FINISHED
    last = record.measurements[-1] if record.measurements else None
    value = -math.inf if last is None else goals.value(last)
    place = 0 if finished else -record.fidelity
    is_out = not may_win(record, goals)
    return (not finished, last is None, is_out, place, -value, record.seconds, record.trial, record.run)


def may_win(record: TrialRecord, goals: Goals) -> bool:
    """Whether what a trial measured last, if anything, breaks no constraint."""
    return not record.measurements or goals.are_kept_by(record.measurements[-1])


def ranked(records: Iterable[TrialRecord], goals: Goals = ACCURACY) -> list[TrialRecord]:
    """Best first: FINISHED trials by the first objective, then all others by fidelity and the first objective.

    A tie goes to the cheaper trial (fewer seconds), then to the lower number. Trials that are not at full fidelity
    rank below all that are, whatever their accuracy: the two are not comparable. Those that break a constraint rank
    below the others, and last of all those that measured nothing.
    """
    return sorted(records, key=lambda record: rank(record, goals))


def incumbent(records: Iterable[TrialRecord], goals: Goals = ACCURACY) -> TrialRecord | None:
    """The best trial at full fidelity that breaks no constraint, by `ranked`; None while there is none."""
    candidates = (record for record in records if record.status is Status.FINISHED and may_win(record, goals))
    return min(candidates, key=lambda record: rank(record, goals), default=None)


def leaderboard(runs: Sequence[RunFolder]) -> pd.DataFrame:
    """The trials of `runs`, best first (see `ranked`), one a row, as `frame` has them; `config` holds dicts.

    Raises:
        InputError: If a run's measurements are damaged.
    """
    return frame(trials_in(runs), goals_of(runs))


def frame(records: Iterable[TrialRecord], goals: Goals = ACCURACY) -> pd.DataFrame:
    """`records` as a leaderboard, with what else `goals` speak of, and `BREAKS` where these have constraints."""
    ordered = ranked(records, goals)
    more = [name for name in goals.measures if name not in COLUMNS]
    rows = [
        [*(getattr(record, name) for name in COLUMNS), *(_last(record, name) for name in more)] for record in ordered
    ]
    board = pd.DataFrame(rows, columns=[*COLUMNS, *more])
    return board.assign(**{BREAKS: [not may_win(record, goals) for record in ordered]}) if goals.constraints else board


def _last(record: TrialRecord, name: str) -> Any:
    return getattr(record.measurements[-1], name) if record.measurements else None


def record_json(record: TrialRecord, goals: Goals = ACCURACY) -> dict[str, Any]:
    """The keys by which programs know a trial, and what else `goals` speak of."""
    values = {column: getattr(record, column) for column in COLUMNS if column not in ("run", "val_log_loss")}
    values |= {name: _last(record, name) for name in goals.measures if name not in values}
    return values | ({BREAKS: not may_win(record, goals)} if goals.constraints else {})


def figures(trial: Mapping[str, Any], goals: Goals) -> str:
    """What `record_json` says of accuracy and of what else `goals` speak of, for people."""
    others = [f"{name} {trial[name]:.4g}" for name in goals.measures if name != "val_accuracy"]
    return ", ".join([f"{trial['val_accuracy']:.4f}", *others])


def results_json(runs: Sequence[RunFolder], records: Iterable[TrialRecord]) -> dict[str, Any]:
    """What `results --json` prints: `runs`, `trials` (best first) and `incumbent` (one of them, or None).

    Given several runs, each trial has the key `run` as well, since numbers repeat from run to run.

    Args:
        runs: The runs.
        records: Those of their trials that are asked for.
    """
    goals = goals_of(runs)
    records = ranked(records, goals)
    trials = [record_json(record, goals) | ({"run": record.run} if len(runs) > 1 else {}) for record in records]
    best = incumbent(records, goals)
    return {
        "runs": [run.location for run in runs],
        "trials": trials,
        "incumbent": trials[records.index(best)] if best else None,
    }


def goals_of(runs: Sequence[RunFolder]) -> Goals:
    """The goals that all `runs` share.

    Raises:
        InputError: If they have different ones: their trials cannot be ranked in one table.
    """
    found = {run.goals(): run for run in runs}
    if len(found) > 1:
        (first, one), (second, other) = list(found.items())[:2]
        raise InputError(
            f"{one.location} and {other.location} were searched for different things ({first.describe()}; "
            f"{second.describe()}); show them one by one"
        )
    return next(iter(found), ACCURACY)


def differing_data(runs: Sequence[RunFolder]) -> str | None:
    """A sentence if `runs` saw other faces or another split of them, so that their figures are not comparable."""
    seen: dict[tuple[str, str], str] = {}
    for run in runs:
        if run.provenance.exists():
            data = run.provenance_values()["data"]
            seen.setdefault((data["fingerprint"], data["split"]), run.location)
    if len(seen) < 2:
        return None
    one, other = list(seen.values())[:2]
    return f"{one} and {other} have other faces, or another split of them: their figures do not compare"


def write_csv(board: pd.DataFrame, path: Path) -> None:
    """Write a leaderboard, configs as JSON, so that `path` always holds a whole file, the old or the new."""
    partial = path.with_name(f".{path.name}.partial")
    board.assign(config=board["config"].map(json.dumps)).to_csv(partial, index=False)
    partial.replace(path)


def table(board: pd.DataFrame, top: int = 20, goals: Goals = ACCURACY) -> Table:
    """The first `top` rows of a leaderboard for people, with all that `goals` speak of; the incumbent is bold.

    Raises:
        InputError: If a config is none of any family.
    """
    several = board["run"].nunique() > 1
    title = f"{len(board)} trials" if len(board) <= top else f"best {top} of {len(board)} trials"
    view = Table(title=title, box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    if BREAKS in board and board[BREAKS].head(top).any():
        view.caption = "* breaks a constraint"
    for name in ("run", "trial", "family", "config", "status") if several else ("trial", "family", "config", "status"):
        view.add_column(name)
    more = [name for name in goals.measures if name not in ("val_accuracy", "val_macro_f1")]
    for name in ("fidelity", "accuracy", "macro-F1", *more, "seconds"):
        view.add_column(name, justify="right")
    for place, row in enumerate(board.head(top).to_dict("records")):
        best = place == 0 and row["status"] is Status.FINISHED and not row.get(BREAKS)
        view.add_row(*([row["run"]] if several else []), *_cells(row, more), style="bold" if best else None)
    return view


def _cells(row: dict[Any, Any], more: Sequence[str]) -> list[str]:
    shares = ["-" if pd.isna(row[name]) else f"{row[name]:.4f}" for name in ("val_accuracy", "val_macro_f1")]
    status = "unfinished" if row["status"] is Status.RUNNING else row["status"]  # the run may have ended without it
    status = f"{status}*" if row.get(BREAKS) else status
    shares += ["-" if pd.isna(row[name]) else f"{row[name]:.4g}" for name in more]
    words = [str(row["trial"]), row["family"], describe(row["config"]), status]
    return [*words, str(row["fidelity"]), *shares, f"{row['seconds']:.1f}"]
