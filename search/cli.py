"""The command line: `fertune`, and `python -m search`.

Tables and progress go to standard error, results for people to standard output; with `--json` standard output holds one
JSON document and nothing else. Exit codes: 0 done, 1 a failed run, 2 bad input, 130 interrupted.
"""

import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text

from cluster.errors import ClusterError
from results.schema import Status
from search import cli_choice, cli_cluster, cli_data, cli_jobs, cli_model
from search.cli_options import Json, RunArgument, cache_folder
from search.cli_output import Output
from search.place import drive_run, open_run
from search.plan import Plan
from search.plan_file import absolute, read_plan
from search.run_name import checked_name
from spaces.errors import InputError
from spaces.family import Family
from trainables.storage import join

app = typer.Typer(
    name="fertune",
    help="Search for the best three-class facial-expression model that your computers can find.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_data.app, name="data")
app.add_typer(cli_cluster.app, name="cluster")
app.add_typer(cli_choice.app)
app.add_typer(cli_model.app)
app.command()(cli_jobs.submit)
app.add_typer(cli_jobs.app, name="jobs")

PlanFile = Annotated[Path | None, typer.Argument(metavar="PLAN", help="The plan, a YAML file; see examples/.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the plan; repeatable.")
]
Trials = Annotated[int | None, typer.Option(help="Number of trials (budget.trials).")]
Minutes = Annotated[float | None, typer.Option(help="Wall-clock minutes (budget.minutes).")]
Target = Annotated[
    float | None,
    typer.Option(help="Value of the first objective, by default accuracy, that ends the search (budget.target)."),
]
Patience = Annotated[int | None, typer.Option(help="Trials without a better one that end it (budget.patience).")]
CpuSeconds = Annotated[float | None, typer.Option(help="Seconds times CPUs, all trials (budget.cpu_seconds).")]
GpuSeconds = Annotated[float | None, typer.Option(help="Seconds times GPUs, all trials (budget.gpu_seconds).")]
Cost = Annotated[float | None, typer.Option(help="What they may cost at the plan's prices (budget.cost).")]


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """The `--debug` option; `main` looks for it itself, since errors are handled there."""


@app.command()
def search(
    plan: PlanFile = None,
    like: Annotated[
        str | None, typer.Option(metavar="RUN", help="Repeat the plan of this run instead of a PLAN.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="`demo`, or a FER2013 csv file, parquet file or image folder (data.source).")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; default: the plan's name and the time.")] = None,
    runs: Annotated[str, typer.Option(help="Folder or URL that holds the runs.")] = "runs",
    trials: Trials = None,
    minutes: Minutes = None,
    target: Target = None,
    patience: Patience = None,
    cpu_seconds: CpuSeconds = None,
    gpu_seconds: GpuSeconds = None,
    cost: Cost = None,
    seed: Annotated[int | None, typer.Option(help="Seed of suggestions and learners (seed).")] = None,
    settings: Set = None,
    again: Annotated[bool, typer.Option("--continue", help="Continue the run of this name if there is one.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print space, rungs, resources, and an estimate; search nothing.")
    ] = False,
    probes: Annotated[
        int, typer.Option(min=0, help="Configs of each family that --dry-run times; 0: only print the plan.")
    ] = 1,
    json: Json = False,
) -> None:
    """Run the search that PLAN describes, or that an earlier run made."""
    flags = {
        "data.source": data,
        "budget.trials": trials,
        "budget.minutes": minutes,
        "budget.target": target,
        "budget.patience": patience,
        "budget.cpu_seconds": cpu_seconds,
        "budget.gpu_seconds": gpu_seconds,
        "budget.cost": cost,
        "seed": seed,
    }
    checked, stem = _origin(plan, like, settings or (), flags)
    output = Output(json)
    if dry_run:
        from search.dry_run import outline, outline_text, this_machine

        facts = outline(checked, this_machine(checked.cluster), cache_folder(), probes)
        output.show(facts, outline_text(facts))
        return
    from search.run import check_same_search, start
    from search.run import resume as continue_run

    location = join(runs, checked_name(name or f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}"))
    with drive_run(location, cache_folder(), output.progress.print) as run:
        if goes_on := again and run.plan.exists():
            check_same_search(checked, run)
        outcome = (continue_run if goes_on else start)(checked, run, cache_folder(), output.progress)
        output.finish_search(outcome)


@app.command()
def resume(
    run: RunArgument,
    trials: Trials = None,
    minutes: Minutes = None,
    target: Target = None,
    patience: Patience = None,
    cpu_seconds: CpuSeconds = None,
    gpu_seconds: GpuSeconds = None,
    cost: Cost = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="Change budget, cluster or resources; repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """Continue an interrupted or killed run, here or on another cluster; a larger budget continues a finished one."""
    from search.run import resume as continue_run

    flags = {
        "budget.trials": trials,
        "budget.minutes": minutes,
        "budget.target": target,
        "budget.patience": patience,
        "budget.cpu_seconds": cpu_seconds,
        "budget.gpu_seconds": gpu_seconds,
        "budget.cost": cost,
    }
    may_change = ("budget.", "cluster.", "resources.")
    if fixed := [each for each in settings or () if not each.strip().startswith(may_change)]:
        raise InputError(
            f"--set {fixed[0]}: a run that goes on may change budget, cluster, resources; the rest is fixed"
        )
    output = Output(json)
    with drive_run(run, cache_folder(), output.progress.print) as folder:
        folder.check_exists()
        plan = read_plan(folder.plan, settings or (), flags)
        output.finish_search(continue_run(plan, folder, cache_folder(), output.progress))


@app.command()
def status(run: RunArgument, json: Json = False) -> None:
    """Say how far a run has come."""
    from search.status import status_of, status_text

    with open_run(run) as folder:
        info = status_of(folder)
    Output(json).show(info, status_text(info))


@app.command()
def doctor(
    plan: Annotated[Path | None, typer.Argument(metavar="[PLAN]", help="The plan; default: any search here.")] = None,
    data: Annotated[str | None, typer.Option(help="As of `fertune search` (data.source).")] = None,
    runs: Annotated[str, typer.Option(help="Folder or URL that holds the runs.")] = "runs",
    settings: Set = None,
    json: Json = False,
) -> None:
    """Check what a search needs, on every machine, before anything is spent; exit 1 if it cannot run."""
    from search.doctor import can_run, examine, table, values

    if plan is None and (data or settings):
        raise InputError("--data and --set change a plan: give one")
    flags = {"data.source": data}
    checked = absolute(read_plan(plan, settings or (), flags)) if plan else None
    checks = examine(checked, runs, cache_folder())
    Output(json).show(values(checks), table(checks))
    if not can_run(checks):
        raise typer.Exit(1)


@app.command()
def board(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder or URL of a run, or a folder of runs.")],
    port: Annotated[int, typer.Option(help="Port on loopback, 0 for any free one.")] = 6006,
    optuna: Annotated[bool, typer.Option("--optuna", help="Show the study in optuna-dashboard instead.")] = False,
) -> None:
    """Show a run, or a folder of runs, in TensorBoard, or a run in optuna-dashboard, also while it is searched."""
    from search.board_server import served, wait_until_interrupted
    from search.study_board import serve_study

    with ExitStack() as opened:
        if optuna:
            folder = opened.enter_context(open_run(run))
            name, address, refresh = "optuna-dashboard", serve_study(folder.study, port), folder.refresh
        else:
            name, (address, refresh) = "TensorBoard", opened.enter_context(served(run, port))
        Console(soft_wrap=True).print(f"{name} is at {address} (Ctrl-C ends it)")
        wait_until_interrupted(refresh, Console(stderr=True, soft_wrap=True, markup=False).print)


@app.command()
def results(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Folders or URLs of runs.")],
    family: Annotated[list[Family] | None, typer.Option(help="Only trials of this family; repeatable.")] = None,
    trial_status: Annotated[
        list[Status] | None, typer.Option("--status", help="Only trials with this status; repeatable.")
    ] = None,
    table: Annotated[
        Literal["trials", "curves", "families", "rungs"],
        typer.Option(help="`trials`, learning `curves`, or sums of `families` or their `rungs`."),
    ] = "trials",
    out: Annotated[Path | None, typer.Option(help="Write the table: a .csv, .parquet or .json file.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Rows to print.")] = 20,
    json: Json = False,
) -> None:
    """Print the leaderboard of one or many runs, or another table of their trials."""
    from rich.console import Group

    from results import aggregate, leaderboard
    from results.front import front_json, front_table

    with ExitStack() as opened:
        folders = [opened.enter_context(open_run(run)) for run in runs]
        goals = leaderboard.goals_of(folders)
        records = aggregate.kept(leaderboard.trials_in(folders), family or (), trial_status or ())
        if differs := leaderboard.differing_data(folders):
            Output(json).progress.print(Text(f"warning: {differs}", style="yellow"), soft_wrap=True)
        has_front = len(goals.objectives) > 1
        fronts = {run.location: [each for each in records if each.run == run.location] for run in folders if has_front}
        rows = aggregate.frame_of(records, table, goals)
        if out is not None:
            aggregate.write_frame(rows, out)
        if table != "trials":
            values = {"runs": [run.location for run in folders], table: aggregate.values_of(rows)}
            Output(json).show(values, aggregate.frame_view(rows, top))
            return
        values = leaderboard.results_json(folders, records) if json else {}
        if json and fronts:
            values["front"] = [row for trials in fronts.values() for row in front_json(trials, goals, len(folders) > 1)]
        board = leaderboard.table(leaderboard.frame(records, goals), top, goals)
        views = [front_table(trials, goals, run if len(folders) > 1 else "") for run, trials in fronts.items()]
        Output(json).show(values, Group(board, *views))


def _origin(plan: Path | None, like: str | None, settings: Sequence[str], flags: Mapping[str, Any]) -> tuple[Plan, str]:
    """The plan of a search, and what its name begins with: that of the run it repeats, without the time."""
    if (plan is None) == (like is None):
        raise InputError(f"search takes a PLAN or --like RUN, received {'neither' if plan is None else 'both'}")
    if like is None:
        assert plan is not None
        return absolute(read_plan(plan, settings, flags)), plan.stem
    with open_run(like) as run:
        name = re.sub(r"-\d{8}-\d{6}$", "", run.path.resolve().name)
        return absolute(read_plan(run.plan, settings, flags)), name


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; an error is one sentence on standard error unless `--debug` is given."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    # `--debug` may stand anywhere, but is an option of the whole program
    given = (["--debug"] if debug else []) + [argument for argument in given if argument != "--debug"]
    sys.exit(_guarded(given, debug))


def _guarded(arguments: list[str], debug: bool) -> int:
    """Run one command; its exit code."""
    try:
        app(args=arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except (InputError, ClusterError) as error:
        if debug:
            raise
        return _complain(str(error), 2 if isinstance(error, InputError) else 1)
    except Exception as error:
        if debug:
            raise
        return _complain(f"{type(error).__name__}: {error} (this is a bug; --debug shows where)", 1)
    return 0


def _complain(sentence: str, code: int) -> int:
    Console(stderr=True, soft_wrap=True).print(Text(f"fertune: {sentence}", style="red"))
    return code
