"""What `sharing.py` prints of its runs."""

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

START_LIMIT = 0.1

Runs = Sequence[dict[str, Any]]


def median(runs: Runs, name: str) -> float:
    return float(statistics.median(run[name] for run in runs))


def each(runs: Runs, name: str, form: str) -> str:
    """The value of every run."""
    return ", ".join(format(run[name], form) for run in runs)


def report(arguments: argparse.Namespace, runs: dict[str, Runs], workers: int, long_seconds: float) -> None:
    """Print all figures.

    Args:
        arguments: As the command line gave them.
        runs: Those of each side, in the order in which they ran.
        workers: How many trials ran at once.
        long_seconds: What is a long trial.
    """
    report_ratio(f"{arguments.configs} configs, head or last stage", runs["on"], runs["off"])
    report_ratio(f"{arguments.whole_configs} resnets as a whole", runs["whole-on"], runs["whole-off"])
    report_shares(runs["on"], workers, long_seconds)
    report_starts(runs["on"])
    on, off, single = (median(runs[name], "peak") / 1e9 for name in ("on", "off", "alone"))
    print(
        f"peak memory of the tree: {on:.2f} GB with sharing on, {off:.2f} GB off; "
        f"one trial alone {single:.2f} GB, times {workers} workers {workers * single:.2f} GB"
    )
    report_fake(arguments.fake_trials, runs["fake"])


def report_ratio(what: str, on: Runs, off: Runs) -> None:
    """Print the seconds of both sides, their ratio and the best accuracies."""
    seconds = [median(runs, "seconds") for runs in (on, off)]
    print(
        f"{what}: {seconds[0]:.1f} s with sharing on ({each(on, 'seconds', '.1f')}), "
        f"{seconds[1]:.1f} s off ({each(off, 'seconds', '.1f')}), ratio {seconds[1] / seconds[0]:.2f}"
    )
    best = [each(runs, "accuracy", ".4f") for runs in (on, off)]
    print(f"  best validation accuracy {best[0]} on, {best[1]} off; shared: {on[0]['shared']}")


def report_shares(runs: Runs, workers: int, long_seconds: float) -> None:
    """Print which share of the seconds went neither into training nor into predicting."""
    whole = statistics.median(1 - run["work"] / (workers * run["seconds"]) for run in runs)
    parts = [1 - work / total for work, total, count in (run["long"] for run in runs) if count]
    counts = "/".join(str(run["long"][2]) for run in runs)
    part = f"{statistics.median(parts):.1%}" if parts else "-"
    print(
        f"not training or predicting: {whole:.1%} of the workers' seconds; "
        f"of {counts} trials of {long_seconds:g} s and longer {part}"
    )


def report_starts(runs: Runs) -> None:
    """Print how long a warm worker takes from hand-out to first batch, what it computes for others left out."""
    for family in sorted({family for run in runs for family in run["starts"]}):
        starts = np.array([seconds for run in runs for seconds in run["starts"].get(family, ())])
        print(
            f"from hand-out to first batch in a warm worker, {family}: median {1000 * np.median(starts):.0f} ms of "
            f"{len(starts)} trials, {np.mean(starts <= START_LIMIT):.0%} within {1000 * START_LIMIT:.0f} ms"
        )


def report_fake(trials: int, runs: Runs) -> None:
    """Print what many short trials cost."""
    first, last = (statistics.median(run["driver"][place] for run in runs) / 1e6 for place in (0, 1))
    print(
        f"{trials} fake trials of 50 ms: {median(runs, 'seconds'):.1f} s ({each(runs, 'seconds', '.1f')}), driver "
        f"{first:.0f} MB at the first measurement and {last:.0f} MB at the end, "
        f"run folder {median(runs, 'bytes') / 1e6:.1f} MB"
    )
