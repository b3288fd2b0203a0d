import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.augment import SHIFT, ZOOM, affine_maps, augment, dropout, erase, seeded

CPU = torch.device("cpu")


@pytest.fixture
def faces() -> torch.Tensor:
    """Smooth, lopsided pictures: a slope from left to right, steeper in each."""
    slope = torch.linspace(0, 200, 48).expand(8, 48, 48)
    return (slope * torch.linspace(0.3, 1, 8).view(8, 1, 1)).to(torch.uint8)


def test_strength_0_is_the_identity(faces: torch.Tensor) -> None:
    assert augment(faces, 0.0, seeded(CPU, 0, 0)) is faces


def test_a_step_has_its_own_numbers_and_no_others(faces: torch.Tensor) -> None:
    before = torch.random.get_rng_state()
    once = augment(faces, 0.7, seeded(CPU, 3, 11))
    assert torch.equal(once, augment(faces, 0.7, seeded(CPU, 3, 11)))
    assert not torch.equal(once, augment(faces, 0.7, seeded(CPU, 3, 12)))
    assert not torch.equal(once, augment(faces, 0.7, seeded(CPU, 4, 11)))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_images_of_a_batch_vary_independently(faces: torch.Tensor) -> None:
    alike = faces[:1].expand(8, 48, 48)
    varied = augment(alike, 1.0, seeded(CPU, 0))
    assert len({image.numpy().tobytes() for image in varied}) == 8


def test_uint8_and_float_batches_are_augmented_alike(faces: torch.Tensor) -> None:
    assert torch.equal(augment(faces, 0.5, seeded(CPU, 1)), augment(faces.float(), 0.5, seeded(CPU, 1)))


@settings(max_examples=30, deadline=None)
@given(strength=st.floats(0.0, 1.0), seed=st.integers(0, 2**40))
def test_gray_levels_stay_gray_levels(strength: float, seed: int) -> None:
    noise = torch.randint(0, 256, (3, 48, 48), dtype=torch.uint8, generator=seeded(CPU, seed))
    varied = augment(noise, strength, seeded(CPU, seed))
    assert varied.shape == noise.shape
    assert 0 <= float(varied.min()) <= float(varied.max()) <= 255


def test_the_weakest_variation_only_mirrors(faces: torch.Tensor) -> None:
    varied = augment(faces, 1e-9, seeded(CPU, 0))
    mirrored = [bool((new - old.flip(-1)).abs().max() < 0.01) for new, old in zip(varied, faces.float(), strict=True)]
    kept = [bool((new - old).abs().max() < 0.01) for new, old in zip(varied, faces.float(), strict=True)]
    assert all(np.logical_xor(mirrored, kept))
    assert any(mirrored)
    assert any(kept)


def test_maps_stay_within_their_ranges_and_mirror_half() -> None:
    maps = affine_maps(4000, 0.5, seeded(CPU, 0))
    area = torch.linalg.det(maps[:, :, :2])
    assert 0.45 < float((area < 0).float().mean()) < 0.55
    assert float(area.abs().log().abs().max()) == pytest.approx(2 * 0.5 * ZOOM, rel=0.01)
    assert float(maps[:, :, 2].abs().max()) == pytest.approx(0.5 * 2 * SHIFT, rel=0.01)


def test_a_stronger_variation_changes_more(faces: torch.Tensor) -> None:
    def change(strength: float) -> float:
        return float((augment(faces, strength, seeded(CPU, 2)) - augment(faces, 1e-9, seeded(CPU, 2))).abs().mean())

    assert 0 < change(0.2) < change(0.5) < change(1.0)


def erased_boxes(erased: torch.Tensor) -> list[tuple[int, int, int]]:
    """Height, width and number of changed pixels of each image that was all 0."""
    found = []
    for image in erased:
        rows, columns = torch.nonzero(image, as_tuple=True)
        if len(rows):
            found.append((int(rows.max() - rows.min() + 1), int(columns.max() - columns.min() + 1), len(rows)))
    return found


def test_erasing_takes_rectangles_of_its_share_of_images() -> None:
    black = torch.zeros(2000, 48, 48)
    boxes = np.array(erased_boxes(erase(black, 0.3, seeded(CPU, 0))))
    assert len(boxes) / 2000 == pytest.approx(0.3, abs=0.04)
    heights, widths, pixels = boxes.T
    assert (pixels == heights * widths).mean() > 0.99  # noise is exactly 0 once in a great while
    assert 0.015 < (pixels / 48**2).min() < 0.04
    assert 0.35 < (pixels / 48**2).max() <= 0.42
    assert (heights / widths).max() > 2.5
    assert (widths / heights).max() > 2.5
    assert torch.equal(black, torch.zeros(2000, 48, 48))


def test_erased_rectangles_lie_anywhere() -> None:
    erased = erase(torch.zeros(2000, 48, 48), 1.0, seeded(CPU, 1)) > 0
    share = erased.float().mean(dim=0)
    assert (share > 0).all()
    corners, middle = share[[0, 0, -1, -1], [0, -1, 0, -1]], share[24, 24]
    assert corners.max() < 0.5 * middle
    torch.testing.assert_close(share.mean(dim=0), share.mean(dim=0).flip(0), atol=0.03, rtol=0)


def test_erasing_depends_on_its_generator_alone(faces: torch.Tensor) -> None:
    assert erase(faces, 0.0, seeded(CPU, 0)) is faces
    before = torch.random.get_rng_state()
    once = erase(faces, 0.5, seeded(CPU, 3, 1))
    assert once.dtype == torch.float32
    assert 0 <= float(once.min()) <= float(once.max()) <= 255
    assert torch.equal(once, erase(faces.float(), 0.5, seeded(CPU, 3, 1)))
    assert not torch.equal(once, erase(faces, 0.5, seeded(CPU, 3, 2)))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_dropout_keeps_the_mean_and_drops_the_share() -> None:
    features = torch.ones(400, 500)
    dropped = dropout(features, 0.3, seeded(CPU, 0))
    assert float((dropped == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)
    assert torch.equal(dropped, dropout(features, 0.3, seeded(CPU, 0)))
    assert dropout(features, 0.0, seeded(CPU, 0)) is features
