"""What trials that share their work cost against trials that each start from nothing.

Four figures, each side in a process of its own, in turn and every other time in the opposite order, medians over the
repeats:

1. The same fixed list of configs (a third each of svm, forest and resnets of which the head or the last stage is
   trained, on `faces` weights), every one to full fidelity, with sharing on, nothing shared yet, and off: seconds, and
   the best accuracy. Then a list of resnets that are trained as a whole.
2. The share of the workers' seconds that went neither into training nor into predicting, with sharing on; and how long
   it takes from the hand-out of a trial to a warm worker until its first batch, by family.
3. The peak memory of the whole process tree (proportional set size: shared pages count once), against that of one trial
   alone in a process, times the number of workers.
4. Fake trials of 50 ms: seconds, the driver's memory at the first trial and at the end, the size of the run folder.

Parsed data and pretrained weights are made before and serve both sides.

    python benchmarks/sharing.py [--data fer2013.csv] [--configs 24] [--balance 600] [--repeats 1] [--fake-trials 300]
    python benchmarks/sharing.py --data fer2013.csv --configs 60 --balance 2400 --repeats 3 --fake-trials 1000
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from sharing_report import report

WORKERS = 2
LONG_SECONDS = 5.0
SIDES = ("on", "off", "whole-on", "whole-off", "alone", "fake")
FEATURES = [
    {"kind": "hog", "hog_signed": True, "pca": 128, "flip": True},
    {"kind": "hog+lbp", "hog_signed": True, "pca": 128, "flip": True},
]
RESNET = {"family": "resnet", "weights": "faces", "epochs": 4, "image_size": 48, "augment": 0.3, "batch_size": 64}
PRETRAINING = {"epochs": 1, "image_size": 48}


def configs(count: int, whole: bool) -> list[dict[str, Any]]:
    """The list, the same at every call; `whole`: resnets trained as a whole instead."""
    rng = np.random.default_rng(0)
    found: list[dict[str, Any]] = []
    for number in range(count):
        rate = float(10 ** rng.uniform(-3.3, -2.3))
        if whole:
            found.append(RESNET | {"unfreeze": 5, "head_lr": rate, "backbone_lr": rate})
        elif number % 3 == 0:
            values = {"C": float(10 ** rng.uniform(0, 1)), "gamma": float(10 ** rng.uniform(-0.4, 0.3))}
            found.append({"family": "svm", "kernel": "rbf", "features": FEATURES[number // 3 % 2], **values})
        elif number % 3 == 1:
            values = {"depth": int(rng.integers(8, 30)), "min_samples_leaf": int(rng.integers(2, 10))}
            found.append({"family": "forest", "trees": 54, "features": FEATURES[number // 3 % 2], **values})
        else:
            unfreeze = number // 3 % 2
            values = {"unfreeze": unfreeze, "head_lr": rate} | ({"backbone_lr": rate / 3} if unfreeze else {})
            found.append(RESNET | values)
    return found


def plan_values(arguments: argparse.Namespace, points: list[dict[str, Any]], sharing: bool) -> dict[str, Any]:
    features = {name: list(dict.fromkeys(each[name] for each in FEATURES)) for name in FEATURES[0]}
    resnet = {name: RESNET[name] for name in ("weights", "epochs", "image_size", "augment", "batch_size")}
    return {
        "data": {
            "source": arguments.data,
            "demo_images": arguments.demo_images,
            "protocol": {"balance": arguments.balance},
        },
        "budget": {"trials": len(points)},
        "fidelity": {"maximum": 9},
        "scheduler": "none",
        "cache": 10 if sharing else "off",
        "cluster": {"cpus": WORKERS},
        "pretraining": PRETRAINING,
        "points": points,
        "space": {
            "svm": {"features": features},
            "forest": {"trees": 54, "features": features},
            "resnet": {"arch": "resnet18", **resnet},
        },
    }


def search(arguments: argparse.Namespace, plan_of: dict[str, Any]) -> dict[str, Any]:
    """Run a plan in this process; seconds and what the measurements say."""
    from rich.console import Console

    from results.run_folder import RunFolder
    from results.schema import Status
    from results.sharing import shared
    from search.plan import validate_plan
    from search.plan_file import absolute
    from search.run import start

    plan = absolute(validate_plan(plan_of, "benchmark"))
    run = RunFolder(arguments.folder / f"run-{time.time_ns()}")
    with driver_memory(run.measurements) as memory:
        outcome = start(plan, run, arguments.folder / "cache", Console(quiet=True))
    ended = [trial for trial in outcome.trials if trial.status in (Status.FINISHED, Status.STOPPED)]
    if len(ended) != plan.budget.trials:
        sys.exit(f"not all of {plan.budget.trials} trials ended well: {[trial.reason for trial in outcome.trials]}")
    last = [trial.measurements[-1] for trial in ended]
    work = [measured.fit_seconds + (measured.predict_seconds or 0) for measured in last]
    long = [(w, m.total_seconds) for w, m in zip(work, last, strict=True) if m.total_seconds >= LONG_SECONDS]
    starts: dict[str, list[float]] = {}
    for trial, measured in zip(ended, last, strict=True):
        if measured.cache_hit and measured.start_seconds is not None:
            starts.setdefault(trial.family, []).append(measured.start_seconds)
    return {
        "seconds": outcome.seconds,
        "accuracy": max(measured.val_accuracy for measured in last),
        "work": sum(work),
        "long": [sum(w for w, _ in long), sum(t for _, t in long), len(long)],
        "starts": starts,
        "shared": shared(ended).describe(),
        "driver": memory,
        "bytes": sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file()),
    }


@contextmanager
def driver_memory(measurements: Path) -> Iterator[list[int]]:
    """Gives a list that holds the resident bytes of this process at the first measurement and at the end."""
    seen: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            if not seen and measurements.exists() and b'"measurement"' in measurements.read_bytes():
                seen.append(psutil.Process().memory_info().rss)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()
        seen.append(psutil.Process().memory_info().rss)


def prepare(arguments: argparse.Namespace) -> dict[str, Any]:
    """Parse the data and pretrain, before anything is timed."""
    from search.plan import validate_plan
    from search.plan_file import absolute
    from trainables.data.protocol import load_pretraining, load_training
    from trainables.pretraining import pretrained

    plan = absolute(validate_plan(plan_values(arguments, configs(1, whole=False), sharing=False), "benchmark"))
    cache = arguments.folder / "cache"
    data = load_training(plan.data, cache)
    pretrained(plan.pretraining, load_pretraining(plan.data, cache), cache, 1)
    return {"train": len(data.train), "validation": len(data.validation)}


def alone(arguments: argparse.Namespace) -> dict[str, Any]:
    """One trial of each family, one after another in this process, sharing nothing; its memory is watched outside."""
    from search.plan import validate_plan
    from search.plan_file import absolute
    from spaces.fidelity import Fidelity
    from spaces.joint import parse_config
    from trainables.base import Task, weights_key
    from trainables.data.protocol import load_pretraining, load_training
    from trainables.families import build_learner
    from trainables.pretraining import pretrained

    plan = absolute(validate_plan(plan_values(arguments, configs(1, whole=False), sharing=False), "benchmark"))
    cache = arguments.folder / "cache"
    data = load_training(plan.data, cache)
    faces = pretrained(plan.pretraining, load_pretraining(plan.data, cache), cache, 1)
    for config in configs(6, whole=False)[3:]:
        task = Task(data.train, 0, Fidelity(maximum=9), 1, {weights_key("resnet18", "faces"): faces})
        learner = build_learner(parse_config(config), task)
        learner.fit_to(9)
        learner.predict_proba(data.validation.images)
    return {}


def fake(arguments: argparse.Namespace) -> dict[str, Any]:
    plan_of = {
        "data": {"demo_images": 700},
        "fake": {"seconds": 0.05},
        "cluster": {"cpus": WORKERS},
        "budget": {"trials": arguments.fake_trials},
    }
    return search(arguments, plan_of)


def side(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.side in ("prepare", "alone", "fake"):
        return {"prepare": prepare, "alone": alone, "fake": fake}[arguments.side](arguments)
    whole, sharing = arguments.side.startswith("whole"), arguments.side.endswith("on")
    if sharing:
        shutil.rmtree(arguments.folder / "cache" / "shared", ignore_errors=True)  # cold
    points = configs(arguments.whole_configs if whole else arguments.configs, whole)
    return search(arguments, plan_values(arguments, points, sharing))


def measure(name: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One side in a process of its own, with the peak memory of its tree."""
    options = ["data", "demo_images", "configs", "whole_configs", "balance", "fake_trials"]
    given = [part for key in options for part in (f"--{key.replace('_', '-')}", str(getattr(arguments, key)))]
    command = [sys.executable, __file__, "--side", name, "--folder", str(folder), *given]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=out, stderr=errors, text=True)
        peak = 0
        while process.poll() is None:
            peak = max(peak, tree_memory(process.pid))
            time.sleep(1.0)
        out.seek(0)
        errors.seek(0)
        if process.returncode:
            sys.exit(f"the side {name} failed:\n{errors.read()[-3000:]}")
        return {**json.loads(out.read().splitlines()[-1]), "peak": peak}


def tree_memory(pid: int) -> int:
    """Bytes of a process and all below it, pages that several of them share counted once."""
    total = 0
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="demo")
    parser.add_argument("--demo-images", type=int, default=8000, help="faces drawn where --data is demo")
    parser.add_argument("--configs", type=int, default=24)
    parser.add_argument("--whole-configs", type=int, default=2)
    parser.add_argument("--balance", type=int, default=600, help="training faces a class")
    parser.add_argument("--fake-trials", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps(side(arguments)))
        return
    with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as folder:
        run_all(arguments, Path(folder))


def run_all(arguments: argparse.Namespace, folder: Path) -> None:
    """Run every side as often as asked, in turn and, every other time, in the opposite order; print the figures."""
    data = measure("prepare", arguments, folder)
    print(
        f"{os.cpu_count()} cores, {WORKERS} workers, n = {arguments.repeats}, {data['train']} training faces, "
        f"{data['validation']} validation faces, rungs 1, 3, 9",
        flush=True,
    )
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in SIDES}
    for repeat in range(arguments.repeats):
        for name in SIDES if repeat % 2 == 0 else reversed(SIDES):
            runs[name].append(measure(name, arguments, folder))
            print(f"{name} has run, {repeat + 1} of {arguments.repeats}", file=sys.stderr, flush=True)
    report(arguments, runs, WORKERS, LONG_SECONDS)


if __name__ == "__main__":
    main()
