"""The layout of an image folder: `train/<emotion>/*` and `test/<emotion>/*`."""

import os
from pathlib import Path
from typing import NamedTuple

from spaces.errors import InputError
from trainables.data.faceset import EMOTIONS, TEST, TRAIN

SPELLINGS = {name: number for number, name in enumerate(EMOTIONS)} | {
    "anger": 0,
    "disgusted": 1,
    "fearful": 2,
    "happiness": 3,
    "sadness": 4,
    "surprised": 5,
}


class FaceFile(NamedTuple):
    """One image of a folder, with the split and the emotion that its place says."""

    usage: int
    emotion: int
    name: str
    path: str


def face_files(folder: Path) -> list[FaceFile]:
    """The images of `folder` ordered by split, emotion and file name, so that every machine reads them alike.

    Names of folders may be in any case; hidden files and folders are passed over.

    Raises:
        InputError: If a split is missing or a folder in it is not named after an emotion.
    """
    found = _visible(folder)
    files: list[FaceFile] = []
    for usage, side in ((TRAIN, "train"), (TEST, "test")):
        splits = [entry for entry in found if entry.name.lower() == side and entry.is_dir()]
        if not splits:
            raise InputError(
                f"{folder}: no folder {side!r}; found {_names(found)}; "
                f"an image folder holds train/<emotion>/ and test/<emotion>/"
            )
        for split in splits:
            files += _split_files(split, usage)
    return sorted(files)


def _split_files(split: os.DirEntry[str], usage: int) -> list[FaceFile]:
    found = _visible(split)
    folders = [entry for entry in found if entry.is_dir()]
    unknown = [entry for entry in folders if entry.name.lower() not in SPELLINGS]
    if unknown or not folders:
        raise InputError(
            f"{split.path}: every folder in it must be named after an emotion; found {_names(unknown or found)}; "
            f"allowed are {', '.join(EMOTIONS)}"
        )
    return [
        FaceFile(usage, SPELLINGS[folder.name.lower()], entry.name, entry.path)
        for folder in folders
        for entry in _visible(folder)
    ]


def _visible(folder: os.PathLike[str]) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def _names(entries: list[os.DirEntry[str]]) -> str:
    shown = ", ".join(sorted(entry.name for entry in entries)[:5]) or "nothing"
    return shown + (f" and {len(entries) - 5} more" if len(entries) > 5 else "")
