"""Where a run is: a folder, or a URL of which this process keeps a copy for the time of a command."""

import _thread
import fcntl
import json
import os
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

from results.journal import read_events
from results.remote_run import LEASE, RemoteRun, checkpoints_of
from results.run_folder import RunFolder
from results.schema import TrialStart
from spaces.errors import InputError
from trainables.remote_checkpoint import remove_checkpoints
from trainables.storage import Storage, is_url

LEASE_SECONDS = 30.0  # a driver that has not renewed its lease for so long is dead
_FORGOTTEN_SECONDS = 600.0  # beyond any difference of clocks
_PAUSE_SECONDS = 1.0  # at most one upload a second,
_IDLE_SECONDS = 4.0  # at least one in so many
_TROUBLE_SECONDS = 300.0  # storage that cannot be written for longer ends the search


@contextmanager
def open_run(location: str, change: bool = False) -> Iterator[RunFolder]:
    """The run at `location`, to be read.

    Args:
        location: A path or URL.
        change: Whether what the body writes into the run goes back to its storage.

    Raises:
        InputError: If there is no run.
    """
    if not is_url(location):
        yield RunFolder.existing(Path(location))
        return
    with tempfile.TemporaryDirectory(prefix="fertune-run-") as folder:
        run = RemoteRun(location, Path(folder) / location.rstrip("/").rpartition("/")[2])
        run.pull()
        run.check_exists()
        try:
            yield run
        finally:  # refits that were interrupted go on later, too
            if change:
                run.push()


@contextmanager
def drive_run(location: str, cache: Path, say: Callable[[str], Any]) -> Iterator[RunFolder]:
    """The run at `location`, new or old, to be searched by this process alone.

    Args:
        location: A path or URL.
        cache: The node's folder, where the copy of a run at a URL is kept while it is searched.
        say: Told of what takes time.

    Raises:
        InputError: If another process searches a run at a URL (`search.run` sees to that in folders), or the storage
            cannot be written; the body is then interrupted first, as by Ctrl-C.
    """
    if not is_url(location):
        yield RunFolder(Path(location))
        return
    digest = blake2b(location.rstrip("/").encode(), digest_size=8).hexdigest()
    run = RemoteRun(location, cache / "runs" / digest / location.rstrip("/").rpartition("/")[2])
    lease = Lease(run.storage)
    lease.take(say)
    try:
        _begin_copy(run)
        with _kept_alike(run, lease):
            yield run
        shutil.rmtree(run.path)
    finally:
        lease.release()


def _begin_copy(run: RemoteRun) -> None:
    """Copy what there is of the run, and remove checkpoints of trials that it does not know.

    Their driver was killed before it could say that it had begun them, and their numbers will be given again.
    """
    shutil.rmtree(run.path, ignore_errors=True)
    run.path.mkdir(parents=True)
    run.pull(without=(run.study.name,))
    known = {event.trial for event in read_events(run.measurements) if isinstance(event, TrialStart)}
    for trial in set(checkpoints_of(run)) - known:
        remove_checkpoints(run.checkpoints_location, trial)


@contextmanager
def _kept_alike(run: RemoteRun, lease: "Lease") -> Iterator[None]:
    """Upload the copy's changes and renew the lease while the body runs, and once more at its end."""
    over = threading.Event()
    troubles: list[Exception] = []

    def keep() -> None:
        since = time.monotonic()
        while not over.is_set():
            try:
                lease.renew()
                run.push()
                since = time.monotonic()
            except Exception as error:
                hopeless = lease.is_lost or not isinstance(error, InputError)
                if hopeless or time.monotonic() - since > _TROUBLE_SECONDS:
                    troubles.append(error)
                    _thread.interrupt_main()
                    return
            over.wait(_PAUSE_SECONDS)
            run.has_changed.wait(_IDLE_SECONDS)
            run.has_changed.clear()

    keeper = threading.Thread(target=keep, name="upload", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        run.changed()
        keeper.join()
        if troubles:
            raise troubles[0]
        run.push()


def is_driven(run: RunFolder) -> bool:
    """Whether a process searches `run` now."""
    if isinstance(run, RemoteRun):
        lease = read_lease(run.storage)
        return lease is not None and time.time() - float(lease["time"]) < 2 * LEASE_SECONDS
    if not run.lock.exists():
        return False
    with run.lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


class Lease:
    """Keeps a second driver off a run at a URL: one small file, renewed while its driver lives.

    Attributes:
        is_lost: Whether another driver has taken the run over.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._me = {"host": socket.gethostname(), "pid": os.getpid(), "driver": uuid4().hex}
        self._renewed = 0.0
        self.is_lost = False

    def take(self, say: Callable[[str], Any]) -> None:
        """Take the lease; one that its driver does not renew is waited for.

        Raises:
            InputError: If another driver lives.
        """
        found = read_lease(self._storage)
        if found is not None and time.time() - float(found["time"]) < _FORGOTTEN_SECONDS:
            say(f"waiting {LEASE_SECONDS:.0f} s: another driver, on {found['host']}, was seen a short while ago ...")
            end = time.monotonic() + LEASE_SECONDS
            while time.monotonic() < end:
                now = read_lease(self._storage)
                if now is None:
                    break
                if now != found:
                    raise InputError(
                        f"{self._storage.url}: another process is searching this run, on {now['host']}; "
                        "wait for it or stop it"
                    )
                time.sleep(1)
        self.renew()

    def renew(self) -> None:
        """Say that this driver lives, at most every few seconds.

        Raises:
            InputError: If another driver has taken the lease, or the storage cannot be written.
        """
        if time.monotonic() - self._renewed < LEASE_SECONDS / 5:
            return
        found = read_lease(self._storage) if self._renewed else None
        if found is not None and found["driver"] != self._me["driver"]:
            self.is_lost = True
            raise InputError(f"{self._storage.url}: another driver, on {found['host']}, has taken this run over")
        self._storage.write(LEASE, json.dumps({**self._me, "time": time.time()}).encode())
        self._renewed = time.monotonic()

    def release(self) -> None:
        """Give the lease back; whoever cannot be told finds that it is not renewed."""
        with suppress(InputError):
            found = read_lease(self._storage)
            if found is not None and found["driver"] == self._me["driver"]:
                self._storage.remove(LEASE)


def read_lease(storage: Storage) -> dict[str, Any] | None:
    """Who searches the run, None if nobody does."""
    if not storage.exists(LEASE):
        return None
    try:
        found: dict[str, Any] = json.loads(storage.read(LEASE))
    except ValueError as error:
        raise InputError(f"{storage.url}/{LEASE}: damaged ({error}); delete it if nobody searches this run") from error
    return found
