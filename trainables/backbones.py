"""Networks: torchvision's, with a head of few classes, cut into stages.

Keys of a network's tensors are torchvision's own, so that weights move between here and there unchanged.
"""

from collections.abc import Iterable
from itertools import chain
from typing import cast, get_args

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import vgg

from spaces.resnet import Arch, Stem
from trainables.data.faceset import CLASSES

# Mean and standard deviation of ImageNet's channels on a scale of 0..1, which torchvision's weights expect.
CHANNEL_MEAN = (0.485, 0.456, 0.406)
CHANNEL_STD = (0.229, 0.224, 0.225)


class Vgg16(nn.Module):
    """The convolutions of VGG 16 (Simonyan and Zisserman, ICLR 2015), without batch-norm, and a linear head.

    The two layers of 4,096 units, nine tenths of the original's weights, are dropped: they stand on a map of 7 x 7,
    and a face of 48 pixels leaves 3 x 3. The mean over the last map takes the place of the last max-pooling too, which
    would pass over its third row and column.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = vgg.make_layers(vgg.cfgs["D"][:-1], batch_norm=False)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, classes)
        for layer in self.features:
            if isinstance(layer, nn.Conv2d):  # as torchvision initializes it
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        """Float (n, 3, s, s), s at least 16, to logits (n, classes)."""
        features: Tensor = self.avgpool(self.features(images))
        logits: Tensor = self.fc(features.flatten(1))
        return logits


def empty_net(arch: Arch, stem: Stem = "imagenet", classes: int = len(CLASSES)) -> nn.Module:
    """A network on the CPU whose tensors hold anything, but for counters, which are zero: to be loaded."""
    with torch.device("meta"):
        net = _build(arch, stem, classes).to_empty(device="cpu")
    for buffer in net.buffers():
        if not buffer.is_floating_point():
            buffer.zero_()
    return net


def embedding_net(backbone: str, stem: Stem = "imagenet") -> tuple[nn.Module, str]:
    """A network on the CPU, to be loaded, from images (n, 3, s, s) to the features (n, d) before its last layer.

    Its tensors have torchvision's names.

    Args:
        backbone: A name in `spaces.backbones.WIDTHS`.
        stem: How a residual network begins.

    Returns:
        The network, and the name of its last layer, which is left out.
    """
    if backbone in get_args(Arch):
        net = empty_net(cast(Arch, backbone), stem)
    else:
        # Built for good, since some keep tables among their buffers that no file of weights holds.
        with torch.random.fork_rng(devices=[]):
            net = torchvision.models.get_model(backbone, weights=None)
    last = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)][-1]
    net.set_submodule(last, nn.Identity())
    return net, last


def random_net(arch: Arch, seed: int, stem: Stem = "imagenet", classes: int = len(CLASSES)) -> nn.Module:
    """A network on the CPU, initialized as torchvision does it; the same `seed` gives the same tensors.

    Args:
        arch: The architecture.
        seed: Fixes the tensors.
        stem: How a residual network begins, see `ResnetConfig`; its tensors are the same for either stem.
        classes: Outputs of the head.
    """
    # torchvision draws from torch's global generator, which is given back as it was.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _build(arch, stem, classes)


def _build(arch: Arch, stem: Stem, classes: int) -> nn.Module:
    if arch == "vgg16":
        return Vgg16(classes)
    net: nn.Module = torchvision.models.get_model(arch, weights=None, num_classes=classes)
    # The first convolution stays 7 x 7, whatever the weights: so one kind of file fits all stems, and it is a
    # fiftieth of the multiplications of the stages behind it.
    if stem == "small":
        net.get_submodule("conv1").stride = (1, 1)  # type: ignore[assignment]
    if stem != "imagenet":
        net.set_submodule("maxpool", nn.Identity())
    return net


def reset_head(net: nn.Module, seed: int) -> None:
    """Give the head of `net` random tensors; the same `seed` gives the same ones."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        head(net).reset_parameters()


def random_head(net: nn.Module, classes: int, seed: int) -> nn.Linear:
    """A second head for the trunk of `net`, on the CPU; the same `seed` gives the same tensors."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return nn.Linear(head(net).in_features, classes)


ALL_STAGES = 5
_STAGES_OF_RESNETS = (("fc",), ("layer4",), ("layer3",), ("layer2",), ("layer1",), ("conv1", "bn1"))
_STAGES_OF_VGG16 = (
    ("fc",),
    *(tuple(f"features.{i}" for i in block) for block in ((24, 26, 28), (17, 19, 21), (10, 12, 14), (5, 7), (0, 2))),
)


def _names(net: nn.Module) -> tuple[tuple[str, ...], ...]:
    return _STAGES_OF_VGG16 if isinstance(net, Vgg16) else _STAGES_OF_RESNETS


def stages(net: nn.Module) -> tuple[tuple[nn.Module, ...], ...]:
    """The six stages from the head down: head, layer4 .. layer1, stem; or head, the five blocks of vgg16."""
    return tuple(tuple(net.get_submodule(name) for name in stage) for stage in _names(net))


def trained_tensors(net: nn.Module, unfreeze: int) -> dict[str, Tensor]:
    """Parameters and buffers of the head and the `unfreeze` stages below it, by name; writing to one changes `net`."""
    prefixes = tuple(f"{name}." for name in chain.from_iterable(_names(net)[: unfreeze + 1]))
    return {name: tensor for name, tensor in net.state_dict().items() if name.startswith(prefixes)}


def trunk(net: nn.Module) -> nn.Sequential:
    """Everything before the head as one module, sharing its tensors: (n, 3, s, s) to pooled features (n, d)."""
    *modules, _ = net.children()
    return nn.Sequential(*modules, nn.Flatten())


def split_trunk(net: nn.Module, unfreeze: int) -> tuple[nn.Sequential, nn.Sequential]:
    """The trunk cut where `unfreeze` stages below the head begin: what is before, and what is after.

    They share the tensors of `net`. With 0 the second part is empty: pooled features come out of the first.
    """
    modules = dict(net.named_children())
    del modules["fc"]
    if isinstance(net, Vgg16):
        blocks = modules.pop("features").named_children()
        modules = {f"features.{name}": module for name, module in blocks} | modules
    start = list(modules).index(_names(net)[unfreeze][0]) if unfreeze else len(modules)
    parts = list(modules.values())
    before, after = nn.Sequential(*parts[:start]), nn.Sequential(*parts[start:])
    (after if unfreeze else before).append(nn.Flatten())
    return before, after


def head(net: nn.Module) -> nn.Linear:
    """What follows the trunk: pooled features (n, d) to logits (n, classes)."""
    fc = net.get_submodule("fc")
    assert isinstance(fc, nn.Linear)
    return fc


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
