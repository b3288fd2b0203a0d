"""Measuring an artifact on labelled sets of every layout, with figures that a second program agrees with."""

import io

import cv2
import numpy as np
import pytest
from face_files import take, write_csv, write_folder, write_parquet
from finished_run import DATA, TINY, make_run
from rich.console import Console
from sklearn.metrics import (
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_score,
    roc_auc_score,
)

from results.artifact import load_artifact
from results.evaluate import evaluate, render
from results.export import export
from results.selection import select
from spaces.errors import InputError
from spaces.family import Family
from trainables.data.demo import draw_faces
from trainables.data.faceset import CLASSES, EMOTIONS, TEST, TRAIN

CLASS_OF = {"angry": 0, "disgust": 0, "sad": 0, "neutral": 1, "happy": 2}


@pytest.fixture(scope="module")
def run(tmp_path_factory, cache):
    return make_run(tmp_path_factory.mktemp("evaluate") / "run", cache, [TINY[Family.SVM]])


@pytest.fixture(scope="module")
def artifact(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    export(run, folder / "artifact", onnx=False)
    return load_artifact(folder / "artifact")


@pytest.fixture(scope="module")
def others():
    """Faces the artifact has not seen, of both splits and all seven emotions."""
    drawn = draw_faces(1800)
    return take(drawn, range(900, 1800))


def test_every_figure_is_what_scikit_learn_says(artifact, others, tmp_path):
    found = evaluate(artifact, str(write_csv(tmp_path / "faces.csv", others)))
    rows = np.flatnonzero(others.usage == TEST)
    classes = np.array([CLASS_OF.get(EMOTIONS[emotion], -1) for emotion in others.emotions[rows]])
    kept = classes >= 0
    labels, images = classes[kept], others.images[rows][kept]
    order = np.lexsort(images.reshape(len(images), -1).T)
    probabilities = artifact.model.predict_proba(images[order])
    labels, predicted = labels[order], probabilities.argmax(axis=1)
    assert found["n"] == len(labels)
    assert found["dropped"] == {"no_class": int((~kept).sum())}
    expected = {
        "accuracy": balanced_accuracy_score(labels, predicted),
        "plain_accuracy": (labels == predicted).mean(),
        "macro_f1": f1_score(labels, predicted, average="macro"),
        "log_loss": log_loss(labels, probabilities.astype(float) / probabilities.sum(axis=1, keepdims=True)),
        "roc_auc": roc_auc_score(np.eye(3)[labels], probabilities, average="macro"),
        "brier": np.square(probabilities - np.eye(3)[labels]).sum(axis=1).mean(),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    assert found["confusion"] == tuple(map(tuple, confusion_matrix(labels, predicted).tolist()))
    precision = precision_score(labels, predicted, average=None)
    assert found["precision"] == pytest.approx(dict(zip(CLASSES, precision, strict=True)))
    low, high = found["accuracy_ci"]
    assert low <= found["accuracy"] <= high
    assert sum(found["reliability"]["n"]) == len(labels)
    assert sum(row["n"] for row in found["recall_by_emotion"].values()) == len(labels)
    assert (found["thresholds"][0]["coverage"], found["thresholds"][0]["accuracy"]) == pytest.approx(
        (1.0, found["plain_accuracy"])
    )
    assert found["warning"] is None


def test_the_layouts_of_a_search_give_the_same_figures(artifact, others, tmp_path):
    written = [
        write_csv(tmp_path / "faces.csv", others),
        write_parquet(tmp_path / "faces.parquet", others),
        write_folder(tmp_path / "folder", others),
    ]
    first, *rest = (evaluate(artifact, str(path)) for path in written)
    for found in rest:
        assert found["confusion"] == first["confusion"]
        assert found["log_loss"] == pytest.approx(first["log_loss"])


@pytest.mark.parametrize(("part", "sides"), [("test", [TEST]), ("train", [TRAIN]), ("all", [TRAIN, TEST])])
def test_a_part_or_all_of_a_source_is_measured(artifact, others, tmp_path, part, sides):
    found = evaluate(artifact, str(write_parquet(tmp_path / "faces.parquet", others)), part)
    usable = np.isin(others.emotions, [EMOTIONS.index(name) for name in CLASS_OF])
    assert found["n"] == (usable & np.isin(others.usage, sides)).sum()


def test_one_split_will_do(artifact, others, tmp_path):
    only = take(others, np.flatnonzero(others.usage == TEST))
    whole = evaluate(artifact, str(write_csv(tmp_path / "both.csv", others)))
    assert evaluate(artifact, str(write_csv(tmp_path / "test.csv", only)))["confusion"] == whole["confusion"]


def write_plain(path, faces, name_of):
    for row, (image, emotion) in enumerate(zip(faces.images, faces.emotions, strict=True)):
        name = name_of(EMOTIONS[emotion])
        if name is not None:
            (path / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path / name / f"{row}.png"), image)
    return path


def test_folders_named_after_emotions_or_classes_are_read(artifact, others, tmp_path):
    emotions = evaluate(artifact, str(write_plain(tmp_path / "emotions", others, str.title)))
    classes = evaluate(
        artifact,
        str(write_plain(tmp_path / "classes", others, lambda e: CLASSES[CLASS_OF[e]] if e in CLASS_OF else None)),
    )
    assert emotions["confusion"] == classes["confusion"]
    assert emotions["n"] == classes["n"] > 500
    assert classes["recall_by_emotion"] is None
    assert set(emotions["recall_by_emotion"]) == set(CLASS_OF)
    assert (emotions["dropped"], classes["dropped"]) == ({"no_class": len(others) - emotions["n"]}, {})


def test_the_data_of_its_own_run_are_told(run, artifact, cache):
    assert "trained and chosen on" in evaluate(artifact, DATA.source, "train")["warning"]
    found = evaluate(artifact, DATA.source, "test")
    assert "not on its record" in found["warning"]
    assert found["accuracy"] == select(run, cache)["test"]["accuracy"]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path / "nowhere", "no such file"),
        (lambda path: path, "its folders are none"),
        (lambda path: (path / "smile").mkdir() or path, "its folders are smile; they must be train and test"),
        (lambda path: (path / "happy").mkdir() or path, "no images in it"),
    ],
)
def test_what_is_no_labelled_set_is_told(artifact, tmp_path, make, says):
    with pytest.raises(InputError, match=says):
        evaluate(artifact, str(make(tmp_path)))


def test_a_set_without_one_of_the_classes_is_told(artifact, others, tmp_path):
    happy = take(others, np.flatnonzero(others.emotions == EMOTIONS.index("happy")))
    with pytest.raises(InputError, match="every class needs a face.* negative 0, neutral 0"):
        evaluate(artifact, str(write_csv(tmp_path / "happy.csv", happy)))
    afraid = take(others, np.flatnonzero(others.emotions == EMOTIONS.index("fear")))
    with pytest.raises(InputError, match="no usable face in its part 'test'"):
        evaluate(artifact, str(write_csv(tmp_path / "afraid.csv", afraid)))


def test_people_see_the_figures(artifact, others, tmp_path):
    found = evaluate(artifact, str(write_csv(tmp_path / "faces.csv", others)))
    console = Console(file=io.StringIO(), width=160)
    console.print(render(found))
    text = console.file.getvalue()
    for value in (found["accuracy"], found["brier"], found["precision"]["neutral"], found["recall"]["positive"]):
        assert f"{value:.4f}" in text
    assert "disgust" in text
    assert "no class" in text
