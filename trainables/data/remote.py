"""Files and folders at URLs, fetched once per node into its folder of parsed data."""

import fcntl
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

from spaces.errors import InputError
from trainables.storage import Storage, is_url

_CONNECTIONS = 16


def local_copy(location: str, cache: Path) -> Path:
    """The path of what lies at `location`: its own, or that of this node's copy of a file or folder at a URL.

    A copy is kept under the names and sizes of what it was made from, so a source that changes in size is fetched anew.

    Raises:
        InputError: If there is nothing at the URL, it cannot be read, or `cache` cannot be written.
    """
    if not is_url(location):
        return Path(location).expanduser()
    name = location.rstrip("/").rpartition("/")[2]
    storage = Storage(location.rstrip("/").rpartition("/")[0])
    size = storage.size(name)
    sizes = storage.sizes(name) if size is None else {name: size}
    if not sizes:
        raise InputError(f"{location}: nothing there")
    key = blake2b(json.dumps([location, sizes]).encode(), digest_size=12).hexdigest()
    folder = cache / "fetched" / key
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (cache / "fetched" / f"{key}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # whoever comes while it is fetched waits
            if not folder.exists():
                _fetch(storage, list(sizes), folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot keep a copy of {location} here ({error.strerror})") from error
    return folder / name


def _fetch(storage: Storage, names: list[str], folder: Path) -> None:
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        list(pool.map(lambda name: storage.download(name, partial / name), names))
    partial.rename(folder)
