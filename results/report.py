"""The report of a run: one HTML file that holds all it shows, for a browser that may have no network.

What comes from files goes through the template's escaping, or through `report_plot.plain` where plotly draws it.
"""

import json
import time
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from results.calibration import calibrate, recall_by_emotion
from results.describe import describe
from results.leaderboard import may_win
from results.mistakes import most_confident
from results.report_facts import Facts, Validation, duration, facts_of
from results.report_parameters import parameters
from results.report_plot import status_word
from results.report_search import anytime, costs, costs_plot, learning_curves, rungs, rungs_plot
from results.report_winner import confusion_plot, png_address, reliability_plot
from results.run_folder import RunFolder, write_whole
from results.selection_view import candidate_cells, ensemble_lines, reasons
from spaces.errors import InputError
from trainables.metrics import score

ROWS = 200
"""Rows of the leaderboard that are shown; `results` and `leaderboard.csv` have them all."""


def write_report(run: RunFolder, cache: Path, out: Path | None = None) -> dict[str, Any]:
    """Write the report of `run`, finished or not, to `out`, by default `report.html` in the run; test is not read.

    Args:
        run: The run.
        cache: The node's folder for parsed data.
        out: The file.

    Returns:
        `report`, its path; `bytes`, its size; `missing`, why parts that need the validation faces are not there, else
        None.

    Raises:
        InputError: If the run's plan or measurements are damaged, or the file cannot be written.
    """
    path = out or run.report
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; a report is a file, such as report.html")
    facts = facts_of(run, cache)
    html = render(facts)
    try:
        write_whole(path, html)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    missing = facts.validation if isinstance(facts.validation, str) else None
    return {"report": str(path), "bytes": len(html.encode()), "missing": missing}


def render(facts: Facts) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "describe": describe,
        "duration": duration,
        "png_address": png_address,
        "status_word": status_word,
    }
    coordinates, importances = parameters(facts)
    rows = rungs(facts)
    return environment.get_template("report.html").render(
        name=facts.run.path.resolve().name,
        made=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        facts=facts,
        may_win=may_win,
        rows=ROWS,
        anytime=anytime(facts),
        learning_curves=learning_curves(facts),
        coordinates=coordinates,
        importances=importances,
        rungs=rows,
        rungs_plot=rungs_plot(rows),
        costs=costs(facts.records),
        costs_plot=costs_plot(facts.records),
        selection=_selection(facts),
        test_confusion=confusion_plot(facts.reading.test.confusion) if facts.reading else None,
        provenance=_provenance(facts.run),
        plan=facts.run.plan.read_text(),
        plotly=Markup(get_plotlyjs()),  # noqa: S704  # the library itself
        **_winner(facts),
    )


def _winner(facts: Facts) -> dict[str, Any]:
    """What the template shows of the winner on validation, and else `missing`, why that cannot be told."""
    found = facts.validation
    if not isinstance(found, Validation):
        names = ("confusion", "reliability", "calibration", "emotions", "mistakes")
        return {"missing": found, **dict.fromkeys(names)}
    labels = found.faces.labels
    try:
        calibration = calibrate(labels, found.probabilities)
    except ValueError:  # a class has fewer faces than folds
        calibration = None
    return {
        "missing": None,
        "confusion": confusion_plot(score(labels, found.probabilities).confusion),
        "reliability": reliability_plot(found),
        "calibration": calibration,
        "emotions": recall_by_emotion(found.faces, found.probabilities),
        "mistakes": most_confident(found.faces, found.probabilities),
    }


def _selection(facts: Facts) -> dict[str, Any] | None:
    """What the template shows of the last selection; None if there is none, or trials have finished since."""
    if facts.selection is None:
        return None
    compared = facts.selection.compared
    measure = compared.get("measure")  # earlier versions did not say
    return {
        "reasons": reasons(facts.selection.winner, compared),
        "candidates": [
            (row["trial"] == facts.selection.winner, candidate_cells(row, measure)) for row in compared["candidates"]
        ],
        "ensemble": ensemble_lines(compared["ensemble"]),
    }


def _provenance(run: RunFolder) -> str:
    try:
        return json.dumps(run.provenance_values(), indent=2, ensure_ascii=False)
    except InputError as error:
        return f"{error}."
