"""The comparison that a selection rests on: candidates, their refits, who wins, and what the figures are worth."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from results.calibration import calibrate, recall_by_emotion, thresholds
from results.choice import choose
from results.ensemble import Costs, best_alone, blend, cross_validated, greedy_weights
from results.folds import FOLDS
from results.goals import SHARES
from results.latency import latencies
from results.leaderboard import TrialRecord
from results.predictions import kept_probabilities, places_with_models
from results.refits import Refit, refit_candidates
from results.run_folder import RunFolder
from results.statistics import accuracy_interval, gain_interval, mcnemar, optimism
from spaces.errors import InputError
from trainables.data.faceset import CLASSES, Faces
from trainables.data.protocol import load_training
from trainables.metrics import macro_f1, score


@dataclass(frozen=True)
class Rules:
    """How to select.

    Attributes:
        top: How many of the best trials are compared; above 1, the best of each family is among them besides.
        seeds: How often each is refitted; with 0 the run's own validation figures decide.
        splits: Whether each refit has a split of training and validation of its own; otherwise all have the run's.
        ensemble: Whether an ensemble of all finished trials is chosen and compared with the winner, too.
        latency: The most milliseconds that the ensemble may take for one face, one member after another; None for what
            the run's constraints allow.
    """

    top: int = 1
    seeds: int = 0
    splits: bool = True
    ensemble: bool = False
    latency: float | None = None


def compare(
    run: RunFolder, finished: list[TrialRecord], cache: Path, rules: Rules, say: Callable[[str], None]
) -> tuple[int, dict[str, Any]]:
    """The winning trial of `finished`, best first, and what was compared.

    Returns:
        The number of the winning trial, and: `rules`; `candidates`, each with `trial`, `family`, `config`, `seconds`,
        `val_accuracy_mean`, `val_macro_f1_mean`, `val_accuracy_ci`, `seeds`, `splits`, `refitted`, `failed` and
        `mcnemar_p` (against the leader); `measure`, by which they are ranked; `leader` and `runner_up`, trials;
        `told_apart`, those that are right on significantly more or fewer faces than it; `mcnemar_p`, of the winner
        against the runner-up; `optimism`; `calibration`, `thresholds`, `val_recall` (by class) and
        `recall_by_emotion` of the winner on validation; `ensemble`, None unless the rules ask for it.

    Raises:
        InputError: If several candidates are to be compared, but the run was searched for neither accuracy nor
            macro-F1; or if too few faces are there to validate on.
    """
    goal = run.goals().objectives[0]
    if rules.top > 1 and goal not in SHARES:
        raise InputError(
            f"{run.location}: was searched for {goal}, but candidates are compared by {' or '.join(sorted(SHARES))}; "
            "--top 1 selects the best trial"
        )
    data = load_training(run.data_spec(), cache)
    run.check_data(data)
    faces = data.validation
    _check_counts(run, faces)
    probabilities = np.stack([kept_probabilities(run, record, faces.labels) for record in finished])
    correct = probabilities.argmax(axis=2) == faces.labels
    candidates = _candidates([finished[place] for place in places_with_models(run, finished)], rules.top)
    refits = refit_candidates(run, candidates, rules.seeds, rules.splits, cache, say)
    places = [finished.index(record) for record in candidates]
    rows = [
        _measured(run, finished[place], refits[finished[place].trial], faces, probabilities[place], rules.splits)
        for place in places
    ]
    right = [_right(refits[finished[place].trial], correct[place], rules.splits) for place in places]
    won, chosen = _chosen(run, rows, right)
    winner = places[won]
    return finished[winner].trial, {
        "rules": asdict(rules),
        "candidates": rows,
        **chosen,
        "optimism": _optimism(faces, correct),
        "calibration": asdict(calibrate(faces.labels, probabilities[winner])),
        "thresholds": [part.model_dump() for part in thresholds(faces.labels, probabilities[winner])],
        "val_recall": list(score(faces.labels, probabilities[winner]).recall),
        "recall_by_emotion": recall_by_emotion(faces, probabilities[winner]),
        "ensemble": _ensemble(run, finished, faces, probabilities, winner, _latency(run, rules))
        if rules.ensemble
        else None,
    }


def _right(refits: list[Refit], correct: NDArray[np.bool_], splits: bool) -> NDArray[np.bool_]:
    """On which faces a candidate is right: those of all its refits' splits, one after another, else the run's own.

    Where all refits have the run's own split, that nearest to their mean speaks for them: more would be no more faces.
    """
    told = refits if splits or any(refit.accuracy is None for refit in refits) else _typical(refits)
    return np.array([each == "1" for refit in told for each in refit.right], dtype=np.bool_) if told else correct


def _typical(refits: list[Refit]) -> list[Refit]:
    """The one of `refits`, none of which failed, whose accuracy is nearest to their mean; none of none."""
    accuracies = [refit.accuracy or 0.0 for refit in refits]
    mean = float(np.mean(accuracies)) if refits else 0.0
    return sorted(refits, key=lambda refit: abs((refit.accuracy or 0.0) - mean))[:1]


def _candidates(finished: list[TrialRecord], top: int) -> list[TrialRecord]:
    """The `top` best of `finished`, whose models were kept; where several are compared, the best of each family too."""
    if top == 1:
        return finished[:1]
    first = {record.family: place for place, record in reversed(list(enumerate(finished)))}
    return [record for place, record in enumerate(finished) if place < top or first[record.family] == place]


def _measured(
    run: RunFolder,
    record: TrialRecord,
    refits: list[Refit],
    faces: Faces,
    probabilities: NDArray[np.float32],
    splits: bool,
) -> dict[str, Any]:
    """One of `candidates`: by its refits if it has any, else by what it kept."""
    own = score(faces.labels, probabilities)
    accuracies = [refit.accuracy for refit in refits if refit.accuracy is not None] or [own.accuracy]
    confusions = [refit.confusion for refit in refits if refit.confusion is not None] or [own.confusion]
    return {
        "trial": record.trial,
        "family": record.family,
        "config": record.config,
        "seconds": record.seconds,
        "val_accuracy_mean": float(np.mean(accuracies)),
        "val_macro_f1_mean": float(np.mean([macro_f1(np.array(counts)) for counts in confusions])),
        "val_accuracy_ci": list(accuracy_interval(confusions, same_faces=not splits)),
        "seeds": [refit.seed for refit in refits] or [record.seed],
        "splits": [refit.split for refit in refits] or [run.data_spec().protocol.seed],
        "refitted": bool(refits),
        "failed": next((refit.failed for refit in refits if refit.accuracy is None), None),
        "mcnemar_p": None,
    }


def _chosen(run: RunFolder, rows: list[dict[str, Any]], right: list[NDArray[np.bool_]]) -> tuple[int, dict[str, Any]]:
    """The place of the winner among `rows`, which learn their p values, and what is said of the choice."""
    places = [place for place, row in enumerate(rows) if row["failed"] is None]
    if not places:
        raise InputError(f"{run.location}: every candidate failed when it was refitted; the first: {rows[0]['failed']}")
    measure = run.goals().objectives[0]
    if measure not in SHARES:  # there is one candidate alone then
        measure = "val_accuracy"
    choice = choose(
        [rows[place][f"{measure}_mean"] for place in places],
        [rows[place]["seconds"] for place in places],
        [right[place] for place in places],
    )
    trials = [rows[place]["trial"] for place in places]
    for place, p_value in zip(places, choice.p_values, strict=True):
        rows[place]["mcnemar_p"] = p_value
    return places[choice.winner], {
        "leader": trials[choice.leader],
        "runner_up": None if choice.runner_up is None else trials[choice.runner_up],
        "measure": measure,
        "told_apart": [trial for trial, apart in zip(trials, choice.told_apart, strict=True) if apart],
        "mcnemar_p": choice.p_value,
    }


def _optimism(faces: Faces, correct: NDArray[np.bool_]) -> dict[str, Any]:
    """What picking the best of all finished trials is expected to add to its validation accuracy."""
    best = max(float(np.mean([row[faces.labels == label].mean() for label in range(len(CLASSES))])) for row in correct)
    expected = optimism(faces.labels, correct)
    return {"val_accuracy": best, "expected": expected, "corrected": best - expected, "trials": len(correct)}


def _latency(run: RunFolder, rules: Rules) -> float | None:
    """The most milliseconds that an ensemble may take for one face: by the rules, else by the run's constraints."""
    limits = [each.limit for each in run.goals().limits if each.measure == "latency_ms" and each.sign > 0]
    return min(limits, default=None) if rules.latency is None else rules.latency


def _costs(
    run: RunFolder, finished: list[TrialRecord], faces: Faces, probabilities: NDArray[np.float32], limit: float
) -> Costs:
    """What the trials that may enter an ensemble cost, in milliseconds for one face."""
    places = best_alone(faces.labels, probabilities)
    each = np.full(len(finished), np.inf)
    each[places] = latencies(run, [finished[place] for place in places], faces.images)
    if each.min() > limit:
        raise InputError(
            f"an ensemble within {limit:g} ms (by --latency, or else the plan's constraint): the fastest of the trials "
            f"that may enter it takes {each.min():.2f} ms here"
        )
    # a fold that ranks the trials otherwise may only choose among those that were timed
    return Costs(each, limit)


def _ensemble(
    run: RunFolder,
    finished: list[TrialRecord],
    faces: Faces,
    probabilities: NDArray[np.float32],
    winner: int,
    limit: float | None,
) -> dict[str, Any]:
    """An ensemble of the finished trials whose models were kept, its cross-validated figures beside the winner's."""
    labels, single_probabilities = faces.labels, probabilities[winner]
    kept = places_with_models(run, finished)
    finished, probabilities = [finished[place] for place in kept], probabilities[kept]
    costs = None if limit is None else _costs(run, finished, faces, probabilities, limit)
    weights = greedy_weights(labels, probabilities, costs=costs)
    predicted = cross_validated(labels, probabilities, costs)
    scores, single = score(labels, predicted), score(labels, single_probabilities)
    ours, theirs = predicted.argmax(axis=1) == labels, single_probabilities.argmax(axis=1) == labels
    return {
        "members": [
            {"trial": finished[place].trial, "family": finished[place].family, "weight": float(weights[place])}
            for place in np.argsort(-weights, kind="stable")
            if weights[place] > 0
        ],
        "milliseconds": None if costs is None else float(costs.each[weights > 0].sum()),
        "val_accuracy": scores.accuracy,
        "val_accuracy_ci": list(accuracy_interval(scores.confusion)),
        "val_log_loss": scores.log_loss,
        "gain": scores.accuracy - single.accuracy,
        "gain_ci": list(gain_interval(labels, ours, theirs)),
        "mcnemar_p": mcnemar(ours, theirs),
        "thresholds": [part.model_dump() for part in thresholds(labels, predicted)],
        "in_sample_accuracy": score(labels, blend(weights, probabilities)).accuracy,
    }


def _check_counts(run: RunFolder, faces: Faces) -> None:
    for name, count in zip(CLASSES, np.bincount(faces.labels, minlength=len(CLASSES)), strict=True):
        if count < FOLDS:
            raise InputError(
                f"{run.location}: validation has {count} faces of class {name}; selection cuts each class into {FOLDS} "
                f"folds and needs at least as many faces"
            )
