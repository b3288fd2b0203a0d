"""The figures of a report that tell of parameters: parallel coordinates and importance, for each family by itself.

The space is conditional: a parameter that a choice leaves unused has no value in that trial. What was asked for,
and from which distribution, is found by asking the plan's space again with the answers that the config records.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
import plotly.graph_objects as go
from markupsafe import Markup
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FixedTrial, create_trial
from pydantic import ValidationError

from results.leaderboard import TrialRecord
from results.report_facts import Facts, counted
from results.report_plot import COLOURS, plain, plot
from results.report_search import families_of
from spaces import points
from spaces.errors import InputError
from spaces.family import Family
from spaces.joint import JointSpace, parse_config

MINIMUM = 10
"""Trials below which importance is noise."""
_UNUSED = "unused"


@dataclass(frozen=True)
class Asked:
    """What one measured trial was asked for.

    Attributes:
        record: The trial.
        values: The value of each parameter that was asked for, those with a single choice left out.
        domains: Their distributions.
    """

    record: TrialRecord
    values: dict[str, Any]
    domains: dict[str, BaseDistribution]


@dataclass(frozen=True)
class Part:
    """What is shown of one family: sentences and plots."""

    family: Family
    notes: list[str]
    plots: list[Markup]


def parameters(facts: Facts) -> tuple[list[Part], list[Part]]:
    """Parallel coordinates and importances, a part for each family that was tried."""
    coordinates, importances = [], []
    for family in families_of(facts.records):
        try:
            space = facts.run.space()
            asked = [
                _asked(space, record) for record in facts.records if record.family is family and record.measurements
            ]
        except InputError as error:
            missing = Part(family, [f"What was searched cannot be told: {error}."], [])
            coordinates.append(missing)
            importances.append(missing)
            continue
        coordinates.append(_coordinates(family, asked))
        importances.append(_importances(family, asked))
    return coordinates, importances


def _asked(space: JointSpace, record: TrialRecord) -> Asked:
    try:
        trial = FixedTrial(points.parameters(parse_config(dict(record.config))))
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Optuna warns where a value lies outside the space
            space.suggest(trial)
    except (ValueError, UserWarning, ValidationError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"trial {record.trial} is not of the plan's space ({reason})") from error
    names = [name for name, domain in trial.distributions.items() if name != "family" and not domain.single()]
    values = {name: trial.params[name] for name in names}
    return Asked(record, values, {name: trial.distributions[name] for name in names})


def _short(name: str) -> str:
    """`svm.features.pca` as `pca`."""
    return name.rpartition(".")[2]


def _coordinates(family: Family, asked: Sequence[Asked]) -> Part:
    """All measured trials of a family as lines across its parameters."""
    domains = {name: domain for trial in asked for name, domain in trial.domains.items()}
    if not domains:
        return Part(family, ["No parameter of it was searched by a measured trial."], [])
    accuracies = [trial.record.val_accuracy or 0.0 for trial in asked]
    dimensions = [_dimension(name, domain, asked) for name, domain in domains.items()]
    fidelities = sorted({trial.record.fidelity for trial in asked})
    dimensions += [
        {
            "label": "fidelity",
            "values": [math.log(trial.record.fidelity) for trial in asked],
            "tickvals": [math.log(fidelity) for fidelity in fidelities],
            "ticktext": [str(fidelity) for fidelity in fidelities],
        },
        {"label": "accuracy", "values": accuracies, "tickformat": ".3f"},
    ]
    line = {"color": accuracies, "colorscale": "Viridis"}
    figure = go.Figure(go.Parcoords(dimensions=dimensions, line=line, labelangle=-20, labelside="top"))
    made = plot(figure, 440, 110 * len(dimensions), margin={"l": 64, "r": 64, "t": 80, "b": 32})
    return Part(family, [f"{counted(len(asked), 'measured trial')}; drag along an axis to single some out."], [made])


def _dimension(name: str, domain: BaseDistribution, asked: Sequence[Asked]) -> dict[str, Any]:
    """One axis; trials that do not use the parameter meet below its values."""
    values = [trial.values.get(name) for trial in asked]
    if isinstance(domain, CategoricalDistribution):
        choices = list(domain.choices)
        axis: list[float] = [-1.0 if value is None else choices.index(value) for value in values]
        ticks: list[tuple[float, str]] = [(place, plain(choice, 16)) for place, choice in enumerate(choices)]
        unused = -1.0
    else:
        low, high, log = (getattr(domain, field) for field in ("low", "high", "log"))
        scale = math.log10 if log else float
        bottom, top = scale(low), scale(high)
        unused = bottom - (top - bottom) / 6
        axis = [unused if value is None else scale(value) for value in values]
        middle = 10 ** ((bottom + top) / 2) if log else (low + high) / 2
        ticks = [(bottom, f"{low:.3g}"), ((bottom + top) / 2, f"{middle:.3g}"), (top, f"{high:.3g}")]
    if None in values:
        ticks.insert(0, (unused, _UNUSED))
    return {
        "label": plain(_short(name)),
        "values": axis,
        "range": [min(place for place, _ in ticks), max(place for place, _ in ticks)],
        "tickvals": [place for place, _ in ticks],
        "ticktext": [text for _, text in ticks],
    }


def _importances(family: Family, asked: Sequence[Asked]) -> Part:
    """Importance for validation accuracy at the highest rung that enough trials reached, for each sub-space in turn."""
    rung = _common_rung(asked)
    if rung is None:
        few = f"Too few trials: {len(asked)} measured, importance needs {MINIMUM}."
        return Part(family, [few], [])
    reached = [trial for trial in asked if trial.record.fidelity >= rung]
    notes = [f"For the accuracy at fidelity {rung}, the highest that {MINIMUM} trials or more reached."]
    plots = []
    for users, names in _subspaces(reached):
        whole = len(users) == len(reached)
        title = f"all {len(users)} trials" if whole else f"the {len(users)} trials with {', '.join(map(_short, names))}"
        if len(users) < MINIMUM:
            notes.append(f"Too few trials for {title}.")
        elif shares := _evaluated(users, rung):
            plots.append(_bars(shares, title, COLOURS[family]))
        else:
            notes.append(f"Nothing can be told of {title}: all have the same accuracy.")
    return Part(family, notes, plots)


def _common_rung(asked: Sequence[Asked]) -> int | None:
    reached = sorted((trial.record.fidelity for trial in asked), reverse=True)
    return reached[MINIMUM - 1] if len(reached) >= MINIMUM else None


def _subspaces(asked: Sequence[Asked]) -> list[tuple[list[Asked], list[str]]]:
    """The trials that were asked for the same parameters, with those parameters; the largest first."""
    users: dict[str, tuple[int, ...]] = {}
    for place, trial in enumerate(asked):
        for name in trial.values:
            users[name] = (*users.get(name, ()), place)
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, places in users.items():
        groups.setdefault(places, []).append(name)
    return [([asked[place] for place in places], groups[places]) for places in sorted(groups, key=len, reverse=True)]


def _evaluated(users: Sequence[Asked], rung: int) -> dict[str, float]:
    """Optuna's importances (fANOVA; Hutter, Hoos and Leyton-Brown, ICML 2014), empty where accuracy does not vary."""
    accuracies = [_accuracy(trial.record, rung) for trial in users]
    if len(set(accuracies)) == 1:
        return {}
    names = [name for name in users[0].values if all(name in trial.values for trial in users)]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for trial, accuracy in zip(users, accuracies, strict=True):
        values = {name: trial.values[name] for name in names}
        domains = {name: trial.domains[name] for name in names}
        study.add_trial(create_trial(params=values, distributions=domains, value=accuracy))
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))


def _accuracy(record: TrialRecord, rung: int) -> float:
    return next(measured.val_accuracy for measured in record.measurements if measured.fidelity >= rung)


def _bars(shares: dict[str, float], title: str, colour: str) -> Markup:
    names = list(reversed(shares))
    figure = go.Figure(
        go.Bar(
            x=[shares[name] for name in names],
            y=[plain(_short(name)) for name in names],
            orientation="h",
            marker_color=colour,
            hovertemplate="%{y}: %{x:.1%}<extra></extra>",
        )
    )
    heading = {"text": plain(title, 90), "font": {"size": 13}}
    return plot(figure, 110 + 24 * len(names), title=heading, xaxis={"title": "importance", "tickformat": ".0%"})
