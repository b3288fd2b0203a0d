"""A run folder as a search leaves it, made in a second: real data, real learners, no Ray."""

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from results.journal import Journal
from results.run_folder import RunFolder
from results.schema import Measurement, Status, TrialEnd, TrialStart
from spaces.family import Family
from spaces.fidelity import Fidelity
from spaces.forest import ForestConfig
from spaces.resnet import ResnetConfig
from spaces.svm import SvmConfig
from trainables.base import Task
from trainables.checkpoint import TrialCheckpoints
from trainables.data.protocol import load_training
from trainables.data.spec import DataSpec, ProtocolSpec
from trainables.families import build_learner
from trainables.metrics import score

Config = SvmConfig | ForestConfig | ResnetConfig

DATA = DataSpec(demo_images=700, protocol=ProtocolSpec(balance=60))
# One rung, and a pretraining that takes a second.
PLAN = {"fidelity": {"maximum": 1}, "pretraining": {"epochs": 1, "batch_size": 64, "image_size": 32}}
TINY: dict[Family, Config] = {
    Family.SVM: SvmConfig(),
    Family.FOREST: ForestConfig(trees=9, depth=6),
    Family.RESNET: ResnetConfig(epochs=1, image_size=32),
}


def make_run(path: Path, cache: Path, configs: Sequence[Config], data: DataSpec = DATA) -> RunFolder:
    """A run at `path` in which every config was trained to full fidelity (1 unit) as trial 0, 1 .."""
    path.mkdir(parents=True)
    run = RunFolder(path)
    run.plan.write_text(yaml.safe_dump({"data": data.model_dump(mode="json"), **PLAN}))
    faces = load_training(data, cache)
    run.provenance.write_text(json.dumps({"data": {"fingerprint": faces.fingerprint, "split": faces.split}}))
    for trial, config in enumerate(configs):
        add_trial(run, cache, trial, config)
    return run


def add_trial(run: RunFolder, cache: Path, trial: int, config: Config, seconds: float = 2.0) -> None:
    """Train `config` as a further trial that is said to have taken `seconds`."""
    faces = load_training(run.data_spec(), cache)
    learner = build_learner(config, Task(faces.train, seed=0, scale=Fidelity(maximum=1)))
    learner.fit_to(1)
    probabilities = learner.predict_proba(faces.validation.images)
    TrialCheckpoints(run.checkpoints, trial).write(learner, probabilities, {}, keep_state=False)
    scores = score(faces.validation.labels, probabilities)
    values = config.model_dump(mode="json")
    with Journal(run.measurements) as journal:
        journal.append(TrialStart(trial=trial, time=1.0, family=Family(config.family), config=values, seed=0))
        journal.append(
            Measurement(
                trial=trial,
                time=2.0,
                fidelity=1,
                val_accuracy=scores.accuracy,
                val_macro_f1=scores.macro_f1,
                val_log_loss=scores.log_loss,
                val_recall=scores.recall,
                fit_seconds=1.0,
                total_seconds=seconds,
                images_per_second=100.0,
                cache_hit=False,
                checkpoint=f"checkpoints/{trial:05d}/1",
            )
        )
        journal.append(TrialEnd(trial=trial, time=3.0, status=Status.FINISHED))
