import pytest

from spaces.resnet import ResnetConfig
from trainables.backbones import freeze, random_net
from trainables.optimization import make_optimizer, rate_factor, set_rates


@pytest.mark.parametrize("total", [1, 2, 9, 1000])
def test_the_learning_rate_rises_to_its_peak_and_falls_without_reaching_zero(total: int) -> None:
    factors = [rate_factor(step, total) for step in range(total)]
    peak = factors.index(max(factors))
    assert factors[peak] == 1
    assert peak <= 0.1 * total
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)
    assert 0 < factors[-1] < max(0.02, 2 / total)


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
