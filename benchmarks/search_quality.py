"""The search itself against others, on recorded learning curves: best accuracy at full fidelity for seconds spent.

Ours is the real engine. The others are Ray Tune's own OptunaSearch and ASHA, called as Tune calls them; what it costs
to start a trial is left out for all. Everyone gets the same space, curves, rungs and workers, and another seed for each
repetition; seconds are the simulated wall-clock of two workers of one CPU.

    python benchmarks/search_quality.py [--curves FILE] [--seeds 20] [--minutes 5] [--picture docs/anytime.svg]
"""

import argparse
import heapq
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import RandomSampler
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch

from results.schema import Measurement
from search.plan import Plan
from search.plan_file import read_plan
from search.simulation import simulate
from trainables.curves import CurveTable, LearningCurve, read_curves

HERE = Path(__file__).parent
WORKERS = 2
OURS = {
    "ours": [],
    "ours, shared rungs": ["rungs=shared"],
    "ours, promotion": ["promotion=true"],
    "ours, rungs in seconds": ["rungs=seconds", "first_seconds=0.5"],
    "ours, hyperband": ["scheduler=hyperband"],
    "ours, median": ["scheduler=median"],
}
STOCK, RANDOM = "OptunaSearch + ASHA", "random search"
OTHERS = {
    STOCK: ("tpe", True),
    "random + ASHA": ("random", True),
    "TPE, no stopping": ("tpe", False),
    RANDOM: ("random", False),
}
MOMENTS = 400
VALIDATION_FACES = 2076  # on which `curves.jsonl` was recorded

Finished = list[tuple[float, float]]


def ours(plan: Plan, table: CurveTable) -> Finished:
    """When trials reached full fidelity, in simulated seconds, and with what accuracy."""
    return [
        (event.time, event.val_accuracy)
        for event in simulate(plan, table.curve, {"CPU": float(WORKERS)}, faces=VALIDATION_FACES)
        if isinstance(event, Measurement) and event.fidelity == plan.fidelity.maximum
    ]


class Stock:
    """Ray Tune's searcher and scheduler with their defaults, but for the rungs, which are the plan's."""

    def __init__(self, plan: Plan, table: CurveTable, sampler: str, stops: bool) -> None:
        self._plan, self._table, self._stops = plan, table, stops
        seeded = {"sampler": RandomSampler(seed=plan.seed)} if sampler == "random" else {"seed": plan.seed}
        self._search = OptunaSearch(self._ask, metric="accuracy", mode="max", **seeded)
        self._asha = AsyncHyperBandScheduler(
            time_attr="fidelity",
            metric="accuracy",
            mode="max",
            max_t=plan.fidelity.maximum,
            reduction_factor=plan.fidelity.eta,
        )
        self.curves: list[LearningCurve] = []

    def _ask(self, trial: optuna.Trial) -> None:
        self.curves.append(self._table.curve(self._plan.space.suggest(trial)))

    def begin(self) -> int:
        """Begin a trial; its number."""
        number = len(self.curves)
        self._search.suggest(str(number))
        self._asha.on_trial_add(None, SimpleNamespace(trial_id=str(number)))
        return number

    def goes_on(self, number: int, rung: int) -> bool:
        """Report a measurement; whether its trial goes on."""
        curve = self.curves[number]
        result = {
            "fidelity": curve.fidelity[rung],
            "accuracy": curve.val_accuracy[rung],
            "training_iteration": rung + 1,
        }
        decision = self._asha.on_trial_result(None, SimpleNamespace(trial_id=str(number)), result)
        if rung + 1 == len(curve.fidelity) or (self._stops and decision == TrialScheduler.STOP):
            self._search.on_trial_complete(str(number), result)
            return False
        self._search.on_trial_result(str(number), result)
        return True


def others(plan: Plan, table: CurveTable, sampler: str, stops: bool) -> Finished:
    """As `ours`, for Ray Tune's searcher and scheduler."""
    stock, finished, due = Stock(plan, table, sampler, stops), [], []

    def begin(now: float) -> None:
        number = stock.begin()
        heapq.heappush(due, (now + stock.curves[number].seconds[0], number, 0))

    for _ in range(WORKERS):
        begin(0.0)
    while due[0][0] <= 60 * plan.budget.minutes:
        now, number, rung = heapq.heappop(due)
        curve = stock.curves[number]
        if rung + 1 == len(curve.fidelity):
            finished.append((now, curve.val_accuracy[rung]))
        if stock.goes_on(number, rung):
            heapq.heappush(due, (now + curve.seconds[rung + 1] - curve.seconds[rung], number, rung + 1))
        else:
            begin(now)
    return finished


def anytime(finished: Finished, moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Best accuracy found up to each of `moments`, chance before the first."""
    values = np.full(len(moments), 1 / 3)
    for seconds, accuracy in finished:
        values[moments >= seconds] = np.maximum(values[moments >= seconds], accuracy)
    return values


def curves_of(
    search: Callable[[Plan], Finished], plan: Plan, seeds: int, moments: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Anytime curves, (seeds, moments)."""
    plans = [plan.model_copy(update={"seed": 1000 * seed}) for seed in range(seeds)]
    return np.array([anytime(search(each), moments) for each in plans])


def time_to(curves: NDArray[np.float64], level: float, moments: NDArray[np.float64]) -> float:
    """When the median of `curves` reaches `level`; not a number if it never does."""
    reached = np.median(curves, axis=0) >= level - 1e-9
    return float(moments[reached.argmax()]) if reached.any() else float("nan")


def reaches(curves: NDArray[np.float64], other: NDArray[np.float64], moments: NDArray[np.float64]) -> str:
    """When `curves` come to the final median of the `other` ones, and in what share of the time that these took."""
    level = float(np.median(other[:, -1]))
    taken, theirs = time_to(curves, level, moments), time_to(other, level, moments)
    if np.isnan(taken):
        return f"never reaches {level:.4f}, the final median (after {theirs:.0f} s) of"
    return f"reaches {level:.4f} after {taken:.0f} s, {taken / theirs:.2f} of the time ({theirs:.0f} s) of"


def show(name: str, curves: NDArray[np.float64]) -> None:
    low, middle, high = np.percentile(curves[:, -1], (25, 50, 75))
    parts = ", ".join(f"{np.median(curves[:, MOMENTS * part // 8 - 1]):.4f}" for part in (1, 2, 4))
    print(
        f"{name:<24} final median {middle:.4f} (quartiles {low:.4f}, {high:.4f}); after 1/8, 1/4, 1/2: {parts}",
        flush=True,
    )


def picture(found: dict[str, NDArray[np.float64]], moments: NDArray[np.float64], path: Path) -> None:
    """Draw medians and quartiles of the anytime curves."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "fertune"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    for name in [name for name in ("ours", *OTHERS) if name in found]:
        low, middle, high = np.percentile(found[name], (25, 50, 75), axis=0)
        (line,) = axes.plot(moments, middle, label=name, linewidth=2.5 if name == "ours" else 1.2)
        axes.fill_between(moments, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    final = np.median(found[STOCK][:, -1])
    axes.axhline(final, color="gray", linewidth=0.6, linestyle=":")
    axes.set(
        xlabel="simulated seconds of two workers", ylabel="best validation accuracy at full fidelity", xscale="log"
    )
    axes.set_ylim(final - 0.1, max(curves.max() for curves in found.values()) + 0.005)
    axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def plan_for(settings: list[str], arguments: argparse.Namespace) -> Plan:
    flags = {"budget.minutes": arguments.minutes, "budget.trials": None}
    return read_plan(HERE / "search_quality.yaml", settings, flags)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=HERE / "curves.jsonl")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument(
        "--only", nargs="+", choices=list(OURS), default=list(OURS), help="strategies to run besides the four others"
    )
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    logging.getLogger("ray").setLevel(logging.ERROR)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    curves = read_curves(arguments.curves)
    table = CurveTable(curves)
    counts = ", ".join(f"{family} {sum(c.config.family == family for c in curves)}" for family in table.families)
    print(f"{len(curves)} recorded curves: {counts}; {arguments.seeds} seeds, {arguments.minutes:g} simulated minutes")
    moments = np.linspace(0, 60 * arguments.minutes, MOMENTS + 1)[1:]
    found = {}
    for name in arguments.only:
        found[name] = curves_of(partial(ours, table=table), plan_for(OURS[name], arguments), arguments.seeds, moments)
        show(name, found[name])
    plan = plan_for([], arguments)
    for name, (sampler, stops) in OTHERS.items():
        search = partial(others, table=table, sampler=sampler, stops=stops)
        found[name] = curves_of(search, plan, arguments.seeds, moments)
        show(name, found[name])
    for name, each in found.items():
        if name not in OTHERS:
            for other in (STOCK, RANDOM):
                print(f"{name} {reaches(each, found[other], moments)} {other}")
    if arguments.picture:
        picture(found, moments, arguments.picture)


if __name__ == "__main__":
    main()
