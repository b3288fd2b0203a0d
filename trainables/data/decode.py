"""From the bytes of an image file to a face."""

from typing import Any

import cv2
import numpy as np

from spaces.errors import InputError
from trainables.data.faceset import SIDE, Images


def decode_face(data: Any) -> Images:
    """The face in the bytes of an image file (PNG, JPEG, BMP, WebP, TIFF ...).

    Args:
        data: The bytes; an image of any size and mode, which is converted to gray and resized (area interpolation).

    Returns:
        uint8, (48, 48).

    Raises:
        InputError: If `data` is not bytes or not a whole image.
    """
    if not isinstance(data, bytes):
        raise InputError(f"an image is given by the bytes of an image file, received {type(data).__name__}")
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if data else None
    if image is None:
        raise InputError(f"not a readable image ({len(data):,} bytes)")
    if image.shape != (SIDE, SIDE):
        image = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(image, np.uint8)
