"""The list of configs of `sharing.py`, trial after trial in this process, without Ray: CPU seconds.

A busy machine changes them less than it changes seconds, so this tells what sharing saves where `sharing.py` cannot.
The adapter is the one that workers run: data, learner, every rung, validation, checkpoints. First with sharing on,
nothing shared yet, then off. One thread.

    python benchmarks/sharing_cpu.py [--data fer2013.csv] [--configs 12] [--balance 300]
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import sharing

from search.plan import Plan, validate_plan
from search.plan_file import absolute
from spaces.family import Family
from spaces.joint import parse_config
from trainables.base import weights_key
from trainables.data.protocol import load_pretraining, load_training
from trainables.job import Assignment, Job
from trainables.pretraining import pretrained
from trainables.trial import Trial


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="demo")
    parser.add_argument("--demo-images", type=int, default=8000)
    parser.add_argument("--configs", type=int, default=12)
    parser.add_argument("--balance", type=int, default=300, help="training faces a class")
    parser.add_argument("--weights", type=Path, help="file of weights for the resnets; default: they are pretrained")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as folder:
        compare(arguments, Path(folder))


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    points = sharing.configs(arguments.configs, whole=False)
    plans = {
        name: absolute(validate_plan(sharing.plan_values(arguments, points, name == "on"), "benchmark"))
        for name in ("on", "off")
    }
    cache = folder / "cache"
    spec, pretraining = plans["on"].data, plans["on"].pretraining
    weights = arguments.weights or pretrained(pretraining, load_pretraining(spec, cache), cache, 1)
    data = load_training(spec, cache)
    print(f"{len(data.train)} training and {len(data.validation)} validation faces, {len(points)} configs", flush=True)
    job = Job(
        checkpoints=str(folder / "checkpoints"),
        data=spec,
        fingerprint=data.fingerprint,
        split=data.split,
        cache=cache,
        scale=plans["on"].fidelity,
        threads=dict.fromkeys(Family, 1),
        weights={weights_key("resnet18", "faces"): str(Path(weights).resolve())},
    )
    run(job, points[:3])  # libraries are loaded and warm
    found = {name: side(job, plan, points) for name, plan in plans.items()}
    for family in (*Family, None):
        on, off = (sum(cpu for each, cpu, _ in found[name] if family in (each, None)) for name in ("on", "off"))
        best = [max((a for each, _, a in found[name] if family in (each, None)), default=0.0) for name in ("on", "off")]
        print(
            f"{family or 'all':7} {on:7.1f} CPU seconds on, {off:7.1f} off, ratio {off / on:5.2f}; "
            f"best accuracy {best[0]:.4f} on, {best[1]:.4f} off"
        )


def side(job: Job, plan: Plan, points: list[dict[str, Any]]) -> list[tuple[Family, float, float]]:
    shutil.rmtree(job.checkpoints, ignore_errors=True)
    return run(job.model_copy(update={"cache_bytes": plan.cache_bytes, "views": plan.shared_views}), points)


def run(job: Job, points: list[dict[str, Any]]) -> list[tuple[Family, float, float]]:
    """Family, CPU seconds and accuracy of every trial."""
    found = []
    for number, point in enumerate(points):
        config = parse_config(point)
        assignment = Assignment(trial=number, config=config, seed=number)
        began = time.process_time()
        trial = Trial({"job": job.model_dump(mode="json"), **assignment.model_dump(mode="json")})
        report = trial.advance()
        while report["fidelity"] < job.scale.maximum:
            report = trial.advance()
        found.append((Family(config.family), time.process_time() - began, report["val_accuracy"]))
    shutil.rmtree(job.checkpoints, ignore_errors=True)
    return found


if __name__ == "__main__":
    main()
