"""Descriptors of faces: from images to raw features, image by image, and copies of images to train on."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from spaces.backbones import WIDTHS
from spaces.features import FeatureConfig
from trainables.data.faceset import SIDE, Images

DESCRIBE_BATCH = 256
ORIENTATIONS = 9
CLIP_LIMIT, CLAHE_TILES = 2.0, (4, 4)
# Gray levels of every image whose contrast is standardized.
STANDARD_MEAN, STANDARD_STD = 128.0, 48.0
# Steps from a pixel to its neighbours, down and right, once around it.
RING = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))


def training_copies(config: FeatureConfig, images: Images) -> Images:
    """The images, (n, 48, 48), followed by the altered copies that `config` asks for: (`copies(config)` * n, 48, 48).

    First come the mirror images, then all these shifted along one diagonal, one way and the other. A mirror image of
    a face shifted along this diagonal is one shifted along the other, so with mirror images all corners are tried.
    """
    if config.mirror:
        images = mirrored(images)
    if config.shift:
        shifts = (config.shift, -config.shift)
        images = np.concatenate([images, *(shifted(images, shift) for shift in shifts)])
    return images


def copies(config: FeatureConfig) -> int:
    """How many images `training_copies` makes of one."""
    return (2 if config.mirror else 1) * (3 if config.shift else 1)


def mirrored(images: Images) -> Images:
    """The images, (n, 48, 48), followed by their mirror images: (2n, 48, 48)."""
    return np.concatenate([images, mirror(images)])


def mirror(images: Images) -> Images:
    """The mirror images, (n, 48, 48), left and right exchanged."""
    return np.ascontiguousarray(images[:, :, ::-1])


def shifted(images: Images, by: int) -> Images:
    """The images, (n, 48, 48), moved `by` pixels down and right (up and left if negative), edge pixels repeated."""
    places = np.clip(np.arange(SIDE) - by, 0, SIDE - 1)
    return images[:, places[:, None], places]


def describe(config: FeatureConfig, images: Images) -> NDArray[np.float32]:
    """Raw features of faces, which depend on no other face.

    Args:
        config: Which features.
        images: uint8, (n, 48, 48).

    Returns:
        float32, (n, d), in 0..1. d is 2304 for pixels; 1764, 900 or 324 for HOG cells of 6, 8 or 12 pixels, twice
        that if signed; 3776, 2124 or 944 for LBP cells of 6, 8 or 12 pixels; and the sum of these for several.
    """
    describers = [DESCRIBERS[name] for name in config.descriptors]
    raw = np.empty((len(images), raw_width(config)), dtype=np.float32)
    for start in range(0, len(images), DESCRIBE_BATCH):
        part = slice(start, start + DESCRIBE_BATCH)
        normalized = CONTRASTS[config.contrast](images[part])
        np.concatenate([describer(config, normalized) for describer in describers], axis=1, out=raw[part])
    return raw


def raw_widths(config: FeatureConfig) -> list[int]:
    """How many raw features each of the descriptors gives."""
    if config.kind == "embedding":
        return [WIDTHS[config.backbone]]
    none = np.empty((0, SIDE, SIDE), dtype=np.uint8)
    return [DESCRIBERS[name](config, none).shape[1] for name in config.descriptors]


def raw_width(config: FeatureConfig) -> int:
    """How many raw features `describe` gives."""
    return sum(raw_widths(config))


def pixels(config: FeatureConfig, images: Images) -> NDArray[np.float32]:
    """Gray values, row by row; see `describe`."""
    return np.multiply(images.reshape(len(images), SIDE * SIDE), np.float32(1 / 255), dtype=np.float32)


def hog(config: FeatureConfig, images: Images) -> NDArray[np.float32]:
    """Histograms of oriented gradients; see `describe`.

    As in Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection" (CVPR 2005): blocks of 2 x 2 cells,
    one cell apart, each normalized (L2-Hys). An orientation is 20 degrees wide, signed or not.
    """
    cell, signed = config.hog_cell, config.hog_signed
    descriptor = cv2.HOGDescriptor(
        (SIDE, SIDE),
        (2 * cell, 2 * cell),
        (cell, cell),
        (cell, cell),
        ORIENTATIONS * (2 if signed else 1),
        _signedGradient=signed,
    )
    raw = np.empty((len(images), descriptor.getDescriptorSize()), dtype=np.float32)
    for row, image in zip(raw, images, strict=True):
        row[:] = descriptor.compute(image)
    return raw


def uniform_bins() -> NDArray[np.uint8]:
    """The bin of each local binary pattern, uint8, (256,).

    A pattern that changes at most twice around the ring is uniform and has a bin of its own, 0..57; others share 58.
    """
    patterns = np.arange(256, dtype=np.uint8)
    turned = (patterns >> 1) | (patterns << 7)
    uniform = np.bitwise_count(patterns ^ turned) <= 2
    return np.where(uniform, np.cumsum(uniform) - 1, uniform.sum()).astype(np.uint8)


UNIFORM_BINS = uniform_bins()
BINS = int(UNIFORM_BINS.max()) + 1


def lbp(config: FeatureConfig, images: Images) -> NDArray[np.float32]:
    """Histograms of uniform local binary patterns in square cells; see `describe`.

    Patterns as in Ojala, Pietikäinen and Mäenpää, "Multiresolution Gray-Scale and Rotation Invariant Texture
    Classification with Local Binary Patterns" (PAMI 2002), of the eight pixels around each; beyond the edge, pixels
    repeat. Histograms in cells as in Ahonen, Hadid and Pietikäinen, "Face Description with Local Binary Patterns"
    (PAMI 2006); of each share the square root is taken, under which a distance is Hellinger's.
    """
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    patterns = np.zeros(images.shape, dtype=np.uint8)
    for bit, (down, right) in enumerate(RING):
        neighbour = padded[:, 1 + down : 1 + down + SIDE, 1 + right : 1 + right + SIDE]
        patterns |= (neighbour >= images).view(np.uint8) << bit
    cell = config.lbp_cell
    across = SIDE // cell
    place = np.arange(SIDE) // cell
    histogram = np.arange(len(images))[:, None, None] * across**2 + place[:, None] * across + place
    width = across**2 * BINS
    counts = np.bincount((histogram * BINS + UNIFORM_BINS[patterns]).ravel(), minlength=len(images) * width)
    return np.sqrt(counts.reshape(len(images), width) / np.float32(cell**2), dtype=np.float32)


def clahe(images: Images) -> Images:
    """The images, (n, 48, 48), after contrast-limited adaptive histogram equalization (Zuiderveld, 1994)."""
    equalizer = cv2.createCLAHE(CLIP_LIMIT, CLAHE_TILES)
    equalized = np.empty_like(images)
    for row, image in zip(equalized, images, strict=True):
        equalizer.apply(image, row)
    return equalized


def standardize(images: Images) -> Images:
    """The images, (n, 48, 48), each brought to one mean and standard deviation; what lies outside 0..255 is clipped."""
    pixels = images.astype(np.float32)
    centred = pixels - pixels.mean(axis=(1, 2), keepdims=True)
    std = np.sqrt(np.square(centred).mean(axis=(1, 2), keepdims=True))
    # An image that does not vary stays flat.
    scaled = centred * (STANDARD_STD / np.maximum(std, 1.0)) + STANDARD_MEAN
    standardized: Images = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return standardized


DESCRIBERS: dict[str, Callable[[FeatureConfig, Images], NDArray[np.float32]]] = {
    "pixels": pixels,
    "hog": hog,
    "lbp": lbp,
}
CONTRASTS: dict[str, Callable[[Images], Images]] = {
    "none": lambda images: images,
    "clahe": clahe,
    "standardize": standardize,
}
