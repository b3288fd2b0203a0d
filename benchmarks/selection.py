"""How far the best validation accuracy of a search can be trusted, on recorded predictions of real trials.

    python benchmarks/selection.py runs/NAME ... [--times 200] [--stopped]

The validation faces of a run are cut into a half that chooses and a half that judges, again and again. On the choosing
half the maximum is taken, the rule of `fertune select --top 5` (without refits) is followed, and an ensemble is chosen;
the other half says what each is worth. Nothing is trained and the test split is not used. The cuts of one run overlap,
so the spread over them is not that of independent searches.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from results.choice import choose
from results.ensemble import blend, greedy_weights
from results.leaderboard import TrialRecord, ranked, trials_in
from results.predictions import kept_probabilities
from results.run_folder import RunFolder
from results.schema import Status
from results.statistics import optimism
from search.cli_options import cache_folder
from trainables.data.protocol import load_training

TOP = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    parser.add_argument("--times", type=int, default=200, help="how often validation is cut in halves")
    parser.add_argument("--stopped", action="store_true", help="include trials that had not reached full fidelity")
    arguments = parser.parse_args()
    for path in arguments.runs:
        run = RunFolder.existing(path)
        records = [
            record
            for record in ranked(trials_in([run]))
            if record.status is Status.FINISHED or (arguments.stopped and record.status is Status.STOPPED)
        ]
        labels = load_training(run.data_spec(), cache_folder()).validation.labels
        probabilities = np.stack([kept_probabilities(run, record, labels) for record in records])
        print(json.dumps({"run": path.name, **measured(records, labels, probabilities, arguments.times)}, indent=2))


def measured(records: list[TrialRecord], labels, probabilities, times: int) -> dict[str, object]:
    correct = probabilities.argmax(axis=2) == labels
    rows = []
    for seed in range(times):
        chooses = halves(labels, seed)
        chosen, judged = (accuracies(labels[half], correct[:, half]) for half in (chooses, ~chooses))
        best = int(chosen.argmax())
        honest = by_rule(records, chosen, correct[:, chooses])
        weights = greedy_weights(labels[chooses], probabilities[:, chooses])
        together = blend(weights, probabilities[:, ~chooses]).argmax(axis=1) == labels[~chooses]
        rows.append(
            {
                "optimism": chosen[best] - judged[best],
                "expected_optimism": optimism(labels[chooses], correct[:, chooses], resamples=100),
                "maximum": judged[best],
                "rule": judged[honest],
                "maximum_is_worse": judged[best] < judged[honest],
                "maximum_is_better": judged[best] > judged[honest],
                "maximum_seconds": records[best].seconds,
                "rule_seconds": records[honest].seconds,
                "ensemble_gain": accuracies(labels[~chooses], together[None])[0] - judged[best],
            }
        )
    found: dict[str, object] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    low, high = np.percentile([row["ensemble_gain"] for row in rows], [2.5, 97.5])
    counts = {"trials": len(records), "faces": len(labels), "times": times}
    return {**counts, **found, "ensemble_gain_spread": [low, high]}


def halves(labels, seed: int):
    """Which faces choose: half of each class, drawn at random."""
    generator = np.random.default_rng(seed)
    chooses = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        chooses[members[: len(members) // 2]] = True
    return chooses


def accuracies(labels, correct):
    """The balanced accuracy of each model, (models,)."""
    return np.mean([correct[:, labels == label].mean(axis=1) for label in np.unique(labels)], axis=0)


def by_rule(records: list[TrialRecord], chosen, correct) -> int:
    """The place of the trial that `fertune select --top 5` would choose by these accuracies."""
    order = np.argsort(-chosen, kind="stable")
    of_family = {records[place].family: place for place in order[::-1]}
    places = [place for rank, place in enumerate(order) if rank < TOP or of_family[records[place].family] == place]
    choice = choose(
        [float(chosen[place]) for place in places],
        [records[place].seconds for place in places],
        [correct[place] for place in places],
    )
    return int(places[choice.winner])


if __name__ == "__main__":
    main()
