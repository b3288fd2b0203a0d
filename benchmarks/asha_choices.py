"""How often ASHA loses the best trial, and what is found, at each of its settings; for the defaults of the plan.

Random suggestions run through the real engine on recorded learning curves. The best is lost where the best trial found
is worse than what some trial that was stopped would have reached at full fidelity. Recorded curves are few and each
stands for many configs, so made-up ones with the noise of 4,000 validation faces are shown beside them; how many faces
there were is told to the learned margin, as in a search.

    python benchmarks/asha_choices.py [--curves FILE] [--seeds 50] [--minutes 3] [--workers 2]
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from search_quality import VALIDATION_FACES as RECORDED_FACES

from results.leaderboard import TrialRecord, incumbent, trials_of
from results.schema import Status
from search.plan import Plan
from search.plan_file import read_plan
from search.simulation import CurveOf, simulate
from spaces.joint import parse_config
from trainables.curves import CurveTable, read_curves
from trainables.synthetic import VALIDATION_FACES as MADE_UP_FACES
from trainables.synthetic import SyntheticCurves

HERE = Path(__file__).parent
SETTINGS = {
    "margin learned": [],
    **{f"margin {margin:g}": [f"margin={margin}"] for margin in (0, 0.005, 0.01, 0.02, 0.04)},
    "shared": ["rungs=shared"],
    "seconds": ["rungs=seconds", "first_seconds=0.5"],
    "promotion": ["promotion=true"],
    "promotion, shared": ["promotion=true", "rungs=shared"],
    "hyperband": ["scheduler=hyperband"],
    "hyperband, margin 0": ["scheduler=hyperband", "margin=0"],
    "median": ["scheduler=median"],
    "none": ["scheduler=none"],
}


def outcome(plan: Plan, curve_of: CurveOf, workers: int, faces: int) -> tuple[float, bool, int]:
    """Accuracy of the best trial found, whether a better one was begun and lost, and how many were begun."""
    records = trials_of(simulate(plan, curve_of, {"CPU": float(workers)}, faces=faces))
    best = incumbent(records)
    found = (best.val_accuracy or 0.0) if best else 1 / 3

    def at_the_end(record: TrialRecord) -> float:
        return curve_of(parse_config(record.config)).val_accuracy[-1]

    # Promotion leaves RUNNING what deserved to go on when the time was over.
    ended = [
        record for record in records if record.status is not Status.RUNNING or (plan.promotion and record.fidelity)
    ]
    return found, max(map(at_the_end, ended), default=0.0) > found + 1e-9, len(records)


def show(title: str, curves: Callable[[int], CurveOf], faces: int, minutes: float, seeds: int, workers: int) -> None:
    print(f"{title}: {seeds} seeds, {minutes:g} simulated minutes of {workers} workers, random suggestions")
    for name, settings in SETTINGS.items():
        flags = {"budget.minutes": minutes, "budget.trials": None, "sampler": "random"}
        plan = read_plan(HERE / "search_quality.yaml", settings, flags)
        plans = [plan.model_copy(update={"seed": 1000 * seed}) for seed in range(seeds)]
        outcomes = [outcome(each, curves(seed), workers, faces) for seed, each in enumerate(plans)]
        found, lost, begun = (np.array(column, float) for column in zip(*outcomes, strict=True))
        error = found.std() / np.sqrt(seeds)
        print(
            f"  {name:<22} best found {found.mean():.4f} +- {error:.4f}, best begun lost {lost.mean():.2f}, "
            f"{begun.mean():.0f} trials",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=HERE / "curves.jsonl")
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    recorded = read_curves(arguments.curves)
    table = CurveTable(recorded)
    seeds, minutes, workers = arguments.seeds, arguments.minutes, arguments.workers
    show(f"{len(recorded)} recorded curves", lambda seed: table.curve, RECORDED_FACES, minutes, seeds, workers)
    scale = read_plan(HERE / "search_quality.yaml").fidelity
    show("made-up curves", lambda seed: SyntheticCurves(scale, seed).curve, MADE_UP_FACES, 10 * minutes, seeds, workers)


if __name__ == "__main__":
    main()
