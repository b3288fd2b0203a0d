"""Training and validation faces as all workers of a node see them: one memory-mapped copy, drawn once."""

from collections.abc import Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from spaces.errors import InputError
from trainables.cache import Arrays, Cache
from trainables.data.faceset import Faces
from trainables.data.protocol import TrainingData, load_training
from trainables.data.spec import DataSpec
from trainables.draft import Draft
from trainables.keys import Key, code_digest


class MappedNames(Sequence[str]):
    """The names in an array, made strings when one asks: as strings each process would have megabytes of its own."""

    def __init__(self, array: NDArray[np.str_]) -> None:
        self._array = array

    def __len__(self) -> int:
        return len(self._array)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        found = self._array[place]
        return MappedNames(found) if isinstance(found, np.ndarray) else str(found)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as a list has none


def training_data(spec: DataSpec, folder: Path, fingerprint: str, split: str, cache: Cache | None) -> TrainingData:
    """The training and validation faces of `spec`, which must be those the search began with.

    Args:
        spec: The data.
        folder: The node's folder for parsed data.
        fingerprint: The content hash of the source, as the driver read it.
        split: The hash of what is held out, likewise.
        cache: Shared work; None to read and draw the faces here.

    Raises:
        InputError: If the source cannot be read, or is not what it was.
    """

    def compute(draft: Draft) -> None:
        data = _checked(spec, folder, fingerprint, split)
        for name, faces in (("train", data.train), ("validation", data.validation)):
            draft.put(f"{name}_images", faces.images)
            draft.put(f"{name}_labels", faces.labels)
            draft.put(f"{name}_emotions", faces.emotions)
            draft.put(f"{name}_names", np.array(faces.names))

    if cache is None:
        return _checked(spec, folder, fingerprint, split)
    found = cache.get(faces_key(spec, fingerprint, split), compute)
    return TrainingData(_faces(found, "train"), _faces(found, "validation"), fingerprint, split)


def faces_key(spec: DataSpec, fingerprint: str, split: str) -> Key:
    """What the faces depend on: the content of the source, and what the protocol makes of it."""
    return Key.of(
        "faces",
        fingerprint=fingerprint,
        split=split,
        protocol=spec.protocol.model_dump_json(),
        drop=spec.drops_faceless,
        code=code_digest("shared_data.py", "data/protocol.py", "data/faceset.py"),
    )


def _checked(spec: DataSpec, folder: Path, fingerprint: str, split: str) -> TrainingData:
    data = load_training(spec, folder)
    if (data.fingerprint, data.split) != (fingerprint, split):
        raise InputError(f"{spec.source}: the data are not what they were when the search began")
    return data


def _faces(found: Arrays, name: str) -> Faces:
    return Faces(
        images=found[f"{name}_images"],
        labels=found[f"{name}_labels"],
        emotions=found[f"{name}_emotions"],
        names=MappedNames(found[f"{name}_names"]),
    )
