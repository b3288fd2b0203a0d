"""What the machinery of a search costs: 200 trials that wait 10 ms, everything else real.

Ours: plan, engine, TPE, journal, checkpoints, ASHA, TensorBoard, warm workers. Stock, in the same run: Ray Tune as its
documentation shows it, OptunaSearch with ASHAScheduler, default loggers, a new worker for each trial. Both search the
same joint space with the same fake learner on the same faces, on four logical CPUs with two resource shapes (resnet
takes two CPUs, the others one). Seconds are counted from the first suggestion to the end of the last trial, workers'
start and end included, Ray's own start not. Each side runs in a process of its own, in turn; ours at both numbers of
trials, so that it is compared with stock at the same one.

    python benchmarks/overhead.py [--trials 200] [--stock-trials 40] [--repeats 3]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SECONDS = 0.01
CPUS = 4
RESNET_CPUS = 2
PLAN = {
    "data": {"demo_images": 700, "protocol": {"balance": "none"}},
    "fake": {"seconds": SECONDS},
    "cluster": {"cpus": CPUS},
    "resources": {"resnet": {"cpus": RESNET_CPUS}},
}


def ours(trials: int, folder: Path) -> dict[str, float]:
    from rich.console import Console

    from results.run_folder import RunFolder
    from results.schema import Status
    from search.plan import validate_plan
    from search.run import start

    plan = validate_plan({**PLAN, "budget": {"trials": trials}}, "benchmark")
    outcome = start(plan, RunFolder(folder / "run"), folder / "cache", Console(quiet=True))
    if outcome.count(Status.FINISHED) + outcome.count(Status.STOPPED) != trials:
        sys.exit(f"not all of {trials} trials ended well: {outcome.json()}")
    size = sum(path.stat().st_size for path in (folder / "run").rglob("*") if path.is_file())
    return {"trials": len(outcome.trials), "seconds": outcome.seconds, "bytes": size}


def suggest(trial: Any) -> dict[str, Any]:
    from spaces.joint import JointSpace

    return {"config": JointSpace().suggest(trial).model_dump(mode="json")}


def stock_trainable(cache: str) -> Any:
    from ray import tune

    from spaces.fidelity import Fidelity
    from spaces.joint import parse_config
    from trainables.base import Task
    from trainables.data.protocol import load_training
    from trainables.data.spec import DataSpec
    from trainables.fake import FakeLearner
    from trainables.metrics import score

    class Stock(tune.Trainable):
        def setup(self, config):
            self.data = load_training(DataSpec.model_validate(PLAN["data"]), Path(cache))
            self.learner = FakeLearner(parse_config(config["config"]), Task(self.data.train), SECONDS)

        def step(self):
            self.learner.fit_to(Fidelity().next_rung(self.learner.fidelity))
            validation = self.data.validation
            scores = score(validation.labels, self.learner.predict_proba(validation.images))
            fidelity = self.learner.fidelity
            return {"val_accuracy": scores.accuracy, "fidelity": fidelity, "done": fidelity == 27}

        def save_checkpoint(self, checkpoint_dir):
            self.learner.save(Path(checkpoint_dir))

        def load_checkpoint(self, checkpoint):
            self.learner.load(Path(checkpoint))

    def resources(config):
        cpus = RESNET_CPUS if config["config"]["family"] == "resnet" else 1
        return tune.PlacementGroupFactory([{"CPU": cpus}])

    return tune.with_resources(Stock, resources)


def stock(trials: int, folder: Path) -> dict[str, float]:
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    ray.init(address="local", num_cpus=CPUS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    tuner = tune.Tuner(
        stock_trainable(str(folder / "cache")),
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(space=suggest, metric="val_accuracy", mode="max", seed=0),
            scheduler=ASHAScheduler(
                time_attr="fidelity", metric="val_accuracy", mode="max", max_t=27, grace_period=1, reduction_factor=3
            ),
            num_samples=trials,
            max_concurrent_trials=CPUS,
        ),
        run_config=tune.RunConfig(
            name="stock",
            storage_path=str(folder),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
        ),
    )
    began = time.time()
    results = tuner.fit()
    seconds = time.time() - began
    ray.shutdown()
    if results.errors or len(results) != trials:
        sys.exit(f"not all of {trials} trials ended well: {results.errors}")
    size = sum(path.stat().st_size for path in (folder / "stock").rglob("*") if path.is_file())
    return {"trials": len(results), "seconds": seconds, "bytes": size}


def measure(side: str, trials: int) -> dict[str, float]:
    """One run of one side in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="ov-", dir="/tmp") as folder:
        command = [sys.executable, __file__, "--side", side, "--trials", str(trials), "--folder", folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800)
    if done.returncode:
        sys.exit(f"the {side} side failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--stock-trials", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", choices=["ours", "stock"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        print(json.dumps({"ours": ours, "stock": stock}[arguments.side](arguments.trials, arguments.folder)))
        return
    few, many = arguments.stock_trials, arguments.trials
    cases = [("ours", many), ("ours", few), ("stock", few)]
    runs: dict[tuple[str, int], list[dict[str, float]]] = {case: [] for case in cases}
    for _ in range(arguments.repeats):
        for case in cases:
            runs[case].append(measure(*case))
    print(f"{os.cpu_count()} cores, {CPUS} logical CPUs, resnet takes {RESNET_CPUS} of them, n = {arguments.repeats}")
    seconds = {case: summary(case, found) for case, found in runs.items()}
    print(f"stock / ours at {few} trials: {seconds['stock', few] / seconds['ours', few]:.1f}")


def summary(case: tuple[str, int], runs: list[dict[str, float]]) -> float:
    """Print a line about one case; the median of its seconds a trial."""
    side, trials = case
    each = [run["seconds"] / run["trials"] for run in runs]
    size = statistics.median(run["bytes"] / run["trials"] for run in runs)
    print(
        f"{side:6} {trials:4} trials: median {statistics.median(each):.3f} s a trial "
        f"(from {min(each):.3f} to {max(each):.3f}), {size / 1024:.0f} KiB a trial"
    )
    return statistics.median(each)


if __name__ == "__main__":
    main()
