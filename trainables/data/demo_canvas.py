"""The canvas of the built-in faces: flat shapes on an ellipsoidal head, three times the output size."""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from trainables.data.demo_face import Pose
from trainables.data.faceset import SIDE, Images

Points: TypeAlias = NDArray[np.float64]
_OVERSAMPLING = 3
_SHIFT = 4  # cv2 takes coordinates in 1/16 of a pixel
# The features lie on an ellipsoid with half axes of 0.95, 1.3 and 0.72 face units.
_CURVED, _DEPTH = np.array((0.95, 1.3)) ** -2, 0.72

_T = np.linspace(0, 1, 9)
_ARC = np.stack(((1 - _T) * (1 - 2 * _T), 4 * _T * (1 - _T), _T * (2 * _T - 1)), axis=1)
_TURN = np.linspace(0, 2 * np.pi, 25)[:-1]
CIRCLE = np.stack((np.cos(_TURN), np.sin(_TURN)), axis=1)
_SIDES = np.array((((1, 1),), ((-1, 1),)))


def arc(start: Sequence[float], middle: Sequence[float], end: Sequence[float]) -> Points:
    """The parabola through three points, (9, 2)."""
    curve: Points = _ARC @ np.array((start, middle, end))
    return curve


def ring(x: float, y: float, rx: float, ry: float) -> Points:
    """An ellipse, (24, 2)."""
    return moved(CIRCLE * (rx, ry), x, y)


def between(upper: Points, lower: Points) -> Points:
    """The outline of the area between two curves that run the same way."""
    return np.concatenate((upper, lower[::-1]))


def moved(points: Points, x: float, y: float) -> Points:
    """`points`, shifted."""
    shifted: Points = points + np.array((x, y))
    return shifted


def both(right: Points) -> Points:
    """A shape on the right half of the face and its mirror image, (2, n, 2)."""
    mirrored: Points = right * _SIDES
    return mirrored


class _Shape(NamedTuple):
    points: Points
    shade: float
    width: float  # of a line, face units; 0 for a filled area
    lift: float
    outlining: int  # how many points, from the first on, lie on the outline of the head and not on the face


class Canvas:
    """A gray picture and the camera that looks at the head.

    Shapes are collected, so that all of them are placed in the picture at once, and painted in their order. Points are
    (n, 2) in face units, or (k, n, 2) for k shapes of one kind; shades are gray values. Both may run over the edge of
    what can be shown.

    Attributes:
        pixels: uint8, (144, 144), what has been painted so far.
    """

    def __init__(self, pose: Pose, background: float) -> None:
        self.pixels: Images = np.full((SIDE * _OVERSAMPLING,) * 2, int(background), np.uint8)
        self._shapes: list[_Shape] = []
        self._pose = pose

    def fill(self, points: Points, shade: float, lift: float = 0.0) -> None:
        """Fill an area that lies on the face, or `lift` face units above it."""
        self._shapes.append(_Shape(points, shade, 0.0, lift, 0))

    def line(self, points: Points, shade: float, width: float, lift: float = 0.0) -> None:
        """Draw a line of `width` face units on the face, or `lift` face units above it."""
        self._shapes.append(_Shape(points, shade, width, lift, 0))

    def silhouette(self, points: Points, shade: float) -> None:
        """Fill an outline of the head, which keeps its width as the head turns while the chin swings with the face."""
        self._shapes.append(_Shape(points, shade, 0.0, 0.0, points.size // 2))

    def cap(self, outline: Points, edge: Points, shade: float) -> None:
        """Fill the area between part of an outline of the head and an edge that lies on the face."""
        self._shapes.append(_Shape(np.concatenate((outline, edge)), shade, 0.0, 0.04, len(outline)))

    def soften(self, sigma: float) -> None:
        """Paint and then blur all so far, `sigma` in pixels of this canvas."""
        self.paint()
        self.pixels = np.asarray(cv2.GaussianBlur(self.pixels, (0, 0), sigma), np.uint8)

    def paint(self) -> None:
        """Paint the shapes collected so far."""
        placed, start = self._place(), 0
        unit = self._pose.scale * _OVERSAMPLING
        shades = np.clip([shape.shade for shape in self._shapes], 0, 255).astype(int).tolist()
        for (points, _, width, _, _), shade in zip(self._shapes, shades, strict=True):
            end = start + points.size // 2
            several = placed[start:end].reshape(-1, *points.shape[-2:])
            if width:
                thickness = max(1, round(width * unit))
                cv2.polylines(self.pixels, [*several], False, shade, thickness, cv2.LINE_8, _SHIFT)
            else:
                cv2.fillPoly(self.pixels, [*several], shade, cv2.LINE_8, _SHIFT)
            start = end
        self._shapes.clear()

    def _place(self) -> NDArray[np.int32]:
        """The points of all shapes, one after another, in the picture: x and y in units of 1 / 2**_SHIFT pixel."""
        points = np.concatenate([shape.points.reshape(-1, 2) for shape in self._shapes])
        counts = np.array([(shape.outlining, shape.points.size // 2 - shape.outlining) for shape in self._shapes])
        outlining = np.repeat(np.tile((True, False), len(counts)), counts.ravel())
        lift = np.repeat([shape.lift for shape in self._shapes], counts.sum(axis=1))
        height = np.sqrt(np.maximum(1 - (points * points) @ _CURVED, 0.0))
        z = np.where(outlining, 0.35 * np.maximum(points[:, 1], 0.0), _DEPTH * height + lift)
        points[:, 0] /= np.where(outlining, np.cos(self._pose.yaw), 1.0)
        seen = np.column_stack((points, z)) @ self._pose.rotation.T
        near = self._pose.scale * (1 + 0.12 * seen[:, 2:])
        pixels = _OVERSAMPLING * (seen[:, :2] * near + self._pose.centre)
        placed: NDArray[np.int32] = np.rint(pixels * 2**_SHIFT).astype(np.int32)
        return placed
