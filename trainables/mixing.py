"""Mixup and CutMix: batches in which each image is blended with another, and so are their labels."""

import math

import numpy as np
import torch
from torch import Tensor


def mix(images: Tensor, mixup: float, cutmix: float, *key: int) -> tuple[Tensor, float]:
    """Blend each image of a batch with the image before it; the first with the last.

    The batch is in random order, so the image before is as good as any. One share serves a whole batch, as in the
    papers' own programs; with both alphas above zero a coin decides which of the two is used.

    Args:
        images: uint8 or float32, (n, h, w), gray levels 0..255.
        mixup: Both parameters of the beta distribution of mixup's share, 0 for no mixup.
        cutmix: The same for CutMix.
        key: Non-negative integers, such as (seed, step), on which all random numbers depend, and on nothing else.

    Returns:
        The images, float32 (n, h, w), and the share 0..1 of each image's own label; the rest belongs to the label
        before it. Without mixup and CutMix `images` itself and 1.
    """
    if not mixup and not cutmix:
        return images, 1.0
    # numpy's generator: torch's beta distribution takes none, and a number on the host makes no device wait.
    generator = np.random.default_rng(key)
    cut = not mixup or (cutmix > 0 and generator.random() < 0.5)
    alpha = cutmix if cut else mixup
    share = float(generator.beta(alpha, alpha))
    if not cut:
        return blend(images, share), share
    height, width = images.shape[1:]
    return paste(images, box(height, width, 1 - share, generator))


def blend(images: Tensor, share: float) -> Tensor:
    """Mixup (Zhang et al., ICLR 2018): `share` of each image and the rest of the image before it."""
    gray = images.float()
    return torch.lerp(gray.roll(1, 0), gray, share)


def paste(images: Tensor, box: tuple[slice, slice]) -> tuple[Tensor, float]:
    """CutMix (Yun et al., ICCV 2019): put the `box` of the image before into each image.

    Returns:
        The images, float32, and the share of each that is its own.
    """
    rows, columns = box
    gray = images.float()
    mixed = gray.clone()
    mixed[:, rows, columns] = gray.roll(1, 0)[:, rows, columns]
    height, width = images.shape[1:]
    return mixed, 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)


def box(height: int, width: int, area: float, generator: np.random.Generator) -> tuple[slice, slice]:
    """A random box of a share `area` of an image, in the image's proportions, as far as it lies within the image."""

    def interval(side: int) -> slice:
        center, half = generator.integers(side), round(side * math.sqrt(area)) / 2
        return slice(max(0, math.floor(center - half)), min(side, math.floor(center + half)))

    return interval(height), interval(width)
