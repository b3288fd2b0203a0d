"""Tables over many runs: the leaderboard, learning curves, what each family cost, and how it fared at each rung."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pandas as pd
from rich import box
from rich.table import Table

from results.goals import TIMED, Goals
from results.leaderboard import ACCURACY, TrialRecord, frame, incumbent
from results.schema import Status
from spaces.errors import InputError
from spaces.family import Family

TableName: TypeAlias = Literal["trials", "curves", "families", "rungs"]

_WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {
    ".csv": lambda table, path: table.to_csv(path, index=False),
    ".parquet": lambda table, path: table.to_parquet(path, index=False),
    ".json": lambda table, path: table.to_json(path, orient="records", indent=2),
}


def kept(
    records: Sequence[TrialRecord], families: Sequence[Family] = (), statuses: Sequence[Status] = ()
) -> list[TrialRecord]:
    """Those of `records` of one of `families` and with one of `statuses`; none given means any."""
    return [
        record
        for record in records
        if (not families or record.family in families) and (not statuses or record.status in statuses)
    ]


def frame_of(records: Sequence[TrialRecord], table: TableName, goals: Goals = ACCURACY) -> pd.DataFrame:
    """The trials of any number of runs as one table.

    Args:
        records: The trials.
        table: `trials`, best first, a row each, `config` as JSON; `curves`, a row for each measurement, `seconds` since
            the trial began; `families`, a row each, see `_family_row`; `rungs`, a row for each rung of each family: how
            many trials `reached` it, of those `passed` it (at full fidelity: finished), were `stopped` there, or are
            `left`: failed after it or unfinished.
        goals: By which trials are ranked.
    """
    return _TABLES[table](records, goals)


def values_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of `table` as plain values; what is missing is None."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    return rows


def write_frame(table: pd.DataFrame, path: Path) -> None:
    """Write `table` as CSV, parquet or JSON, as the name of `path` says, so that `path` always holds a whole file.

    Raises:
        InputError: If the name says none of these, or the file cannot be written.
    """
    writer = _WRITERS.get(path.suffix)
    if writer is None:
        raise InputError(f"--out {path}: a table is written as {', '.join(_WRITERS)}; received {path.suffix or 'none'}")
    partial = path.with_name(f".{path.name}.partial")
    try:
        writer(table, partial)
        partial.replace(path)
    except OSError as error:
        raise InputError(f"--out {path}: cannot be written ({error.strerror or error})") from error


def frame_view(table: pd.DataFrame, top: int) -> Table:
    """The first `top` rows for people."""
    title = f"{len(table)} rows" if len(table) <= top else f"first {top} of {len(table)} rows"
    view = Table(title=title, box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    for name in table.columns:
        view.add_column(name, overflow="fold", justify=_justified(table[name]))
    for row in table.head(top).itertuples(index=False):
        view.add_row(*map(_cell, row))
    return view


def _justified(column: pd.Series) -> Literal["left", "right"]:
    return "right" if pd.api.types.is_numeric_dtype(column) else "left"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if pd.isna(value) else f"{value:.4g}"
    return "-" if value is None else str(value)


def _trials(records: Sequence[TrialRecord], goals: Goals) -> pd.DataFrame:
    board = frame(records, goals)
    words = {name: board[name].map(str) for name in ("family", "status")}
    return board.assign(config=board["config"].map(json.dumps), **words)


def _curves(records: Sequence[TrialRecord], goals: Goals) -> pd.DataFrame:
    of_trial, of_rung = (
        ("run", "trial", "family", "status"),
        ("fidelity", "val_accuracy", "val_macro_f1", "val_log_loss", *sorted(TIMED if goals.needs_timing else ())),
    )
    rows = [
        [
            *(getattr(record, name) for name in of_trial),
            *(getattr(measured, name) for name in of_rung),
            measured.total_seconds,
        ]
        for record in records
        for measured in record.measurements
    ]
    curves = pd.DataFrame(rows, columns=[*of_trial, *of_rung, "seconds"])
    return curves.assign(**{name: curves[name].map(str) for name in ("family", "status")})


def _families(records: Sequence[TrialRecord], goals: Goals) -> pd.DataFrame:
    total = sum(record.seconds for record in records)
    families = [[record for record in records if record.family is family] for family in _tried(records)]
    return pd.DataFrame([_family_row(mine, total, goals) for mine in families])


def _family_row(records: Sequence[TrialRecord], total: float, goals: Goals) -> dict[str, object]:
    """Of one family: trials by what became of them, its best at full fidelity, and seconds with their share of all."""
    counts = {status.lower(): sum(record.status is status for record in records) for status in Status}
    best = incumbent(records, goals)
    seconds = sum(record.seconds for record in records)
    return {
        "family": str(records[0].family),
        "trials": len(records),
        **counts,
        "best_val_accuracy": best.val_accuracy if best else None,
        "best_trial": best.trial if best else None,
        "best_run": best.run if best else None,
        "seconds": seconds,
        "finished_seconds": sum(record.seconds for record in records if record.status is Status.FINISHED),
        "share": seconds / total if total else 0.0,
    }


def _rungs(records: Sequence[TrialRecord], goals: Goals) -> pd.DataFrame:
    rows = []
    for family in _tried(records):
        mine = [record for record in records if record.family is family]
        for rung in sorted({measured.fidelity for record in records for measured in record.measurements}):
            reached = [record for record in mine if record.fidelity >= rung]
            passed = sum(record.fidelity > rung or record.status is Status.FINISHED for record in reached)
            stopped = sum(record.fidelity == rung and record.status is Status.STOPPED for record in reached)
            rows.append((str(family), rung, len(reached), passed, stopped, len(reached) - passed - stopped))
    return pd.DataFrame(rows, columns=["family", "rung", "reached", "passed", "stopped", "left"])


def _tried(records: Sequence[TrialRecord]) -> list[Family]:
    tried = {record.family for record in records}
    return [family for family in Family if family in tried]


_TABLES: dict[TableName, Callable[[Sequence[TrialRecord], Goals], pd.DataFrame]] = {
    "trials": _trials,
    "curves": _curves,
    "families": _families,
    "rungs": _rungs,
}
