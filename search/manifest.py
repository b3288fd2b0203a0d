"""What a plan asks of a cloud: the files that make a cluster for it."""

import re
from collections.abc import Mapping
from itertools import cycle, islice
from pathlib import Path
from typing import Literal, TypeAlias

from cluster.address import AUTO
from cluster.manifests import kuberay, ray_up
from cluster.manifests.order import Machine, Order, TrialShape, default_image
from search.plan import Plan
from search.sections import Cluster
from search.submission import check_paths
from spaces.errors import InputError
from spaces.family import Family

Target: TypeAlias = Literal["kuberay", "aws", "gcp"]

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_TRIALS = 32


def manifest(
    plan: Plan, target: Target, name: str, runs: str, image: str | None, environment: Mapping[str, str]
) -> dict[str, str]:
    """The files that make a cluster for `plan`, by name, the Dockerfile of its image among them.

    Args:
        plan: The plan; its paths are those of the cluster. `cluster.autoscale` says how many trials are to run at once.
        target: The cloud.
        name: Of the cluster and the run.
        runs: Where the runs are, a URL or an absolute path that every node sees.
        image: The image's name in a registry the cloud can pull from.
        environment: Environment variables of every node.

    Raises:
        InputError: If a path is relative, the name cannot be a cluster's, or a trial fits no machine.
    """
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", name):
        raise InputError(f"--name {name}: a cluster's name is up to 40 lower-case letters, digits and hyphens")
    check_paths(plan, runs)
    trials = plan.cluster.autoscale or DEFAULT_TRIALS
    sent = plan.model_copy(update={"cluster": Cluster(address=AUTO, autoscale=trials)})
    shapes = [_shape(plan, family) for family in plan.space.families]
    order = Order(
        name=name,
        image=image or default_image(ROOT / "requirements.lock"),
        plan=_with_gpus(sent).model_dump(mode="json"),
        runs=runs,
        trials=list(islice(cycle(shapes), trials)),
        environment=environment,
    )
    machines = (kuberay.CPU, kuberay.GPU) if target == "kuberay" else _machines(target)
    for shape in set(shapes):
        if not machines[bool(shape.gpus)].holds(shape):
            machine = machines[bool(shape.gpus)]
            raise InputError(
                f"resources: a trial of {shape.cpus} CPUs and {shape.gpus:g} GPUs does not fit on {machine.name} with "
                f"{machine.cpus} CPUs and {machine.gpus} GPUs"
            )
    files = kuberay.files(order) if target == "kuberay" else ray_up.files(order, target)
    return {**files, "Dockerfile": (Path(kuberay.__file__).parent / "Dockerfile").read_text()}


def write(files: Mapping[str, str], folder: Path) -> list[str]:
    """Write the files; where.

    Raises:
        InputError: If one is there already, or cannot be written.
    """
    there = [str(folder / name) for name in files if (folder / name).exists()]
    if there:
        raise InputError(f"{', '.join(there)}: there already; remove it or name another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    return [str(folder / name) for name in files]


def _machines(target: Target) -> tuple[Machine, Machine]:
    known = ray_up.AWS if target == "aws" else ray_up.GCP
    return known["cpu"], known["gpu"]


def _shape(plan: Plan, family: Family) -> TrialShape:
    """What a trial of `family` occupies on a cloud, which has GPUs."""
    wanted = plan.resources.of(family)
    gpus = wanted.gpus if wanted.gpus is not None else float(family is Family.RESNET)
    return TrialShape(wanted.cpus, gpus)


def _with_gpus(plan: Plan) -> Plan:
    """`plan` with the GPUs of a resnet written out: when the search starts, no node with one is there yet."""
    resnet = plan.resources.resnet.model_copy(update={"gpus": _shape(plan, Family.RESNET).gpus})
    return plan.model_copy(update={"resources": plan.resources.model_copy(update={"resnet": resnet})})
