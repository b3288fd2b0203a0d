"""What each node of a cluster has and sees, found out by one tiny task on each; Ray must be running."""

import importlib.metadata
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGES = ("fertune", "ray", "torch", "torchvision", "scikit-learn")
_SECONDS = 120.0


@dataclass(frozen=True)
class Facts:
    """What one node has and sees.

    Attributes:
        versions: Of Python and `PACKAGES`, None for one that is missing.
        clock: Seconds since 1970.
        shared_memory: Free bytes of /dev/shm, None where there is none.
        disk: Free bytes where `cache` is or would be.
        gpus: Name and memory of each GPU, as the driver's tool lists them.
        missing: Why files asked for cannot be read here.
        unwritable: Why no file can be made in the folder asked for, empty if one can.
    """

    versions: dict[str, str | None]
    clock: float
    shared_memory: int | None
    disk: int
    gpus: tuple[str, ...]
    missing: tuple[str, ...]
    unwritable: str


@dataclass(frozen=True)
class Questions:
    """What every node is asked beyond itself.

    Attributes:
        files: What every node must be able to read: absolute paths or URLs.
        folder: Where every node must be able to write, absolute or a URL; None asks nothing.
        cache: The nodes' folder for parsed data, absolute.
        unreadable: Why a location cannot be read, empty if it can.
        unwritable: Why no file can be made in a folder, empty if one can.
    """

    files: Sequence[str]
    folder: str | None
    cache: str
    unreadable: Callable[[str], str]
    unwritable: Callable[[str], str]


@dataclass(frozen=True)
class NodeReport:
    """One node's answer.

    Attributes:
        name: Its address and host.
        resources: What it offers to Ray.
        facts: What it has; None if its task failed.
        error: Why.
        clock_error: Seconds its clock is ahead of this process's (behind, if negative), beyond what the task took.
    """

    name: str
    resources: dict[str, float]
    facts: Facts | None
    error: str
    clock_error: float


def look(questions: Questions) -> Facts:
    """Look around on this node; see `probe`."""
    return Facts(
        versions={"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        clock=time.time(),
        shared_memory=shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else None,  # noqa: S108
        disk=shutil.disk_usage(_existing(Path(questions.cache))).free,
        gpus=_gpus(),
        missing=tuple(reason for each in questions.files if (reason := questions.unreadable(each))),
        unwritable="" if questions.folder is None else questions.unwritable(questions.folder),
    )


def probe(questions: Questions) -> list[NodeReport]:
    """What every living node has and sees."""
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    return [_ask(node, questions) for node in nodes]


def _ask(node: dict[str, Any], questions: Questions) -> NodeReport:
    """One node's report; asked one after another, so that a clock is compared with little else going on."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    name = f"{node['NodeManagerAddress']} ({node['NodeManagerHostname']}, {node['NodeID'][:6]})"
    here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    task = ray.remote(look).options(num_cpus=0, scheduling_strategy=here, max_retries=0)
    began = time.time()
    try:
        facts = ray.get(task.remote(questions), timeout=_SECONDS)
    except RayError as error:
        lines = str(error).strip().splitlines()
        return NodeReport(name, node["Resources"], None, lines[-1] if lines else type(error).__name__, 0.0)
    ended = time.time()
    clock_error = facts.clock - min(max(facts.clock, began), ended)
    return NodeReport(name, node["Resources"], facts, "", clock_error)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _existing(path: Path) -> Path:
    """The nearest folder above `path` that exists, itself included."""
    return next(each for each in (path, *path.parents) if each.is_dir())


def _gpus() -> tuple[str, ...]:
    """A line such as `NVIDIA H200, 143771 MiB` for each GPU."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in found.splitlines() if line.strip())
