"""Built-in faces: drawn by the program, so that everything runs with nothing downloaded.

A face is drawn from its parameters (`demo_face`: identity, expression, pose) on a canvas of three times the output
size (`demo_draw`, `demo_canvas`) and then photographed: lit, blurred, made noisy and compressed (here).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from spaces.errors import InputError
from trainables.data.demo_canvas import Canvas
from trainables.data.demo_draw import draw_features, draw_head, draw_props
from trainables.data.demo_face import Pose, Rng, draw_expression, draw_person, draw_pose
from trainables.data.faceset import EMOTIONS, SIDE, TEST, TRAIN, FaceSet, Images

# Faces of each emotion among any 50 in a row, in the order of `EMOTIONS`.
_OF_FIFTY = (7, 2, 4, 14, 7, 4, 12)
_MISLABELLED = 0.01
_FACE = np.s_[8:44, 9:39]  # what the exposure is measured on
_ROWS, _COLUMNS = np.mgrid[0:SIDE, 0:SIDE] + 0.5


def draw_faces(images: int, seed: int = 0) -> FaceSet:
    """Draw `images` faces, 48 x 48.

    Face i depends on `seed` and i alone, so fewer faces are the first ones of more. Emotions are dealt out in turn
    (angry 14 %, disgust 4 %, fear 8 %, happy 28 %, sad 14 %, surprise 8 %, neutral 24 %); every fifth face of each is
    in the test split. One face in a hundred shows an emotion picked at random instead of its label, and more are
    ambiguous, so that no model is perfect.

    The random numbers come from streams that numpy keeps fixed from version to version. Faces are the same to the bit
    wherever OpenCV and numpy are the same; other versions or processors may round a few pixels differently.

    Args:
        images: How many faces, 1 or more.
        seed: 0 or more; another seed draws other people.

    Raises:
        InputError: If `images` or `seed` is too small.
    """
    if images < 1:
        raise InputError(f"demo draws 1 face or more; received {images}")
    if seed < 0:
        raise InputError(f"the seed of demo must be 0 or more; received {seed}")
    index = np.arange(images)
    # 13 has no factor in common with 50, so the steps visit each of 50 places once and mix the emotions.
    emotions = np.searchsorted(np.cumsum(_OF_FIFTY), index * 13 % 50, side="right").astype(np.int8)
    usage = np.where((index + index // 50) % 5 == 0, TEST, TRAIN).astype(np.int8)
    pixels = np.empty((images, SIDE, SIDE), np.uint8)
    for i, emotion in enumerate(emotions):
        pixels[i] = _draw_face(EMOTIONS[emotion], np.random.RandomState(np.random.PCG64((seed, i))))
    return FaceSet(pixels, emotions, usage, tuple(f"demo_{i:06d}.png" for i in index))


def _draw_face(emotion: str, rng: Rng) -> Images:
    if rng.random_sample() < _MISLABELLED:
        emotion = EMOTIONS[rng.randint(len(EMOTIONS))]
    person, pose = draw_person(rng), draw_pose(rng)
    face = draw_expression(emotion, rng)
    canvas = Canvas(pose, rng.uniform(0, 255))
    _draw_backdrop(canvas, rng)
    draw_head(canvas, person, face, rng)
    draw_features(canvas, person, face, rng)
    draw_props(canvas, person, rng)
    canvas.paint()
    small = cv2.resize(canvas.pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return _photograph((small * _light(pose, rng)).astype(np.float32), rng)


def _draw_backdrop(canvas: Canvas, rng: Rng) -> None:
    """Clutter behind the head: some blocks and blobs, out of focus once the head is softened."""
    side = canvas.pixels.shape[0]
    for _ in range(rng.randint(6)):
        x, y, across, down, shade = rng.randint(0, (side, side, side, side, 256)).tolist()
        if rng.random_sample() < 0.5:
            cv2.rectangle(canvas.pixels, (x, y), (x + across, y + down), shade, -1)
        else:
            cv2.circle(canvas.pixels, (x, y), across // 2, shade, -1)


def _light(pose: Pose, rng: Rng) -> NDArray[np.float64]:
    """Brightness, (48, 48), of a ball in place of the head under one lamp and light from all around."""
    x = (_COLUMNS - pose.centre[0]) / (1.05 * pose.scale)
    y = (_ROWS - pose.centre[1]) / (1.3 * pose.scale)
    z = np.sqrt(np.maximum(1 - x * x - y * y, 0.02))
    lamp = np.array((rng.normal(0, 0.7), rng.normal(-0.25, 0.45), 1.0))
    lamp /= np.sqrt(lamp @ lamp)
    facing = np.clip((lamp[0] * x + lamp[1] * y + lamp[2] * z) / np.sqrt(x * x + y * y + z * z), 0, 1)
    ambient = rng.uniform(0.3, 0.85)
    brightness: NDArray[np.float64] = rng.uniform(0.75, 1.25) * (ambient + (1.1 - ambient) * facing)
    return brightness


def _photograph(scene: NDArray[np.float32], rng: Rng) -> Images:
    """Exposure, blur, noise and compression of a cheap camera, uint8 (48, 48)."""
    image = cv2.GaussianBlur(scene, (0, 0), rng.uniform(0.3, 0.9))
    face = image[_FACE]
    image = (image - face.mean()) * (rng.uniform(24, 52) / face.std()) + rng.uniform(95, 160)
    image = image + rng.uniform(1, 5) * rng.standard_normal(image.shape)
    sharp: Images = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    if rng.random_sample() < 0.4:
        return sharp
    _, packed = cv2.imencode(".jpg", sharp, [cv2.IMWRITE_JPEG_QUALITY, int(rng.randint(30, 90))])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_GRAYSCALE), np.uint8)
