from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn_faces import drawn_faces
from safetensors.numpy import save_file
from sklearn.decomposition import PCA

from spaces.errors import InputError
from spaces.features import DESCRIPTORS, FeatureConfig
from trainables import descriptors
from trainables.descriptors import (
    BINS,
    clahe,
    copies,
    describe,
    mirrored,
    raw_width,
    shifted,
    standardize,
    training_copies,
    uniform_bins,
)
from trainables.features import Features, principal_axes
from trainables.files import read_arrays

FACES = drawn_faces(80)
FRESH = drawn_faces(20, seed=7)
PIXELS, HOG, LBP = FeatureConfig(kind="pixels"), FeatureConfig(), FeatureConfig(kind="lbp")
CONFIGS = {
    "pixels": (PIXELS, 2304),
    "hog6": (FeatureConfig(hog_cell=6), 1764),
    "hog8": (HOG, 900),
    "hog12": (FeatureConfig(hog_cell=12), 324),
    "hog-signed": (FeatureConfig(hog_signed=True), 1800),
    "lbp6": (FeatureConfig(kind="lbp", lbp_cell=6), 3776),
    "lbp8": (LBP, 2124),
    "lbp12": (FeatureConfig(kind="lbp", lbp_cell=12), 944),
    "hog+lbp": (FeatureConfig(kind="hog+lbp", hog_cell=12), 324 + 2124),
    "hog+pixels": (FeatureConfig(kind="hog+pixels"), 900 + 2304),
    "clahe": (FeatureConfig(contrast="clahe"), 900),
    "standardize": (FeatureConfig(kind="pixels", contrast="standardize"), 2304),
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


def test_unsigned_hog_is_signed_hog_with_opposite_gradients_taken_together() -> None:
    negative = 255 - FACES.images
    signed = FeatureConfig(hog_signed=True)
    np.testing.assert_allclose(describe(HOG, FACES.images), describe(HOG, negative), atol=1e-5)
    assert np.abs(describe(signed, FACES.images) - describe(signed, negative)).max() > 0.1


def test_a_pattern_has_a_bin_of_its_own_if_it_changes_at_most_twice() -> None:
    bins = uniform_bins()
    changes = [sum(f"{p:08b}"[i] != f"{p:08b}"[i - 1] for i in range(8)) for p in range(256)]
    uniform = [p for p in range(256) if changes[p] <= 2]
    assert [bins[p] for p in uniform] == list(range(58))
    assert {bins[p] for p in range(256) if changes[p] > 2} == {58}
    assert BINS == 59


def test_lbp_counts_the_patterns_of_each_cell() -> None:
    image, cell = FACES.images[0], 8
    expected = np.zeros((6, 6, 59))
    around = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    for y in range(48):
        for x in range(48):
            neighbours = [image[min(max(y + dy, 0), 47), min(max(x + dx, 0), 47)] for dy, dx in around]
            pattern = sum(2**bit for bit, value in enumerate(neighbours) if value >= image[y, x])
            expected[y // cell, x // cell, uniform_bins()[pattern]] += 1
    np.testing.assert_allclose(describe(LBP, image[None])[0] ** 2 * cell**2, expected.ravel(), atol=1e-3)


def test_lbp_sees_no_change_of_light_that_keeps_the_order_of_grays() -> None:
    image = FACES.images[:1] // 2
    assert np.array_equal(describe(LBP, image), describe(LBP, 2 * image + np.uint8(1)))


def test_several_descriptors_follow_one_another() -> None:
    both = describe(FeatureConfig(kind="hog+lbp"), FACES.images)
    assert np.array_equal(both, np.hstack([describe(HOG, FACES.images), describe(LBP, FACES.images)]))


def test_describing_in_batches_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    config = FeatureConfig(kind="hog+lbp", contrast="clahe")
    at_once = describe(config, FACES.images)
    monkeypatch.setattr(descriptors, "DESCRIBE_BATCH", 7)
    assert np.array_equal(describe(config, FACES.images), at_once)


def test_standardized_images_have_one_mean_and_spread() -> None:
    for images in (FACES.images, FACES.images // 3 + np.uint8(20)):
        standard = standardize(images)
        assert standard.dtype == np.uint8
        np.testing.assert_allclose(standard.mean(axis=(1, 2)), 128, atol=3)
        np.testing.assert_allclose(standard.std(axis=(1, 2)), 48, atol=3)
    assert (standardize(np.full((1, 48, 48), 9, np.uint8)) == 128).all()


def test_clahe_strengthens_weak_contrast() -> None:
    weak = FACES.images // 8 + np.uint8(100)
    assert clahe(weak).std() > 1.5 * weak.std()
    assert np.array_equal(clahe(weak)[3], cv2.createCLAHE(2.0, (4, 4)).apply(weak[3]))


def test_contrast_is_changed_before_an_image_is_described() -> None:
    config = FeatureConfig(kind="lbp", contrast="clahe")
    assert np.array_equal(describe(config, FACES.images), describe(LBP, clahe(FACES.images)))
    assert not np.array_equal(describe(config, FACES.images), describe(LBP, FACES.images))


def test_mirror_images_follow_the_images() -> None:
    both = mirrored(FACES.images)
    assert np.array_equal(both[:80], FACES.images)
    assert np.array_equal(both[80:, :, ::-1], FACES.images)


@pytest.mark.parametrize("by", [1, 2])
def test_a_shifted_image_repeats_the_edge_it_left(by: int) -> None:
    down, up = shifted(FACES.images, by), shifted(FACES.images, -by)
    assert np.array_equal(down[:, by:, by:], FACES.images[:, :-by, :-by])
    assert np.array_equal(up[:, :-by, :-by], FACES.images[:, by:, by:])
    assert np.array_equal(down[:, 0, by:], FACES.images[:, 0, :-by])
    assert np.array_equal(up[:, -1, :-by], FACES.images[:, -1, by:])


@pytest.mark.parametrize(("mirror", "shift", "times"), [(False, 0, 1), (True, 0, 2), (False, 1, 3), (True, 2, 6)])
def test_copies_follow_the_images_in_whole_sets(mirror: bool, shift: int, times: int) -> None:
    config = FeatureConfig(mirror=mirror, shift=shift)
    images = training_copies(config, FACES.images)
    assert copies(config) == times
    assert images.shape == (times * 80, 48, 48)
    assert np.array_equal(images[:80], FACES.images)
    assert len(np.unique(images, axis=0)) == times * 80


@pytest.mark.parametrize("pca", [0, 16])
@pytest.mark.parametrize("kind", ["pixels", "hog", "lbp"])
def test_training_vectors_are_centred_and_of_unit_length_on_average(kind: str, pca: int) -> None:
    config = FeatureConfig(kind=kind, pca=pca)
    features = Features.fit(config, describe(config, FACES.images))
    vectors = features.transform(FACES.images)
    assert vectors.dtype == np.float32
    assert vectors.shape == (80, pca or raw_width(config)) == (80, features.width)
    np.testing.assert_allclose(vectors.mean(axis=0), 0, atol=1e-5)
    assert vectors.shape[1] * vectors.var() == pytest.approx(1, rel=1e-4)
    assert features.transform(FRESH.images[:0]).shape == (0, features.width)


def test_descriptors_of_different_length_weigh_the_same() -> None:
    config = FeatureConfig(kind="hog+pixels", hog_cell=12)
    vectors = Features.fit(config, describe(config, FACES.images)).transform(FACES.images)
    lengths = [np.square(part).sum(axis=1).mean() for part in (vectors[:, :324], vectors[:, 324:])]
    np.testing.assert_allclose(lengths, 0.5, rtol=0.02)


def test_every_descriptor_names_its_parameters() -> None:
    assert DESCRIPTORS.keys() == descriptors.DESCRIBERS.keys()
    for names in DESCRIPTORS.values():
        assert set(names) <= FeatureConfig.model_fields.keys()


def test_whitened_components_have_equal_variance() -> None:
    plain, white = (FeatureConfig(pca=16, whiten=whiten) for whiten in (False, True))
    raw = describe(plain, FACES.images)
    vectors = Features.fit(white, raw).apply(raw)
    np.testing.assert_allclose(vectors.std(axis=0), 0.25, rtol=1e-3)
    components = Features.fit(plain, raw).apply(raw)
    assert components.std(axis=0).max() > 2 * components.std(axis=0).min()
    np.testing.assert_allclose(np.corrcoef(vectors.T, components.T)[:16, 16:], np.eye(16), atol=1e-3)


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


@pytest.mark.parametrize(("pca", "whiten"), [(0, False), (8, False), (8, True)])
@pytest.mark.parametrize("kind", ["pixels", "hog", "lbp"])
def test_images_that_do_not_vary_give_finite_vectors(kind: str, pca: int, whiten: bool) -> None:
    config = FeatureConfig(kind=kind, pca=pca, whiten=whiten)
    same = np.repeat(FACES.images[:1], 12, axis=0)
    features = Features.fit(config, describe(config, same))
    assert np.isfinite(features.transform(FRESH.images)).all()
    assert np.isfinite(features.factor).all()


def test_a_pixel_that_never_varied_does_not_swamp_the_others() -> None:
    images = FACES.images.copy()
    images[:, 0, 0] = 7
    features = Features.fit(PIXELS, describe(PIXELS, images))
    before = np.linalg.norm(features.transform(FRESH.images[:1]))
    changed = FRESH.images[:1].copy()
    changed[:, 0, 0] = 8
    assert np.linalg.norm(features.transform(changed)) < 1.1 * before


@pytest.mark.parametrize(("pca", "whiten"), [(0, False), (8, False), (8, True)])
def test_fitted_features_are_arrays_that_can_be_written_and_read(pca: int, whiten: bool, tmp_path: Path) -> None:
    config = FeatureConfig(kind="hog+lbp", hog_cell=12, pca=pca, whiten=whiten)
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
