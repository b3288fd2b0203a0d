"""Refits: other seeds, other splits, nothing kept from the run's own split, and no refit twice."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from finished_run import TINY, make_run

from results.comparison import Rules
from results.leaderboard import trials_in
from results.refits import FIRST_SEED, refit_candidates
from results.run_folder import RunFolder
from results.selection import select
from results.statistics import accuracy_interval, mcnemar
from spaces.errors import InputError
from spaces.family import Family
from spaces.features import FeatureConfig
from trainables.base import Task
from trainables.data.protocol import load_pretraining, load_training
from trainables.families import build_learner
from trainables.metrics import score
from trainables.pretraining import pretrained

SVM, FOREST = TINY[Family.SVM], TINY[Family.FOREST]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    return make_run(tmp_path_factory.mktemp("runs") / "finished", cache, [SVM, FOREST])


@pytest.fixture
def run(finished, tmp_path):
    run = RunFolder(shutil.copytree(finished.path, tmp_path / "run"))
    run.selection.mkdir()
    return run


@pytest.fixture
def said():
    return []


def on_split(run, seed):
    spec = run.data_spec()
    return spec.model_copy(update={"protocol": spec.protocol.model_copy(update={"seed": seed})})


def test_a_refit_is_a_fit_of_the_same_config_on_another_split(run, cache, said):
    (forest,) = [record for record in trials_in([run]) if record.family is Family.FOREST]
    found = refit_candidates(run, [forest], 2, True, cache, said.append)[forest.trial]
    assert [(refit.seed, refit.split) for refit in found] == [(FIRST_SEED + 1, 1), (FIRST_SEED + 2, 2)]
    for refit in found:
        data = load_training(on_split(run, refit.split), cache)
        learner = build_learner(FOREST, Task(data.train, refit.seed, run.fidelity()))
        learner.fit_to(1)
        scores = score(data.validation.labels, learner.predict_proba(data.validation.images))
        assert (refit.accuracy, refit.confusion) == (scores.accuracy, scores.confusion)


def test_on_the_run_s_own_split_only_the_seed_changes(run, cache, said):
    found = refit_candidates(run, trials_in([run]), 2, False, cache, said.append)
    assert {refit.split for refits in found.values() for refit in refits} == {0}
    first, second = found[1]
    assert first.seed != second.seed
    assert first.confusion != second.confusion


def test_what_is_on_record_is_not_made_again(run, cache, said, tmp_path):
    whole = refit_candidates(run, trials_in([run]), 2, True, cache, said.append)
    assert len([line for line in said if line.endswith("...")]) == 4
    assert said[0].startswith("refit 1 of 4: trial 0, ")
    paths = sorted(run.selection.iterdir())
    assert len(paths) == 4
    before = {path: path.read_bytes() for path in paths}
    said.clear()
    paths[-1].unlink()
    again = refit_candidates(run, trials_in([run]), 2, True, cache, said.append)
    assert len([line for line in said if line.endswith("...")]) == 1
    assert all(path.read_bytes() == before[path] for path in paths[:-1])

    def without_times(found):
        return {trial: [refit.model_copy(update={"seconds": 0}) for refit in refits] for trial, refits in found.items()}

    assert without_times(again) == without_times(whole)


def test_a_damaged_record_is_named(run, cache, said):
    refit_candidates(run, trials_in([run])[:1], 1, True, cache, said.append)
    (path,) = run.selection.iterdir()
    path.write_text(path.read_text()[:20])
    with pytest.raises(InputError, match=f"{path.name}: not a Refit"):
        refit_candidates(run, trials_in([run])[:1], 1, True, cache, said.append)


def right_of(path):
    """On which faces a refit is right."""
    refit = json.loads(path.read_text())
    found = np.array([each == "1" for each in refit["right"]])
    assert found.sum() == np.trace(refit["confusion"])
    return found


def test_selection_goes_by_the_refits(run, cache):
    found = select(run, cache, Rules(top=2, seeds=2))
    for row in found["candidates"]:
        refits = [json.loads(path.read_text()) for path in sorted(run.selection.glob(f"refit-{row['trial']:05d}-*"))]
        assert row["val_accuracy_mean"] == pytest.approx(sum(refit["accuracy"] for refit in refits) / 2)
        assert row["seeds"] == [refit["seed"] for refit in refits]
        assert row["splits"] == [1, 2]
        low, high = row["val_accuracy_ci"]
        assert low < row["val_accuracy_mean"] < high
    right = {
        row["trial"]: np.concatenate(
            [right_of(path) for path in sorted(run.selection.glob(f"refit-{row['trial']:05d}-*"))]
        )
        for row in found["candidates"]
    }
    leader, (other,) = found["leader"], right.keys() - {found["leader"]}
    assert found["mcnemar_p"] == pytest.approx(mcnemar(right[leader], right[other]))


def test_refits_on_one_split_are_no_more_faces(run, cache):
    found = select(run, cache, Rules(top=2, seeds=3, splits=False))
    right = {}
    for row in found["candidates"]:
        paths = sorted(run.selection.glob(f"refit-{row['trial']:05d}-*"))
        refits = [json.loads(path.read_text()) for path in paths]
        assert row["val_accuracy_ci"] == list(accuracy_interval([refit["confusion"] for refit in refits], True))
        nearest = min(refits, key=lambda refit: abs(refit["accuracy"] - row["val_accuracy_mean"]))
        right[row["trial"]] = right_of(paths[refits.index(nearest)])
    leader, (other,) = found["leader"], right.keys() - {found["leader"]}
    assert found["mcnemar_p"] == pytest.approx(mcnemar(right[leader], right[other]))


def test_a_training_that_diverges_is_a_refit_that_failed(run, cache, said):
    config = TINY[Family.RESNET].model_copy(
        update={"unfreeze": 0, "epochs": 20, "batch_size": 16, "head_lr": 10.0, "weight_decay": 10.0}
    )
    record = dataclasses.replace(trials_in([run])[0], config=config.model_dump(mode="json"))
    (refit,) = refit_candidates(run, [record], 1, True, cache, said.append)[record.trial]
    assert (refit.accuracy, refit.confusion) == (None, None)
    assert "diverged" in refit.failed
    assert "failed" in said[-1]


def test_a_candidate_whose_refit_fails_cannot_win(run, cache):
    rules = Rules(top=2, seeds=1)
    first = select(run, cache, rules)
    (path,) = run.selection.glob(f"refit-{first['winner']['trial']:05d}-*")
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"accuracy": None, "confusion": None, "failed": "the loss is not finite"}))
    (run.selection / "selection.json").unlink()
    second = select(run, cache, rules)
    assert second["winner"]["trial"] != first["winner"]["trial"]
    row = next(row for row in second["candidates"] if row["trial"] == first["winner"]["trial"])
    assert (row["failed"], row["mcnemar_p"]) == ("the loss is not finite", None)
    assert second["runner_up"] is None


def test_faces_weights_are_pretrained_again_for_another_split(run, cache, tmp_path, said):
    own = tmp_path / "cache"
    config = SVM.model_copy(update={"features": FeatureConfig(kind="embedding", image_size=32)})
    record = dataclasses.replace(trials_in([run])[0], config=config.model_dump(mode="json"))
    (refit,) = refit_candidates(run, [record], 1, True, own, said.append)[record.trial]
    assert refit.accuracy is not None
    assert any(line.startswith("pretraining for split 1: 100% done") for line in said)

    def listen(share, loss):
        raise AssertionError("the weights in the cache are of another split")

    weights = pretrained(run.pretraining(), load_pretraining(on_split(run, 1), own), own, 1, listen)
    assert list(own.glob("faces-weights-*/weights.safetensors")) == [weights]
