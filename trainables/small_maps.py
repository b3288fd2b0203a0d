"""Convolutions of small maps as matrix products, several times faster on CPUs.

The last stages of a network see a 48-pixel face as maps of 2 x 2 or 3 x 3, and CPU convolutions, made for larger ones,
then spend most of their time on anything but multiplying: three quarters of a training step of resnet18. Written as one
product of patches and weights (Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for
Document Processing", 2006) the same sums run at the speed of matrix products. Measured in `docs/log.md`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

# A product pays where the map, over the whole batch, has at most so many places for each output channel: then copying
# the patches is little beside the multiplications. Measured for resnet18 and resnet50, batches of 64 and 128.
PLACES_PER_CHANNEL = {torch.bfloat16: 8, torch.float32: 4}


class SmallMapConv2d(nn.Conv2d):
    """A convolution that chooses for each batch how it is computed; sums agree to the precision of their dtype.

    Only for what `fits` accepts.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Float (n, c, h, w) to (n, d, h', w'), channels last."""
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else images.dtype
        stride, padding = self.stride[0], int(self.padding[0])
        across = [(side + 2 * padding - self.kernel_size[0]) // stride + 1 for side in images.shape[2:]]
        places = len(images) * across[0] * across[1]
        if not 0 < places <= PLACES_PER_CHANNEL.get(dtype, 0) * self.out_channels:
            found: Tensor = super().forward(images)
            return found
        maps = _product(images.to(dtype), self.weight.to(dtype), stride, padding)
        return maps if self.bias is None else maps + self.bias.to(dtype).view(1, -1, 1, 1)


def fits(module: nn.Module) -> bool:
    """Whether `module` is a convolution that can be written as one product: square, dense, padded with zeros."""
    return (
        isinstance(module, nn.Conv2d)
        and not isinstance(module.padding, str)
        and all(len(set(pair)) == 1 for pair in (module.kernel_size, module.stride, module.padding))
        and (module.groups, module.dilation, module.padding_mode) == (1, (1, 1), "zeros")
    )


def speed_up(net: nn.Module) -> nn.Module:
    """Let the convolutions of `net` choose; its tensors and their names stay what they are."""
    for module in net.modules():
        if fits(module):
            module.__class__ = SmallMapConv2d  # a subclass without state of its own
    return net


def _patches(images: Tensor, side: int, stride: int, padding: int) -> Tensor:
    """The square patches of (n, c, h, w), (n, h', w', side, side, c): a view where nothing is padded."""
    padded = functional.pad(images.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
    return padded.unfold(1, side, stride).unfold(2, side, stride).permute(0, 1, 2, 4, 5, 3)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        patches = _patches(images, weight.shape[2], stride, padding)
        rows = patches.flatten(3).flatten(0, 2)
        matrix = weight.permute(0, 2, 3, 1).flatten(1)
        ctx.save_for_backward(rows, matrix)
        ctx.geometry = images.shape, patches.shape, stride, padding
        maps: Tensor = (rows @ matrix.t()).view(*patches.shape[:3], -1)
        return maps.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rows, matrix = ctx.saved_tensors
        image_shape, patch_shape, stride, padding = ctx.geometry
        gradient = gradients[0].permute(0, 2, 3, 1).flatten(0, 2)
        of_images = of_weight = None
        if ctx.needs_input_grad[0]:
            of_images = _put_back((gradient @ matrix).view(patch_shape), image_shape, stride, padding)
        if ctx.needs_input_grad[1]:
            of_weight = (gradient.t() @ rows).view(-1, *patch_shape[3:]).permute(0, 3, 1, 2)
        return of_images, of_weight, None, None


def _put_back(patches: Tensor, shape: torch.Size, stride: int, padding: int) -> Tensor:
    """The sum of `patches` at the places they were taken from: (n, c, h, w), `shape`; added in float32."""
    n, channels, height, width = shape
    down, right, side = patches.shape[1:4]
    total = patches.new_zeros((n, height + 2 * padding, width + 2 * padding, channels), dtype=torch.float32)
    for row in range(side):
        for column in range(side):
            places = total[:, row : row + stride * down : stride, column : column + stride * right : stride]
            places += patches[:, :, :, row, column]
    inside = total[:, padding : padding + height, padding : padding + width]
    return inside.to(patches.dtype).permute(0, 3, 1, 2)


def _product(images: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
    maps: Tensor = _Product.apply(images, weight, stride, padding)
    return maps
