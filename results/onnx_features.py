"""Features of faces as ONNX operators: what `trainables.features` computes, for programs without Python.

Each function adds nodes to a graph and returns the value they give. Constants are those of the descriptors and of
OpenCV, whose HOG and CLAHE are written out here step by step; `tests/test_results_onnx.py` holds every config to the
original.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import spox.opset.ai.onnx.v20 as op
from numpy.typing import NDArray
from spox import Var

from spaces.features import FeatureConfig
from trainables.data.faceset import SIDE
from trainables.descriptors import (
    BINS,
    CLAHE_TILES,
    CLIP_LIMIT,
    ORIENTATIONS,
    RING,
    STANDARD_MEAN,
    STANDARD_STD,
    UNIFORM_BINS,
)
from trainables.features import Features

GRAYS = 256
# The polynomial by which OpenCV takes an arc tangent, in degrees (`fastAtan2`; it is off by up to 0.01 degrees).
ATAN = tuple(np.float32(factor * 180 / np.pi) for factor in (0.9997878412794807, -0.3258083974640975))
ATAN += tuple(np.float32(factor * 180 / np.pi) for factor in (0.1555786518463281, -0.04432655554792128))
# OpenCV's clipping of a HOG block after its first normalization, and what keeps its two from dividing by zero.
HYSTERESIS, FIRST_FLOOR, SECOND_FLOOR = 0.2, 0.1, 1e-3

Steps: TypeAlias = Sequence[int]


def floats(values: Any) -> Var:
    """A constant of float32."""
    return op.const(np.asarray(values, np.float32))


def whole(values: Any) -> Var:
    """A constant of int64, as shapes and indices are given."""
    return op.const(np.asarray(values, np.int64))


def vectors(features: Features, faces: Var) -> Var:
    """What `Features.transform` gives, float32, (n, d), of faces, uint8, (n, 48, 48); not for embeddings."""
    config = features.config
    images = CONTRASTS[config.contrast](op.cast(faces, to=np.float32))
    described = [DESCRIBERS[name](config, images) for name in config.descriptors]
    return standardized(features, op.concat(described, axis=1) if len(described) > 1 else described[0])


def standardized(features: Features, raw: Var) -> Var:
    """What `Features.apply` gives, float32, (n, d), of raw features, (n, r)."""
    scaled = op.mul(op.sub(raw, floats(features.mean)), floats(features.factor))
    return scaled if features.axes is None else op.matmul(scaled, floats(features.axes.T))


def pixels(_: FeatureConfig, images: Var) -> Var:
    """The gray levels in 0..1, (n, 2304)."""
    return op.mul(_flat(images), floats(np.float32(1 / 255)))


def lbp(config: FeatureConfig, images: Var) -> Var:
    """Histograms of uniform local binary patterns, (n, cells * 59); see `descriptors.lbp`."""
    padded = op.pad(images, whole([0, 1, 1, 0, 1, 1]), mode="edge")
    pattern = floats(0)
    for bit, (down, right) in enumerate(RING):
        brighter = op.greater_or_equal(_window(padded, 1 + down, 1 + right), images)
        pattern = op.add(pattern, op.mul(op.cast(brighter, to=np.float32), floats(1 << bit)))
    bins = op.gather(whole(UNIFORM_BINS), op.cast(pattern, to=np.int64))
    cell = config.lbp_cell
    counts = _histograms(bins, _cells(cell), (SIDE // cell) ** 2, BINS)
    return op.sqrt(op.div(counts, floats(cell**2)))


def hog(config: FeatureConfig, images: Var) -> Var:
    """Histograms of oriented gradients, (n, blocks * 4 * orientations); see `descriptors.hog`.

    A pixel votes for the two orientations next to its gradient's, and each block adds up the votes with fixed weights
    (a bell over the block, times how near the pixel is to each of the four cells): that is a convolution.
    """
    cell, bins = config.hog_cell, ORIENTATIONS * (2 if config.hog_signed else 1)
    length, orientation = _gradients(images, bins / (2 * np.pi if config.hog_signed else np.pi))
    below = op.floor(orientation)
    share = op.sub(orientation, below)
    votes = op.add(
        op.mul(_is_bin(below, bins), op.mul(length, op.sub(floats(1), share))),
        op.mul(_is_bin(op.add(below, floats(1)), bins), op.mul(length, share)),
    )
    blocks = (SIDE - 2 * cell) // cell + 1
    cells = op.conv(op.reshape(votes, whole([-1, 1, SIDE, SIDE])), floats(_block_weights(cell)), strides=(cell, cell))
    by_bin = op.reshape(cells, whole([-1, bins, 4, blocks, blocks]))
    # OpenCV goes through blocks, and through the cells of one, column by column.
    histograms = op.reshape(op.transpose(by_bin, perm=(0, 4, 3, 2, 1)), whole([-1, blocks**2, 4 * bins]))
    clipped = op.min([_shortened(histograms, 4 * bins * FIRST_FLOOR), floats(HYSTERESIS)])
    return _flat(_shortened(clipped, SECOND_FLOOR))


def _gradients(images: Var, bins_a_radian: float) -> tuple[Var, Var]:
    """Lengths and orientations of the gradients, (n, 1, 48, 48); orientations in bins."""
    padded = op.pad(images, whole([0, 1, 1, 0, 1, 1]), mode="reflect")
    across = op.sub(_window(padded, 1, 2), _window(padded, 1, 0))
    down = op.sub(_window(padded, 2, 1), _window(padded, 0, 1))
    length = op.sqrt(op.add(op.mul(across, across), op.mul(down, down)))
    width, height = op.abs(across), op.abs(down)
    tangent = op.div(op.min([width, height]), op.add(op.max([width, height]), floats(np.finfo(np.float64).eps)))
    square = op.mul(tangent, tangent)
    series = floats(ATAN[3])
    for factor in ATAN[2::-1]:
        series = op.add(op.mul(series, square), floats(factor))
    degrees = op.mul(series, tangent)
    degrees = op.where(op.less(width, height), op.sub(floats(90), degrees), degrees)
    degrees = op.where(op.less(across, floats(0)), op.sub(floats(180), degrees), degrees)
    degrees = op.where(op.less(down, floats(0)), op.sub(floats(360), degrees), degrees)
    radians = op.mul(degrees, floats(np.pi / 180))
    orientation = op.sub(op.mul(radians, floats(bins_a_radian)), floats(0.5))
    return op.unsqueeze(length, whole([1])), op.unsqueeze(orientation, whole([1]))


def _is_bin(orientation: Var, bins: int) -> Var:
    """Which of `bins` each whole `orientation` is, float32, (n, bins, 48, 48); they go round."""
    turned = op.sub(orientation, op.mul(op.floor(op.div(orientation, floats(bins))), floats(bins)))
    return op.cast(op.equal(turned, floats(np.arange(bins).reshape(1, bins, 1, 1))), to=np.float32)


def _block_weights(cell: int) -> NDArray[np.float32]:
    """How much a pixel of a block counts in each of its cells, (4, 1, 2 cell, 2 cell); cells column by column."""
    place = np.arange(2 * cell)
    bell = np.exp(-((place - cell) ** 2) / (2 * (cell / 2) ** 2))
    near = np.maximum(0, 1 - np.abs((place + 0.5) / cell - 0.5 - np.arange(2)[:, None]))
    weights = near[None, :, :, None] * near[:, None, None, :] * (bell[:, None] * bell)
    return np.asarray(weights, np.float32).reshape(4, 1, 2 * cell, 2 * cell)


def _shortened(histograms: Var, floor: float) -> Var:
    """Histograms, (n, blocks, d), each divided by its length and `floor`."""
    squares = op.reduce_sum(op.mul(histograms, histograms), whole([2]))
    return op.div(histograms, op.add(op.sqrt(squares), floats(floor)))


def clahe(images: Var) -> Var:
    """Gray levels, (n, 48, 48), equalized as `descriptors.clahe` has OpenCV do it."""
    across, down = CLAHE_TILES
    width, height = SIDE // across, SIDE // down
    levels = op.cast(images, to=np.int64)
    tile = (np.arange(SIDE) // height)[:, None] * across + np.arange(SIDE) // width
    counts = op.reshape(_histograms(levels, tile, across * down, GRAYS), whole([-1, across * down, GRAYS]))
    curves = _flat(_tone_curves(counts, width * height))
    (top, bottom, below), (left, right, beside) = _between(height, down), _between(width, across)
    corners = [
        _looked_up(curves, levels, rows[:, None] * across + columns)
        for rows in (top, bottom)
        for columns in (left, right)
    ]
    above, under = (
        op.add(op.mul(first, floats(1 - beside)), op.mul(second, floats(beside)))
        for first, second in (corners[:2], corners[2:])
    )
    mixed = op.add(op.mul(above, floats(1 - below[:, None])), op.mul(under, floats(below[:, None])))
    return op.clip(op.round(mixed), floats(0), floats(255))


def _tone_curves(counts: Var, pixels_a_tile: int) -> Var:
    """The new gray level of each gray level in each tile, (n, tiles, 256), from their counts."""
    limit = floats(max(int(CLIP_LIMIT * pixels_a_tile / GRAYS), 1))
    kept = op.min([counts, limit])
    cut = op.reduce_sum(op.sub(counts, kept), whole([2]))
    # What is cut off is spread evenly, and its rest over gray levels at equal distances.
    each = op.floor(op.div(cut, floats(GRAYS)))
    rest = op.sub(cut, op.mul(each, floats(GRAYS)))
    step = op.max([op.floor(op.div(floats(GRAYS), op.max([rest, floats(1)]))), floats(1)])
    gray = floats(np.arange(GRAYS))
    turn = op.floor(op.div(gray, step))
    chosen = op.and_(op.equal(op.mul(turn, step), gray), op.less(turn, rest))
    spread = op.add(op.add(kept, each), op.cast(chosen, to=np.float32))
    total = op.cumsum(spread, whole(2))
    return op.clip(op.round(op.mul(total, floats(np.float32(GRAYS - 1) / pixels_a_tile))), floats(0), floats(GRAYS - 1))


def _between(size: int, tiles: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """For each pixel along a side: the tiles before and after it, by their middles, and its nearness to the latter."""
    place = np.arange(SIDE, dtype=np.float32) * np.float32(1 / size) - np.float32(0.5)
    before = np.floor(place)
    tile = before.astype(np.int64)
    return tile.clip(0), (tile + 1).clip(max=tiles - 1), place - before


def _looked_up(curves: Var, levels: Var, tile: NDArray[np.int64]) -> Var:
    """The new gray levels, (n, 48, 48), by the curve of the tile that each pixel is given."""
    places = op.add(_flat(levels), whole(tile.reshape(1, -1) * GRAYS))
    return op.reshape(op.gather_elements(curves, places, axis=1), whole([-1, SIDE, SIDE]))


def standardize(images: Var) -> Var:
    """Gray levels, (n, 48, 48), brought to one mean and deviation; see `descriptors.standardize`."""
    centred = op.sub(images, op.reduce_mean(images, whole([1, 2])))
    deviation = op.sqrt(op.reduce_mean(op.mul(centred, centred), whole([1, 2])))
    factor = op.div(floats(STANDARD_STD), op.max([deviation, floats(1)]))
    return op.clip(op.round(op.add(op.mul(centred, factor), floats(STANDARD_MEAN))), floats(0), floats(255))


def _histograms(bins: Var, place: NDArray[np.int64], places: int, count: int) -> Var:
    """How often each bin occurs at each place, float32, (n, places * count).

    Args:
        bins: int64, (n, 48, 48), 0 .. count - 1.
        place: (48, 48), 0 .. places - 1.
        places: Number of histograms in an image.
        count: Number of bins in a histogram.
    """
    target = op.add(_flat(bins), whole(place.reshape(1, -1) * count))
    n = op.shape(target, end=1)
    empty = op.constant_of_shape(op.concat([n, whole([places * count])], axis=0), value=np.zeros(1, np.float32))
    ones = op.constant_of_shape(op.shape(target), value=np.ones(1, np.float32))
    return op.scatter_elements(empty, target, ones, axis=1, reduction="add")


def _cells(cell: int) -> NDArray[np.int64]:
    place = np.arange(SIDE) // cell
    return place[:, None] * (SIDE // cell) + place


def _window(padded: Var, top: int, left: int) -> Var:
    """The 48 x 48 pixels of images, (n, 50, 50), from row `top` and column `left` on."""
    return op.slice(padded, whole([top, left]), whole([top + SIDE, left + SIDE]), whole([1, 2]))


def _flat(values: Var) -> Var:
    return op.flatten(values, axis=1)


DESCRIBERS: dict[str, Callable[[FeatureConfig, Var], Var]] = {"pixels": pixels, "hog": hog, "lbp": lbp}
CONTRASTS: dict[str, Callable[[Var], Var]] = {
    "none": lambda images: images,
    "clahe": clahe,
    "standardize": standardize,
}
