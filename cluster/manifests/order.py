"""What a manifest is made for: one search, the trials it wants to run at once, and the machines that hold them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import yaml

IDLE_MINUTES = 5
RAY_PORT, JOBS_PORT = 6379, 8265
CACHE = "/cache"
HEAD_MEMORY_GB = 16


class TrialShape(NamedTuple):
    """What one trial occupies."""

    cpus: int
    gpus: float


class Machine(NamedTuple):
    """A type of machine.

    Attributes:
        name: As its cloud calls it.
        cpus: Its CPUs.
        gpus: Its GPUs.
        memory: Its memory in GiB.
    """

    name: str
    cpus: int
    gpus: int
    memory: int

    def holds(self, trial: TrialShape) -> int:
        """How many trials fit on it at once."""
        by_cpus = self.cpus // trial.cpus
        return min(by_cpus, int(self.gpus / trial.gpus + 1e-9)) if trial.gpus else by_cpus


@dataclass(frozen=True)
class Order:
    """One search on a cluster to be made.

    Attributes:
        name: Of the cluster and the run.
        image: The container image that has fertune.
        plan: The plan, as plain values.
        runs: Where the runs are, a URL or a path that every node sees.
        trials: Each trial that is to run at once.
        environment: Environment variables of every node.
    """

    name: str
    image: str
    plan: Mapping[str, Any]
    runs: str
    trials: Sequence[TrialShape]
    environment: Mapping[str, str] = field(default_factory=dict)

    def workers(self, cpu: Machine, gpu: Machine) -> dict[str, tuple[Machine, int]]:
        """The groups of workers, `cpu` and `gpu`, with the most machines that each may have."""
        groups = {}
        for name, machine, trials in (
            ("cpu", cpu, [trial for trial in self.trials if not trial.gpus]),
            ("gpu", gpu, [trial for trial in self.trials if trial.gpus]),
        ):
            if trials:
                groups[name] = (machine, ceil(sum(1 / max(1, machine.holds(trial)) for trial in trials) - 1e-9))
        return groups

    @property
    def command(self) -> list[str]:
        """What searches, wherever the plan lies."""
        return ["fertune", "search", "/etc/fertune/plan.yaml", "--name", self.name, "--runs", self.runs, "--continue"]


def ray_version() -> str:
    """The version of Ray that every node must run: this one's, which the lock file pins."""
    return metadata.version("ray")


def default_image(lock: Path) -> str:
    """The image's name, with the lock file it was built from in its tag."""
    digest = hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else "unlocked"
    return f"fertune:lock-{digest[:12]}"


def as_yaml(documents: Sequence[Mapping[str, Any]], comment: str) -> str:
    """The documents as one YAML file under a comment."""
    head = "".join(f"# {line}\n" for line in comment.splitlines())
    return head + yaml.safe_dump_all([dict(each) for each in documents], sort_keys=False, width=120)
