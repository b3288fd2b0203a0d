"""From the bytes of an image file to a face."""

from typing import Any

import cv2
import numpy as np

from spaces.errors import InputError
from trainables.data.faceset import SIDE, Images


def decode_gray(data: Any) -> Images:
    """The picture in the bytes of an image file (PNG, JPEG, BMP, WebP, TIFF ...).

    Args:
        data: The bytes; an image of any size and mode, which is converted to gray.

    Returns:
        uint8, (h, w).

    Raises:
        InputError: If `data` is not bytes or not a whole image.
    """
    if not isinstance(data, bytes):
        raise InputError(f"an image is given by the bytes of an image file, received {type(data).__name__}")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) if data else None
    except cv2.error as error:
        raise InputError(f"not a readable image ({len(data):,} bytes; {error.err})") from error
    if image is None:
        raise InputError(f"not a readable image ({len(data):,} bytes)")
    return np.asarray(image, np.uint8)


def whole_face(gray: Images) -> Images:
    """The whole picture, (h, w), as a face: uint8, (48, 48), resized by area interpolation."""
    if gray.shape == (SIDE, SIDE):
        return gray
    return np.asarray(cv2.resize(gray, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
