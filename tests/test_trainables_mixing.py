import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainables.mixing import blend, box, mix, paste


@pytest.fixture
def faces() -> torch.Tensor:
    """Eight plain pictures, each of a gray of its own."""
    return (30 * torch.arange(8, dtype=torch.uint8)).view(8, 1, 1).expand(8, 12, 16).contiguous()


def test_without_mixing_a_batch_stays_what_it_is(faces: torch.Tensor) -> None:
    mixed, share = mix(faces, 0.0, 0.0, 1, 2)
    assert mixed is faces
    assert share == 1


def test_mixup_is_the_mean_of_two_images_with_their_shares(faces: torch.Tensor) -> None:
    mixed, share = mix(faces, 1.0, 0.0, 1, 2)
    assert 0 < share < 1
    before = torch.cat([faces[-1:], faces[:-1]])
    torch.testing.assert_close(mixed, share * faces.float() + (1 - share) * before.float())
    assert torch.equal(blend(faces, 1.0), faces.float())


def test_cutmix_shares_are_the_pixels_that_are_left(faces: torch.Tensor) -> None:
    kept = faces.clone()
    for step in range(20):
        mixed, share = mix(faces, 0.0, 1.0, 1, step)
        own = (mixed == faces).float().mean(dim=(1, 2))
        assert torch.allclose(own, torch.tensor(share, dtype=torch.float32), atol=1e-6)
        assert torch.equal(mixed[mixed != faces], faces.roll(1, 0).float()[mixed != faces])
    assert torch.equal(faces, kept)


def test_a_pasted_box_is_a_rectangle(faces: torch.Tensor) -> None:
    mixed, share = paste(faces, (slice(2, 8), slice(4, 12)))
    changed = mixed[3] != faces[3]
    assert changed[2:8, 4:12].all()
    assert int(changed.sum()) == 48
    assert share == pytest.approx(1 - 48 / (12 * 16))


@settings(max_examples=200, deadline=None)
@given(area=st.floats(0.0, 1.0), seed=st.integers(0, 2**40))
def test_a_box_lies_within_the_image_and_is_no_larger_than_asked(area: float, seed: int) -> None:
    rows, columns = box(48, 30, area, np.random.default_rng(seed))
    assert 0 <= rows.start <= rows.stop <= 48
    assert 0 <= columns.start <= columns.stop <= 30
    assert rows.stop - rows.start <= round(48 * math.sqrt(area))
    assert columns.stop - columns.start <= round(30 * math.sqrt(area))


def test_with_both_a_coin_decides_and_shares_follow_the_alphas(faces: torch.Tensor) -> None:
    cut = [bool((mix(faces, 1.0, 1.0, 5, step)[0] % 30 == 0).all()) for step in range(400)]
    assert 0.4 < np.mean(cut) < 0.6

    def spread(alpha: float) -> float:
        return float(np.std([mix(faces, alpha, 0.0, 5, step)[1] for step in range(200)]))

    for alpha in (0.2, 1.0, 5.0):
        assert spread(alpha) == pytest.approx(math.sqrt(1 / (4 * (2 * alpha + 1))), rel=0.15)


def test_the_key_alone_decides(faces: torch.Tensor) -> None:
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.random.get_rng_state()  # noqa: NPY002
    once, share = mix(faces, 0.4, 1.0, 3, 11)
    again, same_share = mix(faces, 0.4, 1.0, 3, 11)
    assert torch.equal(once, again)
    assert share == same_share
    assert share not in {mix(faces, 0.4, 1.0, 3, 12)[1], mix(faces, 0.4, 1.0, 4, 11)[1]}
    assert np.array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002
    assert torch.equal(torch_before, torch.random.get_rng_state())
