"""How good each family gets on FER2013 within a stated budget, beside simple references and the old project.

Each row is a search of its own (the real command line, all of this machine) with the minutes given below times
`--scale`; everything is chosen on validation. Pretraining is made once by the first search that needs it, and its
seconds are stated and counted in each row that rests on it. The ensemble is chosen greedily on the kept validation
probabilities of all finished trials (Caruana et al., "Ensemble Selection from Libraries of Models", ICML 2004): its
validation accuracy is optimistic. `--final` reads the public test, once for each row, and appends what it read
to `docs/log.md`; nothing may be chosen by it.

    python benchmarks/learners.py --data fer2013.parquet --out runs/learners [--only svm] [--scale 1] [--final]
"""

import argparse
import datetime
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from results.describe import describe
from results.leaderboard import TrialRecord, incumbent, trials_in
from results.run_folder import RunFolder
from results.schema import Status
from results.statistics import accuracy_interval
from search.cli import cache_folder
from spaces.features import FeatureConfig
from spaces.forest import ForestConfig
from spaces.svm import SvmConfig
from trainables.base import Task
from trainables.checkpoint import VALIDATION
from trainables.data.faceset import Faces
from trainables.data.protocol import TrainingData, load_test, load_training
from trainables.data.spec import DataSpec, ProtocolSpec
from trainables.families import build_learner, load_model
from trainables.metrics import Scores, score
from trainables.threads import usable_cpus

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / "docs" / "log.md"
STEPS = 30

PRETRAINING = {
    "arch": "resnet18",
    "epochs": 60,
    "batch_size": 128,
    "head_lr": 0.003,
    "backbone_lr": 0.003,
    "schedule": "one_cycle",
    "weight_decay": 0.05,
    "label_smoothing": 0.1,
    "augment": 0.6,
    "erasing": 0.2,
    "mixup": 0.2,
    "ema": 0.999,
    "image_size": 64,
}
EMBEDDING = {
    "kind": "embedding",
    "image_size": PRETRAINING["image_size"],
    "pca": [0, 64],
    "whiten": False,
    "mirror": False,
    "flip": False,
}
HAND_MADE = {"kind": ["hog+lbp", "hog"], "hog_cell": 8, "hog_signed": True, "lbp_cell": 8, "flip": True}


@dataclass(frozen=True)
class Row:
    """One line of the table: a search.

    Attributes:
        minutes: Budget of the search.
        space: What is searched.
        old: What the old project reached on test.
        aim: What is to be reached on test.
        data: What the plan's `data` says besides the source.
    """

    minutes: float
    space: dict[str, Any]
    old: float | None
    aim: float
    data: dict[str, Any] = field(default_factory=dict)

    def spec(self, source: str) -> DataSpec:
        return DataSpec(source=source, **self.data)


# Hand-made features gain by cropping (docs/log.md); what rests on pretraining sees the pictures as they are.
CROPPED = {"crop": "face"}
ROWS = {
    "svm": Row(
        4,
        {
            "families": ["svm"],
            "svm": {
                "kernel": "rbf",
                "C": {"low": 1.0, "high": 10.0, "log": True},
                "gamma": {"low": 0.3, "high": 2.0, "log": True},
                "features": {**HAND_MADE, "contrast": "none", "pca": [256, 384], "mirror": [False, True]},
            },
        },
        0.557,
        0.71,
        CROPPED,
    ),
    "svm-embedding": Row(
        2,
        {
            "families": ["svm"],
            "svm": {
                "kernel": "rbf",
                "C": {"low": 0.3, "high": 10.0, "log": True},
                "gamma": {"low": 0.1, "high": 3.0, "log": True},
                "features": EMBEDDING,
            },
        },
        None,
        0.81,
    ),
    "forest": Row(
        3,
        {
            "families": ["forest"],
            "forest": {
                "trees": 270,
                "depth": {"low": 12, "high": 40, "log": True},
                "min_samples_leaf": {"low": 1, "high": 10, "log": True},
                "max_features": {"low": 0.03, "high": 0.2, "log": True},
                "features": {
                    **HAND_MADE,
                    "contrast": "none",
                    "pca": [64, 128],
                    "whiten": False,
                    "mirror": [False, True],
                },
            },
        },
        0.457,
        0.65,
        CROPPED,
    ),
    "forest-embedding": Row(
        2,
        {"families": ["forest"], "forest": {"depth": {"low": 6, "high": 30, "log": True}, "features": EMBEDDING}},
        None,
        0.80,
    ),
    "resnet": Row(
        7,
        {
            "families": ["resnet"],
            "resnet": {
                "arch": PRETRAINING["arch"],
                "weights": "faces",
                "unfreeze": [0, 1, 2, 5],
                "epochs": [2, 3],
                "batch_size": [64, 128],
                "head_lr": {"low": 0.0003, "high": 0.01, "log": True},
                "backbone_lr": {"low": 0.00003, "high": 0.001, "log": True},
                "stage_decay": [0.5, 1.0],
                "augment": {"low": 0.2, "high": 0.8},
                "mixup": [0.0, 0.2],
                "ema": 0.99,
                "image_size": PRETRAINING["image_size"],
                "flip": True,
            },
        },
        0.35,
        0.82,
    ),
}


REFERENCES = {
    "HOG + rbf, 2,400 faces a class": SvmConfig(C=3.0),
    "the same, mirrored": SvmConfig(C=3.0, features=FeatureConfig(mirror=True)),
    "HOG, 300 trees, 2,400 faces a class": ForestConfig(trees=300, depth=200, max_features=0.033),
}


def pretrain(spec: DataSpec) -> float:
    """Make the `faces` weights that the searches will find; the seconds it took, now or at an earlier time."""
    from spaces.resnet import ResnetConfig
    from trainables.data.protocol import load_pretraining
    from trainables.pretraining import RECORD, pretrained

    def listen(share: float, loss: float) -> bool:
        print(f"pretraining {share:.0%}, loss {loss:.3f}", file=sys.stderr, flush=True)
        return True

    config = ResnetConfig(**PRETRAINING)
    data = load_pretraining(spec, cache_folder())
    weights = pretrained(config, data, cache_folder(), usable_cpus(), listen)
    return json.loads((weights.parent / RECORD).read_text())["seconds"]


def search(name: str, row: Row, data: str, out: Path, scale: float) -> RunFolder:
    """Run the search of `row`, unless an earlier call did."""
    run = RunFolder(out / name)
    if run.leaderboard.exists():
        return run
    plan = {
        "data": {"source": str(Path(data).resolve()), **row.data},
        "budget": {"minutes": row.minutes * scale},
        "pretraining": PRETRAINING,
        "fidelity": {"maximum": 9, "eta": 3},
        "startup_trials": 6,
        "space": row.space,
    }
    path = out / f"{name}.yaml"
    path.write_text(yaml.safe_dump(plan, sort_keys=False))
    command = [sys.executable, "-m", "search", "search", str(path), "--name", name, "--runs", str(out.resolve())]
    subprocess.run(command, check=False, cwd=ROOT, stdout=sys.stderr)  # where no trial finished, the report says so
    return run


def references(spec: DataSpec, data: TrainingData) -> None:
    """Print the simple references, trained and scored in the same protocol."""
    balanced = spec.model_copy(update={"protocol": ProtocolSpec(balance=2400)})
    faces = load_training(balanced, cache_folder()).train
    for name, config in REFERENCES.items():
        print_reference(name, config, faces, data.validation)
    print_reference("HOG + rbf, all faces", SvmConfig(C=3.0), data.train, data.validation)


def print_reference(name: str, config: Any, faces: Faces, validation: Faces) -> None:
    began = time.perf_counter()
    learner = build_learner(config, Task(faces, threads=usable_cpus()))
    learner.fit_to(27)
    found = score(validation.labels, learner.predict_proba(validation.images))
    print(f"reference: {name}: validation {found.accuracy:.4f}, {time.perf_counter() - began:.0f} s")


def ensemble(members: list[NDArray[np.float32]], labels: NDArray[np.int8]) -> list[int]:
    """Members, repeats allowed, whose mean probability has the best balanced accuracy, added one at a time."""
    chosen: list[int] = []
    total = np.zeros_like(members[0])
    best: tuple[float, list[int]] = (0.0, [])
    for _ in range(STEPS):
        scores = [score(labels, (total + member) / (len(chosen) + 1)).accuracy for member in members]
        chosen.append(int(np.argmax(scores)))
        total = total + members[chosen[-1]]
        if max(scores) > best[0]:
            best = max(scores), list(chosen)
    return best[1]


def probabilities(record: TrialRecord, faces: Faces) -> NDArray[np.float32]:
    folder = Path(record.run) / record.measurements[-1].checkpoint / "model"
    return load_model(record.family, folder).predict_proba(faces.images)


def interval(found: Scores) -> str:
    low, high = accuracy_interval(found.confusion)
    return f"{found.accuracy:.4f} [{low:.4f}, {high:.4f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/learners"))
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--final", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    spec = DataSpec(source=given.data)
    data = load_training(spec, cache_folder())
    needed = any(name == "resnet" or name.endswith("embedding") for name in given.only)
    pretraining = pretrain(spec) if needed else 0.0
    runs = {name: search(name, ROWS[name], given.data, given.out, given.scale) for name in given.only}
    references(spec, data)
    report(runs, given.data, data, given.final, pretraining)


def report(runs: dict[str, RunFolder], source: str, data: TrainingData, final: bool, pretraining: float) -> None:
    """Print, and if `final` append to the log, the line of each row and of the ensemble."""
    lines = []
    records = [record for record in trials_in(runs.values()) if record.status is Status.FINISHED]
    for name, run in runs.items():
        mine = [record for record in records if record.run == str(run.path)]
        best = incumbent(mine)
        if best is None:
            lines.append(f"{name}: no trial finished")
            continue
        spent = sum(record.seconds for record in trials_in([run]))
        based = pretraining if name == "resnet" or name.endswith("embedding") else 0.0
        row = ROWS[name]
        test = load_test(row.spec(source), cache_folder()) if final else None
        found = interval(score(test.labels, probabilities(best, test))) if test else "not read"
        lines.append(
            f"{name}: validation {best.val_accuracy:.4f}, test {found} (old project {row.old or '-'}, to reach "
            f"{row.aim}); {len(mine)} trials finished, {spent:.0f} worker seconds, {based:.0f} s of pretraining, one "
            f"seed; {describe(best.config)}"
        )
    # Only those that see the same pictures: cropping may change which of them count as copies.
    records = [record for record in records if not ROWS[Path(record.run).name].data]
    if records:
        lines.append(ensemble_line(records, source, data, final))
    print("\n".join(lines))
    if final:
        with LOG.open("a") as log:
            log.write(f"\n**Reading of the public test by benchmarks/learners.py**, {datetime.date.today()}:\n\n")
            log.write("".join(f"* {line}\n" for line in lines))


def ensemble_line(records: list[TrialRecord], source: str, data: TrainingData, final: bool) -> str:
    folders = [Path(record.run) / record.measurements[-1].checkpoint for record in records]
    members = [np.load(folder / VALIDATION) for folder in folders]
    chosen = ensemble(members, data.validation.labels)
    mean = np.mean([members[number] for number in chosen], axis=0)
    found = "not read"
    if final:
        test = load_test(DataSpec(source=source), cache_folder())
        shares = {number: chosen.count(number) / len(chosen) for number in chosen}
        mixed = sum(share * probabilities(records[number], test) for number, share in shares.items())
        found = interval(score(test.labels, np.asarray(mixed)))
    weights = [f"{chosen.count(n)} x {Path(records[n].run).name} {records[n].trial}" for n in sorted(set(chosen))]
    optimistic = score(data.validation.labels, mean).accuracy
    return f"ensemble: validation {optimistic:.4f} (chosen on it), test {found} (to reach 0.84); {', '.join(weights)}"


if __name__ == "__main__":
    main()
