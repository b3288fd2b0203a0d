from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_faces import drawn_faces
from safetensors.numpy import save_file
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from spaces.errors import InputError
from spaces.features import FeatureConfig
from trainables.base import TrainingError
from trainables.descriptors import describe, raw_width
from trainables.features import EXACT_UP_TO, Features, principal_axes
from trainables.files import read_arrays

FACES = drawn_faces(80)
FRESH = drawn_faces(20, seed=7)
PIXELS, HOG = FeatureConfig(kind="pixels"), FeatureConfig()


@pytest.mark.parametrize("pca", [0, 16])
@pytest.mark.parametrize("kind", ["pixels", "hog", "lbp"])
def test_training_vectors_are_centred_and_of_unit_length_on_average(kind: str, pca: int) -> None:
    config = FeatureConfig(kind=kind, pca=pca)
    features = Features.fit(config, describe(config, FACES.images), FACES.emotions)
    vectors = features.transform(FACES.images)
    assert vectors.dtype == np.float32
    assert vectors.shape == (80, pca or raw_width(config)) == (80, features.width)
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-5)
    assert vectors.shape[1] * vectors.var() == pytest.approx(1, rel=1e-4)
    assert features.transform(FRESH.images[:0]).shape == (0, features.width)


def test_descriptors_of_different_length_weigh_the_same() -> None:
    config = FeatureConfig(kind="hog+lbp", hog_cell=12, lbp_cell=12)
    vectors = Features.fit(config, describe(config, FACES.images), FACES.emotions).transform(FACES.images)
    lengths = [np.square(part).sum(axis=1).mean() for part in (vectors[:, :324], vectors[:, 324:])]
    np.testing.assert_allclose(lengths, 0.5, rtol=0.02)


def test_whitened_components_have_equal_variance() -> None:
    plain, white = (FeatureConfig(pca=16, whiten=whiten) for whiten in (False, True))
    raw = describe(plain, FACES.images)
    vectors = Features.fit(white, raw, FACES.emotions).apply(raw)
    np.testing.assert_allclose(vectors.std(axis=0), 0.25, rtol=1e-3)
    components = Features.fit(plain, raw, FACES.emotions).apply(raw)
    assert components.std(axis=0).max() > 2 * components.std(axis=0).min()
    np.testing.assert_allclose(np.corrcoef(vectors.T, components.T)[:16, 16:], np.eye(16), atol=1e-3)


def test_discriminants_are_those_of_scikit_learn_on_the_principal_components() -> None:
    raw = describe(HOG, FACES.images)
    vectors = {}
    for kept in ("none", "added", "only"):
        features = Features.fit(FeatureConfig(pca=16, discriminants=kept), raw, FACES.emotions)
        vectors[kept] = features.apply(raw)
        assert np.square(vectors[kept]).sum(axis=1).mean() == pytest.approx(1, rel=1e-4)
    assert [found.shape for found in vectors.values()] == [(80, 16), (80, 18), (80, 2)]
    expected = LinearDiscriminantAnalysis().fit_transform(vectors["none"], FACES.emotions)
    for found in (vectors["only"], vectors["added"][:, 16:]):
        np.testing.assert_allclose(found / found.std(), expected / expected.std(), atol=1e-3)
    components = vectors["added"][:, :16]
    np.testing.assert_allclose(components / components.std(), vectors["none"] / vectors["none"].std(), atol=1e-3)


def test_discriminants_set_apart_faces_that_were_never_seen() -> None:
    config = FeatureConfig(pca=32, discriminants="only")
    features = Features.fit(config, describe(config, FACES.images), FACES.emotions)
    centres = np.stack([features.transform(FACES.images)[FACES.labels == label].mean(axis=0) for label in range(3)])
    distances = np.linalg.norm(features.transform(FRESH.images)[:, None] - centres, axis=2)
    assert (distances.argmin(axis=1) == FRESH.labels).mean() > 0.8


def test_without_pca_every_raw_feature_has_the_same_variance() -> None:
    vectors = Features.fit(HOG, describe(HOG, FACES.images), FACES.emotions).transform(FACES.images)
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


@pytest.mark.parametrize(("n", "d"), [(1300, 1100), (1100, 1300)])
def test_few_axes_of_many_hold_as_much_variance_as_the_exact_ones(n: int, d: int) -> None:
    assert min(n, d) > EXACT_UP_TO
    generator = np.random.default_rng(0)
    centred = (generator.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.5).astype(np.float32)
    centred -= centred.mean(axis=0)
    axes = principal_axes(centred, 32)
    exact = PCA(32, svd_solver="full").fit(centred)
    held = np.square(centred @ axes.T).sum(axis=0)
    assert held.sum() > 0.999 * (n - 1) * exact.explained_variance_.sum()
    assert (np.diff(held) <= 0).all()
    np.testing.assert_allclose(np.abs((axes * exact.components_).sum(axis=1))[:16], 1, atol=0.01)
    np.testing.assert_allclose(axes @ axes.T, np.eye(32), atol=1e-4)
    assert np.array_equal(principal_axes(centred, 32), axes)


@pytest.mark.parametrize(("n", "d", "most"), [(10, 30, 9), (30, 10, 10)])
def test_more_axes_than_directions_are_lowered_to_those(n: int, d: int, most: int) -> None:
    points = np.random.default_rng(0).normal(size=(n, d))
    points = (points - points.mean(axis=0)).astype(np.float32)
    axes = principal_axes(points, 1024)
    assert axes.shape == (most, d)
    np.testing.assert_allclose(points @ axes.T @ axes, points, atol=1e-4)


@pytest.mark.parametrize("options", [{"pca": 0}, {"pca": 8}, {"pca": 8, "whiten": True}], ids=str)
@pytest.mark.parametrize("kind", ["pixels", "hog", "lbp"])
def test_images_that_do_not_vary_give_finite_vectors(kind: str, options: dict[str, Any]) -> None:
    config = FeatureConfig(kind=kind, **options)
    same = np.repeat(FACES.images[:1], 12, axis=0)
    features = Features.fit(config, describe(config, same), FACES.emotions[:12])
    assert np.isfinite(features.transform(FRESH.images)).all()
    assert np.isfinite(features.factor).all()


def test_images_that_do_not_vary_have_no_discriminants() -> None:
    config = FeatureConfig(pca=8, discriminants="added")
    same = np.repeat(FACES.images[:1], 12, axis=0)
    with pytest.raises(TrainingError, match="do not vary"):
        Features.fit(config, describe(config, same), FACES.emotions[:12])


def test_a_pixel_that_never_varied_does_not_swamp_the_others() -> None:
    images = FACES.images.copy()
    images[:, 0, 0] = 7
    features = Features.fit(PIXELS, describe(PIXELS, images), FACES.emotions)
    before = np.linalg.norm(features.transform(FRESH.images[:1]))
    changed = FRESH.images[:1].copy()
    changed[:, 0, 0] = 8
    assert np.linalg.norm(features.transform(changed)) < 1.1 * before


@pytest.mark.parametrize(
    "options", [{"pca": 0}, {"pca": 8}, {"pca": 8, "whiten": True}, {"pca": 8, "discriminants": "only"}], ids=str
)
def test_fitted_features_are_arrays_that_can_be_written_and_read(options: dict[str, Any], tmp_path: Path) -> None:
    config = FeatureConfig(kind="hog+lbp", hog_cell=12, lbp_cell=8, **options)
    features = Features.fit(config, describe(config, FACES.images), FACES.emotions)
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
