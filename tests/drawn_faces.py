"""Plain faces whose mouths tell the class, for tests of learners."""

import cv2
import numpy as np

from trainables.data.faceset import Faces


def drawn_faces(n: int, seed: int = 0, shares: tuple[float, float, float] = (1, 1, 1)) -> Faces:
    """Faces with mouths turned down (negative), flat (neutral) or up (positive), shifted, dimmed and noisy.

    The arrays are read-only, as memory-mapped data is; every class has its share to within one face.
    """
    generator = np.random.default_rng(seed)
    bounds = np.round(np.cumsum((0, *shares)) * n / sum(shares)).astype(int)
    labels = generator.permutation(np.repeat(np.arange(3, dtype=np.int8), np.diff(bounds)))
    images = np.stack([_draw(label, generator) for label in labels])
    images.flags.writeable = labels.flags.writeable = False
    return Faces(images, labels, labels, tuple(f"face_{row}" for row in range(n)))


def _draw(label: int, generator: np.random.Generator) -> np.ndarray:
    image = np.full((48, 48), 60, np.uint8)
    x, y = 24 + generator.integers(-2, 3), 24 + generator.integers(-2, 3)
    skin = int(generator.integers(120, 220))
    cv2.ellipse(image, (x, y), (16, 21), 0, 0, 360, skin, -1)
    for side in (-6, 6):
        cv2.circle(image, (x + side, y - 6), 2, 30, -1)
    curve = (-4, 0, 4)[label] + generator.normal(0, 0.7)
    across = np.arange(-8, 9)
    along = y + 11 + curve * (0.5 - (across / 8) ** 2)
    points = np.stack([x + across, along], axis=1).round().astype(np.int32)
    cv2.polylines(image, [points], isClosed=False, color=40, thickness=2)
    return (image + generator.normal(0, 12, image.shape)).clip(0, 255).astype(np.uint8)
