"""Whether ASHA should spare trials that miss a rung's bar by no more than noise.

Recorded trials (`measurements.jsonl` of runs) give each family a model: what rung 1 measures is drawn from the recorded
values, each later rung from a straight line through the recorded pairs (this rung, next rung) with its residuals, and
seconds from the recorded medians. On it ASHA runs with margins at equal spend; the figure is the accuracy at full
fidelity of the best trial found. The lines rest on trials that went on, hence on a selection.

    python benchmarks/asha_margin.py RUN/measurements.jsonl ... [--maximum 9] [--seconds 1800] [--repeats 2000]
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from results.journal import read_events
from results.leaderboard import TrialRecord, trials_of
from spaces.family import Family
from spaces.fidelity import Fidelity

MARGINS = (0.0, 0.0025, 0.005, 0.01, 0.02)


class FamilyModel:
    """Learning curves of one family, made up from recorded ones."""

    def __init__(self, records: list[TrialRecord], rungs: tuple[int, ...]) -> None:
        curves = [{m.fidelity: (m.val_accuracy, m.total_seconds) for m in record.measurements} for record in records]
        self.firsts = np.array([curve[rungs[0]][0] for curve in curves if rungs[0] in curve])
        self.seconds = [float(np.median([curve[rung][1] for curve in curves if rung in curve])) for rung in rungs]
        self.steps = []
        for low, high in itertools.pairwise(rungs):
            pairs = np.array([(curve[low][0], curve[high][0]) for curve in curves if high in curve])
            slope, offset = np.polyfit(*pairs.T, 1)
            slope = float(np.clip(slope, 0, 1))  # few pairs: a steeper line would make up late winners
            offset = float(np.mean(pairs[:, 1] - slope * pairs[:, 0]))
            self.steps.append((slope, offset, pairs[:, 1] - slope * pairs[:, 0] - offset))

    def curve(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Accuracies at all rungs."""
        values = [rng.choice(self.firsts)]
        for slope, offset, residuals in self.steps:
            values.append(slope * values[-1] + offset + rng.choice(residuals))
        return np.array(values)


def best_found(
    models: list[FamilyModel], scale: Fidelity, margin: float, seconds: float, rng: np.random.Generator
) -> tuple[float, bool]:
    """Best accuracy at full fidelity for `seconds`, and whether the best of all curves begun was stopped."""
    rungs: dict[tuple[int, int], list[float]] = {}
    spent, best, best_of_all, number = 0.0, 0.0, 0.0, 0
    while spent < seconds:
        family = number % len(models)
        model, number = models[family], number + 1
        curve = model.curve(rng)
        best_of_all = max(best_of_all, float(curve[-1]))
        last = len(curve) - 1
        for rung, value in enumerate(curve[:-1]):
            others = rungs.setdefault((family, rung), [])
            better = sum(other > value + margin for other in others)
            others.append(float(value))
            if better >= max(1, len(others) // scale.eta):
                last = rung
                break
        else:
            best = max(best, float(curve[-1]))
        spent += model.seconds[last]
    return best, best < best_of_all


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurements", type=Path, nargs="+")
    parser.add_argument("--maximum", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--repeats", type=int, default=2000)
    arguments = parser.parse_args()
    scale = Fidelity(maximum=arguments.maximum)
    records = [record for path in arguments.measurements for record in trials_of(read_events(path))]
    models = [FamilyModel([r for r in records if r.family is family], scale.rungs) for family in Family]
    for margin in MARGINS:
        rng = np.random.default_rng(0)
        found = [best_found(models, scale, margin, arguments.seconds, rng) for _ in range(arguments.repeats)]
        bests, lost = np.array([best for best, _ in found]), np.mean([is_lost for _, is_lost in found])
        error = bests.std() / np.sqrt(len(bests))
        print(f"margin {margin:.4f}: best found {bests.mean():.4f} +- {error:.4f}, best curve lost {lost:.2f}")


if __name__ == "__main__":
    main()
