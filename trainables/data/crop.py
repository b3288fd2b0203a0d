"""The face in a picture: where it is, and the picture cropped to it. Reading and `fertune predict` share this code."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from cv2.data import haarcascades
from numpy.typing import NDArray

from spaces.errors import InputError
from trainables.data.decode import whole_face
from trainables.data.faceset import Images
from trainables.data.spec import CropSpec

CASCADE = Path(haarcascades) / "haarcascade_frontalface_default.xml"
SMALL = 64
"""A picture no larger than this on either side (pixels) is a face that was cropped before, as those of FER2013 are."""
ENLARGEMENT, BORDER = 4, 0.25
"""A small picture is enlarged this much before it is searched, with this share of its shorter side mirrored around it:
of the 28,709 training faces of FER2013 76 % are found so; of the first 150 75 %, without the mirrored border 63 %."""
SMALLEST_OF_SMALL = 0.6
"""Faces smaller than this share of a small picture's shorter side are not looked for. At 0.4 a further 2 % of the 150
were found, but the middles of the boxes scattered by 4.0 pixels instead of 2.6: eyes and mouths pass for faces."""
SMALLEST = 0.1
"""The same share for other pictures."""
SMALLEST_SIDE = 24
"""The side of the cascade's window, pixels: it finds nothing smaller."""
NEIGHBORS = 3
"""Overlapping detections the cascade asks for. Of 800 FER2013 faces enlarged into a picture with a background, 72 %
were found and 5 to 6 % were mistaken; asking for 5 found 68.5 % and mistook 4 to 6 %."""
YUNET_SIDE = 640
"""A picture is shrunk to this many pixels along its longer side before YuNet searches it."""

Box: TypeAlias = tuple[int, int, int, int]
_FloatBox: TypeAlias = tuple[float, float, float, float]
_Detect: TypeAlias = Callable[[NDArray[Any], int], list[_FloatBox]]


class FaceDetector:
    """Finds the faces of a picture, the same ones in every process and with any number of threads.

    Attributes:
        margin: What to pass to `crop` with its boxes.

    `haar` is the cascade of Viola and Jones (CVPR 2001) that comes with OpenCV. `yunet` is the network of Wu, Peng and
    Yu (Machine Intelligence Research, 2023), whose file the user brings. It is given gray pictures as the cascade is.
    How many faces it finds and which margin suits its boxes has not been measured here, and between kinds of
    processor its boxes may differ by a pixel.
    """

    def __init__(self, spec: CropSpec) -> None:
        """Read the detector.

        Raises:
            InputError: If YuNet's file is missing or is not YuNet.
        """
        self.margin = spec.margin
        self._detect = _haar() if spec.detector == "haar" else _yunet(detector_file(spec))

    def find(self, gray: Images) -> Box | None:
        """The largest face, the first of `find_all`, None if there is none."""
        return next(iter(self.find_all(gray)), None)

    def find_all(self, gray: Images) -> list[Box]:
        """All faces, the largest first.

        Args:
            gray: uint8, (h, w).

        Returns:
            x, y, width and height of each in pixels of `gray`; in a small picture a box may reach past its edges.
        """
        small = max(gray.shape) <= SMALL
        scale, border, share = 1, 0, SMALLEST
        picture: NDArray[Any] = gray
        if small:
            scale, border, share = ENLARGEMENT, round(BORDER * min(gray.shape)), SMALLEST_OF_SMALL
            picture = cv2.copyMakeBorder(gray, border, border, border, border, cv2.BORDER_REFLECT_101)
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        smallest = max(SMALLEST_SIDE, round(share * scale * min(gray.shape)))
        with _one_thread():
            found = self._detect(picture, smallest)
        found.sort(key=lambda box: (box[2] * box[3], box), reverse=True)
        return [
            (round(x / scale) - border, round(y / scale) - border, round(width / scale), round(height / scale))
            for x, y, width, height in found
        ]


def crop(gray: Images, face: Box | None, margin: float) -> Images:
    """The square around `face` with its margin, moved or shrunk into the picture, or else the whole picture.

    Args:
        gray: uint8, (h, w).
        face: What `FaceDetector.find` returned.
        margin: Added on each side of the box (cut off, if negative), as a share of its longer side.

    Returns:
        uint8, (48, 48).
    """
    if face is None:
        return whole_face(gray)
    x, y, width, height = face
    side = min(round(max(width, height) * (1 + 2 * margin)), *gray.shape)
    top = min(max(y + (height - side) // 2, 0), gray.shape[0] - side)
    left = min(max(x + (width - side) // 2, 0), gray.shape[1] - side)
    return whole_face(gray[top : top + side, left : left + side])


def detector_file(spec: CropSpec) -> Path:
    """The file of the detector that `spec` names.

    Raises:
        InputError: If there is none.
    """
    path = CASCADE if spec.model is None else Path(spec.model).expanduser()
    if not path.is_file():
        raise InputError(f"{path}: no such file; `crop.model` is the path of YuNet's .onnx file")
    return path


def crop_traits(spec: CropSpec) -> tuple[str, str, str, float]:
    """What crops depend on besides the pictures and this code: the detector, its file's hash, OpenCV, the margin.

    Raises:
        InputError: If the detector's file is missing.
    """
    content = blake2b(detector_file(spec).read_bytes(), digest_size=12).hexdigest()
    return spec.detector, content, cv2.__version__, spec.margin


def _haar() -> _Detect:
    cascade = cv2.CascadeClassifier(str(CASCADE))

    def detect(picture: NDArray[Any], smallest: int) -> list[_FloatBox]:
        found = cascade.detectMultiScale(picture, scaleFactor=1.1, minNeighbors=NEIGHBORS, minSize=(smallest, smallest))
        return [(x, y, width, height) for x, y, width, height in found]

    return detect


def _yunet(path: Path) -> _Detect:
    def detect(picture: NDArray[Any], smallest: int) -> list[_FloatBox]:
        shrink = min(1.0, YUNET_SIDE / max(picture.shape))
        searched = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
        searched = cv2.resize(searched, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        network.setInputSize((searched.shape[1], searched.shape[0]))
        _, found = network.detect(searched)
        boxes = [] if found is None else (found[:, :4].astype(float) / shrink).tolist()
        return [(x, y, width, height) for x, y, width, height in boxes if max(width, height) >= smallest]

    try:
        network = cv2.FaceDetectorYN.create(str(path), "", (YUNET_SIDE, YUNET_SIDE))
        network.detect(np.zeros((YUNET_SIDE, YUNET_SIDE, 3), np.uint8))  # another network fails only when it is used
    except cv2.error as error:
        raise InputError(f"{path}: not YuNet as an ONNX model that OpenCV reads ({error.err})") from error
    return detect


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let OpenCV use one thread: with more, the cascade gives its boxes in an order that varies."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
