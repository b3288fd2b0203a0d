"""What every learner must do, whatever its family: the contract in trainables/base.py."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_faces import drawn_faces
from pydantic import ValidationError

from spaces.errors import InputError
from spaces.family import Family
from spaces.fidelity import Fidelity
from spaces.joint import JointSpace, parse_config
from trainables.base import Learner, Task, TrainingError
from trainables.families import build_learner, load_model

SCALE = Fidelity(maximum=9, eta=3)
TRAIN = drawn_faces(60, seed=1)
FRESH = drawn_faces(40, seed=2)
WEIGHTS: dict[str, Path] = {}
TASK = Task(TRAIN, seed=3, scale=SCALE, weights=WEIGHTS)

SVM, FOREST = {"family": "svm"}, {"family": "forest", "trees": 18}
RESNET = {"family": "resnet", "epochs": 1, "batch_size": 8, "image_size": 32, "dropout": 0.2, "label_smoothing": 0.1}
CASES: dict[str, dict[str, Any]] = {
    "svm-linear": SVM | {"kernel": "linear", "features": {"hog_cell": 6}},
    "svm-rbf": SVM | {"features": {"hog_cell": 8}},
    "svm-poly": SVM | {"kernel": "poly", "coef0": 1.0, "features": {"hog_cell": 12, "pca": 16}},
    "svm-sigmoid": SVM | {"kernel": "sigmoid", "gamma": 0.3, "features": {"mirror": True}},
    "svm-pixels": SVM | {"features": {"kind": "pixels"}},
    "svm-pixels-pca": SVM | {"features": {"kind": "pixels", "pca": 1024, "mirror": True}},
    "svm-hog+lbp": SVM | {"features": {"kind": "hog+lbp", "contrast": "clahe", "pca": 16, "whiten": True}},
    "svm-embedding": SVM | {"features": {"kind": "embedding", "image_size": 32, "mirror": True}},
    "forest-embedding": FOREST | {"features": {"kind": "embedding", "image_size": 32, "pca": 20, "flip": True}},
    "svm-shift": SVM
    | {"class_weight": "none", "features": {"shift": 1, "mirror": True, "hog_signed": True, "flip": True}},
    "forest-hog": FOREST | {"features": {"hog_cell": 12}},
    "forest-pca": FOREST | {"criterion": "entropy", "depth": 3, "features": {"pca": 10, "mirror": True}},
    "forest-pixels": FOREST | {"min_samples_leaf": 4, "features": {"kind": "pixels"}},
    "forest-lbp": FOREST
    | {"class_weight": "none", "features": {"kind": "lbp", "contrast": "standardize", "flip": True}},
    "resnet": RESNET,
    "resnet-head": RESNET | {"unfreeze": 0, "augment": 0.0},
    "resnet-small": RESNET | {"stem": "small", "unfreeze": 0, "schedule": "one_cycle"},
    "resnet-average-mixed": RESNET
    | {"ema": 0.9, "mixup": 0.4, "cutmix": 1.0, "erasing": 0.5, "auxiliary": 0.5, "stage_decay": 0.5, "flip": True},
}
HEAVY = {
    "resnet34": RESNET | {"arch": "resnet34"},
    "resnet50": RESNET | {"arch": "resnet50", "unfreeze": 2},
    "resnet101": RESNET | {"arch": "resnet101"},
    "resnet-vgg16": RESNET | {"arch": "vgg16", "head_lr": 1e-3, "backbone_lr": 1e-4, "ema": 0.99},
}
PARAMS = [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in HEAVY)]
ONE_OF_EACH = ["svm-rbf", "forest-hog", "resnet"]


@pytest.fixture(scope="module", autouse=True)
def faces_weights(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Weights for the cases with embeddings: random ones, since what matters here is how learners handle them."""
    from trainables.backbones import random_net
    from trainables.base import weights_key
    from trainables.weights import write_tensors

    path = tmp_path_factory.mktemp("weights") / "faces.safetensors"
    write_tensors(random_net("resnet18", 0, classes=7).state_dict(), path)
    WEIGHTS[weights_key("resnet18", "faces")] = path


def build(case: str, task: Task = TASK) -> Learner:
    return build_learner(parse_config((CASES | HEAVY)[case]), task)


def trained(case: str, fidelity: int, task: Task = TASK) -> Learner:
    learner = build(case, task)
    learner.fit_to(fidelity)
    return learner


def every_file(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class Straight:
    """One learner trained straight to full fidelity, its checkpoint, and what it predicts."""

    case: str
    family: Family
    learner: Learner
    folder: Path
    probabilities: np.ndarray


@pytest.fixture(scope="module", params=PARAMS)
def straight(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Straight:
    learner = trained(request.param, SCALE.maximum)
    folder = tmp_path_factory.mktemp(request.param)
    learner.save(folder)
    family = Family(request.param.split("-")[0].rstrip("0123456789"))
    return Straight(request.param, family, learner, folder, learner.predict_proba(FRESH.images))


def test_training_on_in_the_same_process_equals_straight_training(straight: Straight) -> None:
    learner = build(straight.case)
    for rung in SCALE.rungs:
        learner.fit_to(rung)
        learner.predict_proba(FRESH.images)
        assert learner.fidelity == rung
    assert np.array_equal(learner.predict_proba(FRESH.images), straight.probabilities)


def test_training_on_from_a_checkpoint_equals_straight_training(straight: Straight, tmp_path: Path) -> None:
    first = trained(straight.case, 3)
    first.save(tmp_path)
    resumed = build(straight.case)
    resumed.load(tmp_path)
    assert resumed.fidelity == 3
    assert np.array_equal(resumed.predict_proba(FRESH.images), first.predict_proba(FRESH.images))
    resumed.fit_to(SCALE.maximum)
    assert np.array_equal(resumed.predict_proba(FRESH.images), straight.probabilities)


def test_probabilities_are_probabilities(straight: Straight) -> None:
    probabilities = straight.probabilities
    assert probabilities.shape == (len(FRESH), 3)
    assert probabilities.dtype == np.float32
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_a_face_alone_gets_what_it_gets_among_others(straight: Straight) -> None:
    alone = straight.learner.predict_proba(FRESH.images[:1])
    np.testing.assert_allclose(alone, straight.probabilities[:1], atol=0.02 if straight.family == "resnet" else 1e-4)
    assert straight.learner.predict_proba(FRESH.images[:0]).shape == (0, 3)
    assert straight.learner.predict_proba(FRESH.images[:0]).dtype == np.float32


def test_the_saved_model_predicts_alone(straight: Straight) -> None:
    from trainables.precision import cpu_threads

    model = load_model(straight.family, straight.folder / "model")
    with cpu_threads(TASK.threads):  # on another number of threads a bfloat16 network's sums are added in another order
        predicted = model.predict_proba(FRESH.images)
    np.testing.assert_allclose(predicted, straight.probabilities, atol=1e-6)


def test_nothing_saved_needs_unpickling(straight: Straight) -> None:
    assert {path.suffix for path in every_file(straight.folder)} <= {".json", ".safetensors", ".skops"}


def test_a_missing_or_garbled_file_is_refused(straight: Straight) -> None:
    for path in every_file(straight.folder):
        content = path.read_bytes()
        try:
            for broken in (None, b"", b"garbage", content[: len(content) // 2]):
                path.unlink(missing_ok=True)
                if broken is not None:
                    path.write_bytes(broken)
                with pytest.raises(InputError, match=path.name.replace(".", r"\.")):
                    build(straight.case).load(straight.folder)
                if path.parent.name == "model":
                    with pytest.raises(InputError):
                        load_model(straight.family, path.parent)
        finally:
            path.write_bytes(content)


def test_a_checkpoint_of_another_training_is_refused(straight: Straight) -> None:
    for change in ({"seed": 4}, {"scale": Fidelity(maximum=27)}, {"faces": FRESH}):
        with pytest.raises(InputError, match="another training"):
            build(straight.case, replace(TASK, **change)).load(straight.folder)


@pytest.mark.parametrize("case", ONE_OF_EACH)
def test_the_seed_fixes_the_result(case: str) -> None:
    def predicted(seed: int) -> np.ndarray:
        return trained(case, 3, replace(TASK, seed=seed)).predict_proba(FRESH.images)

    assert np.array_equal(predicted(0), predicted(0))
    assert not np.array_equal(predicted(0), predicted(1))


@pytest.mark.parametrize("case", ONE_OF_EACH)
def test_training_counts_images_and_leaves_numpy_s_generator_alone(case: str) -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002 (its state is what is tested)
    measured = build(case).fit_to(1)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert measured["images"] > 0


@pytest.mark.parametrize("case", ONE_OF_EACH)
def test_the_first_batch_is_noted_and_no_later_one(case: str) -> None:
    learner = build(case)
    assert learner.first_batch is None
    began = time.time()
    learner.fit_to(3)
    first = learner.first_batch
    assert first is not None
    assert began < first.time < time.time()
    assert first.computing == 0
    learner.fit_to(SCALE.maximum)
    assert learner.first_batch is first


@pytest.mark.parametrize("case", ONE_OF_EACH)
def test_the_target_must_lie_ahead(case: str) -> None:
    learner = build(case)
    for target in (0, -1, SCALE.maximum + 1):
        with pytest.raises(ValueError, match="fidelity"):
            learner.fit_to(target)
    learner.fit_to(3)
    for target in (1, 3):
        with pytest.raises(ValueError, match="fidelity"):
            learner.fit_to(target)
    assert learner.fidelity == 3


@pytest.mark.parametrize("case", ONE_OF_EACH)
def test_there_is_no_model_before_training(case: str, tmp_path: Path) -> None:
    learner = build(case)
    uses: list[Callable[[], Any]] = [
        lambda: learner.model,
        lambda: learner.save(tmp_path),
        lambda: learner.predict_proba(FRESH.images),
    ]
    for use in uses:
        with pytest.raises(RuntimeError, match="fit_to"):
            use()


@pytest.mark.parametrize("case", ONE_OF_EACH)
def test_training_data_of_one_class_are_refused(case: str) -> None:
    one = replace(TRAIN, labels=np.zeros(len(TRAIN), np.int8))
    with pytest.raises(TrainingError, match="every class needs"):
        build(case, replace(TASK, faces=one)).fit_to(1)


@pytest.mark.parametrize("case", ONE_OF_EACH)
def test_unbalanced_classes_all_get_their_share(case: str) -> None:
    faces = drawn_faces(120, seed=5, shares=(8, 1, 3))
    learner = trained(case, SCALE.maximum, replace(TASK, faces=faces))
    assert np.isfinite(learner.predict_proba(FRESH.images)).all()
    if not case.startswith("resnet"):  # a single epoch of a random network predicts one class
        assert (np.bincount(learner.predict_proba(FRESH.images).argmax(axis=1), minlength=3) > 3).all()


@pytest.mark.parametrize(
    ("case", "outside"),
    [
        ("svm-rbf", {"C": 0.0}),
        ("svm-rbf", {"C": 1.1e6}),
        ("svm-rbf", {"gamma": 0.0}),
        ("svm-rbf", {"gamma": 1.1e4}),
        ("svm-rbf", {"degree": 0}),
        ("svm-rbf", {"degree": 7}),
        ("svm-rbf", {"coef0": 10.1}),
        ("svm-rbf", {"kernel": "cosine"}),
        ("svm-rbf", {"features": {"pca": 1025}}),
        ("svm-rbf", {"features": {"hog_cell": 7}}),
        ("svm-rbf", {"features": {"kind": "words"}}),
        ("svm-rbf", {"features": {"contrast": "strong"}}),
        ("svm-rbf", {"features": {"shift": 3}}),
        ("svm-rbf", {"class_weight": "heavy"}),
        ("svm-rbf", {"unknown": 1}),
        ("forest-hog", {"trees": 0}),
        ("forest-hog", {"depth": 0}),
        ("forest-hog", {"min_samples_leaf": 0}),
        ("forest-hog", {"max_features": 0.0}),
        ("forest-hog", {"max_features": 1.1}),
        ("forest-hog", {"criterion": "accuracy"}),
        ("resnet", {"unfreeze": 6}),
        ("resnet", {"epochs": 0}),
        ("resnet", {"batch_size": 1}),
        ("resnet", {"head_lr": 0.0}),
        ("resnet", {"weight_decay": -0.1}),
        ("resnet", {"dropout": 1.0}),
        ("resnet", {"label_smoothing": 1.0}),
        ("resnet", {"augment": 1.1}),
        ("resnet", {"image_size": 31}),
        ("resnet", {"arch": "resnet19"}),
    ],
)
def test_a_config_out_of_bounds_is_refused(case: str, outside: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parse_config(CASES[case] | outside)


@dataclass(frozen=True)
class Extreme:
    """Answers every question of a space with its lowest or its highest value, categories as given or the last."""

    high: bool
    fixed: dict[str, Any]

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        return self.fixed.get(name, choices[-1 if self.high else 0])

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return high if self.high else low

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        return high if self.high else low


CORNERS = [
    *({"family": "svm", "svm.kernel": kernel} for kernel in ("linear", "rbf", "poly", "sigmoid")),
    {"family": "forest"},
    {"family": "resnet", "resnet.arch": "resnet18", "resnet.epochs": 1},
]


@pytest.mark.parametrize("high", [False, True], ids=["low", "high"])
@pytest.mark.parametrize("corner", CORNERS, ids=lambda corner: "-".join(map(str, corner.values())))
def test_the_corners_of_the_default_space_train_or_fail_cleanly(corner: dict[str, Any], high: bool) -> None:
    learner = build_learner(JointSpace().suggest(Extreme(high, corner)), TASK)
    try:
        learner.fit_to(1)
        learner.fit_to(SCALE.maximum)
    except TrainingError as error:
        assert str(error)  # noqa: PT017 (a clean failure is allowed, not expected)
    else:
        assert np.isfinite(learner.predict_proba(FRESH.images)).all()


SECONDS_BESIDE_THE_MAIN_THREAD = """
import sys, time
from test_learner_conformance import SCALE, TASK, build, drawn_faces, replace
case, faces, threads = sys.argv[1], drawn_faces(int(sys.argv[2])), int(sys.argv[3])
learner = build(case, replace(TASK, faces=faces, threads=threads))
process, main = time.process_time(), time.thread_time()
learner.fit_to(SCALE.maximum)
learner.predict_proba(faces.images)
process, main = time.process_time() - process, time.thread_time() - main
print(process, process - main)
"""


@pytest.mark.parametrize(
    ("case", "faces", "threads"),
    [
        ("svm-pixels-pca", 600, 1),
        ("svm-hog+lbp", 1200, 1),
        ("forest-pixels", 2000, 1),
        ("resnet", 300, 1),
        pytest.param("svm-pixels-pca", 600, 2, marks=pytest.mark.slow),
        pytest.param("forest-pixels", 2000, 2, marks=pytest.mark.slow),
        pytest.param("resnet", 300, 2, marks=pytest.mark.slow),
    ],
)
def test_a_trial_keeps_to_its_threads(case: str, faces: int, threads: int) -> None:
    command = [sys.executable, "-c", SECONDS_BESIDE_THE_MAIN_THREAD, case, str(faces), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stderr
    seconds, beside = map(float, done.stdout.split())
    assert seconds > 0.3
    assert (beside < 0.05 * seconds) == (threads == 1)


def test_every_family_is_held_to_this() -> None:
    assert {Family(parse_config(config).family) for config in CASES.values()} == set(Family)
