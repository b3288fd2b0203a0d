import pickle
import warnings
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import skops.io
from drawn_faces import drawn_faces
from sklearn.ensemble import RandomForestClassifier

from spaces.errors import InputError
from spaces.features import FeatureConfig
from spaces.fidelity import Fidelity
from spaces.forest import ForestConfig
from trainables.base import Task, class_weights
from trainables.descriptors import mirrored
from trainables.forest import ForestLearner, ForestModel
from trainables.metrics import score

SCALE = Fidelity(maximum=9, eta=3)
FACES, FRESH = drawn_faces(150, seed=1, shares=(3, 1, 2)), drawn_faces(60, seed=2)
CONFIG = ForestConfig(trees=27, features=FeatureConfig(hog_cell=12, mirror=True))
TASK = Task(FACES, seed=5, scale=SCALE)


def trained(*rungs: int, config: ForestConfig = CONFIG, task: Task = TASK) -> ForestLearner:
    learner = ForestLearner(config, task)
    for rung in rungs:
        learner.fit_to(rung)
    return learner


def test_trees_are_grown_and_never_grown_again() -> None:
    learner = trained(1)
    first = list(learner.model.forest.estimators_)
    assert len(first) == 3
    measured = learner.fit_to(3)
    assert learner.model.forest.estimators_[:3] == first
    assert len(learner.model.forest.estimators_) == 9
    assert measured["images"] == 6 * 2 * len(FACES)


def test_a_grown_forest_is_scikit_learn_s_on_weighted_mirrored_images() -> None:
    model = trained(1, 3, 9).model
    labels = np.tile(FACES.labels, 2)
    vectors = model.features.transform(mirrored(FACES.images))
    forest = RandomForestClassifier(27, max_depth=20, max_features=0.05, random_state=5)
    forest.fit(vectors, labels, class_weights(labels)[labels])
    expected = forest.predict_proba(model.features.transform(FRESH.images))
    np.testing.assert_allclose(model.predict_proba(FRESH.images), expected, atol=1e-6)


def test_without_class_weights_every_image_weighs_the_same() -> None:
    model = trained(9, config=CONFIG.model_copy(update={"class_weight": "none"})).model
    forest = RandomForestClassifier(27, max_depth=20, max_features=0.05, random_state=5)
    forest.fit(model.features.transform(mirrored(FACES.images)), np.tile(FACES.labels, 2))
    expected = forest.predict_proba(model.features.transform(FRESH.images))
    np.testing.assert_allclose(model.predict_proba(FRESH.images), expected, atol=1e-6)


def test_with_fewer_trees_than_fidelities_some_fidelities_add_none() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learner = trained(1, config=CONFIG.model_copy(update={"trees": 2}))
        assert learner.fit_to(3)["images"] == 0
        assert learner.fit_to(9)["images"] == 2 * len(FACES)
    assert len(learner.model.forest.estimators_) == 2


def test_threads_change_no_prediction() -> None:
    alone, together = trained(9), trained(9, task=replace(TASK, threads=2))
    assert np.array_equal(alone.predict_proba(FRESH.images), together.predict_proba(FRESH.images))


def test_it_learns() -> None:
    probabilities = trained(9).predict_proba(FRESH.images)
    assert score(FRESH.labels, probabilities).accuracy > 0.75


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    trained(1).model.save(tmp_path)
    return tmp_path


class Harmless:
    """An object of a type that no forest needs."""

    def __init__(self) -> None:
        self.value = Fraction(1, 3)


def test_a_file_with_an_object_no_forest_needs_is_refused(saved: Path) -> None:
    forest = skops.io.load(saved / "forest.skops", trusted=["sklearn.tree._tree.Tree"])
    forest.stowaway = Harmless()
    skops.io.dump(forest, saved / "forest.skops")
    with pytest.raises(InputError, match=r"without running code.*Harmless"):
        ForestModel.load(saved)


def test_a_pickle_is_refused_and_not_run(saved: Path, tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "ran",)

    (saved / "forest.skops").write_bytes(pickle.dumps(Touch()))
    with pytest.raises(InputError, match="without running code"):
        ForestModel.load(saved)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "other",
    [
        RandomForestClassifier(),
        RandomForestClassifier(2).fit(np.eye(6, 5), [0, 1, 2] * 2),
        RandomForestClassifier(2).fit(np.eye(6, 324), [0, 1] * 3),
        {"not": "a forest"},
    ],
    ids=["not fitted", "other features", "other classes", "not a forest"],
)
def test_another_forest_is_refused(saved: Path, other: object) -> None:
    skops.io.dump(other, saved / "forest.skops")
    with pytest.raises(InputError, match="must hold a random forest from 324 features to 3 classes"):
        ForestModel.load(saved)
