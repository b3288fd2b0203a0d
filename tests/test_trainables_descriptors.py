import cv2
import numpy as np
import pytest
from drawn_faces import drawn_faces

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

FACES = drawn_faces(80)
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


def test_only_signed_hog_tells_a_face_from_its_negative() -> None:
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


def test_every_descriptor_names_its_parameters() -> None:
    assert DESCRIPTORS.keys() == descriptors.DESCRIBERS.keys() | {"embedding"}
    for names in DESCRIPTORS.values():
        assert set(names) <= FeatureConfig.model_fields.keys()
