"""A search as a job: what is checked before it is sent, what is sent, and the command that the cluster runs."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cluster.address import AUTO
from cluster.code import copy_code
from cluster.jobs import Jobs, JobView
from search.plan import Plan
from search.plan_file import write_plan
from search.provenance import COMMIT, source_commit
from search.sections import Cluster
from spaces.errors import InputError
from trainables.storage import is_url, join

_NAMED = ("none", "imagenet", "faces", "demo")
_MAY_BE_URLS = ("--runs", "data.source", "warm_start")


def submit(plan: Plan, name: str, runs: str, jobs: Jobs, variables: Mapping[str, str]) -> tuple[JobView, int]:
    """Send `plan` to the cluster; a run of this name that is there already goes on.

    Args:
        plan: As it was read: its paths are those of the cluster, see `check_paths`.
        name: The run's name.
        runs: The folder that holds the runs, absolute or a URL; every node sees it.
        jobs: The cluster's jobs.
        variables: Environment variables for the driver and its workers.

    Returns:
        The job, and the bytes of the program and plan that were packed.

    Raises:
        ClusterError: If the cluster does not take the job.
    """
    sent = plan.model_copy(update={"cluster": Cluster(address=AUTO, autoscale=plan.cluster.autoscale)})
    job = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    command = ["python", "-m", "search", "search", "plan.yaml", "--name", name, "--runs", runs, "--continue"]
    with tempfile.TemporaryDirectory(prefix="fertune-job-") as folder:
        size = copy_code(Path(folder))
        write_plan(sent, Path(folder) / "plan.yaml")
        commit = source_commit()
        made_of = {} if commit is None else {COMMIT: commit}
        jobs.submit(job, command, Path(folder), join(runs, name), {**made_of, **variables})
    return jobs.find(job), size


def follow(job: JobView, jobs: Jobs, write: Callable[[str], Any]) -> JobView:
    """Pass on what the job prints until it has ended; how it ended."""
    end = jobs.follow(job.job, write)
    while not end.is_over:  # the log ends a moment before the job
        time.sleep(0.2)
        end = jobs.find(job.job)
    return end


def check_paths(plan: Plan, runs: str) -> None:
    """See that every path means the same on the cluster.

    Raises:
        InputError: Naming all that do not.
    """
    named = (("--runs", runs), *_paths(plan))
    fetched = [f"{field}: {path}" for field, path in named if is_url(path) and field not in _MAY_BE_URLS]
    if fetched:
        raise InputError(f"these have to be files that every node sees, not URLs: {', '.join(fetched)}")
    relative = [
        f"{field}: {path}"
        for field, path in named
        if not (is_url(path) or Path(path).is_absolute() or (field != "--runs" and path in _NAMED))
    ]
    if relative:
        raise InputError(
            f"a job runs on the cluster, in a temporary folder of Ray's, where these would lie: {', '.join(relative)}; "
            "give absolute paths that every node sees, or URLs such as s3://bucket/folder"
        )


def _paths(plan: Plan) -> Iterator[tuple[str, str]]:
    """Each field of the plan that names a file, with what it names."""
    yield "data.source", plan.data.source
    if plan.data.crop is not None and plan.data.crop.model is not None:
        yield "data.crop.model", plan.data.crop.model
    for field, _, weights in plan.starting_weights:
        yield f"space.{field.partition('.')[0]} weights", weights
    yield "pretraining.weights", plan.pretraining.weights
    yield from (("warm_start", path) for path in plan.warm_start)
