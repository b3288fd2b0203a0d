"""The incumbent meets the test set once; every reading of it is on record."""

import io
import json
import shutil

import numpy as np
import pytest
from finished_run import TINY, add_trial, make_run
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from results.journal import Journal
from results.run_folder import RunFolder
from results.schema import Status, TrialEnd, TrialStart
from results.selection import accuracy_interval, readings_of, render, select
from spaces.errors import InputError
from spaces.family import Family
from spaces.features import FeatureConfig
from trainables.data.protocol import load_test
from trainables.families import load_model
from trainables.metrics import score

SVM = TINY[Family.SVM]
WEAK = SVM.model_copy(update={"features": FeatureConfig(pca=1)})


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    return make_run(tmp_path_factory.mktemp("runs") / "finished", cache, [SVM])


@pytest.fixture
def run(finished, tmp_path):
    return RunFolder(shutil.copytree(finished.path, tmp_path / "run"))


@pytest.fixture
def no_cache(tmp_path):
    """A cache that cannot be used, so that reading any data fails."""
    path = tmp_path / "a-file-not-a-folder"
    path.write_text("")
    return path


def shown(selection) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(render(selection))
    return console.file.getvalue()


def test_the_winner_is_scored_on_test_with_intervals(run, cache):
    selection = select(run, cache)
    assert list(selection)[:4] == ["winner", "candidates", "mcnemar_p", "test"]
    assert (selection["winner"]["trial"], selection["mcnemar_p"]) == (0, None)
    (candidate,) = selection["candidates"]
    assert candidate["val_accuracy_mean"] == selection["winner"]["val_accuracy"]
    assert candidate["seeds"] == [0]
    low, high = candidate["val_accuracy_ci"]
    assert low < candidate["val_accuracy_mean"] < high

    faces = load_test(run.data_spec(), cache)
    scores = score(faces.labels, load_model(Family.SVM, run.checkpoints / "00000/1/model").predict_proba(faces.images))
    test = selection["test"]
    assert (test["accuracy"], test["macro_f1"], test["n"]) == (scores.accuracy, scores.macro_f1, len(faces))
    assert np.array_equal(test["confusion"], scores.confusion)
    assert test["recall"] == list(scores.recall)
    assert test["accuracy_ci"] == list(accuracy_interval(scores.confusion))


def test_a_second_select_shows_the_recorded_reading_without_reading_data(run, cache, no_cache):
    first = select(run, cache)
    recorded = run.test_readings.read_bytes()
    assert select(run, no_cache) == first
    assert run.test_readings.read_bytes() == recorded
    assert (first["readings"], first["read_again"], first["warning"]) == (1, False, None)
    assert json.loads(recorded)["test"] == first["test"]


def test_a_new_incumbent_is_a_second_reading_and_is_flagged(tmp_path, cache, no_cache):
    run = make_run(tmp_path / "run", cache, [WEAK])
    first = select(run, cache)
    add_trial(run, cache, 1, SVM)
    second = select(run, cache)
    assert (first["winner"]["trial"], second["winner"]["trial"]) == (0, 1)
    assert (second["readings"], second["read_again"]) == (2, True)
    assert "read 2 times" in second["warning"]
    assert "read 2 times" in shown(second)
    assert select(run, no_cache) == second | {"read_again": False}


def test_a_torn_reading_is_made_again(run, cache):
    first = select(run, cache)
    run.test_readings.write_bytes(run.test_readings.read_bytes()[:-1])
    assert select(run, cache) == first
    assert len(readings_of(run)) == 1


def test_people_see_figures_and_confusion(run, cache):
    selection = select(run, cache)
    text = shown(selection)
    test = selection["test"]
    assert f"test accuracy {test['accuracy']:.4f} [{test['accuracy_ci'][0]:.4f}, {test['accuracy_ci'][1]:.4f}]" in text
    for name, counts, recall in zip(
        ("negative", "neutral", "positive"), test["confusion"], test["recall"], strict=True
    ):
        line = next(line for line in text.splitlines() if line.split()[:1] == [name] and "recall" not in line)
        assert line.split()[1:] == [*map(str, counts), f"{recall:.4f}"]
    assert "warning" not in text


def test_no_finished_trial_is_an_error(run, tmp_path, no_cache):
    run.measurements.unlink()
    with Journal(run.measurements) as journal:
        journal.append(TrialStart(trial=0, time=1.0, family=Family.SVM, config=SVM.model_dump(), seed=0))
        journal.append(TrialEnd(trial=0, time=2.0, status=Status.STOPPED))
    with pytest.raises(InputError, match=r"none of its 1 trials has finished"):
        select(run, no_cache)


@pytest.mark.parametrize("field", ["fingerprint", "split"])
def test_other_data_than_the_run_saw_are_refused_and_test_stays_unread(run, cache, field):
    provenance = json.loads(run.provenance.read_text())
    provenance["data"][field] = "another"
    run.provenance.write_text(json.dumps(provenance))
    with pytest.raises(InputError, match="not those the run began with"):
        select(run, cache)
    assert readings_of(run) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: np.save(path, np.load(path)[:-1]),
        lambda path: np.save(path, np.load(path)[:, :2]),
        lambda path: np.save(path, np.load(path)[::-1]),
    ],
    ids=["missing", "empty", "too short", "too narrow", "other order"],
)
def test_what_are_not_the_validation_probabilities_is_named(run, cache, damage):
    damage(run.checkpoints / "00000/1/validation.npy")
    with pytest.raises(InputError, match=r"validation\.npy: .*trial 0"):
        select(run, cache)


def test_the_interval_is_that_of_resampling_faces_within_each_class():
    confusion = np.array([[80, 20, 0], [30, 50, 20], [5, 5, 190]])
    generator = np.random.default_rng(3)
    accuracies = []
    for _ in range(4000):
        recalls = []
        for label, counts in enumerate(confusion):
            predicted = np.repeat(np.arange(3), counts)
            recalls.append((generator.choice(predicted, len(predicted)) == label).mean())
        accuracies.append(np.mean(recalls))
    assert accuracy_interval(confusion) == pytest.approx(np.percentile(accuracies, [2.5, 97.5]), abs=0.004)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 500)] * 3).filter(any), min_size=3, max_size=3))
def test_the_interval_holds_the_accuracy_and_narrows_with_more_faces(confusion):
    counts = np.array(confusion)
    accuracy = (counts.diagonal() / counts.sum(axis=1)).mean()
    low, high = accuracy_interval(counts)
    assert 0 <= low <= accuracy + 1e-9
    assert accuracy - 1e-9 <= high <= 1
    low_of_many, high_of_many = accuracy_interval(100 * counts)
    assert high_of_many - low_of_many <= high - low
