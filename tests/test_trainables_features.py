from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_faces import drawn_faces
from safetensors.numpy import save_file
from sklearn.decomposition import PCA

from spaces.errors import InputError
from spaces.features import FeatureConfig
from trainables.features import Features, describe, mirrored, principal_axes, raw_width
from trainables.files import read_arrays

FACES = drawn_faces(80)
FRESH = drawn_faces(20, seed=7)
PIXELS, HOG = FeatureConfig(kind="pixels"), FeatureConfig()
CONFIGS = {
    "pixels": (PIXELS, 2304),
    "hog6": (FeatureConfig(hog_cell=6), 1764),
    "hog8": (HOG, 900),
    "hog12": (FeatureConfig(hog_cell=12), 324),
}


@pytest.mark.parametrize(("config", "width"), CONFIGS.values(), ids=CONFIGS)
def test_raw_features_describe_each_face_by_itself(config: FeatureConfig, width: int) -> None:
    raw = describe(config, FACES.images)
    assert raw.shape == (80, width)
    assert raw.dtype == np.float32
    assert raw_width(config) == width
    assert raw.min() >= 0
    assert raw.max() <= 1
    assert np.array_equal(describe(config, FACES.images[5:6]), raw[5:6])
    assert describe(config, FACES.images[:0]).shape == (0, width)


def test_pixels_are_gray_values() -> None:
    assert np.allclose(describe(PIXELS, FACES.images).reshape(-1, 48, 48) * 255, FACES.images)


def test_hog_sees_edges_and_neither_light_nor_contrast() -> None:
    image = FACES.images[:1] // 2
    brighter = image + np.uint8(60)
    stronger = cv2.multiply(image[0], 1.7)[None]
    for other in (brighter, stronger):
        assert np.corrcoef(describe(HOG, image)[0], describe(HOG, other)[0])[0, 1] > 0.99
    assert np.corrcoef(describe(HOG, image)[0], describe(HOG, image[:, ::-1].copy())[0])[0, 1] < 0.9


def test_mirror_images_follow_the_images() -> None:
    both = mirrored(FACES.images)
    assert np.array_equal(both[:80], FACES.images)
    assert np.array_equal(both[80:, :, ::-1], FACES.images)


@pytest.mark.parametrize("pca", [0, 16])
@pytest.mark.parametrize("kind", ["pixels", "hog"])
def test_training_vectors_are_centred_and_of_unit_length_on_average(kind: str, pca: int) -> None:
    config = FeatureConfig(kind=kind, pca=pca)
    features = Features.fit(config, describe(config, FACES.images))
    vectors = features.transform(FACES.images)
    assert vectors.dtype == np.float32
    assert vectors.shape == (80, pca or raw_width(config)) == (80, features.width)
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-5)
    assert vectors.shape[1] * vectors.var() == pytest.approx(1, rel=1e-4)
    assert features.transform(FRESH.images[:0]).shape == (0, features.width)


def test_without_pca_every_raw_feature_has_the_same_variance() -> None:
    vectors = Features.fit(HOG, describe(HOG, FACES.images)).transform(FACES.images)
    varying = describe(HOG, FACES.images).std(axis=0) > 1e-2
    np.testing.assert_allclose(vectors[:, varying].std(axis=0), vectors[:, varying].std(), rtol=1e-3)


@pytest.mark.parametrize(("n", "d"), [(60, 25), (25, 60), (30, 30)])
def test_principal_axes_are_those_of_scikit_learn(n: int, d: int) -> None:
    generator = np.random.default_rng(0)
    centred = generator.normal(size=(n, d)) * np.linspace(1, 5, d)
    centred = (centred - centred.mean(axis=0)).astype(np.float32)
    axes = principal_axes(centred, 8)
    expected = PCA(8, svd_solver="full").fit(centred).components_
    np.testing.assert_allclose(np.abs((axes * expected).sum(axis=1)), 1, atol=1e-3)
    np.testing.assert_allclose(axes @ axes.T, np.eye(8), atol=1e-4)


@pytest.mark.parametrize(("n", "d", "most"), [(10, 30, 9), (30, 10, 10)])
def test_more_axes_than_directions_are_lowered_to_those(n: int, d: int, most: int) -> None:
    points = np.random.default_rng(0).normal(size=(n, d))
    points = (points - points.mean(axis=0)).astype(np.float32)
    axes = principal_axes(points, 1024)
    assert axes.shape == (most, d)
    np.testing.assert_allclose(points @ axes.T @ axes, points, atol=1e-4)


@pytest.mark.parametrize("pca", [0, 8])
@pytest.mark.parametrize("kind", ["pixels", "hog"])
def test_images_that_do_not_vary_give_finite_vectors(kind: str, pca: int) -> None:
    config = FeatureConfig(kind=kind, pca=pca)
    same = np.repeat(FACES.images[:1], 12, axis=0)
    features = Features.fit(config, describe(config, same))
    assert np.isfinite(features.transform(FRESH.images)).all()


def test_a_pixel_that_never_varied_does_not_swamp_the_others() -> None:
    images = FACES.images.copy()
    images[:, 0, 0] = 7
    features = Features.fit(PIXELS, describe(PIXELS, images))
    before = np.linalg.norm(features.transform(FRESH.images[:1]))
    changed = FRESH.images[:1].copy()
    changed[:, 0, 0] = 8
    assert np.linalg.norm(features.transform(changed)) < 1.1 * before


@pytest.mark.parametrize("pca", [0, 8])
def test_fitted_features_are_arrays_that_can_be_written_and_read(pca: int, tmp_path: Path) -> None:
    config = FeatureConfig(hog_cell=12, pca=pca)
    features = Features.fit(config, describe(config, FACES.images))
    save_file(features.arrays(), tmp_path / "features.safetensors")
    again = Features(config, **read_arrays(tmp_path / "features.safetensors", Features.shapes(config)))
    assert np.array_equal(again.transform(FRESH.images), features.transform(FRESH.images))


@pytest.mark.parametrize(
    ("arrays", "rule"),
    [
        ({"a": np.ones((2, 3), np.float32)}, "must hold the arrays a, b, holds a"),
        ({"a": np.ones((2, 3), np.float32), "b": np.ones(4, np.float32)}, "array b must be float32"),
        ({"a": np.ones((2, 3, 1), np.float32), "b": np.ones(3, np.float32)}, "array a must be float32"),
        ({"a": np.ones((1, 3), np.float32), "b": np.ones(3, np.float32)}, "array a must be float32"),
        ({"a": np.ones((2, 3)), "b": np.ones(3, np.float32)}, "found float64"),
    ],
)
def test_arrays_of_other_names_shapes_or_types_are_refused(
    arrays: dict[str, np.ndarray], rule: str, tmp_path: Path
) -> None:
    path = tmp_path / "arrays.safetensors"
    save_file(arrays, path)
    with pytest.raises(InputError, match=rule):
        read_arrays(path, {"a": (2, "d"), "b": ("d",)})
