"""Files under a URL, on any filesystem that pyarrow or fsspec knows: s3://, gs://, hdfs://, file:// and others.

Object storage has no folders, no appending and no renaming; what stands on it here asks for none of them.
"""

import os
import posixpath
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import fs

from spaces.errors import InputError


class StorageError(InputError):
    """Storage did not do what it was asked for, perhaps only now."""


def is_url(location: str) -> bool:
    """Whether `location` is a URL rather than a path."""
    return "://" in location


def join(location: str, *names: str) -> str:
    """The path or URL of `names` under `location`."""
    return posixpath.join(location.rstrip("/") or "/", *names)


def unreadable(location: str) -> str:
    """Why the file or folder at a path or URL cannot be read from here; empty if it can."""
    if not is_url(location):
        return "" if os.access(location, os.R_OK) else f"{location} cannot be read"
    try:
        return "" if Storage(location).exists("") else f"{location} is not there"
    except InputError as error:
        return str(error)


def unwritable(folder: str) -> str:
    """Why a file cannot be made in the folder at a path or URL from here; empty if it can."""
    name = f".doctor-{socket.gethostname()}-{os.getpid()}"
    try:
        if is_url(folder):
            storage = Storage(folder)
            storage.write(name, b"")
            storage.remove(name)
        else:
            Path(folder, name).write_text("")
            Path(folder, name).unlink()
    except (InputError, OSError) as error:
        return str(error)
    return ""


class Storage:
    """The files under a URL; their names are relative to it, with slashes.

    Attributes:
        url: The URL.
    """

    def __init__(self, url: str) -> None:
        """Resolve `url`; nothing is asked of a server yet.

        Raises:
            InputError: If no installed library knows its scheme, or it cannot be read.
        """
        self.url = url.rstrip("/")
        self._system, self._root = _resolved(self.url)

    def sizes(self, folder: str = "") -> dict[str, int]:
        """The files below `folder` and their bytes, by name, sorted; none if there is no such folder."""
        selector = fs.FileSelector(self._path(folder), allow_not_found=True, recursive=True)
        with self._told(folder):
            found = self._system.get_file_info(selector)
        start = len(self._root.strip("/")) + 1
        files = {info.path.lstrip("/")[start:]: info.size for info in found if info.type is fs.FileType.File}
        return dict(sorted(files.items()))

    def entries(self, folder: str = "") -> list[str]:
        """The names of the files and folders directly in `folder`, sorted; none if there is no such folder."""
        with self._told(folder):
            found = self._system.get_file_info(fs.FileSelector(self._path(folder), allow_not_found=True))
        return sorted(info.base_name for info in found)

    def size(self, name: str) -> int | None:
        """The bytes of a file, None if there is no file `name`."""
        with self._told(name):
            info = self._system.get_file_info(self._path(name))
        return info.size if info.type is fs.FileType.File else None

    def exists(self, name: str) -> bool:
        """Whether there is a file or folder `name`."""
        with self._told(name):
            found: bool = self._system.get_file_info(self._path(name)).type is not fs.FileType.NotFound
        return found

    def read(self, name: str) -> bytes:
        """The bytes of a file.

        Raises:
            InputError: If it is missing or cannot be read.
        """
        with self._told(name), self._system.open_input_stream(self._path(name)) as stream:
            content: bytes = stream.read()
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write a file, all of it or nothing, over one that is there.

        Raises:
            InputError: If it cannot be written.
        """
        with self._told(name):
            if _needs_folders(self._system):
                self._system.create_dir(posixpath.dirname(self._path(name)), recursive=True)
            with self._system.open_output_stream(self._path(name)) as stream:
                stream.write(content)

    def upload(self, path: Path, name: str) -> None:
        """Write the file at `path` as `name`."""
        self.write(name, path.read_bytes())

    def download(self, name: str, path: Path) -> None:
        """Write the file `name` to `path`, whose folder is made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.read(name))

    def remove(self, name: str) -> None:
        """Remove a file."""
        with self._told(name):
            self._system.delete_file(self._path(name))

    def _path(self, name: str) -> str:
        return posixpath.join(self._root, name) if name else self._root

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as error:
            lines = str(error).strip().splitlines()
            reason = lines[0] if lines else type(error).__name__
            kind = InputError if isinstance(error, FileNotFoundError | PermissionError) else StorageError
            raise kind(f"{join(self.url, name) if name else self.url}: {reason}") from error


def _resolved(url: str) -> tuple[Any, str]:
    """The filesystem of `url` and the path in it: pyarrow's own, else fsspec's."""
    try:
        system, path = fs.FileSystem.from_uri(url)
        return system, path.rstrip("/")
    except (pa.ArrowException, OSError, ValueError) as error:
        ours = error
    try:
        from fsspec.core import url_to_fs

        system, path = url_to_fs(url)
    except (ImportError, OSError, ValueError) as error:
        raise InputError(f"{url}: not a filesystem that can be used here ({ours}; {error})") from error
    return fs.PyFileSystem(fs.FSSpecHandler(system)), path.rstrip("/")


def _needs_folders(system: Any) -> bool:
    """Whether a folder must be made before a file in it; object storage would only be asked for nothing."""
    return not isinstance(system, fs.S3FileSystem) and system.type_name != "gcs"
