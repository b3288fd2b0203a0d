import copy

import pytest
import torch
from torch import nn

from spaces.resnet import ResnetConfig
from trainables.backbones import freeze, random_net
from trainables.optimization import Optimizer, make_optimizer, rate_factor, set_rates


@pytest.mark.parametrize("total", [1, 2, 9, 1000])
def test_the_learning_rate_rises_to_its_peak_and_falls_without_reaching_zero(total: int) -> None:
    factors = [rate_factor(step, total) for step in range(total)]
    peak = factors.index(max(factors))
    assert factors[peak] == 1
    assert peak <= 0.1 * total
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert 0 < factors[-1] < max(0.02, 2 / total)


@pytest.mark.parametrize("total", [10, 27, 1000])
def test_one_cycle_is_torchs(total: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    course = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=total, cycle_momentum=False)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(total - 1):
        optimizer.step()
        course.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert [rate_factor(step, total, "one_cycle") for step in range(total)] == pytest.approx(rates)


@pytest.mark.parametrize("total", [1, 2, 3, 4, 5])
def test_one_cycle_of_few_steps_still_comes_near_its_peak(total: int) -> None:
    factors = [rate_factor(step, total, "one_cycle") for step in range(total)]
    assert 0.8 < max(factors) <= 1
    assert min(factors) > 0


def test_the_rate_falls_with_the_distance_from_the_head() -> None:
    config = ResnetConfig(unfreeze=5, head_lr=0.4, backbone_lr=0.2, stage_decay=0.5)
    net = random_net("resnet18", 0)
    peaks = {id(p): group["peak"] for group in make_optimizer(net, config).param_groups for p in group["params"]}
    found = {name.partition(".")[0]: peaks[id(p)] for name, p in net.named_parameters()}
    below = {"layer4": 0.2, "layer3": 0.1, "layer2": 0.05, "layer1": 0.025, "conv1": 0.0125, "bn1": 0.0125}
    assert found == pytest.approx({"fc": 0.4} | below)


def test_an_auxiliary_head_is_trained_as_the_head_is() -> None:
    config = ResnetConfig(unfreeze=1, head_lr=0.4, weight_decay=0.3)
    auxiliary = torch.nn.Linear(512, 7)
    optimizer = make_optimizer(random_net("resnet18", 0), config, auxiliary)
    found = {id(p): (group["peak"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert (found[id(auxiliary.weight)], found[id(auxiliary.bias)]) == ((0.4, 0.3), (0.4, 0.0))


def test_groups_have_their_own_peaks_and_only_matrices_decay() -> None:
    config = ResnetConfig(unfreeze=1, head_lr=0.4, backbone_lr=0.2, weight_decay=0.3)
    net = random_net("resnet18", 0)
    freeze(net, 1)
    optimizer = make_optimizer(net, config)
    set_rates(optimizer, 0.5)
    found = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    expected = {
        id(p): (0.2 if name.startswith("fc.") else 0.1, 0.3 if p.ndim > 1 else 0.0)
        for name, p in net.named_parameters()
        if name.startswith(("fc.", "layer4."))
    }
    assert found == expected


def test_channels_last_parameters_get_the_steps_of_adamw():
    """Against torch's own optimizer on a contiguous copy, state and parameters, decay included."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1)).to(memory_format=torch.channels_last)
    twin = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
    groups = [{"params": list(net.parameters()), "lr": 0.1, "weight_decay": 0.3}]
    ours, theirs = Optimizer(groups), torch.optim.AdamW(twin.parameters(), lr=0.1, weight_decay=0.3)
    assert not net[0].weight.is_contiguous()
    for _ in range(3):
        images = torch.randn(5, 3, 6, 6)
        for each, optimizer in ((net, ours), (twin, theirs)):
            each(images).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            assert all(parameter.grad is None for parameter in each.parameters())
    for mine, expected in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(mine, expected)
        state = ours.state_of(mine)
        assert state["exp_avg"].shape == mine.shape
        torch.testing.assert_close(state["exp_avg_sq"], theirs.state[expected]["exp_avg_sq"])
        state["exp_avg"].fill_(7.0)
        assert (ours.state_of(mine)["exp_avg"] == 7.0).all(), "writing to it changes the state"
