"""The built-in faces: reproducible, of all emotions, and hard enough to tell models apart."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from spaces.errors import InputError
from trainables.data.demo import draw_faces
from trainables.data.faceset import EMOTIONS, TEST, TRAIN, FaceSet


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    return draw_faces(2500, seed=0)


def test_arrays_have_the_shapes_and_types_of_a_face_set(faces):
    assert faces.images.shape == (2500, 48, 48)
    assert faces.images.dtype == np.uint8
    assert faces.emotions.dtype == faces.usage.dtype == np.int8
    assert faces.emotions.shape == faces.usage.shape == (2500,)
    assert faces.names[123] == "demo_000123.png"
    assert len(set(faces.names)) == 2500


def test_the_same_seed_draws_the_same_faces(faces):
    again = draw_faces(150, seed=0)
    assert np.array_equal(again.images, faces.images[:150])


@settings(max_examples=10, deadline=None)
@given(few=st.integers(1, 30), seed=st.integers(0, 2**40))
def test_fewer_faces_are_the_first_of_more(few, seed):
    small, large = draw_faces(few, seed), draw_faces(30, seed)
    assert np.array_equal(small.images, large.images[:few])
    assert np.array_equal(small.emotions, large.emotions[:few])
    assert np.array_equal(small.usage, large.usage[:few])
    assert small.names == large.names[:few]


def test_another_seed_draws_other_faces(faces):
    other = draw_faces(100, seed=1)
    assert (other.images != faces.images[:100]).any(axis=(1, 2)).all()


def test_the_global_random_state_neither_matters_nor_changes():
    np.random.seed(3)  # noqa: NPY002 (the state under test)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = draw_faces(5)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    np.random.seed(4)  # noqa: NPY002
    assert np.array_equal(draw_faces(5).images, first.images)


def test_both_splits_hold_the_same_share_of_each_emotion(faces):
    train, test = (np.bincount(faces.emotions[faces.usage == part], minlength=7) for part in (TRAIN, TEST))
    assert dict(zip(EMOTIONS, (train + test).tolist(), strict=True)) == {
        "angry": 350,
        "disgust": 100,
        "fear": 200,
        "happy": 700,
        "sad": 350,
        "surprise": 200,
        "neutral": 600,
    }
    assert np.array_equal(train, 4 * test)


def test_no_two_faces_are_alike_and_none_is_blank(faces):
    flat = faces.images.reshape(len(faces), -1)
    assert len(np.unique(flat, axis=0)) == len(faces)
    assert flat.std(axis=1).min() > 10


@pytest.mark.parametrize(("images", "seed", "named"), [(0, 0, "received 0"), (-5, 0, "received -5"), (1, -2, "seed")])
def test_impossible_requests_are_refused(images, seed, named):
    with pytest.raises(InputError, match=named):
        draw_faces(images, seed)


def test_gradients_tell_the_classes_apart_far_better_than_raw_pixels(faces):
    classes = np.array([0, 0, -1, 2, 0, -1, 1])[faces.emotions]
    train, test = ((classes >= 0) & (faces.usage == part) for part in (TRAIN, TEST))
    hog = cv2.HOGDescriptor((48, 48), (16, 16), (8, 8), (8, 8), 9)
    gradients = np.array([hog.compute(image).ravel() for image in faces.images])
    pixels = faces.images.reshape(len(faces), -1).astype(np.float32)
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, tol=0.01, class_weight="balanced"))
    good, poor = (
        balanced_accuracy_score(classes[test], model.fit(features[train], classes[train]).predict(features[test]))
        for model, features in ((SVC(C=3, class_weight="balanced"), gradients), (linear, pixels))
    )
    assert 0.75 <= good <= 0.92
    assert poor <= good - 0.08
