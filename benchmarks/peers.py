"""Real searches of the same space, data and wall-clock on two cores: fertune's against those of others.

* fertune: `fertune search`, nothing shared yet at the start. It begins with configs that earlier searches of FER2013
  found to be good (`spaces.known`); there is a line of it without them, and one whose trials share nothing.
* Ray Tune: OptunaSearch and ASHA as its documentation shows them; the same with warm workers and data shared; and that
  with fertune's first configs as `points_to_evaluate`. They write a checkpoint at each rung, as fertune does.
* Optuna: two processes, journal storage, SuccessiveHalvingPruner; and the same with those configs enqueued.
* scikit-learn: HalvingRandomSearchCV over svm and forest (it has no networks).
* Syne Tune: local backend, ASHA, which draws at random; where it is installed (`pip install syne-tune`). A trial is a
  process of its own, and the tuner looks every five seconds, as it does out of the box.

All train the same learners on one thread each, with the same rungs; faces were parsed, the backbone pretrained before.
What fertune's trials share no other's do. Each run notes the machine's pace, seconds of a fixed computation, before and
after it. Seconds are counted from the start of the process. Accuracy is the best on
validation of any model that existed by then, stopped or not, and of those at full fidelity, which fertune and Optuna
choose from; a model is one trial at one rung. Runs are kept in `--out`, so a benchmark that is broken off goes on where
it was, with other `--seeds` or `--only` some sides. A moment before the end of a longer run is what a shorter one would
have found, but for fertune, which learns ASHA's margin only from trials that the time allows.

    python benchmarks/peers.py --data fer2013.csv --out FILE [--minutes 5] [--seeds 0 1 2] [--picture docs/peers.svg]

Without `--data` nothing is run, and what the file holds is shown. Runs of machines that train networks at another pace
go to files of their own: `benchmarks/peers.jsonl` has those of machines without instructions for bfloat16,
`benchmarks/peers-bf16.jsonl` of those with them, as docs/log.md tells of them.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from peer_sides import SIDES
from peer_trial import LOG, PLAN, WEIGHTS, WORKERS, Setting
from threadpoolctl import threadpool_limits

from results.journal import read_events
from results.schema import Measurement, TrialStart
from search.plan import Plan
from search.plan_file import absolute, read_plan, write_plan
from search.provenance import source_commit

LEVELS = (0.66, 0.68, 0.70, 0.71, 0.72, 0.73)
GRACE = 30.0
OURS = [side for side in SIDES if side.startswith("fertune")]

Curve = list[tuple[float, float]]


def plan_for(arguments: argparse.Namespace, seed: int) -> Plan:
    flags = {"seed": seed} | ({"data.source": arguments.data} if arguments.data else {})
    return absolute(read_plan(Path(__file__).with_name("peers.yaml"), flags=flags))


def pace() -> float:
    """Seconds that the machine takes now for 50 products of matrices on each of two threads."""
    matrix = np.ones((1500, 1500), dtype=np.float32)
    began = time.perf_counter()
    with threadpool_limits(1), ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(lambda _: [matrix @ matrix for _ in range(50)], range(WORKERS)))
    return round(time.perf_counter() - began, 3)


def run(side: str, plan: Plan, minutes: float, weights: Path) -> dict[str, Any]:
    """One search in processes of its own: seconds and accuracy of each of its models, and the config of the best."""
    from trainables.precision import Compute  # with torch, which the searches' own processes are not to import for it

    with tempfile.TemporaryDirectory(prefix="pe-", dir="/tmp") as folder:
        write_plan(plan, Path(folder) / PLAN)
        (Path(folder) / WEIGHTS).write_text(str(weights))
        paces = [pace()]
        began = time.time()
        script = str(Path(__file__).resolve())
        command = [sys.executable, script, "--side", side, "--folder", folder, "--until", str(began + 60 * minutes)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
        with (Path(folder) / "output.txt").open("w+") as output:
            # In its own folder, for Syne Tune leaves files where it runs.
            process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=folder)
            rest = began + 60 * minutes + GRACE - time.time()
            try:
                code = process.wait(rest)
            except subprocess.TimeoutExpired:
                code = 0
            end(process)
            if code:
                output.seek(0)
                sys.exit(f"{side} failed:\n{output.read()[-3000:]}")
        paces.append(pace())
        models = [each for each in found(Path(folder)) if each["time"] <= began + 60 * minutes]
    best = max(models, key=lambda each: each["accuracy"], default=None)
    config = best and best["config"]
    times = [round(each.pop("time") - began, 2) for each in models]
    models = [{name: value for name, value in each.items() if name != "config"} for each in models]
    which = {"side": side, "minutes": minutes, "seed": plan.seed, "commit": source_commit()}
    machine = {"pace": paces, "bf16": Compute.best().bf16}
    return {**which, **machine, "times": times, "models": models, "best": config}


def end(process: subprocess.Popen) -> None:
    """End a process with all that it started; one cannot be asked in the middle of a fit."""
    if process.poll() is None:
        family = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
        for each in family:
            each.kill()
        psutil.wait_procs(family, timeout=30)
        process.wait()


def found(folder: Path) -> list[dict[str, Any]]:
    """What a search left in its folder: the contenders' log, or the measurements of a run."""
    if (folder / LOG).exists():
        return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    events = read_events(folder / "run" / "measurements.jsonl")
    config = {each.trial: each.config for each in events if isinstance(each, TrialStart)}
    return [
        {
            "time": each.time,
            "family": config[each.trial]["family"],
            "fidelity": each.fidelity,
            "accuracy": each.val_accuracy,
            "config": config[each.trial],
        }
        for each in events
        if isinstance(each, Measurement)
    ]


def curve(record: dict[str, Any], least: int = 0) -> Curve:
    """When models of a run came to be and how good they were, those at `least` this fidelity."""
    models = zip(record["times"], record["models"], strict=True)
    return [(at, model["accuracy"]) for at, model in models if model["fidelity"] >= least]


def time_to(found: Curve, level: float) -> float:
    """Seconds until a model of this accuracy; infinite if there was none."""
    return min((at for at, accuracy in found if accuracy >= level), default=float("inf"))


def serves(record: dict[str, Any], minutes: float) -> bool:
    """Whether a run shows what its side finds in so many minutes; fertune's course depends on how many it has."""
    return bool(record["minutes"] == minutes if record["side"] in OURS else record["minutes"] >= minutes)


def serving(records: list[dict[str, Any]], minutes: float) -> list[dict[str, Any]]:
    """The runs that show what is found in so many minutes, one of each side and seed: the shortest."""
    longest_first = sorted((each for each in records if serves(each, minutes)), key=lambda each: -each["minutes"])
    return list({(each["side"], each["seed"]): each for each in longest_first}.values())


def show(records: list[dict[str, Any]], minutes: float, least: int) -> None:
    """Print what each side had after so many minutes, of models at `least` this fidelity."""
    kept = {
        side: [
            [(at, accuracy) for at, accuracy in curve(record, least) if at <= 60 * minutes]
            for record in serving(records, minutes)
            if record["side"] == side
        ]
        for side in SIDES
    }
    heads = " ".join(f"{f's to {level:.2f}':>10}" for level in LEVELS)
    which = f"models at fidelity {least}" if least else "all models"
    print(f"\nafter {minutes:g} minutes, {which}: median accuracy (worst to best); seconds until most runs had\n")
    print(f"{'':<24}{'n':>2} {'accuracy':>26} {'models':>7} {heads}")
    for side, curves in kept.items():
        if curves:
            best = [max((accuracy for _, accuracy in each), default=1 / 3) for each in curves]
            reached = [until_most(curves, level) for level in LEVELS]
            times = " ".join(f"{'-' if np.isinf(seconds) else f'{seconds:.0f}':>10}" for seconds in reached)
            accuracy = f"{statistics.median(best):.4f} ({min(best):.4f} to {max(best):.4f})"
            models = statistics.median(len(each) for each in curves)
            print(f"{side:<24}{len(curves):>2} {accuracy:>26} {models:>7g} {times}")
    for ours in OURS:
        if kept[ours]:
            ratios(kept, ours)


def until_most(curves: list[Curve], level: float) -> float:
    """Seconds until more than half of the runs had a model of this accuracy; infinite if they never had."""
    return statistics.median_high(time_to(each, level) for each in curves)


def ratios(kept: dict[str, list[Curve]], ours: str) -> None:
    """Print how many times as long each other took as ours: to each level, and to what its own runs ended with.

    Of the latter there is one figure a run: its own time to its last improvement, by the time until most of our runs
    had as much, 0 where they never had.
    """
    print(f"\nhow many times as long as {ours} (n = {len(kept[ours])})")
    for side, curves in kept.items():
        if side in OURS and (side == ours or ours != OURS[0]):
            continue
        ends = [max(accuracy for _, accuracy in each) for each in curves if each]
        if not ends:
            continue
        pairs = [(until_most(curves, level), until_most(kept[ours], level)) for level in LEVELS]
        levels = " ".join(f"{'-' if np.isinf(theirs) else f'{theirs / own:.1f}':>5}" for theirs, own in pairs)
        own = [until_most(kept[ours], end) for end in ends]
        found = sorted(
            time_to(each, end) / mine for each, end, mine in zip(filter(None, curves), ends, own, strict=True)
        )
        to_end = f"{statistics.median(found):.1f} ({', '.join(f'{each:.1f}' for each in found)})"
        print(f"  {side:<24} to {', '.join(map(str, LEVELS))}:{levels}; to its end {to_end}")


def picture(records: list[dict[str, Any]], minutes: float, path: Path) -> None:
    """Draw the medians over seeds of the best accuracy so far."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "fertune"
    from matplotlib import pyplot as plt
    from search_quality import anytime  # it imports Ray, which `fertune` sets up before

    figure, axes = plt.subplots(figsize=(8, 5))
    moments = np.linspace(1, 60 * minutes, 600)
    for number, side in enumerate(SIDES):
        curves = [anytime(curve(each), moments) for each in serving(records, minutes) if each["side"] == side]
        if curves:
            low, middle, high = np.min(curves, axis=0), np.median(curves, axis=0), np.max(curves, axis=0)
            label = f"{side} (n = {len(curves)})"
            look: dict[str, Any] = {"color": f"C{number}", "linewidth": 2.5 if side == "fertune" else 1.2}
            axes.plot(moments, middle, label=label, **look)
            axes.fill_between(moments, low, high, color=look["color"], alpha=0.12, linewidth=0)
    axes.set(xlabel="seconds on two cores", ylabel="best validation accuracy so far", ylim=(0.5, None))
    axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="FER2013: a csv file, a parquet file or a folder")
    parser.add_argument("--out", type=Path, help="where runs are kept")
    parser.add_argument("--minutes", type=float, default=5, help="wall-clock of each search")
    parser.add_argument("--at", type=float, nargs="+", help="minutes at which to compare, default --minutes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        SIDES[arguments.side](Setting.read(arguments.folder), arguments.until)
        return
    if not arguments.out:
        parser.error("--out is needed: the file that keeps the runs")
    records = [json.loads(line) for line in arguments.out.read_text().splitlines()] if arguments.out.exists() else []
    if arguments.data:
        compare(arguments, records)
    origins(records)
    for minutes in arguments.at or [arguments.minutes]:
        for least in (0, plan_for(arguments, 0).fidelity.maximum):
            show(records, minutes, least)
    if arguments.picture:
        picture(records, arguments.minutes, arguments.picture)


def origins(records: list[dict[str, Any]]) -> None:
    """Print of which commits the runs of each side are, and the pace that the machine had."""
    for side in SIDES:
        runs = [each for each in records if each["side"] == side]
        commits = ", ".join(sorted({str(each.get("commit") or "not noted")[:8] for each in runs}))
        paces = [seconds for each in runs for seconds in each.get("pace", ())]
        pace = f"; pace {min(paces):.1f} to {max(paces):.1f} s" if paces else ""
        pace += "; networks in bfloat16" if any(each.get("bf16") for each in runs) else ""
        if runs:
            print(f"{side:<24}{len(runs)} runs of {commits}{pace}")


def compare(arguments: argparse.Namespace, records: list[dict[str, Any]]) -> None:
    """Make the runs that are not among `records` yet, in turn, seed after seed; they join them and `--out`."""
    known = {(each["side"], each["seed"]) for each in records if serves(each, arguments.minutes)}
    sides = list(arguments.only)
    if importlib.util.find_spec("syne_tune") is None and "Syne Tune" in sides:
        sides.remove("Syne Tune")
        print("Syne Tune is not installed and left out (pip install syne-tune)")
    if not sides:
        return
    with tempfile.TemporaryDirectory(prefix="pe-", dir="/tmp") as folder:
        write_plan(plan_for(arguments, 0), Path(folder) / PLAN)
        weights = Setting.read(Path(folder)).weights  # parses and pretrains before anything is timed
    for seed in arguments.seeds:
        # Whatever else the machine does meanwhile, it is not always the same side that meets it.
        for side in sides[seed % len(sides) :] + sides[: seed % len(sides)]:
            if (side, seed) not in known:
                records.append(run(side, plan_for(arguments, seed), arguments.minutes, weights))
                with arguments.out.open("a") as out:
                    out.write(json.dumps(records[-1]) + "\n")
                best = max((model["accuracy"] for model in records[-1]["models"]), default=float("nan"))
                print(f"{side}, seed {seed}: {len(records[-1]['models'])} models, best {best:.4f}", flush=True)


if __name__ == "__main__":
    main()
