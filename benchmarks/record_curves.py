"""Record learning curves of real trials: each is trained from rung to rung to full fidelity, nothing is stopped.

Configs are drawn at random from the plan's space; families share the CPU seconds as `SHARES` says. Seconds are those of
this process's CPU on one thread, so that a busy machine does not show; pretraining, made before, is not in them. A
recording that is broken off goes on where it was.

    OMP_NUM_THREADS=1 python benchmarks/record_curves.py fer2013.csv benchmarks/curves.jsonl --minutes 40

`benchmarks/curves-peers.jsonl` is of another plan, `--plan benchmarks/peers.yaml --families resnet`: what the searches
of `peers.py` would find, were nothing stopped.
"""

import argparse
import random
import time
from pathlib import Path

from search.cli_options import cache_folder
from search.plan_file import read_plan
from spaces.family import Family
from spaces.joint import JointSpace
from spaces.tree import RandomDraw
from trainables.base import Task, weights_key
from trainables.curves import LearningCurve, read_curves, write_curve
from trainables.data.faceset import Faces
from trainables.data.protocol import load_pretraining, load_training
from trainables.families import build_learner
from trainables.footprint import measure_footprint
from trainables.metrics import score
from trainables.pretraining import pretrained
from trainables.threads import limit_threads

SHARES = {Family.SVM: 0.12, Family.FOREST: 0.13, Family.RESNET: 0.75}
PLAN = Path(__file__).with_name("search_quality.yaml")


def draw(space: JointSpace, family: Family, number: int):
    """Config `number` of `family`."""
    alone = space.model_copy(update={"families": (family,)})
    return alone.suggest(RandomDraw(random.Random(f"{family} {number}")))


def record(config, task: Task, validation: Faces) -> LearningCurve:
    """Train `config` from rung to rung."""
    learner, rows, spent = build_learner(config, task), [], 0.0
    limit_threads(1)
    for rung in task.scale.rungs:
        began = time.process_time()
        learner.fit_to(rung)
        scores = score(validation.labels, learner.predict_proba(validation.images))
        spent += time.process_time() - began
        measured = (scores.accuracy, scores.macro_f1, scores.log_loss)
        rows.append((*(round(value, 5) for value in measured), tuple(round(recall, 4) for recall in scores.recall)))
        footprint = measure_footprint(learner.model, validation.images)
        rows[-1] += (round(spent, 3), round(footprint["latency_ms"], 2), round(footprint["model_mb"], 3))
    names = ("val_accuracy", "val_macro_f1", "val_log_loss", "val_recall", "seconds", "latency_ms", "model_mb")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    return LearningCurve(config=config, fidelity=task.scale.rungs, **columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="FER2013: a csv file, a parquet file or a folder")
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=40, help="CPU minutes to spend, those of the file included")
    parser.add_argument("--plan", type=Path, default=PLAN)
    parser.add_argument("--families", type=Family, nargs="+", choices=list(Family), default=list(Family))
    arguments = parser.parse_args()
    plan = read_plan(arguments.plan, flags={"data.source": arguments.data})
    data = load_training(plan.data, cache_folder())
    faces = pretrained(plan.pretraining, load_pretraining(plan.data, cache_folder()), cache_folder(), 1)
    weights = {weights_key(str(plan.pretraining.arch), "faces"): faces}
    known = read_curves(arguments.out) if arguments.out.exists() else []
    spent = {family: sum(c.seconds[-1] for c in known if c.config.family == family) for family in Family}
    counts = {family: sum(curve.config.family == family for curve in known) for family in Family}
    while sum(spent.values()) < 60 * arguments.minutes:
        family = min(arguments.families, key=lambda each: spent[each] / SHARES[each])
        task = Task(data.train, counts[family], plan.fidelity, weights=weights)
        curve = record(draw(plan.space, family, counts[family]), task, data.validation)
        write_curve(curve, arguments.out)
        spent[family], counts[family] = spent[family] + curve.seconds[-1], counts[family] + 1
        print(f"{family} {counts[family]}: {curve.val_accuracy} {curve.seconds}", flush=True)


if __name__ == "__main__":
    main()
