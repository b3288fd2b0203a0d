"""Where pictures come from: files, folders, the frames of videos, and a camera."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from spaces.errors import InputError
from trainables.data.decode import decode_gray
from trainables.data.faceset import Images

IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm")
ALLOWED = f"pictures ({', '.join(IMAGES)}) and videos ({', '.join(VIDEOS)})"
# A camera or video that does not say how fast it is.
FRAMES_A_SECOND = 25.0

Color: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: The path it was read from, or the name of the camera.
        gray: uint8, (h, w).
        color: Gives it as uint8, (h, w, 3), blue, green, red.
        second: When it was taken, from the beginning of the video or of watching; None for an image file.
    """

    name: str
    gray: Images
    color: Callable[[], Color]
    second: float | None = None


def pictures_at(paths: Sequence[Path], every: float, pass_over: Callable[[InputError], Any]) -> Iterator[Picture]:
    """The pictures at `paths`, read one after another.

    Args:
        paths: Image files, videos, and folders, which stand for the image files under them, sorted.
        every: Of a video, one frame in so many seconds is taken; 0 for every frame.
        pass_over: Told of each file that cannot be read; the others are read all the same.

    Raises:
        InputError: If a folder holds no image.
    """
    for path in _listed(paths):
        try:
            if path.suffix.lower() in VIDEOS:
                yield from _frames(path, every)
            else:
                data = _bytes_of(path)
                yield Picture(str(path), _decoded(path, data), lambda data=data: _color(data))  # type: ignore[misc]
        except InputError as error:
            pass_over(error)


def camera(number: int, every: float, seconds: float | None) -> Iterator[Picture]:
    """What camera `number` of this machine sees, one picture in `every` seconds, until interrupted.

    Args:
        number: As OpenCV counts them, from 0.
        every: Seconds from one picture to the next; 0 for as many as it gives.
        seconds: When to end; None for never.

    Raises:
        InputError: If there is no such camera, or it stops.
    """
    name = f"camera {number}"
    with _opened(number, f"{name}: cannot be opened; cameras are counted from 0") as capture:
        began, due = time.monotonic(), 0.0
        while seconds is None or time.monotonic() - began < seconds:
            if not capture.grab():
                raise InputError(f"{name}: gives no picture")
            second = time.monotonic() - began
            if second >= due:
                due = second + every
                yield _frame(name, capture, second)


def _frames(path: Path, every: float) -> Iterator[Picture]:
    with _opened(str(path), f"{path}: not a video that OpenCV can read; allowed are {', '.join(VIDEOS)}") as capture:
        rate = capture.get(cv2.CAP_PROP_FPS)
        rate = rate if 0 < rate < 1000 else FRAMES_A_SECOND
        number, due = 0, 0.0
        while capture.grab():
            second = number / rate
            if second >= due - 1e-9:
                due += every
                yield _frame(str(path), capture, second)
            number += 1
        if number == 0:
            raise InputError(f"{path}: no frame of this video can be read")


def _frame(name: str, capture: Any, second: float) -> Picture:
    read, color = capture.retrieve()
    if not read:
        raise InputError(f"{name}: the frame at {second:.2f} s cannot be read")
    return Picture(name, np.asarray(cv2.cvtColor(color, cv2.COLOR_BGR2GRAY), np.uint8), lambda: color, second)


@contextmanager
def _opened(source: int | str, complaint: str) -> Iterator[Any]:
    if isinstance(source, str) and not Path(source).is_file():
        raise InputError(f"{source}: no such file")
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(
        cv2.utils.logging.LOG_LEVEL_SILENT
    )  # what it says of a source that it cannot open is told in one sentence
    capture = cv2.VideoCapture(source)
    cv2.utils.logging.setLogLevel(before)
    try:
        if not capture.isOpened():
            raise InputError(complaint)
        yield capture
    finally:
        capture.release()


def _listed(paths: Sequence[Path]) -> list[Path]:
    images: list[Path] = []
    for path in paths:
        if not path.is_dir():
            images.append(path)
            continue
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGES and file.is_file())
        if not inside:
            raise InputError(f"{path}: no image in this folder; read are files named {', '.join(IMAGES)}")
        images += inside
    return images


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def _decoded(path: Path, data: bytes) -> Images:
    try:
        return decode_gray(data)
    except InputError as error:
        raise InputError(f"{path}: not an image that can be read; allowed are {ALLOWED}") from error


def _color(data: bytes) -> Color:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)
