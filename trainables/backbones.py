"""Networks: torchvision's residual networks with a head of three classes, cut into stages.

Keys of a network's tensors are torchvision's own, so that weights move between here and there unchanged.
"""

from collections.abc import Iterable
from itertools import chain

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

from spaces.resnet import Arch
from trainables.data.faceset import CLASSES

# Mean and standard deviation of ImageNet's channels on a scale of 0..1, which torchvision's weights expect.
CHANNEL_MEAN = (0.485, 0.456, 0.406)
CHANNEL_STD = (0.229, 0.224, 0.225)


def empty_net(arch: Arch) -> nn.Module:
    """A network on the CPU whose tensors hold anything: to be loaded."""
    with torch.device("meta"):
        return _build(arch).to_empty(device="cpu")


def random_net(arch: Arch, seed: int) -> nn.Module:
    """A network on the CPU, initialized as torchvision does it; the same `seed` gives the same tensors."""
    # torchvision draws from torch's global generator, which is given back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _build(arch)


def _build(arch: Arch) -> nn.Module:
    net: nn.Module = torchvision.models.get_model(arch, weights=None, num_classes=len(CLASSES))
    return net


def stages(net: nn.Module) -> tuple[tuple[nn.Module, ...], ...]:
    """The six stages from the head down: head, layer4, layer3, layer2, layer1, stem."""
    names = (("fc",), ("layer4",), ("layer3",), ("layer2",), ("layer1",), ("conv1", "bn1"))
    return tuple(tuple(net.get_submodule(name) for name in stage) for stage in names)


def trunk(net: nn.Module) -> nn.Sequential:
    """Everything before the head as one module, sharing its tensors: (n, 3, s, s) to pooled features (n, d)."""
    *modules, _ = net.children()
    return nn.Sequential(*modules, nn.Flatten())


def head(net: nn.Module) -> nn.Module:
    """What follows the trunk: pooled features (n, d) to logits (n, 3)."""
    return net.get_submodule("fc")


def freeze(net: nn.Module, unfreeze: int) -> None:
    """Let the head and the `unfreeze` stages below it be trained, and nothing else."""
    net.requires_grad_(False)
    for module in _trained(net, unfreeze):
        module.requires_grad_(True)


def train_mode(net: nn.Module, unfreeze: int) -> None:
    """Put the trained stages in training mode; batch-norm of frozen ones keeps its statistics (evaluation mode)."""
    net.eval()
    for module in _trained(net, unfreeze):
        module.train()


def _trained(net: nn.Module, unfreeze: int) -> Iterable[nn.Module]:
    return chain.from_iterable(stages(net)[: unfreeze + 1])


def prepare(images: Tensor, size: int) -> Tensor:
    """What the network sees of gray faces.

    Args:
        images: uint8 or float32, (n, h, w), gray levels 0..255.
        size: Side to which they are resized, bilinearly.

    Returns:
        float32, (n, 3, size, size), channels last in memory, normalized as ImageNet is.
    """
    gray = images.float()
    if gray.shape[1:] != (size, size):
        resized = functional.interpolate(
            gray.unsqueeze(1), (size, size), mode="bilinear", antialias=True, align_corners=False
        )
        gray = resized.squeeze(1)
    mean, std = gray.new_tensor(CHANNEL_MEAN), gray.new_tensor(CHANNEL_STD)
    return (gray.unsqueeze(-1) * (1 / (255 * std)) - mean / std).permute(0, 3, 1, 2)
