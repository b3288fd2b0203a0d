"""Parsed faces, kept once per node as one memory-mapped file.

An entry is a structured `.npy` file named after a key (what the source looks like from outside: path, size, time) and
the fingerprint of its content; where pictures are cropped, the detector, the hash of its file, OpenCV's version and the
margin are part of the key. It appears by an atomic rename, so any number of processes may write it at once, and is
checked against its fingerprint each time it is opened, so a damaged one is noticed and replaced.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from spaces.errors import InputError
from trainables.data.crop import crop_traits
from trainables.data.faceset import SIDE, Crops, FaceSet
from trainables.data.folder import face_files
from trainables.data.remote import local_copy
from trainables.data.sources import read_source, reading, source_path
from trainables.data.spec import DataSpec


@dataclass(frozen=True)
class StoredFaces(FaceSet):
    """A `FaceSet` whose images are memory-mapped, read-only.

    Attributes:
        fingerprint: 32 hex digits over images, emotions, usage, names and crops: the same for the same faces
            everywhere.
    """

    fingerprint: str


def load_faceset(spec: DataSpec, cache: Path) -> StoredFaces:
    """The faces of `spec.source`, parsed at most once while the source stays as it is.

    Args:
        spec: Names the source and says how to crop; its protocol plays no part here, nor does `crop.missing`, which the
            protocol heeds.
        cache: The folder where entries are kept; made if there is none.

    Raises:
        InputError: If the source cannot be read (see `read_source`) or `cache` cannot be written.
    """
    spec = spec.model_copy(update={"source": _local(spec.source, cache)})
    key = _key(spec)
    for entry in cache.glob(f"faces-{key}-*.npy"):
        faces = _open(entry)
        if faces is not None:
            return faces
    parsed = read_source(spec)
    try:
        entry = _write(parsed, cache, key)
    except OSError as error:
        raise InputError(f"{cache}: cannot keep parsed data here: {error.strerror or error}") from error
    faces = _open(entry)
    if faces is None:
        raise RuntimeError(f"{entry}: does not read back as it was written")
    return faces


def _local(source: str, cache: Path) -> str:
    return source if source == "demo" else str(local_copy(source, cache))


def fingerprint(faces: FaceSet) -> str:
    """The hash of the content of `faces`, as 32 hex digits."""
    content = blake2b(digest_size=16)
    for part in (faces.digests, faces.emotions, faces.usage):
        content.update(part.tobytes())
    content.update(json.dumps(faces.names).encode())
    if faces.crops is not None:
        content.update(faces.crops.found.tobytes())
        content.update(faces.crops.origins.tobytes())
    return content.hexdigest()


def _key(spec: DataSpec) -> str:
    return blake2b(json.dumps(list(_traits(spec))).encode(), digest_size=12).hexdigest()


def _traits(spec: DataSpec) -> Iterator[Any]:
    """What an entry depends on, told without parsing: the source as it lies there, and the code that reads it."""
    if spec.crop is not None:
        yield from (*crop_traits(spec.crop), _code("crop.py", "decode.py"))
    if spec.source == "demo":
        yield from ("demo", spec.demo_images, _code("demo*.py"))
        return
    path = source_path(spec).resolve()
    yield _code("sources.py", "folder.py", "decode.py")
    with reading(path):
        for file in [file.path for file in face_files(path)] if path.is_dir() else [str(path)]:
            status = os.stat(file)  # noqa: PTH116 (a Path for each of 30,000 images takes longer than all the rest)
            yield file, status.st_size, status.st_mtime_ns


def _code(*patterns: str) -> str:
    files = [file for pattern in patterns for file in sorted(Path(__file__).parent.glob(pattern))]
    return blake2b(b"".join(file.read_bytes() for file in files), digest_size=12).hexdigest()


def _open(entry: Path) -> StoredFaces | None:
    """The faces in `entry`, or None if it is gone or damaged."""
    try:
        rows = np.load(entry, mmap_mode="r", allow_pickle=False)
        faces = StoredFaces(
            images=rows["image"],
            emotions=np.array(rows["emotion"]),
            usage=np.array(rows["usage"]),
            names=tuple(rows["name"].tolist()),
            crops=Crops(np.array(rows["found"]), np.array(rows["origin"])) if "found" in rows.dtype.names else None,
            fingerprint=entry.stem.rpartition("-")[2],
        )
    except (OSError, ValueError, IndexError, EOFError):
        return None
    return faces if fingerprint(faces) == faces.fingerprint else None


def _write(faces: FaceSet, cache: Path, key: str) -> Path:
    cache.mkdir(parents=True, exist_ok=True)
    names: NDArray[np.str_] = np.array(faces.names)
    fields: list[Any] = [
        ("image", np.uint8, (SIDE, SIDE)),
        ("emotion", np.int8),
        ("usage", np.int8),
        ("name", names.dtype),
    ]
    if faces.crops is not None:
        fields += [("found", np.bool_), ("origin", faces.crops.origins.dtype)]
    temporary = cache / f"faces-{uuid4().hex}.tmp"
    try:
        rows = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.dtype(fields), shape=(len(faces),))
        rows["image"], rows["emotion"], rows["usage"], rows["name"] = faces.images, faces.emotions, faces.usage, names
        if faces.crops is not None:
            rows["found"], rows["origin"] = faces.crops.found, faces.crops.origins
        rows.flush()
        return temporary.replace(cache / f"faces-{key}-{fingerprint(faces)}.npy")
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
