"""Small faces and the files that hold them, for the tests of the data package."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from trainables.data.demo import draw_faces
from trainables.data.faceset import EMOTIONS, SIDE, TEST, TRAIN, FaceSet

USAGE = {TRAIN: "Training", TEST: "PublicTest"}
SIDE_FOLDER = {TRAIN: "train", TEST: "test"}


def make_faces(per_emotion: int = 12, test_per_emotion: int = 4, seed: int = 0) -> FaceSet:
    """Distinct random images, ordered as a folder is: by split, emotion, name."""
    amounts = [
        (side, emotion, n) for side, n in ((TRAIN, per_emotion), (TEST, test_per_emotion)) for emotion in range(7)
    ]
    usage = np.repeat([side for side, _, _ in amounts], [n for _, _, n in amounts]).astype(np.int8)
    emotions = np.repeat([emotion for _, emotion, _ in amounts], [n for _, _, n in amounts]).astype(np.int8)
    images = np.random.default_rng(seed).integers(0, 256, (len(usage), SIDE, SIDE), dtype=np.uint8)
    return FaceSet(images, emotions, usage, tuple(f"face_{number:05}.png" for number in range(len(usage))))


def take(faces: FaceSet, rows: Sequence[int] | np.ndarray) -> FaceSet:
    rows = np.asarray(rows, int)
    names = tuple(faces.names[row] for row in rows)
    return FaceSet(faces.images[rows], faces.emotions[rows], faces.usage[rows], names)


def csv_row(image: np.ndarray, emotion: object = 3, usage: str = "Training") -> str:
    return f"{emotion},{' '.join(str(value) for value in image.ravel())},{usage}"


def write_csv(path: Path, faces: FaceSet) -> Path:
    rows = [csv_row(i, e, USAGE[u]) for i, e, u in zip(faces.images, faces.emotions, faces.usage, strict=True)]
    path.write_text("\n".join(["emotion,pixels,Usage", *rows]) + "\n")
    return path


def parquet_columns(faces: FaceSet) -> dict[str, list]:
    return {
        "name": list(faces.names),
        "usage": [USAGE[side] for side in faces.usage.tolist()],
        "emotion": faces.emotions.tolist(),
        "pixels": [cv2.imencode(".png", image)[1].tobytes() for image in faces.images],
    }


def write_parquet(path: Path, faces: FaceSet) -> Path:
    import pandas as pd  # not at the top: processes started by a test import this file too

    pd.DataFrame(parquet_columns(faces)).to_parquet(path)
    return path


def write_folder(path: Path, faces: FaceSet) -> Path:
    for image, emotion, side, name in zip(faces.images, faces.emotions, faces.usage, faces.names, strict=True):
        folder = path / SIDE_FOLDER[side] / EMOTIONS[emotion]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
    return path


def two_faces() -> np.ndarray:
    """A gray picture, 300 x 500, in which the cascade finds two drawn faces; the left one is twice as large."""
    face = draw_faces(700).images[1]
    picture = np.tile(np.linspace(90, 160, 500).astype(np.uint8), (300, 1))
    picture[20:260, 20:260] = cv2.resize(face, (240, 240), interpolation=cv2.INTER_CUBIC)
    picture[100:220, 330:450] = cv2.resize(face, (120, 120), interpolation=cv2.INTER_CUBIC)
    return picture
