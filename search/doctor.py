"""What would keep a search from running, found before anything is spent, with what to do about it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from cluster.address import LOCAL
from cluster.environment import token_path
from cluster.errors import ClusterError
from cluster.probe import Facts, NodeReport, Questions, probe
from cluster.session import session
from search.plan import Plan
from search.room import Room
from search.weights import find_weights
from spaces.errors import InputError
from trainables.storage import is_url, unreadable, unwritable

_GIB = 1024**3
_LEAST_DISK = 1 * _GIB
_GOOD_DISK = 5 * _GIB
_GOOD_SHARED_MEMORY = 256 * 1024**2  # the object store of a node
_CLOCK_SECONDS = 2.0
_HERE = "this machine"


class Verdict(StrEnum):
    """What a check came to; only a failure keeps a search from running."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


class Check(NamedTuple):
    """One thing that was looked at.

    Attributes:
        name: What.
        where: On which machine.
        verdict: What it came to.
        found: What was found.
        advice: What to do, empty if nothing.
    """

    name: str
    where: str
    verdict: Verdict
    found: str
    advice: str = ""


def examine(plan: Plan | None, runs: str, cache: Path) -> list[Check]:
    """Check everything a search needs: of `plan`, or, without one, of any search on this machine.

    Args:
        plan: The plan; its paths are absolute.
        runs: The folder or URL that holds the runs.
        cache: The nodes' folder for parsed data.
    """
    checks, files = [_token(plan)], []
    if plan is not None:
        (data, paths), (weights, more) = _data(plan, cache), _weights(plan)
        checks += [data, weights]
        files = paths + ([] if is_url(runs) else more)  # weights go with a run at a URL
    folder, check = _run_folder(runs)
    with _known_here_alone(folder) as place:
        return [*checks, check, *_cluster(plan, files, place, cache.resolve())]


def table(checks: list[Check]) -> Table:
    """The checks, for people."""
    colours = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAILURE: "red"}
    failures, warnings = (sum(check.verdict is each for check in checks) for each in (Verdict.FAILURE, Verdict.WARNING))
    view = Table(title=f"{len(checks)} checks: {failures} failures, {warnings} warnings")
    for column in ("check", "where", "result", "found", "what to do"):
        view.add_column(column)
    for check in checks:
        verdict = Text(check.verdict, style=colours[check.verdict])
        view.add_row(check.name, check.where, verdict, Text(check.found), Text(check.advice))
    return view


def values(checks: list[Check]) -> dict[str, Any]:
    """The checks, for programs."""
    return {"ok": can_run(checks), "checks": [check._asdict() for check in checks]}


def can_run(checks: list[Check]) -> bool:
    """Whether nothing keeps a search from running."""
    return all(check.verdict is not Verdict.FAILURE for check in checks)


def _run_folder(runs: str) -> tuple[str | None, Check]:
    """The folder of the runs as every node knows it, None if not even this machine can write there."""
    location = runs if is_url(runs) else str(Path(runs).resolve())
    try:
        if not is_url(runs):
            Path(location).mkdir(parents=True, exist_ok=True)
        reason = unwritable(location)
    except OSError as error:
        reason = str(error)
    if reason:
        found = f"{runs} cannot be written ({reason})"
        return None, Check("run folder", _HERE, Verdict.FAILURE, found, "give a place you may write with --runs")
    return location, Check("run folder", _HERE, Verdict.OK, f"{runs} can be written")


@contextmanager
def _known_here_alone(folder: str | None) -> Iterator[str | None]:
    """A new folder in `folder`: a node that can write there shares the file system, not just the path's name."""
    if folder is None or is_url(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=folder) as made:
        yield made


def _token(plan: Plan | None) -> Check:
    path = token_path()
    if path is None:
        return Check("token", _HERE, Verdict.OK, "in RAY_AUTH_TOKEN")
    if not path.is_file():
        if plan is None or plan.cluster.address == LOCAL:
            return Check("token", _HERE, Verdict.OK, f"{path} will be made")
        advice = "copy the cluster's, name its file in RAY_AUTH_TOKEN_PATH, or give it in RAY_AUTH_TOKEN"
        return Check("token", _HERE, Verdict.FAILURE, f"{path} is missing", advice)
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        found = f"{path} has mode {mode:o}: others on this machine could read it"
        return Check("token", _HERE, Verdict.WARNING, found, "it has mode 600 from the next start on; make another one")
    return Check("token", _HERE, Verdict.OK, f"{path}, mode {mode:o}")


def _data(plan: Plan, cache: Path) -> tuple[Check, list[str]]:
    """Whether the data can be used here, and the paths that every node must be able to read for them."""
    from trainables.data.protocol import load_training

    try:
        data = load_training(plan.data, cache)
    except InputError as error:
        return Check("data", _HERE, Verdict.FAILURE, str(error), "give another source, or `fertune data fetch`"), []
    found = f"{plan.data.source}: {len(data.train):,} training and {len(data.validation):,} validation faces"
    named = [plan.data.source, plan.data.crop.model if plan.data.crop is not None else None]
    paths = [path for path in named if path is not None and path != "demo"]
    return Check("data", _HERE, Verdict.OK, found), paths


def _weights(plan: Plan) -> tuple[Check, list[str]]:
    """Whether the files of weights are there, and which they are; `faces` weights are made by the search itself."""
    try:
        files = sorted({str(path) for path in find_weights(plan).values()})
    except InputError as error:
        return Check("weights", _HERE, Verdict.FAILURE, str(error), "get the file, or take it out of the space"), []
    return Check("weights", _HERE, Verdict.OK, ", ".join(files) or "no file needed"), files


def _cluster(plan: Plan | None, files: list[str], folder: str | None, cache: Path) -> Iterator[Check]:
    """What the machines that would run the trials have; Ray is started or joined for it."""
    where = plan.cluster if plan is not None else None
    try:
        with session(*((where.address, where.cpus, where.gpus) if where else ())) as nodes:
            offers = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
            yield Check("Ray", _HERE, Verdict.OK, f"nodes with {offers}")
            if plan is not None:
                yield _room(plan, nodes)
            for report in probe(Questions(files, folder, str(cache), unreadable, unwritable)):
                yield from _node(report)
    except ClusterError as error:
        yield Check("Ray", _HERE, Verdict.FAILURE, str(error), "`fertune cluster status` shows what was started here")


def _room(plan: Plan, nodes: tuple[dict[str, float], ...]) -> Check:
    try:
        room = Room(plan.resources, nodes, plan.space.families, grows=plan.cluster.autoscale is not None)
    except InputError as error:
        return Check("resources", _HERE, Verdict.FAILURE, str(error), "ask for less, or join a larger cluster")
    return Check("resources", _HERE, Verdict.OK, f"up to {room.concurrency} trials at once")


def _node(report: NodeReport) -> Iterator[Check]:
    """The checks of one node."""
    name, facts = report.name, report.facts
    if facts is None:
        advice = "install the same fertune there, from the same lock file"
        yield Check("node", name, Verdict.FAILURE, f"a task failed: {report.error}", advice)
        return
    yield _versions(name, facts)
    yield from _gpus(name, facts, int(report.resources.get("GPU", 0)))
    if facts.shared_memory is not None:
        good = facts.shared_memory >= _GOOD_SHARED_MEMORY
        found = f"{facts.shared_memory / _GIB:.1f} GiB free"
        advice = "" if good else "give it more: docker run --shm-size=1g"
        yield Check("shared memory", name, Verdict.OK if good else Verdict.WARNING, found, advice)
    yield _disk(name, facts.disk)
    for reason in facts.missing:
        yield Check("files", name, Verdict.FAILURE, reason, "put it where all nodes can read it, or give a URL")
    if facts.unwritable:
        advice = "give --runs on a file system that all nodes share, or a URL"
        yield Check("run folder", name, Verdict.FAILURE, f"cannot be written from there ({facts.unwritable})", advice)
    if abs(report.clock_error) > _CLOCK_SECONDS:
        found = f"{abs(report.clock_error):.0f} s {'ahead of' if report.clock_error > 0 else 'behind'} this machine"
        yield Check("clock", name, Verdict.WARNING, found, "let NTP set it")
    else:
        yield Check("clock", name, Verdict.OK, f"within {_CLOCK_SECONDS:.0f} s of this machine's")


def _versions(name: str, facts: Facts) -> Check:
    """Ray itself refuses another Ray or Python; with other packages the same config may learn something else."""
    missing = [package for package, version in facts.versions.items() if version is None]
    if missing:
        found = f"{', '.join(missing)} missing"
        return Check("versions", name, Verdict.FAILURE, found, "install from the same lock file there")
    other = [
        f"{package} {version} (here {metadata.version(package)})"
        for package, version in facts.versions.items()
        if package != "python" and version != metadata.version(package)
    ]
    if other:
        return Check("versions", name, Verdict.WARNING, ", ".join(other), "install from the same lock file there")
    found = ", ".join(f"{package} {facts.versions[package]}" for package in ("python", "ray", "torch"))
    return Check("versions", name, Verdict.OK, found)


def _gpus(name: str, facts: Facts, offered: int) -> Iterator[Check]:
    if not offered and not facts.gpus:
        return
    listed = "; ".join(facts.gpus) or "nvidia-smi lists none"
    if offered and str(facts.versions["torch"]).endswith("+cpu"):
        advice = "install the CUDA build of torch and torchvision"
        yield Check("GPUs", name, Verdict.WARNING, f"torch is built without CUDA; {listed}", advice)
    elif offered > len(facts.gpus):
        advice = "start the node with as many GPUs as it has"
        yield Check("GPUs", name, Verdict.WARNING, f"Ray offers {offered}, but {listed}", advice)
    else:
        yield Check("GPUs", name, Verdict.OK, listed)


def _disk(name: str, free: int) -> Check:
    found = f"{free / _GIB:.1f} GiB free for parsed data"
    if free < _LEAST_DISK:
        return Check("disk", name, Verdict.FAILURE, found, "make room, or name another folder in FERTUNE_CACHE")
    advice = "" if free >= _GOOD_DISK else "make room, or name another folder in FERTUNE_CACHE"
    return Check("disk", name, Verdict.WARNING if advice else Verdict.OK, found, advice)
