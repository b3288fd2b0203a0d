"""Random variations of training faces, drawn and applied for a whole batch at once, on the device of the batch."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# The widest variations, those of strength 1; a strength of s draws from s times each range.
ROTATION = np.radians(25.0)
SHIFT = 0.15  # of the image's side
ZOOM = 0.25  # in logarithms: between 1 / 1.28 and 1.28
CONTRAST = 0.5  # in logarithms
BRIGHTNESS = 60.0  # gray levels
# Random erasing: the least and the largest share of an image, and the largest height in widths.
ERASED = (0.02, 0.4)
ERASED_ASPECT = 1 / 0.3


def seeded(device: torch.device, *key: int) -> torch.Generator:
    """A generator whose numbers depend on `key` alone, non-negative integers such as (seed, step).

    Keyed by the step, not carried from step to step, it gives a resumed training the numbers of a straight one.
    """
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0]))


def affine_maps(n: int, strength: float, generator: torch.Generator) -> Tensor:
    """Random mirroring, rotation, zoom and shift of n images: float32 (n, 2, 3), as `affine_grid` takes them.

    Half of the images are mirrored at any strength.
    """
    numbers = torch.rand(5, n, generator=generator, device=generator.device)
    mirror = torch.where(numbers[0] < 0.5, -1.0, 1.0)
    angle, zoom, right, down = (2 * numbers[1:] - 1) * strength
    scale = torch.exp(ZOOM * zoom)
    cos, sin = scale * torch.cos(ROTATION * angle), scale * torch.sin(ROTATION * angle)
    # The grid spans -1..1, so a share of the side is twice that share of the grid.
    rows = [mirror * cos, -sin, 2 * SHIFT * right, mirror * sin, cos, 2 * SHIFT * down]
    return torch.stack(rows, dim=1).view(n, 2, 3)


def augment(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Mirror, rotate, zoom and shift faces, then vary their contrast and brightness.

    Args:
        images: uint8 or float32, (n, h, w), gray levels 0..255; pixels from outside are reflections.
        strength: 0 leaves the images as they are, 1 draws from the widest ranges.
        generator: On the device of `images`; the same state gives the same batch.

    Returns:
        float32, (n, h, w), gray levels 0..255; at strength 0 `images` itself.
    """
    if strength == 0:
        return images
    n = len(images)
    gray = images.float().unsqueeze(1)
    grid = functional.affine_grid(affine_maps(n, strength, generator), list(gray.shape), align_corners=False)
    moved = functional.grid_sample(
        images.float().unsqueeze(1), grid, padding_mode="reflection", align_corners=False
    ).squeeze(1)
    numbers = (2 * torch.rand(2, n, 1, 1, generator=generator, device=generator.device) - 1) * strength
    mean = moved.mean(dim=(1, 2), keepdim=True)
    return ((moved - mean) * torch.exp(CONTRAST * numbers[0]) + mean + BRIGHTNESS * numbers[1]).clamp(0, 255)


def erase(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Random erasing (Zhong et al., AAAI 2020): replace a rectangle of some images by noise.

    Args:
        images: uint8 or float32, (n, h, w), gray levels 0..255.
        probability: With which an image has a rectangle; 0 gives `images` itself.
        generator: On the device of `images`.

    Returns:
        float32, (n, h, w), gray levels 0..255. A rectangle lies within its image and covers, as in the paper, 2 % to
        40 % of it, its height 0.3 to 3.3 times its width, less where a side would not fit.
    """
    if probability == 0:
        return images
    n, height, width = images.shape
    numbers = torch.rand(5, n, generator=generator, device=generator.device)
    area = height * width * (ERASED[0] + (ERASED[1] - ERASED[0]) * numbers[0])
    aspect = ERASED_ASPECT ** (2 * numbers[1] - 1)
    rows = _between(height, torch.sqrt(area * aspect), numbers[2])
    columns = _between(width, torch.sqrt(area / aspect), numbers[3])
    erased = rows.unsqueeze(2) & columns.unsqueeze(1) & (numbers[4] < probability).view(n, 1, 1)
    noise = 255 * torch.rand(images.shape, generator=generator, device=generator.device)
    return torch.where(erased, noise, images.float())


def _between(side: int, lengths: Tensor, places: Tensor) -> Tensor:
    """Which of `side` pixels lie in intervals of `lengths` (n,) that begin at shares `places` of what is left."""
    lengths = lengths.round().clamp(1, side)
    starts = (places * (side + 1 - lengths)).floor().unsqueeze(1)
    pixels = torch.arange(side, device=lengths.device)
    return (pixels >= starts) & (pixels < starts + lengths.unsqueeze(1))


def dropout(features: Tensor, p: float, generator: torch.Generator) -> Tensor:
    """Dropout (Srivastava et al., JMLR 2014) of `features`, float (n, d), whose mask comes from `generator`."""
    if p == 0:
        return features
    kept = torch.rand(features.shape, generator=generator, device=generator.device) >= p
    return features * kept / (1 - p)
