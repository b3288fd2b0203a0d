from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import sklearn.svm
from drawn_faces import drawn_faces
from hypothesis import given
from hypothesis import strategies as st

import trainables.svc
import trainables.svm
from spaces.features import ClassWeight, FeatureConfig
from spaces.svm import SvmConfig
from trainables.base import Task, TrainingError, class_weights
from trainables.data.faceset import Faces
from trainables.descriptors import copies, mirrored
from trainables.metrics import score
from trainables.platt import PAIRS, couple, fit_platt
from trainables.shared_features import fit_features
from trainables.svc import pair_coefficients
from trainables.svm import Machines, SvmLearner, SvmModel, fit_machines, kernel

FACES, FRESH = drawn_faces(240, seed=1), drawn_faces(500, seed=2)
UNBALANCED = drawn_faces(240, seed=3, shares=(4, 1, 3))
SMALL = FeatureConfig(hog_cell=12)
KERNELS = {
    "linear": SvmConfig(kernel="linear", features=SMALL),
    "rbf": SvmConfig(features=FeatureConfig(mirror=True)),
    "poly": SvmConfig(kernel="poly", coef0=1.0, features=FeatureConfig(pca=32)),
    "sigmoid": SvmConfig(kernel="sigmoid", gamma=0.3, coef0=0.1, features=SMALL),
}
kernels = pytest.mark.parametrize("config", KERNELS.values(), ids=KERNELS)


def machines_of(config: SvmConfig, faces: Faces) -> Machines:
    """Features and machines, fitted on the faces and their copies."""
    features, vectors = fit_features(config.features, faces, None, None)
    return fit_machines(config, features, vectors, np.tile(faces.labels, copies(config.features)))


@kernels
def test_decisions_are_those_of_scikit_learn(config: SvmConfig) -> None:
    machines = machines_of(config, UNBALANCED)
    mirror = config.features.mirror
    images = mirrored(UNBALANCED.images) if mirror else UNBALANCED.images
    labels = np.tile(UNBALANCED.labels, 2 if mirror else 1)
    vectors = machines.features.transform(images).astype(np.float64)
    assert vectors.shape[1] * vectors.var() == pytest.approx(1, rel=1e-4)
    reference = sklearn.svm.SVC(
        kernel=config.kernel,
        C=config.C,
        gamma="scale" if config.gamma == 1 else config.gamma,
        degree=config.degree,
        coef0=config.coef0,
        class_weight=dict(enumerate(class_weights(labels))),
        decision_function_shape="ovo",
    ).fit(vectors, labels)
    expected = reference.decision_function(machines.features.transform(FRESH.images).astype(np.float64))
    np.testing.assert_allclose(machines.decisions(FRESH.images), expected, atol=5e-3 * expected.std())


@pytest.mark.parametrize("class_weight", ["balanced", "none"])
def test_classes_weigh_what_the_config_says(class_weight: ClassWeight) -> None:
    # Weights bound the coefficients, so they tell only where a penalty is low enough for many to be at their bound.
    config = SvmConfig(C=0.3, class_weight=class_weight, features=SMALL)
    machines = machines_of(config, UNBALANCED)
    weights = "balanced" if class_weight == "balanced" else None
    reference = sklearn.svm.SVC(C=config.C, class_weight=weights, decision_function_shape="ovo")
    reference.fit(machines.features.transform(UNBALANCED.images).astype(np.float64), UNBALANCED.labels)
    expected = reference.decision_function(machines.features.transform(FRESH.images).astype(np.float64))
    np.testing.assert_allclose(machines.decisions(FRESH.images), expected, atol=5e-3 * expected.std())


@kernels
def test_both_engines_give_the_same_answers(config: SvmConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearnex")
    learner = SvmLearner(config, Task(FACES))
    learner.fit_to(27)
    monkeypatch.setattr(trainables.svc, "SVC", sklearn.svm.SVC)
    stock = SvmLearner(config, Task(FACES))
    stock.fit_to(27)
    images = drawn_faces(2000, seed=4).images
    fast, slow = learner.predict_proba(images), stock.predict_proba(images)
    assert (fast.argmax(axis=1) == slow.argmax(axis=1)).mean() >= 0.999
    np.testing.assert_allclose(fast, slow, atol=5e-3)


@kernels
def test_machines_fitted_one_by_one_decide_alike(config: SvmConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library of two-class machines, as on a GPU; here scikit-learn's own stands in its place."""
    packed = machines_of(config, UNBALANCED)
    monkeypatch.setattr(trainables.svc, "gpu_library", lambda: sklearn.svm.SVC)
    single = machines_of(config, UNBALANCED)
    expected = packed.decisions(FRESH.images)
    np.testing.assert_allclose(single.decisions(FRESH.images), expected, atol=5e-3 * expected.std())


@pytest.mark.gpu
@kernels
def test_on_a_gpu_cuml_gives_the_same_answers(config: SvmConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cuml")
    library = trainables.svc.gpu_library()
    if library is None:
        pytest.skip("no GPU")
    on_gpu = machines_of(config, UNBALANCED).decisions(FRESH.images)
    monkeypatch.setattr(trainables.svc, "gpu_library", lambda: None)
    expected = machines_of(config, UNBALANCED).decisions(FRESH.images)
    np.testing.assert_allclose(on_gpu, expected, atol=2e-2 * expected.std())


@kernels
def test_kernels_are_those_of_scikit_learn(config: SvmConfig) -> None:
    left, right = (np.random.default_rng(seed).normal(size=(9, 30)).astype(np.float32) / 5 for seed in (0, 1))
    fitted = sklearn.svm.SVC(kernel=config.kernel, C=1e6, gamma=config.gamma, coef0=config.coef0)
    fitted.fit(left.astype(np.float64), [0, 1, 2] * 3)
    values = kernel(config, right, fitted.support_vectors_.astype(np.float32))
    machines = pair_coefficients(fitted.dual_coef_, fitted.n_support_)
    fitted.decision_function_shape = "ovo"
    expected = fitted.decision_function(right.astype(np.float64))
    np.testing.assert_allclose(values @ machines + fitted.intercept_, expected, rtol=1e-3, atol=1e-3)


def test_a_linear_model_is_three_planes() -> None:
    assert machines_of(KERNELS["linear"], FACES).vectors.shape == (3, 324)


def test_predicting_in_batches_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = machines_of(KERNELS["rbf"], FACES)
    at_once = machines.decisions(FRESH.images)
    monkeypatch.setattr(trainables.svm, "PREDICT_BATCH", 7)
    np.testing.assert_allclose(machines.decisions(FRESH.images), at_once, atol=1e-4)


PROBABILITIES = st.lists(st.floats(0.01, 1), min_size=3, max_size=3).map(lambda p: np.array(p) / sum(p))


@given(probabilities=PROBABILITIES)
def test_coupling_finds_the_probabilities_that_the_pairs_agree_on(probabilities: np.ndarray) -> None:
    logits = [np.log(probabilities[first] / probabilities[second]) for first, second in PAIRS]
    curves = np.float32([(1, 0)] * 3)
    np.testing.assert_allclose(couple(np.float32([logits]), curves)[0], probabilities, rtol=1e-4)


@given(decisions=st.lists(st.floats(-1e30, 1e30), min_size=3, max_size=3))
def test_any_decisions_give_probabilities(decisions: list[float]) -> None:
    probabilities = couple(np.float32([decisions]), np.float32([(2, 0.1)] * 3))
    assert (probabilities >= 0).all()
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)


def simulated(n: int, slope: float, shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Decisions whose pairwise log-odds are `slope * decision + shift`, and labels drawn from them."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, n).astype(np.int8)
    # For two unit normals `distance` apart the log-odds are distance * x.
    centres = 0.5 * slope * np.array([[1, 1, 0], [-1, 0, 1], [0, -1, -1]])
    return (generator.normal(size=(n, 3)) + centres[labels] - shift / slope).astype(np.float32), labels


def test_the_curves_recover_known_odds() -> None:
    curves = fit_platt(*simulated(30_000, slope=1.5, shift=0.6))
    np.testing.assert_allclose(curves, np.tile([1.5, 0.6], (3, 1)), atol=0.08)


def test_few_images_do_not_move_the_machine_s_threshold() -> None:
    offsets = np.array([fit_platt(*simulated(30, 1.5, 0.0, seed))[:, 1] for seed in range(50)])
    assert np.abs(offsets).max() < 0.3


def test_the_unit_of_the_decisions_does_not_matter() -> None:
    decisions, labels = simulated(500, slope=1.5, shift=0.3)
    one, other = fit_platt(decisions, labels), fit_platt(decisions * 1000, labels)
    np.testing.assert_allclose(one, other * [1000, 1], rtol=1e-3, atol=1e-4)


def test_decisions_that_point_the_wrong_way_are_not_turned_round() -> None:
    decisions, labels = simulated(500, slope=1.5, shift=0.0)
    assert (fit_platt(-decisions, labels)[:, 0] == 0).all()


def test_frequent_classes_are_not_favoured() -> None:
    decisions, labels = simulated(6000, slope=1.5, shift=0.0)
    kept = (labels != 2) | (np.arange(6000) % 10 == 0)
    np.testing.assert_allclose(fit_platt(decisions[kept], labels[kept])[:, 1], 0, atol=0.2)


@pytest.mark.parametrize("faces", [FACES, UNBALANCED], ids=["balanced", "unbalanced"])
def test_it_learns_more_from_more_images(faces: Faces) -> None:
    learner = SvmLearner(SvmConfig(), Task(faces, seed=1))
    losses = []
    for rung in (1, 27):
        learner.fit_to(rung)
        losses.append(score(FRESH.labels, learner.predict_proba(FRESH.images)).log_loss)
    assert losses[1] < 0.75 * losses[0]
    assert score(FRESH.labels, learner.predict_proba(FRESH.images)).accuracy > 0.85


def test_images_are_counted_for_both_fits() -> None:
    for features, times in ((SMALL, 1), (FeatureConfig(mirror=True), 2), (FeatureConfig(hog_cell=12, shift=1), 3)):
        config = SvmConfig(features=features)
        assert SvmLearner(config, Task(FACES)).fit_to(27) == {"images": times * (240 + 192)}


def test_too_few_images_of_a_class_fail_cleanly() -> None:
    faces = drawn_faces(60, shares=(28, 28, 4))
    with pytest.raises(TrainingError, match="positive 4"):
        SvmLearner(SvmConfig(), Task(faces)).fit_to(1)


def test_a_kernel_beyond_float32_fails_cleanly() -> None:
    config = SvmConfig(kernel="poly", degree=6, gamma=1e4, coef0=10.0, C=1e6, features=FeatureConfig(kind="pixels"))
    learner = SvmLearner(config, Task(FACES))
    try:
        learner.fit_to(3)
    except TrainingError as error:
        assert str(error)  # noqa: PT017 (a clean failure is allowed, not expected)
    else:
        assert np.isfinite(learner.predict_proba(FRESH.images)).all()


def test_a_saved_model_holds_what_it_was(tmp_path: Path) -> None:
    learner = SvmLearner(KERNELS["poly"], Task(FACES))
    learner.fit_to(3)
    learner.model.save(tmp_path)
    loaded = SvmModel.load(tmp_path)
    assert loaded.machines.config == KERNELS["poly"]
    assert np.array_equal(loaded.curves, learner.model.curves)
    assert np.array_equal(loaded.machines.vectors, learner.model.machines.vectors)


@pytest.mark.slow
@pytest.mark.fer2013
def test_on_real_faces_calibration_lowers_the_log_loss_at_no_cost(fer2013: Path) -> None:
    faces, fresh = real_faces(fer2013)
    learner = SvmLearner(SvmConfig(), Task(faces))
    learner.fit_to(27)
    calibrated = score(fresh.labels, learner.predict_proba(fresh.images))
    uncalibrated = score(fresh.labels, couple(learner.model.machines.decisions(fresh.images), np.float32([(1, 0)] * 3)))
    voted = score(fresh.labels, np.eye(3)[votes(learner.model.machines, fresh)])
    assert calibrated.accuracy > 0.64
    assert calibrated.accuracy > voted.accuracy - 0.005
    assert calibrated.log_loss < uncalibrated.log_loss


def votes(machines: Machines, faces: Faces) -> np.ndarray:
    """The classes that most pairs decide for, as `SVC.predict` chooses them."""
    won = np.zeros((len(faces), 3))
    for column, (first, second) in enumerate(PAIRS):
        decided = machines.decisions(faces.images)[:, column] > 0
        won[np.arange(len(faces)), np.where(decided, first, second)] += 1
    return won.argmax(axis=1)


def real_faces(path: Path) -> tuple[Faces, Faces]:
    """2,400 training faces of each class, and 3,000 others."""
    table = pd.read_parquet(path)
    classes = pd.Series({0: 0, 1: 0, 4: 0, 6: 1, 3: 2})
    table = table[(table["usage"] == "Training") & table["emotion"].isin(classes.index)].sample(frac=1, random_state=0)
    images = np.stack([cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE) for png in table["pixels"]])
    labels = table["emotion"].map(classes).to_numpy(np.int8)
    everything = Faces(images, labels, labels, tuple(table["name"]))
    train = np.concatenate([np.flatnonzero(labels[3000:] == label)[:2400] for label in range(3)]) + 3000
    return everything.take(train), everything.take(np.arange(3000))
