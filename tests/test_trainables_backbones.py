from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from spaces.resnet import Arch, Stem
from trainables.backbones import (
    Vgg16,
    empty_net,
    freeze,
    head,
    prepare,
    random_head,
    random_net,
    stages,
    train_mode,
    trained_tensors,
    trunk,
)
from trainables.precision import cpu_threads
from trainables.weights import load_backbone

STAGES = [{"fc"}, {"layer4"}, {"layer3"}, {"layer2"}, {"layer1"}, {"conv1", "bn1"}]
HEAVY: list[Arch] = ["resnet34", "resnet50", "resnet101"]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return random_net("resnet18", 0)


def tensors_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_random_weights_depend_on_the_seed_alone(net: nn.Module) -> None:
    before = torch.random.get_rng_state()
    torch.rand(3)
    moved = torch.random.get_rng_state()
    again, other = random_net("resnet18", 0), random_net("resnet18", 1)
    assert torch.equal(torch.random.get_rng_state(), moved)
    torch.random.set_rng_state(before)
    assert same(net, again)
    assert not same(net, other)


def test_stages_hold_every_parameter_once(net: nn.Module) -> None:
    staged = [id(p) for stage in stages(net) for module in stage for p in module.parameters()]
    assert sorted(staged) == sorted(id(p) for p in net.parameters())


@pytest.mark.parametrize("unfreeze", range(6))
def test_unfreeze_counts_stages_from_the_head(unfreeze: int) -> None:
    net = random_net("resnet18", 0)
    freeze(net, unfreeze)
    trained = {name.partition(".")[0] for name, p in net.named_parameters() if p.requires_grad}
    assert trained == set().union(*STAGES[: unfreeze + 1])


@pytest.mark.parametrize("unfreeze", [0, 2, 5])
def test_only_trained_batch_norms_gather_statistics(unfreeze: int) -> None:
    net = random_net("resnet18", 0)
    freeze(net, unfreeze)
    before = tensors_of(net)
    train_mode(net, unfreeze)
    net(torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    means = [name for name in before if name.endswith("running_mean")]
    changed = {name for name in means if not torch.equal(before[name], net.state_dict()[name])}
    expected = {name for name in means if name.partition(".")[0] in set().union(*STAGES[: unfreeze + 1])}
    assert changed == expected


def test_trunk_and_head_are_the_network(net: nn.Module) -> None:
    net.eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(head(net)(trunk(net)(images)), net(images))


def test_an_empty_network_has_the_tensors_of_a_random_one(net: nn.Module) -> None:
    shapes = {name: tensor.shape for name, tensor in empty_net("resnet18").state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in net.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize("arch", HEAVY)
def test_heavier_architectures_have_the_same_stages(arch: Arch) -> None:
    net = random_net(arch, 0)
    freeze(net, 1)
    assert {name.partition(".")[0] for name, p in net.named_parameters() if p.requires_grad} == {"fc", "layer4"}
    assert net.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 3)
    assert head(net)(trunk(net)(torch.zeros(1, 3, 32, 32))).shape == (1, 3)


@pytest.fixture(scope="module")
def vgg() -> Vgg16:
    net = random_net("vgg16", 0, classes=5)
    assert isinstance(net, Vgg16)
    return net


@pytest.fixture(scope="module")
def torchvisions_convolutions() -> nn.Sequential:
    """The convolutions of torchvision's own vgg16, built without its half a gigabyte of dense layers."""
    with torch.device("meta"):
        features = torchvision.models.vgg16().features.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for parameter in features.parameters():
        nn.init.normal_(parameter, std=0.05, generator=generator)
    return features


def test_vgg16_has_six_stages_too(vgg: Vgg16) -> None:
    staged = [id(p) for stage in stages(vgg) for module in stage for p in module.parameters()]
    assert sorted(staged) == sorted(id(p) for p in vgg.parameters())
    assert [len(stage) for stage in stages(vgg)] == [1, 3, 3, 3, 2, 2]
    widths = [{module.out_channels for module in stage} for stage in stages(vgg)[1:]]
    assert widths == [{512}, {512}, {256}, {128}, {64}]


def test_vgg16_is_unfrozen_block_by_block_from_the_head() -> None:
    net = random_net("vgg16", 0)
    freeze(net, 2)
    trained = {name.rpartition(".")[0] for name, p in net.named_parameters() if p.requires_grad}
    assert trained == {"fc", *(f"features.{i}" for i in (28, 26, 24, 21, 19, 17))}
    assert {name.rpartition(".")[0] for name in trained_tensors(net, 2)} == trained
    assert len(trained_tensors(net, 5)) == len(net.state_dict())


def test_vgg16_takes_torchvisions_weights(vgg: Vgg16, torchvisions_convolutions: nn.Sequential, tmp_path: Path) -> None:
    tensors = {f"features.{name}": tensor for name, tensor in torchvisions_convolutions.state_dict().items()}
    torch.save(tensors | {"classifier.6.bias": torch.zeros(1000)}, tmp_path / "vgg16.pth")
    load_backbone(vgg, tmp_path / "vgg16.pth")
    images = torch.randn(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = torchvisions_convolutions[:-1](images).mean(dim=(2, 3))
        assert expected.std() > 0
        torch.testing.assert_close(trunk(vgg)(images), expected)
        torch.testing.assert_close(head(vgg)(expected), vgg(images))


@pytest.mark.parametrize("size", [32, 48])
def test_every_part_of_a_face_reaches_the_head_of_vgg16(vgg: Vgg16, size: int) -> None:
    images = torch.zeros(1, 3, size, size, requires_grad=True)
    vgg(images).sum().backward()
    assert images.grad is not None
    shares = functional.avg_pool2d(images.grad.abs().sum(dim=1), size // 2)
    assert (shares > 0.05 * shares.max()).all()


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
@pytest.mark.parametrize(("stem", "side"), [("half", 16), ("small", 32)])
def test_another_stem_keeps_its_tensors_and_shrinks_less(arch: Arch, stem: Stem, side: int) -> None:
    plain, other = random_net(arch, 0), random_net(arch, 0, stem)
    assert same(plain, other)
    assert plain.state_dict().keys() == other.state_dict().keys()
    assert empty_net(arch, stem).state_dict().keys() == other.state_dict().keys()

    def before_stages(net: nn.Module) -> torch.Size:
        return trunk(net)[:4](torch.zeros(1, 3, 32, 32)).shape

    assert before_stages(plain) == (1, 64, 8, 8)
    assert before_stages(other) == (1, 64, side, side)
    other.eval()
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(head(other)(trunk(other)(images)), other(images))


@pytest.mark.parametrize("arch", ["resnet18", "vgg16"])
def test_the_head_has_as_many_outputs_as_there_are_classes(arch: Arch) -> None:
    net = random_net(arch, 0, classes=7)
    assert net.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    second, again = random_head(net, 4, 3), random_head(net, 4, 3)
    assert second.weight.shape == (4, head(net).in_features)
    assert torch.equal(second.weight, again.weight)


def test_prepare_repeats_gray_and_normalizes_each_channel() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1).expand(2, 48, 48)
    ready = prepare(images, 48)
    assert ready.shape == (2, 3, 48, 48)
    assert ready.is_contiguous(memory_format=torch.channels_last)
    wanted = torchvision.transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])(
        torch.stack([torch.zeros(3, 48, 48), torch.ones(3, 48, 48)])
    )
    torch.testing.assert_close(ready, wanted)


@pytest.mark.parametrize("size", [32, 64])
def test_prepare_resizes_bilinearly(size: int) -> None:
    images = torch.randint(0, 256, (2, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    smooth = functional.avg_pool2d(images.float(), 5, 1, 2)
    ready = prepare(smooth, size) * 0.229 + 0.485
    resized = torchvision.transforms.functional.resize(smooth / 255, [size, size], antialias=True)
    torch.testing.assert_close(ready[:, 0], resized, atol=1e-4, rtol=0)
    assert torch.equal(prepare(images, size), prepare(images.float(), size))
