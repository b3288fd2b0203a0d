"""Small convolutions as matrix products: the same sums as torch's own convolutions."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from trainables.backbones import random_net
from trainables.small_maps import PLACES_PER_CHANNEL, SmallMapConv2d, fits, speed_up


def twins(*arguments: int, **options: object) -> tuple[nn.Conv2d, nn.Conv2d]:
    """The same convolution twice: torch's own, and one that chooses."""
    torch.manual_seed(0)
    plain, fast = nn.Conv2d(*arguments, **options), nn.Conv2d(*arguments, **options)  # type: ignore[arg-type]
    fast.load_state_dict(plain.state_dict())
    return plain, speed_up(nn.Sequential(fast))[0]  # type: ignore[return-value]


def gradients(module: nn.Conv2d, images: Tensor) -> list[Tensor]:
    """The maps of `images`, and the gradients of a sum over them that weighs each place differently."""
    images = images.clone().requires_grad_()
    maps = module(images)
    (maps.float() * torch.linspace(-1, 1, maps.numel()).view(maps.shape)).sum().backward()
    return [maps, images.grad, *(parameter.grad for parameter in module.parameters())]


def plain_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with each call of torch's own convolution."""
    calls: list[int] = []
    original = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda *given: calls.append(1) or original(*given))
    return calls


@settings(deadline=None, max_examples=60)
@given(
    side=st.integers(1, 7),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    n=st.integers(1, 3),
    bias=st.booleans(),
)
def test_agrees_with_torch_on_any_geometry(side, kernel, stride, padding, n, bias):
    if side + 2 * padding < kernel:
        return
    plain, fast = twins(3, 64, kernel, stride=stride, padding=padding, bias=bias)
    images = torch.randn(n, 3, side, side).to(memory_format=torch.channels_last)
    for ours, theirs in zip(gradients(fast, images), gradients(plain, images), strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_takes_the_product_on_small_maps_only(monkeypatch):
    _, fast = twins(8, 16, 3, padding=1)
    limit = PLACES_PER_CHANNEL[torch.float32] * 16
    calls = plain_calls(monkeypatch)
    fast(torch.randn(limit // 4, 8, 2, 2))
    assert not calls
    fast(torch.randn(limit // 4 + 1, 8, 2, 2))
    assert calls


def test_in_bfloat16_it_is_as_close_to_float32_as_torch_is():
    plain, fast = twins(64, 128, 3, padding=1, bias=False)
    images = torch.randn(32, 64, 3, 3).to(memory_format=torch.channels_last)
    exact = gradients(plain, images)
    plain.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs, ours = gradients(plain, images), gradients(fast, images)
    assert ours[0].dtype == torch.bfloat16
    for whole, torchs, mine in zip(exact, theirs, ours, strict=True):
        off = [(found.float() - whole).norm() / whole.norm() for found in (torchs, mine)]
        assert off[1] <= 1.2 * off[0] + 1e-4


def test_an_empty_batch_goes_through():
    _, fast = twins(8, 16, 3, padding=1)
    assert fast(torch.empty(0, 8, 2, 2)).shape == (0, 16, 2, 2)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 4, (1, 3)),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(4, 4, 3, stride=(1, 2)),
        nn.Linear(4, 4),
    ],
)
def test_what_does_not_fit_is_left_alone(module):
    assert not fits(module)
    assert not isinstance(speed_up(nn.Sequential(module))[0], SmallMapConv2d)


def test_names_and_tensors_of_a_network_stay():
    net = random_net("resnet18", 0)
    before = {name: tensor.data_ptr() for name, tensor in net.state_dict().items()}
    assert {name: tensor.data_ptr() for name, tensor in speed_up(net).state_dict().items()} == before
    assert sum(isinstance(module, SmallMapConv2d) for module in net.modules()) == 20
