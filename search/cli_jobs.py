"""`fertune submit` and `fertune jobs`: searches that a cluster runs while the laptop is closed."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from search.cli_options import Json
from search.cli_output import Output, variable
from search.plan_file import read_plan
from search.run_name import checked_name
from spaces.errors import InputError

if TYPE_CHECKING:
    from cluster.jobs import Jobs, JobView

app = typer.Typer(help="Look at, follow and stop the searches that were submitted to a cluster.", no_args_is_help=True)

Address = Annotated[
    str | None,
    typer.Option(
        help="Jobs endpoint, http://host:8265. Default: RAY_API_SERVER_ADDRESS, else the cluster started here."
    ),
]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, or the name of its run.")]


def submit(
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="The plan; its paths are those of the cluster.")],
    runs: Annotated[str, typer.Option(help="Folder of the runs: absolute and seen by every node, or a URL.")],
    address: Address = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the run; one that exists goes on. Default: the plan's and the time.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="As of `fertune search`, on the cluster (data.source).")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the plan; repeatable.")
    ] = None,
    variables: Annotated[
        list[str] | None,
        typer.Option("--env", metavar="NAME=VALUE", help="Environment of the search; not for secrets. Repeatable."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait; `fertune jobs` tells the rest.")] = False,
    json: Json = False,
) -> None:
    """Run the search that PLAN describes on a cluster, as a job; Ctrl-C leaves it running."""
    from search import submission

    checked = read_plan(plan, settings or (), {"data.source": data})
    run_name = checked_name(name or f"{plan.stem}-{time.strftime('%Y%m%d-%H%M%S')}")
    environment = dict(variable(each) for each in variables or ())
    submission.check_paths(checked, runs)
    output, jobs = Output(json), _jobs(address)
    job, size = submission.submit(checked, run_name, runs, jobs, environment)
    say = output.progress.print
    say(f"job {job.job} searches {job.run}; sent {size / 1024:.0f} KiB of program and plan", soft_wrap=True)
    if detach:
        output.show(_values(job), Text(f"follow it with: fertune jobs logs --follow {job.job}"))
        return
    try:
        job = submission.follow(job, jobs, _to(sys.stderr))
    except KeyboardInterrupt:
        say(
            f"the job goes on; `fertune jobs logs --follow {job.job}` follows it, `fertune jobs stop {job.job}` ends it"
        )
        raise typer.Exit(0) from None
    output.show(_values(job), _sentence(job))
    raise typer.Exit(job.code)


@app.command("list")
def list_jobs(address: Address = None, json: Json = False) -> None:
    """List the jobs of the cluster."""
    jobs = _jobs(address).list()
    table = Table(title=f"{len(jobs)} jobs")
    for column in ("job", "run", "state", "submitted"):
        table.add_column(column, overflow="fold")
    for job in jobs:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.began)) if job.began else "-"
        table.add_row(job.job, job.run or "-", job.status, began)
    Output(json).show([_values(job) for job in jobs], table)


@app.command()
def status(job: JobArgument, address: Address = None, json: Json = False) -> None:
    """Say how a job is; exit 0 while it runs or if it succeeded, with its own code if it failed, 130 if stopped."""
    found = _jobs(address).find(job)
    Output(json).show(_values(found), _sentence(found))
    raise typer.Exit(found.code)


@app.command()
def logs(
    job: JobArgument,
    address: Address = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until the job has ended; exit with its code.")
    ] = False,
) -> None:
    """Print what a job has printed."""
    from search import submission

    jobs = _jobs(address)
    found = jobs.find(job)
    if not follow:
        _to(sys.stdout)(jobs.logs(found.job))
        return
    try:
        ended = submission.follow(found, jobs, _to(sys.stdout))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    raise typer.Exit(ended.code)


@app.command()
def stop(job: JobArgument, address: Address = None, json: Json = False) -> None:
    """End a job in order, as Ctrl-C ends a search; submitting again with the run's name continues it."""
    jobs = _jobs(address)
    found = jobs.find(job)
    if not found.is_over:
        jobs.stop(found.job)
        while not found.is_over:
            time.sleep(0.2)
            found = jobs.find(found.job)
    Output(json).show(_values(found), _sentence(found))


def _jobs(address: str | None) -> "Jobs":
    from cluster.jobs import Jobs, endpoint, is_clear_text

    try:
        place = endpoint(address)
    except ValueError as error:
        raise InputError(f"--address {error}") from None
    if is_clear_text(place):
        sentence = f"{place}: the token travels unencrypted; use a tunnel (ssh -L, kubectl port-forward) or https"
        Output(as_json=False).progress.print(Text(sentence, style="yellow"), soft_wrap=True)
    return Jobs(place)


def _to(stream: Any) -> Any:
    """Writes at once: what a job prints is to be seen while it runs."""

    def write(text: str) -> None:
        stream.write(text)
        stream.flush()

    return write


def _values(job: "JobView") -> dict[str, Any]:
    return asdict(job)


def _sentence(job: "JobView") -> Text:
    code = "" if job.exit_code is None else f", exit code {job.exit_code}"
    more = f": {job.message.splitlines()[-1]}" if job.message and job.status == "FAILED" else ""
    return Text(f"job {job.job} ({job.run or 'not a search'}): {job.status}{code}{more}")
