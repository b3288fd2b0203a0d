"""Leases: who computes a thing that several processes of one node want, so that the others wait for it.

A lease is a small file that names its holder and is touched every few seconds while the holder lives. One whose holder
is dead, or has not touched it for `EXPIRY` seconds (it is stopped, or the machine was switched off), counts for
nothing, and the next who asks takes it over. So does one that is `LONGEST` seconds old: a thread does the touching, and
goes on when the computation itself hangs. Should a holder that was only slow come back, then two compute the same
thing: a waste, no harm, for what they make appears whole or not at all.
"""

import fcntl
import json
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

EXPIRY = 15.0
# Enough for FER2013's 28,709 training faces at four a second. Who is slower is joined by another, not stopped.
LONGEST = 7200.0


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, for moments only; the lock dies with the process."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Lease:
    """A lease that this process holds.

    Attributes:
        path: Its file.
        token: Tells it from other leases of the same path.
    """

    path: Path
    token: str

    @classmethod
    def take(cls, path: Path) -> "Lease | None":
        """The lease `path`, None if another holds it; to be called by one process at a time (see `locked`)."""
        if is_held(path):
            return None
        lease = cls(path, uuid4().hex)
        holder = {"pid": os.getpid(), "host": platform.node(), "token": lease.token, "taken": time.time()}
        path.write_text(json.dumps(holder))
        return lease

    @contextmanager
    def kept_alive(self) -> Iterator[None]:
        """Touch the lease now and then, from a thread, for the time of a `with` block."""
        over = threading.Event()

        def touch() -> None:
            while not over.wait(EXPIRY / 5):
                if holder_of(self.path).get("token") != self.token:
                    return  # it was taken over: a touch would lengthen another's lease
                with suppress(FileNotFoundError):  # taken over and given back since
                    os.utime(self.path)

        thread = threading.Thread(target=touch, name="lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def give_back(self) -> None:
        """End the lease unless another has taken it over; to be called as `take` is."""
        if holder_of(self.path).get("token") == self.token:
            self.path.unlink()


def is_held(path: Path) -> bool:
    """Whether anybody holds the lease `path` now, so that others wait."""
    holder = holder_of(path)
    return bool(holder) and time.time() - float(holder["taken"]) < LONGEST and is_at_work(path, str(holder["token"]))


def is_at_work(path: Path, token: str) -> bool:
    """Whether the holder of `token` lives and nobody has taken over the lease `path`, however old it is."""
    holder = holder_of(path)
    if holder.get("token") != token:
        return False
    try:
        silent = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    return silent < EXPIRY and (holder["host"] != platform.node() or _lives(int(holder["pid"])))


def holder_of(path: Path) -> dict[str, str | float]:
    """What the lease `path` says of its holder; nothing if there is no lease or a kill left half of one."""
    try:
        holder: dict[str, str | float] = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return holder if {"pid", "host", "token", "taken"} <= holder.keys() else {}


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    return True
