"""What `fertune cluster up` remembers of the processes it started: enough to stop exactly those."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from cluster.errors import ClusterError

_CLOCK_SECONDS = 2.0  # a process's start is counted from the boot, whose time is corrected now and then


class Process(NamedTuple):
    """A process, told apart from a later one of the same number by when it started.

    Attributes:
        pid: Its number.
        began: When it started, in seconds since 1970.
    """

    pid: int
    began: float

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process that now has the number `pid`."""
        return cls(pid, psutil.Process(pid).create_time())

    def running(self) -> psutil.Process | None:
        """The process, if it is this one and has not ended."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.began) < _CLOCK_SECONDS
            return process if same and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None


class Node(BaseModel):
    """One Ray node of a local cluster.

    Attributes:
        raylet: The process without which the node is dead.
        others: Its other processes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    raylet: Process
    others: tuple[Process, ...]

    @property
    def processes(self) -> tuple[Process, ...]:
        """All processes that were started for it."""
        return (self.raylet, *self.others)

    @property
    def is_alive(self) -> bool:
        """Whether it can run trials."""
        return self.raylet.running() is not None


class State(BaseModel):
    """A local cluster, as far as it has been started.

    Attributes:
        address: `host:port` of its head; empty until that runs.
        jobs: Its Jobs endpoint, `http://host:port`; empty until the head runs.
        folder: Ray's folder of sockets and logs, made for this cluster.
        keeper: The process that started the nodes; it ends them when it ends, however it ends.
        wanted: How many nodes it is to have.
        cpus: Logical CPUs of each node.
        gpus: Logical GPUs of each node.
        nodes: Those that were started, the head first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: str = ""
    jobs: str = ""
    folder: Path
    keeper: Process
    wanted: int
    cpus: int
    gpus: int
    nodes: tuple[Node, ...] = ()

    @property
    def is_up(self) -> bool:
        """Whether it can be searched on; nodes that still start come to it later."""
        return self.keeper.running() is not None and bool(self.nodes) and self.nodes[0].is_alive

    @property
    def is_whole(self) -> bool:
        """Whether every node was started and the head still runs."""
        return self.keeper.running() is not None and len(self.nodes) == self.wanted and self.nodes[0].is_alive

    @property
    def processes(self) -> tuple[Process, ...]:
        """All processes that were started for it."""
        return (self.keeper, *(process for node in self.nodes for process in node.processes))


def state_file() -> Path:
    """Where the state is kept: in `fertune` under XDG_STATE_HOME, by default `~/.local/state`."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "fertune" / "cluster.json"


def read_state() -> State | None:
    """The cluster that was last started and not stopped, alive or dead; None if there is none.

    Raises:
        ClusterError: If the file is damaged.
    """
    try:
        return State.model_validate_json(state_file().read_text())
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise ClusterError(
            f"{state_file()}: not what `fertune cluster up` wrote; stop its processes by hand and delete it"
        ) from error


def write_state(state: State) -> None:
    """Remember `state`, whole or not at all."""
    partial = state_file().with_suffix(".partial")
    partial.write_text(state.model_dump_json())
    partial.replace(state_file())


def forget_state() -> None:
    """The cluster is gone."""
    state_file().unlink(missing_ok=True)


@contextmanager
def state_lock() -> Iterator[None]:
    """One command at a time starts or stops the cluster.

    Raises:
        ClusterError: If another one is at it, or the folder cannot be written.
    """
    path = state_file().with_suffix(".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise ClusterError(f"{path.parent}: the cluster cannot be remembered here ({error.strerror})") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ClusterError("another `fertune cluster` command is at work; wait for it to end") from None
        yield
