"""How a search scales: sleeping trials on 1 to 16 workers, the driver's time per decision, and 1,000 workers on paper.

Workers: real Ray on this machine with as many logical CPUs as workers; trials only wait (fidelities 1 and 3, full is
3), so that few cores can hold many. Efficiency is the share of the workers' time spent waiting, between the end of the
second trial for each worker and the last trial's start; starting Ray and workers is not in it.

Decisions: the engine without Ray, with a real study and journal on disk and `--workers` trials running, up to
`--trials` trials; what one trial costs the driver in all: its suggestion and every one of its reports. Suggestions are
TPE's. Wall-clock and the process's CPU time are printed, since on a busy machine the first says more of the neighbours.

On paper: a simulation of one driver that serves `--workers` one after another, each trial taking the driver's time
found above and that which Tune itself takes for a trial (`--tune`, seconds: 0.031 for 1,000 empty trials, measured
when the project began).

    python benchmarks/scaling.py workers [--counts 1 2 4 8 16] [--seconds 2 10] [--rounds 6]
    python benchmarks/scaling.py decisions [--trials 2000] [--workers 64]
    python benchmarks/scaling.py paper --decision 0.02 [--tune 0.031] [--workers 1000]
"""

import argparse
import heapq
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

MAXIMUM, ETA = 3, 3


def plan_of(trials: int, seconds: float, **fields):
    from search.plan import validate_plan

    values = {
        "data": {"demo_images": 700, "protocol": {"balance": "none"}},
        "fidelity": {"maximum": MAXIMUM, "eta": ETA},
        "fake": {"seconds": seconds},
        "budget": {"trials": trials},
        **fields,
    }
    return validate_plan(values, "benchmark")


def workers(count: int, seconds: float, rounds: int) -> float:
    """The efficiency of one search."""
    from rich.console import Console

    from results.journal import read_events
    from results.run_folder import RunFolder
    from results.schema import TrialEnd
    from search.run import start

    trials = count * rounds
    plan = plan_of(trials, seconds, scheduler="none", space={"families": ["svm"]}, cluster={"cpus": count})
    with tempfile.TemporaryDirectory(prefix="sc-", dir="/tmp") as folder:
        run = RunFolder(Path(folder) / "run")
        start(plan, run, Path(folder) / "cache", Console(quiet=True))
        ends = [event.time for event in read_events(run.measurements) if isinstance(event, TrialEnd)]
    if len(ends) != trials:
        sys.exit(f"{trials - len(ends)} of {trials} trials did not end")
    since, until = ends[2 * count - 1], ends[-1] - seconds  # a worker that starts late has begun by the second round
    worked = sum(max(0.0, min(end, until) - max(end - seconds, since)) for end in ends)
    return worked / (count * (until - since))


def decisions(trials: int, running: int) -> None:
    from results.journal import Journal
    from search.engine import Engine, Verdict
    from search.room import Room
    from search.searcher import Searcher

    plan = plan_of(trials, 0.0)
    with tempfile.TemporaryDirectory(prefix="sc-", dir="/tmp") as folder:
        room = Room(plan.resources, {"CPU": running}, plan.space.families)
        with Journal(Path(folder) / "measurements.jsonl") as journal:
            engine = Engine(plan, Searcher(Path(folder) / "study.journal", plan), [], journal.append, room)
            engine.begin()
            spent: dict[int, complex] = {}
            live: dict[int, int] = {}
            while True:
                began = now()
                while (assignment := engine.suggest()) is not None:
                    asked = now()
                    spent[assignment.trial], began = asked - began, asked
                    live[assignment.trial] = 0
                if not live:
                    break
                trial, fidelity = next(iter(live.items()))
                fidelity = plan.fidelity.next_rung(live.pop(trial))
                report = measured(trial, fidelity)
                began = now()
                goes_on = engine.report(report) is Verdict.GO_ON
                spent[trial] += now() - began
                if goes_on:
                    live[trial] = fidelity
    every = [spent[trial] for trial in sorted(spent)]
    for name, some in (("all", every), (f"the last {trials // 10}", every[-(trials // 10) :])):
        print(f"{name} of {trials} trials, {running} at once:")
        for kind, costs in (("wall-clock", [cost.real for cost in some]), ("CPU time", [cost.imag for cost in some])):
            p95 = sorted(costs)[int(0.95 * len(costs))]
            print(f"  {kind}: median {1000 * statistics.median(costs):.1f} ms, p95 {1000 * p95:.1f} ms")


def now() -> complex:
    """Wall-clock seconds and, as the imaginary part, CPU seconds, so that both are summed at once."""
    return complex(time.perf_counter(), time.process_time())


def measured(trial: int, fidelity: int) -> dict:
    value = (trial * 37 % 101) / 101 * (0.5 + fidelity / 2 / MAXIMUM)
    return {
        "trial": trial,
        "fidelity": fidelity,
        "val_accuracy": value,
        "val_macro_f1": value,
        "val_log_loss": 1.0,
        "val_recall": [value] * 3,
        "fit_seconds": 1.0,
        "total_seconds": 1.0,
        "images_per_second": 1.0,
        "cache_hit": True,
        "checkpoint": f"checkpoints/{trial:05d}/{fidelity}",
    }


def simulate(count: int, seconds: float, driver: float, rounds: int = 20) -> float:
    """The share of time for which `count` workers are busy if one driver takes `driver` seconds for each trial."""
    free_at, busy = 0.0, 0.0
    waiting = [(0.0, worker) for worker in range(count)]  # when each worker asks for a trial
    for _ in range(count * rounds):
        asked, worker = heapq.heappop(waiting)
        free_at = max(free_at, asked) + driver
        heapq.heappush(waiting, (free_at + seconds, worker))
        busy += seconds
    end = max(asked for asked, _ in waiting)
    return busy / (count * end)


def paper(count: int, decision: float, tune: float) -> None:
    driver = decision + tune
    print(f"driver {1000 * driver:.0f} ms a trial: {1 / driver:.0f} trials a second, so {count} workers stay busy")
    print(f"with trials of {count * driver:.0f} s or more; simulated share of time busy, start included:")
    for seconds in (10.0, 30.0, 60.0, 120.0, 300.0, 600.0):
        print(f"  trials of {seconds:3.0f} s: {simulate(count, seconds, driver):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("workers")
    part.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    part.add_argument("--seconds", type=float, nargs="+", default=[2.0, 10.0])
    part.add_argument("--rounds", type=int, default=6)
    part = parts.add_parser("decisions")
    part.add_argument("--trials", type=int, default=2000)
    part.add_argument("--workers", type=int, default=64)
    part = parts.add_parser("paper")
    part.add_argument("--workers", type=int, default=1000)
    part.add_argument("--decision", type=float, required=True)
    part.add_argument("--tune", type=float, default=0.031)
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores")
    if given.part == "workers":
        for seconds in given.seconds:
            for count in given.counts:
                found = workers(count, seconds, given.rounds)
                print(
                    f"{count:2} workers, trials of {seconds:g} s, {count * given.rounds} trials: {found:.3f}",
                    flush=True,
                )
    elif given.part == "decisions":
        decisions(given.trials, given.workers)
    else:
        paper(given.workers, given.decision, given.tune)


if __name__ == "__main__":
    main()
