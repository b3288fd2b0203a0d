"""The figures of a report that tell of the search: its best by time, its trials by fidelity, its rungs and its cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from markupsafe import Markup

from results.leaderboard import TrialRecord
from results.report_facts import Facts
from results.report_plot import COLOURS, STATUS_COLOURS, plot, status_word, with_gaps
from results.schema import Measurement, Status, TrialEnd
from results.sharing import Shared, shared
from spaces.family import Family


@dataclass(frozen=True)
class RungRow:
    """How the trials of one family fared at one rung.

    Attributes:
        family: The family.
        rung: The fidelity.
        reached: Trials measured at it; of those `passed` went on (at full fidelity: finished), `stopped` were stopped
            there, `left` failed after it or are unfinished.
    """

    family: Family
    rung: int
    reached: int
    passed: int
    stopped: int
    left: int


@dataclass(frozen=True)
class CostRow:
    """What one family cost.

    Attributes:
        family: The family.
        trials: Its trials.
        seconds: Seconds of all of them, of which `finished_seconds` went into finished ones.
        share: Of the seconds of all families.
        shared: What they found in shared work.
        in_memory: Trials that found the prepared data in their worker's memory, of those measured.
        measured: Trials with a measurement.
    """

    family: Family
    trials: int
    seconds: float
    finished_seconds: float
    share: float
    shared: Shared
    in_memory: int
    measured: int


def families_of(records: Sequence[TrialRecord]) -> list[Family]:
    """The families that were tried, in the order of `Family`."""
    tried = {record.family for record in records}
    return [family for family in Family if family in tried]


def anytime(facts: Facts) -> Markup | None:
    """The best validation accuracy at full fidelity by seconds of searching; None while there is none."""
    records, goals = {record.trial: record for record in facts.records}, facts.run.goals()
    x: list[float] = []
    y: list[float] = []
    trials: list[int] = []
    for event, seconds in zip(facts.events, facts.seconds, strict=True):
        if isinstance(event, TrialEnd) and event.status is Status.FINISHED:
            accuracy = records[event.trial].val_accuracy
            may_win = goals.are_kept_by(records[event.trial].measurements[-1])
            if accuracy is not None and may_win and (not y or accuracy > y[-1]):
                x.append(round(seconds / 60, 3))
                y.append(accuracy)
                trials.append(event.trial)
    if not x:
        return None
    end = [round(facts.seconds[-1] / 60, 3)]
    trace = go.Scatter(
        x=x + end,
        y=y + y[-1:],
        customdata=trials + trials[-1:],
        mode="lines+markers",
        line={"shape": "hv", "color": "#0072b2"},
        hovertemplate="trial %{customdata}: %{y:.4f}<br>%{x:.1f} min<extra></extra>",
    )
    return plot(go.Figure(trace), xaxis_title="minutes of searching", yaxis_title="best validation accuracy")


def learning_curves(facts: Facts) -> Markup | None:
    """Validation accuracy by fidelity, a line for each trial, a cross where one was stopped; None without any."""
    figure = go.Figure()
    for family in families_of(facts.records):
        measured = [record for record in facts.records if record.family is family and record.measurements]
        stopped = [record for record in measured if record.status is Status.STOPPED]
        others = [record for record in measured if record.status is not Status.STOPPED]
        for records, name, opacity in ((others, str(family), 0.9), (stopped, f"{family}, stopped", 0.4)):
            if records:
                figure.add_trace(_lines(records, name, COLOURS[family], opacity))
        if stopped:
            figure.add_trace(_crosses(stopped, COLOURS[family]))
    if not figure.data:
        return None
    rungs = sorted({measured.fidelity for record in facts.records for measured in record.measurements})
    return plot(
        figure,
        440,
        xaxis={"title": "fidelity", "type": "log", "tickvals": rungs, "ticktext": [str(rung) for rung in rungs]},
        yaxis_title="validation accuracy",
    )


def _lines(records: Sequence[TrialRecord], name: str, colour: str, opacity: float) -> go.Scatter:
    return go.Scatter(
        x=with_gaps([[measured.fidelity for measured in record.measurements] for record in records]),
        y=with_gaps([[round(measured.val_accuracy, 5) for measured in record.measurements] for record in records]),
        customdata=with_gaps([[record.trial] * len(record.measurements) for record in records]),
        mode="lines+markers",
        name=name,
        line={"color": colour, "width": 1.5},
        marker={"size": 5},
        opacity=opacity,
        hovertemplate="trial %{customdata}: %{y:.4f} at fidelity %{x}<extra></extra>",
    )


def _crosses(stopped: Sequence[TrialRecord], colour: str) -> go.Scatter:
    return go.Scatter(
        x=[record.fidelity for record in stopped],
        y=[round(record.val_accuracy or 0.0, 5) for record in stopped],
        customdata=[record.trial for record in stopped],
        mode="markers",
        marker={"symbol": "x", "size": 8, "color": colour},
        showlegend=False,
        hovertemplate="trial %{customdata} was stopped at fidelity %{x}: %{y:.4f}<extra></extra>",
    )


def rungs(facts: Facts) -> list[RungRow]:
    """How many trials of each family reached and passed each rung.

    Raises:
        InputError: If the plan's fidelity cannot be used.
    """
    scale = facts.run.fidelity().rungs
    rows = []
    for family in families_of(facts.records):
        records = [record for record in facts.records if record.family is family]
        for rung in scale:
            reached = [record for record in records if record.fidelity >= rung]
            passed = [record for record in reached if record.fidelity > rung or record.status is Status.FINISHED]
            stopped = sum(record.fidelity == rung and record.status is Status.STOPPED for record in reached)
            rows.append(RungRow(family, rung, len(reached), len(passed), stopped, len(reached) - len(passed) - stopped))
    return rows


def rungs_plot(rows: Sequence[RungRow]) -> Markup | None:
    """How many trials reached each rung, by family; None without a trial."""
    figure = go.Figure()
    for family in dict.fromkeys(row.family for row in rows):
        mine = [row for row in rows if row.family is family]
        figure.add_bar(
            x=[str(row.rung) for row in mine],
            y=[row.reached for row in mine],
            customdata=[[row.passed, row.stopped] for row in mine],
            name=str(family),
            marker_color=COLOURS[family],
            hovertemplate="%{y} reached %{x}, %{customdata[0]} passed, %{customdata[1]} stopped<extra></extra>",
        )
    if not figure.data:
        return None
    return plot(
        figure, 320, xaxis={"title": "rung (fidelity)", "type": "category"}, yaxis_title="trials that reached it"
    )


def costs(records: Sequence[TrialRecord]) -> list[CostRow]:
    """What each family cost, in seconds of its trials."""
    total = sum(record.seconds for record in records)
    rows = []
    for family in families_of(records):
        mine = [record for record in records if record.family is family]
        seconds = sum(record.seconds for record in mine)
        first: list[Measurement] = [record.measurements[0] for record in mine if record.measurements]
        rows.append(
            CostRow(
                family=family,
                trials=len(mine),
                seconds=seconds,
                finished_seconds=sum(record.seconds for record in mine if record.status is Status.FINISHED),
                share=seconds / total if total else 0.0,
                shared=shared(mine),
                in_memory=sum(measured.cache_hit for measured in first),
                measured=len(first),
            )
        )
    return rows


def costs_plot(records: Sequence[TrialRecord]) -> Markup | None:
    """Minutes of trials by family and by what became of them; None without a trial."""
    families = families_of(records)
    if not families:
        return None
    figure = go.Figure()
    for status, colour in STATUS_COLOURS.items():
        minutes = [
            sum(record.seconds for record in records if record.family is family and record.status is status) / 60
            for family in families
        ]
        figure.add_bar(
            x=minutes,
            y=[str(family) for family in families],
            orientation="h",
            name=status_word(status),
            marker_color=colour,
            hovertemplate="%{y}: %{x:.1f} min<extra></extra>",
        )
    return plot(figure, 120 + 60 * len(families), barmode="stack", xaxis_title="minutes of trials")
