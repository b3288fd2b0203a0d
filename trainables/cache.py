"""Work that trials share: named arrays, computed once per node and kept as memory-mapped files.

An entry is a folder, named after its key, of `.npy` files and `entry.json` with their sizes and checksums. It is
written under a temporary name and renamed, so it is whole or absent; one that was damaged afterwards is noticed when a
process first opens it, removed and computed again. Whoever needs an entry computes it, inside its own resources, under
a lease (`lease.py`); others wait for it. The folder is bounded: entries used longest ago make room for new ones.
Whoever has a removed entry open keeps it, and its place on the disk, until it lets go. What finds no room each process
computes for itself, at the same time.

Nothing here knows what is kept, nor of Ray or torch.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from spaces.errors import InputError
from trainables.draft import Draft
from trainables.keys import Key
from trainables.lease import Lease, is_at_work, locked
from trainables.mapped import checked, checksum_of, identity, open_array

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

# The name of the folder within a node's cache folder.
SHARED = "shared"
POLL_SECONDS = 0.05
# Left free on the disk, for others.
SPARE_BYTES = 2**30
_RECORD, _DRAFT, _LEASE = "entry.json", ".draft-", ".lease"


class Counts(NamedTuple):
    """What the cache did.

    Attributes:
        hits: Entries found, those waited for included.
        misses: Entries computed.
        bytes: Bytes of the entries found.
        seconds_saved: Seconds that computing what was found would have taken, less those that finding it took.
        wait_seconds: Seconds in which another process was at an entry that was asked for.
    """

    hits: int = 0
    misses: int = 0
    bytes: int = 0
    seconds_saved: float = 0.0
    wait_seconds: float = 0.0

    def plus(self, other: "Counts") -> "Counts":
        """Both together."""
        return Counts(
            self.hits + other.hits,
            self.misses + other.misses,
            self.bytes + other.bytes,
            self.seconds_saved + other.seconds_saved,
            self.wait_seconds + other.wait_seconds,
        )


class _Entry(NamedTuple):
    arrays: Arrays
    bytes: int
    seconds: float


class Cache:
    """The shared work of one node.

    Args:
        folder: Where entries are; made if there is none.
        limit: Bytes that entries, and drafts of entries, may take together.

    Attributes:
        counts: What this object did so far.
        computing: Seconds spent on what was not here: computing it, or waiting for another process that did.

    Raises:
        InputError: If `folder` cannot be made.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self.counts = Counts()
        self.computing = 0.0
        # Of each entry being computed now, one within the other: the seconds that entries within it took, and would
        # have taken with nothing here.
        self._nested: list[tuple[float, float]] = []
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: shared work cannot be kept here ({error.strerror or error})") from error

    @property
    def capacity(self) -> int:
        """Bytes that entries may take together: the limit, or less where the disk has no room for that; 0 for none."""
        try:
            with locked(self._lock):
                taken = sum(_size(_files(folder)) for folder in _folders(self.folder))
                return max(0, min(self.limit, shutil.disk_usage(self.folder).free + taken - SPARE_BYTES))
        except OSError:
            return 0

    def get(self, key: Key, compute: Callable[[Draft], None]) -> Arrays:
        """The arrays of `key`, read-only; computed unless they are here or another process is at it.

        Args:
            key: What they depend on.
            compute: Fills a draft with them; may itself call `get`, for other keys.

        Returns:
            The arrays that `compute` asked for, by name. They are memory-mapped unless there was no room for them, or
            the folder cannot be written: then each process computes for itself.
        """
        began = time.perf_counter()
        here = self._open(key)
        entry, is_found = (here, True) if here else self._found_or_made(key, compute)
        spent = time.perf_counter() - began
        if not (here or self._nested):
            self.computing += spent
        if is_found:
            self.counts = self.counts.plus(Counts(1, 0, entry.bytes, entry.seconds - spent))
        else:
            self.counts = self.counts.plus(Counts(misses=1))
        if self._nested:
            took, worth = self._nested[-1]
            self._nested[-1] = took + spent, worth + entry.seconds
        return entry.arrays

    def _found_or_made(self, key: Key, compute: Callable[[Draft], None]) -> tuple[_Entry, bool]:
        path = self.folder / f".{key.name}{_LEASE}"
        while True:
            if entry := self._open(key):
                return entry, True
            try:
                with locked(self._lock):
                    lease = Lease.take(path)
            except OSError:
                return self._alone(compute), False
            if lease is None:
                self._wait()
                continue
            try:
                # Another may have finished it between the two looks.
                entry = self._open(key)
                return (entry, True) if entry else (self._make(key, lease, compute), False)
            finally:
                self._give_back(lease)

    def _wait(self) -> None:
        began = time.perf_counter()
        time.sleep(POLL_SECONDS)
        self.counts = self.counts.plus(Counts(wait_seconds=time.perf_counter() - began))

    def _alone(self, compute: Callable[[Draft], None]) -> _Entry:
        """What `compute` makes, in memory."""
        draft = Draft(self.folder, lambda size: False, self._lock, lambda: None)
        with self._timed() as seconds:
            compute(draft)
        return _in_memory(draft, seconds[0])

    def _give_back(self, lease: Lease) -> None:
        with suppress(OSError), locked(self._lock):  # one that cannot be given back expires
            lease.give_back()

    def _make(self, key: Key, lease: Lease, compute: Callable[[Draft], None]) -> _Entry:
        folder = self.folder / f"{_DRAFT}{key.name}-{lease.token}"
        # Of what is not kept the others would have nothing: they need not wait.
        draft = Draft(folder, self._make_room, self._lock, give_up=partial(self._give_back, lease))
        try:
            with lease.kept_alive():  # while it is checked and written out, too
                with self._timed() as seconds:
                    compute(draft)
                if draft.is_kept:
                    with suppress(OSError):  # the disk, or another that took over and removed the draft
                        self._publish(key, draft, seconds[0])
                    if entry := self._open(key):
                        return entry
        finally:
            with suppress(OSError), locked(self._lock):
                shutil.rmtree(draft.folder, ignore_errors=True)
        return _in_memory(draft, seconds[0])

    def _publish(self, key: Key, draft: Draft, seconds: float) -> None:
        """Give a full draft its name, unless this process was so slow that another took over."""
        final = self.folder / key.name
        if draft.folder.exists():
            _write_record(key, draft, seconds, final)
        with locked(self._lock):
            if draft.folder.exists() and not final.exists():
                draft.folder.rename(final)

    @contextmanager
    def _timed(self) -> Iterator[list[float]]:
        """Gives a list that afterwards holds the seconds that the block would take with nothing in the cache."""
        seconds: list[float] = []
        self._nested.append((0.0, 0.0))
        began = time.perf_counter()
        try:
            yield seconds
        finally:
            took, worth = self._nested.pop()
            seconds.append(time.perf_counter() - began - took + worth)

    @property
    def _lock(self) -> Path:
        return self.folder / ".lock"

    def _open(self, key: Key) -> _Entry | None:
        """The entry of `key`, None if it is not here or is damaged, in which case it is removed."""
        folder = self.folder / key.name
        try:
            record = json.loads((folder / _RECORD).read_text())
            arrays = {name: open_array(folder / f"{name}.npy", *facts) for name, facts in record["files"].items()}
            os.utime(folder / _RECORD)  # used now
            return _Entry(arrays, sum(array.nbytes for array in arrays.values()), float(record["seconds"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, EOFError):
            with suppress(OSError):
                if folder.exists():
                    with locked(self._lock):
                        self._remove(folder)
            return None
        except OSError:  # it may be whole: too many open files, say
            return None

    def _make_room(self, size: int) -> bool:
        """Remove entries, least recently used first, until `size` more bytes may be written; whether they may.

        Called under the lock. Drafts whose makers are gone are removed first.
        """
        entries, drafts = [], 0
        for folder in _folders(self.folder):
            files = _files(folder)
            if folder.name.startswith(_DRAFT):
                name, _, token = folder.name.removeprefix(_DRAFT).rpartition("-")
                if is_at_work(self.folder / f".{name}{_LEASE}", token):
                    drafts += _size(files)
                else:
                    shutil.rmtree(folder, ignore_errors=True)
            elif _RECORD in files:
                entries.append((files[_RECORD].st_mtime_ns, _size(files), folder))
        used = drafts + sum(taken for _, taken, _ in entries)
        free = shutil.disk_usage(self.folder).free
        if drafts + size > self.limit or size + SPARE_BYTES > free + used - drafts:
            return False
        for _, taken, folder in sorted(entries):
            if used + size <= self.limit and size + SPARE_BYTES <= free:
                break
            self._remove(folder)
            used, free = used - taken, free + taken
        return True

    def _remove(self, folder: Path) -> None:
        """Remove an entry as a whole: nobody sees half of one. Called under the lock."""
        grave = folder.with_name(f".removed-{folder.name}")
        with suppress(FileNotFoundError):  # another process removed it
            folder.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)


def _in_memory(draft: Draft, seconds: float) -> _Entry:
    """The arrays of a draft that was not kept, read-only."""
    for array in draft.arrays.values():
        array.flags.writeable = False
    return _Entry(draft.arrays, 0, seconds)


def _write_record(key: Key, draft: Draft, seconds: float, final: Path) -> None:
    files = {}
    for name, array in draft.arrays.items():
        assert isinstance(array, np.memmap)
        array.flush()
        path = draft.folder / f"{name}.npy"
        files[name] = (path.stat().st_size, checksum_of(path))
        checked.add(identity(path, final / path.name))
    record = {"kind": key.kind, "traits": dict(key.traits), "seconds": seconds, "files": files}
    (draft.folder / _RECORD).write_text(json.dumps(record, indent=2))


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as found:
        return [folder / each.name for each in found if each.is_dir()]


def _files(folder: Path) -> dict[str, os.stat_result]:
    with os.scandir(folder) as found:
        return {each.name: each.stat() for each in found}


def _size(files: Mapping[str, os.stat_result]) -> int:
    return sum(each.st_size for each in files.values())
