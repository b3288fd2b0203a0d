"""`fertune refit`: the selected config on all faces, by Ray Train's workers where it is a resnet."""

import json
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from command_line import CommandLine, wait_until
from finished_run import DATA, TINY, add_trial, make_run

from results.artifact import load_artifact
from results.export import Which, export
from results.refitted import refitted
from results.run_folder import RunFolder
from results.selection import selected
from search.plan import validate_plan
from search.refit import _places, refit
from search.refit_worker import milestones
from spaces.errors import InputError
from spaces.family import Family
from spaces.fidelity import Fidelity
from spaces.resnet import ResnetConfig
from spaces.svm import SvmConfig
from trainables.base import Task
from trainables.data.protocol import load_training
from trainables.families import build_learner, load_model

pytestmark = pytest.mark.timeout(900)

RESNET = ResnetConfig(epochs=9, batch_size=32, image_size=32, unfreeze=2, head_lr=3e-5, backbone_lr=3e-5)
TOLERANCE = 0.03
"""Mean difference of probabilities, where another seed makes 0.12. Training amplifies the order of sums: one process on
two threads differs from itself on one by 0.012 in bfloat16, by 0.006 in float32. `test_trainables_data_parallel` holds
a short training in float32 to 0.002 at most."""


@pytest.fixture
def run(tmp_path: Path, cache: Path) -> RunFolder:
    return make_run(tmp_path / "runs" / "one", cache, [TINY[Family.FOREST]])


def test_milestones_end_at_full_fidelity():
    assert milestones(Fidelity(maximum=1)) == [1]
    assert milestones(Fidelity()) == [3, 6, 9, 12, 15, 18, 21, 24, 27]
    assert milestones(Fidelity(maximum=81))[-1] == 81
    assert len(milestones(Fidelity(maximum=81))) == 9


def test_a_forest_is_fitted_on_training_and_validation(run: RunFolder, cache: Path):
    data, said = load_training(DATA, cache), []
    found = refit(run, cache, None, said.append)
    assert found["images"] == len(data.train) + len(data.validation) == len(data.everything)
    assert (found["trial"], found["family"], found["workers"]) == (0, "forest", 1)
    learner = build_learner(TINY[Family.FOREST], Task(data.everything, seed=0, scale=Fidelity(maximum=1)))
    learner.fit_to(1)
    model = load_model(Family.FOREST, Path(found["model"]))
    expected = learner.predict_proba(data.validation.images)
    assert np.array_equal(model.predict_proba(data.validation.images), expected)
    assert "test_readings.jsonl" not in {path.name for path in run.path.iterdir()}
    said.clear()
    assert refit(run, cache, None, said.append) == found
    assert said == []


def test_the_refit_is_exported_with_the_figures_of_its_trial(run: RunFolder, cache: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"no refit of trial 0, there is none; make one with `fertune refit"):
        export(run, tmp_path / "artifact", Which.REFIT)
    found = refit(run, cache, None, lambda line: None)
    export(run, tmp_path / "artifact", Which.REFIT)
    export(run, tmp_path / "winner", onnx=False)
    artifact, winner = load_artifact(tmp_path / "artifact"), load_artifact(tmp_path / "winner")
    faces = load_training(DATA, cache).validation.images
    expected = load_model(Family.FOREST, Path(found["model"])).predict_proba(faces)
    assert np.array_equal(artifact.model.predict_proba(faces), expected)
    assert not np.array_equal(artifact.model.predict_proba(faces), winner.model.predict_proba(faces))
    assert artifact.manifest.refit is not None
    assert artifact.manifest.refit.images == found["images"]
    assert artifact.manifest.metrics == winner.manifest.metrics
    card = (tmp_path / "artifact" / "README.md").read_text()
    assert f"on all {found['images']:,} faces of training and validation" in card
    assert "were trained on, with validation added" in card
    add_trial(run, cache, 1, SvmConfig())
    assert selected(run).trial == 1
    with pytest.raises(InputError, match="no refit of trial 1, the last was of trial 0"):
        export(run, tmp_path / "later", Which.REFIT)


@pytest.mark.parametrize(
    ("nodes", "workers", "gpus", "expected"),
    [
        (({"CPU": 8.0}, {"CPU": 16.0, "GPU": 1.0}), None, None, (1, {"CPU": 16, "GPU": 1.0})),
        (({"CPU": 8.0}, {"CPU": 16.0, "GPU": 1.0}), None, 0.0, (2, {"CPU": 8})),
        (({"CPU": 2.0}, {"CPU": 8.0}), None, None, (2, {"CPU": 4})),
        (({"CPU": 2.0}, {"CPU": 8.0}), 5, None, (5, {"CPU": 2})),
        (({"CPU": 0.0}, {"CPU": 4.0, "GPU": 4.0}), None, None, (4, {"CPU": 1, "GPU": 1.0})),
    ],
)
def test_workers_are_asked_for_what_nodes_have(nodes, workers, gpus, expected):
    plan = validate_plan({"budget": {"trials": 1}, "resources": {"resnet": {"gpus": gpus}}}, "plan")
    assert _places(nodes, workers, plan, RESNET) == expected


def test_more_workers_than_there_is_room_for_are_refused():
    plan = validate_plan({"budget": {"trials": 1}}, "plan")
    with pytest.raises(InputError, match="--workers 3: the cluster has 2 CPUs, each needs one"):
        _places(({"CPU": 2.0},), 3, plan, RESNET)
    with pytest.raises(InputError, match="--workers 2: the cluster has 1 GPUs"):
        _places(({"CPU": 4.0, "GPU": 1.0},), 2, plan, RESNET)


def test_what_cannot_be_refitted_gets_a_sentence(run: RunFolder, cache: Path):
    with pytest.raises(InputError, match="--workers 2: a refit of family forest has one process"):
        refit(run, cache, 2, lambda line: None)
    assert refitted(run) is None
    run.provenance.write_text(json.dumps({"data": {"fingerprint": "other", "split": "other"}}))
    with pytest.raises(InputError, match="are not those the run began with"):
        refit(run, cache, None, lambda line: None)


def test_a_damaged_record_is_named(run: RunFolder, cache: Path):
    refit(run, cache, None, lambda line: None)
    (run.refit / "refit.json").write_text("{")
    with pytest.raises(InputError, match=r"refit.json: not a Refitted"):
        refit(run, cache, None, lambda line: None)


@pytest.fixture
def resnet_run(fertune: CommandLine, cache: Path) -> RunFolder:
    run = make_run(fertune.folder / "runs" / "net", cache, [RESNET])
    values = run.plan_values() | {"fidelity": {"maximum": 9}, "budget": {"trials": 1}, "cluster": {"cpus": 2}}
    run.plan.write_text(yaml.safe_dump(values))
    return run


@pytest.mark.slow
def test_two_workers_give_what_one_process_gives_even_if_one_is_killed(
    fertune: CommandLine, resnet_run: RunFolder, cache: Path
):
    kept = resnet_run.path / "refit" / "workers"
    refitting = fertune.start("refit", "runs/net", "--workers", "2", "--json")
    wait_until(
        lambda: refitting.poll() is not None or any(kept.rglob("training.json")),
        400,
        lambda: f"no checkpoint came: {refitting.poll()}",
    )
    workers = workers_of(refitting.pid)
    assert len(workers) == 2, f"{[process.cmdline() for process in workers]}"
    workers[1].kill()
    out, err = refitting.communicate(timeout=400)
    assert refitting.returncode == 0, f"{out}\n{err}"
    found = json.loads(out.splitlines()[-1])
    data = load_training(DATA, cache)
    assert (found["workers"], found["images"]) == (2, len(data.everything))
    assert not kept.exists()
    faces = data.validation.images

    def one_process(seed: int) -> np.ndarray:
        learner = build_learner(RESNET, Task(data.everything, seed=seed, scale=Fidelity(maximum=9)))
        learner.fit_to(9)
        return learner.predict_proba(faces)

    refitted = load_model(Family.RESNET, fertune.folder / found["model"]).predict_proba(faces)
    expected = one_process(seed=0)
    difference = np.abs(refitted - expected).mean()
    assert difference < TOLERANCE
    assert np.abs(one_process(seed=1) - expected).mean() > 2 * TOLERANCE
    before = load_model(Family.RESNET, resnet_run.checkpoints / "00000" / "1" / "model")
    assert np.abs(refitted - before.predict_proba(faces)).mean() > 2 * difference


def workers_of(driver: int) -> list[psutil.Process]:
    """Ray Train's workers, which Ray names after what they do."""
    found = []
    for child in psutil.Process(driver).children(recursive=True):
        try:
            if " ".join(child.cmdline()).startswith("ray::") and "RayTrainWorker" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found
