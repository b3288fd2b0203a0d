"""An entry of the shared work in the making."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from trainables.lease import locked


class Draft:
    """An entry in the making: its maker asks for arrays and fills them.

    Args:
        folder: Where its files are; made when the first is.
        make_room: Whether so many bytes may be written; called under `lock`.
        lock: The lock file of the cache.
        give_up: Called once, when an array finds no room.

    Attributes:
        arrays: Those asked for so far.
        is_kept: Whether all found room; else they are in memory, for the maker alone.
    """

    def __init__(self, folder: Path, make_room: Callable[[int], bool], lock: Path, give_up: Callable[[], None]) -> None:
        self.folder = folder
        self.arrays: dict[str, NDArray[Any]] = {}
        self.is_kept = True
        self._make_room = make_room
        self._lock = lock
        self._give_up = give_up

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """A new array, to be filled before the maker returns."""
        found = self._on_disk(name, shape, np.dtype(dtype)) if self.is_kept else None
        if found is None:
            if self.is_kept:
                self.is_kept = False
                self._give_up()
            found = np.empty(shape, dtype)
        self.arrays[name] = found
        return found

    def _on_disk(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any] | None:
        """A new memory-mapped array, its room on the disk taken at once; None if there is none."""
        path = self.folder / f"{name}.npy"
        try:
            with locked(self._lock):
                if not self._make_room(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize):
                    return None
                self.folder.mkdir(exist_ok=True)
                array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
                if hasattr(os, "posix_fallocate"):  # else a full disk would kill who writes to the mapping
                    with path.open("r+b") as file:
                        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
                return array
        except OSError:
            return None

    def put(self, name: str, values: NDArray[Any]) -> None:
        """Add the array `values`."""
        self.array(name, values.shape, values.dtype)[...] = values
