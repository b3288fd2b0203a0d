"""One trial as the contenders of `peers.py` train it: fertune's learner from rung to rung, nothing shared with others.

Run as a script it is what Syne Tune starts for each trial.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.cli_options import cache_folder
from search.plan import Plan
from search.plan_file import read_plan
from spaces.joint import parse_config
from spaces.tree import domains_of
from trainables.base import Learner, Task, weights_key
from trainables.data.faceset import Faces
from trainables.data.protocol import TrainingData, load_pretraining, load_training
from trainables.families import build_learner
from trainables.metrics import score
from trainables.pretraining import pretrained
from trainables.threads import limit_threads

PLAN, WEIGHTS, LOG = "plan.yaml", "weights.txt", "log.jsonl"
WORKERS = 2


@dataclass(frozen=True)
class Setting:
    """What all trials of a contender have in common.

    Attributes:
        folder: Where the plan is, and the log of all accuracies.
        plan: Of which data, space, scale of fidelities and seed count.
        weights: The backbone pretrained on the training faces.
    """

    folder: Path
    plan: Plan
    weights: Path

    @classmethod
    def read(cls, folder: Path) -> "Setting":
        """The setting whose plan lies in `folder`; parses and pretrains what is not in the cache yet.

        Which weights these are is written down there, for finding them takes seconds: all pixels are hashed.
        """
        plan, known = read_plan(folder / PLAN), folder / WEIGHTS
        if not known.exists():
            faces = load_pretraining(plan.data, cache_folder())
            known.write_text(str(pretrained(plan.pretraining, faces, cache_folder(), WORKERS)))
        return cls(folder, plan, Path(known.read_text()))

    def data(self) -> TrainingData:
        return load_training(self.plan.data, cache_folder())

    def note(self, config: dict[str, Any], fidelity: int, accuracy: float) -> None:
        """Log that a model of this accuracy exists now; a line is short enough to be written at once."""
        family = config["family"]
        line = {"time": time.time(), "family": family, "fidelity": fidelity, "accuracy": accuracy, "config": config}
        with (self.folder / LOG).open("a") as log:
            log.write(json.dumps(line) + "\n")


def build(setting: Setting, values: dict[str, Any], faces: Faces) -> Learner:
    """The learner of the config `values`, on one thread."""
    weights = {weights_key(str(setting.plan.pretraining.arch), "faces"): setting.weights}
    task = Task(faces, setting.plan.seed, setting.plan.fidelity, 1, weights)
    return build_learner(parse_config(values), task)


def advance(setting: Setting, values: dict[str, Any], learner: Learner, data: TrainingData, fidelity: int) -> float:
    """Train to `fidelity` and log the validation accuracy, which is returned."""
    limit_threads(1)
    learner.fit_to(fidelity)
    accuracy = score(data.validation.labels, learner.predict_proba(data.validation.images)).accuracy
    setting.note(values, fidelity, accuracy)
    return float(accuracy)


def train(setting: Setting, values: dict[str, Any], data: TrainingData) -> Iterator[tuple[int, float]]:
    """Each rung of a trial, and the accuracy there."""
    learner = build(setting, values, data.train)
    for fidelity in setting.plan.fidelity.rungs:
        yield fidelity, advance(setting, values, learner, data, fidelity)


class Chosen:
    """Answers a space from a flat dict of all parameters of all families."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        # Syne Tune hands its values to the script as text.
        return next(choice for choice in choices if str(choice) == str(self._values.get(name, choices[0])))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self._values[name])

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return int(self._values[name])


def flat_domains(plan: Plan) -> dict[str, Any]:
    """The domains of all parameters, the family's among them, for tuners that know no conditions."""
    found: dict[str, Any] = {"family": tuple(str(family) for family in plan.space.families)}
    for family in plan.space.families:
        found |= domains_of(plan.space, family)
    return found


def main() -> None:
    from syne_tune import Reporter

    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    arguments, given = parser.parse_known_args()
    names = (name.removeprefix("--") for name in given[::2])
    setting = Setting.read(arguments.folder)
    config = setting.plan.space.suggest(Chosen(dict(zip(names, given[1::2], strict=False))))
    report = Reporter()
    for fidelity, accuracy in train(setting, config.model_dump(mode="json"), setting.data()):
        report(fidelity=fidelity, accuracy=accuracy)


if __name__ == "__main__":
    main()
