"""How good each family gets on FER2013 within a stated budget, beside simple references and the old project.

Each row is a search of its own (the real command line, all of this machine) with the minutes that `learner_rows.py`
gives it, times `--scale`; everything is chosen on validation. Pretraining is made once, before the first search that
needs it, and its seconds are stated and counted in each row that rests on it. The winner of a row is trained again
with further `--seeds`. The ensemble is chosen greedily on the kept validation probabilities of all finished trials of
all rows; its validation accuracy is cross-validated, so that choosing the weights does not flatter it.
`--final` reads the public test, for the winner of each row and for the ensemble, and appends what it read to
`docs/log.md`; nothing may be chosen by it.

    python benchmarks/learners.py --data fer2013.parquet [--out runs/learners] [--only svm] [--seeds 3] [--final]
"""

import argparse
import datetime
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from learner_rows import PRETRAINING, REFERENCES, ROWS, Row
from numpy.typing import NDArray

from results.describe import describe
from results.ensemble import blend, cross_validated, greedy_weights
from results.leaderboard import TrialRecord, incumbent, trials_in
from results.run_folder import RunFolder
from results.schema import Status
from results.statistics import accuracy_interval
from search.cli_options import cache_folder
from search.plan import validate_plan
from search.plan_file import absolute, read_plan
from spaces.joint import Config, parse_config
from spaces.resnet import ResnetConfig
from trainables.base import Model, Task, weights_key
from trainables.cache import SHARED, Cache
from trainables.checkpoint import VALIDATION
from trainables.data.faceset import Faces
from trainables.data.protocol import load_pretraining, load_test, load_training
from trainables.data.spec import DataSpec, ProtocolSpec
from trainables.families import build_learner, load_model
from trainables.metrics import Scores, score
from trainables.pretraining import RECORD, pretrained
from trainables.threads import usable_cpus

ROOT = Path(__file__).resolve().parent.parent
LOG = ROOT / "docs" / "log.md"
FULL = 9  # fidelities of the searches

Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class Pretrained:
    """The `faces` weights, and how long they took to make, now or at an earlier time."""

    weights: Path
    seconds: float


def pretrain(source: str) -> Pretrained:
    """Make the `faces` weights that the searches will find."""

    def listen(share: float, loss: float) -> bool:
        print(f"pretraining {share:.0%}, loss {loss:.3f}", file=sys.stderr, flush=True)
        return True

    data = load_pretraining(DataSpec(source=source), cache_folder())
    weights = pretrained(ResnetConfig(**PRETRAINING), data, cache_folder(), usable_cpus(), listen)
    return Pretrained(weights, json.loads((weights.parent / RECORD).read_text())["seconds"])


def search(name: str, row: Row, source: str, out: Path, scale: float) -> RunFolder:
    """Run the search of `row`, or go on with it, unless an earlier call ended it."""
    values = {
        "data": {"source": str(Path(source).resolve()), **row.data},
        "budget": {"minutes": row.minutes * scale},
        "pretraining": PRETRAINING,
        "fidelity": {"maximum": FULL, "eta": 3},
        "known_points": False,  # they are winners of this benchmark
        "startup_trials": 6,
        "models": 100,  # the ensemble may use any
        "space": row.space,
    }
    run, path = RunFolder(out.resolve() / name), out / f"{name}.yaml"
    plan = absolute(validate_plan(values, name))
    command = ["search", str(path), "--name", name, "--runs", str(out.resolve())]
    if run.plan.exists():
        if read_plan(run.plan) != plan:
            raise SystemExit(f"{run.path}: a search of another plan; remove it or give another --out")
        if run.leaderboard.exists():
            return run
        command = ["resume", str(run.path)]
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    subprocess.run([sys.executable, "-m", "search", *command], check=True, cwd=ROOT, stdout=sys.stderr)
    return run


class Table:
    """Reports what the searches found.

    Args:
        runs: A run for each row that was searched.
        source: The data.
        pretraining: What the rows that need it rest on, if any does.
        scale: What the minutes of the rows were multiplied by.
        seeds: How many fits of each winner are reported, the search's own among them.
        final: Whether the public test is read.
    """

    def __init__(
        self,
        runs: Mapping[str, RunFolder],
        source: str,
        pretraining: Pretrained | None,
        scale: float,
        seeds: int,
        final: bool,
    ) -> None:
        self.runs = runs
        self.source = source
        self.pretraining = pretraining
        self.scale = scale
        self.seeds = seeds
        self.final = final
        self.records = {
            name: [record for record in trials_in([run]) if record.status is Status.FINISHED]
            for name, run in runs.items()
        }

    def validation(self, name: str) -> Faces:
        return load_training(ROWS[name].spec(self.source), cache_folder()).validation

    def test(self, name: str) -> Faces:
        return load_test(ROWS[name].spec(self.source), cache_folder())

    def line(self, name: str) -> str:
        """What the search of one row found."""
        best = incumbent(self.records[name])
        if best is None:
            return f"{name}: no trial finished"
        row, validation = ROWS[name], self.validation(name)
        models = [load_model(best.family, folder_of(best) / "model"), *self._again(name, best)]
        on_validation = score_all(models, validation)
        test = interval(score_all(models, self.test(name))) if self.final else "not read"
        based = (
            f" and {self.pretraining.seconds:.0f} s of pretraining" if row.is_pretrained and self.pretraining else ""
        )
        fits = ", ".join(f"{found.accuracy:.4f}" for found in on_validation)
        return (
            f"{name}: validation {best.val_accuracy:.4f} (fits of {len(models)} seeds: {fits}), test {test} (old "
            f"project {row.old or '-'}, to reach {row.aim}); {len(self.records[name])} trials finished in "
            f"{row.minutes * self.scale:g} minutes{based}; {describe(best.config)}"
        )

    def _again(self, name: str, best: TrialRecord) -> list[Model]:
        """The config of `best` trained with other seeds, as the search trained it."""
        seeds = [seed for seed in range(self.seeds) if seed != best.seed][: self.seeds - 1]
        return [self._fitted(parse_config(best.config), name, seed) for seed in seeds]

    def _fitted(self, config: Config, name: str, seed: int) -> Model:
        plan = read_plan(self.runs[name].plan)
        assert plan.cache_bytes is not None
        learner = build_learner(
            config,
            Task(
                load_training(ROWS[name].spec(self.source), cache_folder()).train,
                seed,
                plan.fidelity,
                usable_cpus(),
                faces_weights(self.pretraining),
                Cache(cache_folder() / SHARED, plan.cache_bytes),
                plan.shared_views,
            ),
        )
        learner.fit_to(plan.fidelity.maximum)
        return learner.model

    def reference_lines(self) -> Iterator[str]:
        """What the simple references reach, trained and scored in the same protocol."""
        for name, (config, balance) in REFERENCES.items():
            needed = "embedding" in config.features.descriptors
            if needed and self.pretraining is None:
                continue
            spec, began = DataSpec(source=self.source, protocol=ProtocolSpec(balance=balance)), time.perf_counter()
            data = load_training(spec, cache_folder())
            learner = build_learner(
                config, Task(data.train, threads=usable_cpus(), weights=faces_weights(self.pretraining))
            )
            learner.fit_to(learner.task.scale.maximum)
            found = score_all([learner.model], data.validation)[0].accuracy
            test = interval(score_all([learner.model], load_test(spec, cache_folder()))) if self.final else "not read"
            yield f"reference: {name}: validation {found:.4f}, test {test}, {time.perf_counter() - began:.0f} s"

    def ensemble_line(self) -> str:
        """What all finished trials reach together."""
        members = [(name, record) for name, records in self.records.items() for record in records]
        if not members:
            return "ensemble: no trial finished"
        validation = self.validation(next(iter(self.runs)))
        for name in self.runs:
            assert self.validation(name).names == validation.names, f"{name} was measured on other faces"
        probabilities = np.stack([np.load(folder_of(record) / VALIDATION) for _, record in members])
        weights = greedy_weights(validation.labels, probabilities)
        honest = score(validation.labels, cross_validated(validation.labels, probabilities))
        used = [(float(weight), *members[place]) for place, weight in enumerate(weights) if weight > 0]
        found = "not read"
        if self.final:
            test = self.test(used[0][1])
            for _, name, _ in used:
                assert self.test(name).names == test.names, f"{name} would be measured on other faces"
            on_test = np.stack(
                [load_model(record.family, folder_of(record) / "model").predict_proba(self.test(name).images)
                 for _, name, record in used]
            )  # fmt: skip
            shares = np.array([weight for weight, _, _ in used])
            found = interval([score(test.labels, blend(shares, on_test))])
        parts = ", ".join(f"{weight:.2f} x {name} {record.trial}" for weight, name, record in used)
        return f"ensemble: validation {honest.accuracy:.4f} (cross-validated), test {found} (to reach 0.84); {parts}"


def folder_of(record: TrialRecord) -> Path:
    return Path(record.run) / record.measurements[-1].checkpoint


def score_all(models: list[Model], faces: Faces) -> list[Scores]:
    return [score(faces.labels, model.predict_proba(faces.images)) for model in models]


def interval(found: list[Scores]) -> str:
    low, high = accuracy_interval([scores.confusion for scores in found])
    return f"{np.mean([scores.accuracy for scores in found]):.4f} [{low:.4f}, {high:.4f}]"


def read_arguments() -> Any:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/learners"))
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--final", action="store_true")
    return parser.parse_args()


def faces_weights(pretraining: Pretrained | None) -> dict[str, Path]:
    return {weights_key(PRETRAINING["arch"], "faces"): pretraining.weights} if pretraining else {}


def tell(line: str, final: bool) -> None:
    """Print a line and, if it tells of the public test, record it at once: no reading may be lost."""
    print(line, flush=True)
    if final:
        with LOG.open("a") as log:
            log.write(f"* {line}\n")


def main() -> None:
    given = read_arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    pretraining = pretrain(given.data) if any(ROWS[name].is_pretrained for name in given.only) else None
    runs = {name: search(name, ROWS[name], given.data, given.out, given.scale) for name in given.only}
    table = Table(runs, given.data, pretraining, given.scale, given.seeds, given.final)
    if given.final:
        with LOG.open("a") as log:
            log.write(f"\n**Reading of the public test by benchmarks/learners.py**, {datetime.date.today()}:\n\n")
    for name in runs:
        tell(table.line(name), given.final)
    tell(table.ensemble_line(), given.final)
    for line in table.reference_lines():
        tell(line, given.final)


if __name__ == "__main__":
    main()
