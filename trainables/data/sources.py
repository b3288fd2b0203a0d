"""Readers of the sources of faces: each gives the same `FaceSet`, or one sentence about what is wrong and where."""

import csv
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spaces.errors import InputError
from trainables.data.crop import FaceDetector, crop
from trainables.data.decode import decode_gray, whole_face
from trainables.data.faceset import EMOTIONS, SIDE, TEST, TRAIN, Crops, FaceSet, Images, Labels, digests
from trainables.data.folder import FaceFile, face_files
from trainables.data.spec import DataSpec

LAYOUTS = (
    "a fer2013.csv (columns emotion, pixels, Usage), a .parquet file (columns name, usage, emotion, pixels), "
    "or a folder with train/<emotion>/ and test/<emotion>/"
)
CSV_COLUMNS = ("emotion", "pixels", "Usage")
PARQUET_COLUMNS = ("name", "usage", "emotion", "pixels")
USAGES = {"Training": TRAIN, "PublicTest": TEST, "PrivateTest": TEST}


def read_source(spec: DataSpec, one_split: bool = False) -> FaceSet:
    """All faces of `spec.source`, in the order of the source (a folder's: split, emotion, file name).

    One without training or test faces is refused, unless `one_split` says that one of them will do.

    With `spec.crop`, faces are looked for in the pictures as they lie in the source, whatever their size, and the crops
    are made 48 x 48; pictures without a face are taken whole here, and it is the protocol that may drop them.

    Raises:
        InputError: If the source is missing, unreadable or malformed, or the detector is; the message names the file
            and the row or image.
    """
    detector = None if spec.crop is None else FaceDetector(spec.crop)
    if spec.source == "demo":
        return _drawn(spec.demo_images, detector)
    path = source_path(spec)
    read = read_folder if path.is_dir() else READERS.get(path.suffix.lower())
    if read is None:
        raise InputError(f"{path}: unknown type of file {path.suffix!r}; data is `demo`, {LAYOUTS}")
    with reading(path):
        faces = read(path, detector)
    for side, name in ((TRAIN, "training"), (TEST, "test")):
        if not one_split and side not in faces.usage:
            raise InputError(f"{path}: {len(faces)} images, none of them in the {name} split; both splits are needed")
    return faces


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Tell what the system says about `path`, or a file in it, in one sentence.

    Raises:
        InputError: Instead of an OSError of the body.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{error.filename or path}: cannot be read: {error.strerror or error}") from error


def source_path(spec: DataSpec) -> Path:
    """The file or folder that `spec.source` names.

    Raises:
        InputError: If there is none.
    """
    path = Path(spec.source).expanduser()
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; data is `demo`, {LAYOUTS}")
    return path


def read_csv(path: Path, detector: FaceDetector | None = None) -> FaceSet:
    """The faces of the original FER2013 csv: columns `emotion`, `pixels` and `Usage`, in any order, others ignored.

    Raises:
        InputError: If a row is malformed or there is none.
    """
    album = _Album(detector)
    emotions: list[int] = []
    usage: list[int] = []
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file, warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # _quick_pixels counts on it
        reader = csv.reader(file)
        try:
            header = [name.strip() for name in next(reader, [])]
            columns = [header.index(name) for name in _checked_columns(CSV_COLUMNS, header)]
            for fields in filter(None, reader):
                if len(fields) != len(header):
                    raise InputError(f"{len(fields)} fields, the header has {len(header)}; is the file cut off?")
                emotion, pixels, use = (fields[column] for column in columns)
                emotions.append(_emotion(emotion.strip()))
                usage.append(_usage(use.strip()))
                album.add(_parse_pixels(pixels))
        except (InputError, csv.Error) as error:
            where = f", row {len(album) + 1} (line {reader.line_num})" if reader.line_num > 1 else ""
            raise InputError(f"{path}{where}: {error}") from error
    return _face_set(path, album, emotions, usage, [f"row {row}" for row in range(1, len(album) + 1)])


def read_parquet(path: Path, detector: FaceDetector | None = None) -> FaceSet:
    """The faces of a parquet file: columns `name`, `usage`, `emotion`, and `pixels` holding PNG bytes.

    Raises:
        InputError: If the file is not parquet, a row is malformed or there is none.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            _checked_columns(PARQUET_COLUMNS, file.schema_arrow.names)
            table = file.read(columns=list(PARQUET_COLUMNS))
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable parquet file: {_first_line(error)}") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    album = _Album(detector)
    emotions: list[int] = []
    usage: list[int] = []
    names, uses, labels, pixels = (table[column].to_pylist() for column in PARQUET_COLUMNS)
    for row, (use, label, data) in enumerate(zip(uses, labels, pixels, strict=True), start=1):
        try:
            emotions.append(_emotion(label))
            usage.append(_usage(use))
            album.add(decode_gray(data))
        except InputError as error:
            raise InputError(f"{path}, row {row}: {error}") from error
    return _face_set(path, album, emotions, usage, [str(name) for name in names])


def read_folder(path: Path, detector: FaceDetector | None = None) -> FaceSet:
    """The faces of an image folder, `train/<emotion>/*` and `test/<emotion>/*`.

    Raises:
        InputError: If the layout is another, or a file is not an image.
    """
    return read_files(path, face_files(path), detector)


def read_files(path: Path, files: Sequence[FaceFile], detector: FaceDetector | None) -> FaceSet:
    """The faces in image files of the folder `path`, in their order.

    Raises:
        InputError: If a file is not an image or there is none.
    """
    album = _Album(detector)
    for file in files:
        try:
            album.add(decode_gray(Path(file.path).read_bytes()))
        except InputError as error:
            raise InputError(f"{file.path}: {error}") from error
    emotions, usage, names = ([getattr(file, part) for file in files] for part in ("emotion", "usage", "name"))
    return _face_set(path, album, emotions, usage, names)


READERS = {".csv": read_csv, ".parquet": read_parquet}


class _Album:
    """The pictures of a source, cropped as they come in, so that only one at a time is held in its own size."""

    def __init__(self, detector: FaceDetector | None) -> None:
        self._detector = detector
        self._images: list[Images] = []
        self._found: list[bool] = []
        self._origins: list[Images] = []

    def __len__(self) -> int:
        return len(self._images)

    def add(self, gray: Images) -> None:
        if self._detector is None:
            self._images.append(whole_face(gray))
            return
        face = self._detector.find(gray)
        self._images.append(crop(gray, face, self._detector.margin))
        self._found.append(face is not None)
        self._origins.append(whole_face(gray))

    def face_set(self, emotions: Labels, usage: Labels, names: Sequence[str]) -> FaceSet:
        crops = Crops(np.array(self._found), digests(self._origins)) if self._detector else None
        return FaceSet(np.stack(self._images), emotions, usage, tuple(names), crops=crops)


def _drawn(images: int, detector: FaceDetector | None) -> FaceSet:
    from trainables.data.demo import draw_faces

    faces = draw_faces(images)
    album = _Album(detector)
    for image in faces.images:
        album.add(image)
    return album.face_set(faces.emotions, faces.usage, faces.names)


def _face_set(path: Path, album: _Album, emotions: list[int], usage: list[int], names: Sequence[str]) -> FaceSet:
    if not len(album):
        raise InputError(f"{path}: no images in it")
    return album.face_set(np.array(emotions, np.int8), np.array(usage, np.int8), names)


def _checked_columns(needed: Sequence[str], found: Sequence[str]) -> Sequence[str]:
    missing = [name for name in needed if name not in found]
    if missing:
        shown = ", ".join(name[:40] for name in found[:8]) or "none"
        raise InputError(f"no column {', '.join(missing)}; found {shown}; needed are {', '.join(needed)}")
    return needed


def _emotion(value: Any) -> int:
    text = str(value)
    if len(text) != 1 or not "0" <= text < str(len(EMOTIONS)):
        raise InputError(f"emotion {text[:40]!r}; allowed are 0..6 ({', '.join(EMOTIONS)})")
    return int(text)


def _usage(value: Any) -> int:
    side = USAGES.get(str(value))
    if side is None:
        raise InputError(f"Usage {str(value)[:40]!r}; allowed are {', '.join(USAGES)}")
    return side


def _parse_pixels(text: str) -> Images:
    values = _quick_pixels(text)
    if values is None:
        values = _careful_pixels(text)
    return values.astype(np.uint8).reshape(SIDE, SIDE)


def _quick_pixels(text: str) -> NDArray[np.int64] | None:
    """The pixels in `text`, or None where anything about it is unusual."""
    try:
        values = np.fromstring(text, dtype=np.int64, sep=" ")
    except (DeprecationWarning, ValueError):  # text that is not a number: a warning in older numpy, an error in newer
        return None
    return values if values.size == SIDE * SIDE and values.min() >= 0 and values.max() <= 255 else None


def _careful_pixels(text: str) -> NDArray[np.int64]:
    tokens = text.split()
    for position, token in enumerate(tokens, start=1):
        if not (token.isascii() and token.isdigit() and float(token) <= 255):
            raise InputError(f"pixel {position} is {token[:40]!r}; a pixel is a whole number 0..255")
    if len(tokens) != SIDE * SIDE:
        raise InputError(f"{len(tokens)} pixels; a face has {SIDE} x {SIDE} = {SIDE * SIDE}")
    return np.array([int(token) for token in tokens], np.int64)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
