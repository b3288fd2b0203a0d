"""`fertune select`, `report`, `refit` and `export`: from a search to a model."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from results.run_folder import RunFolder
from search.cli_options import Json, RunArgument, cache_folder
from search.cli_output import Output
from search.place import open_run
from spaces.errors import InputError

app = typer.Typer()


@app.command()
def select(
    run: RunArgument,
    top: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Best trials to compare, with the best of each family if above 1; default: as the last time, else 1.",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=0, help="Refits of each, with other seeds; default: as the last time, else 0."),
    ] = None,
    splits: Annotated[
        bool | None,
        typer.Option(help="Give each refit another split of training and validation.", show_default="as last"),
    ] = None,
    ensemble: Annotated[bool, typer.Option("--ensemble", help="Compare an ensemble with the winner.")] = False,
    latency: Annotated[
        float | None, typer.Option(min=0, help="Milliseconds that the ensemble may take for one face.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare the best trials, and let the winner meet the test set, once."""
    from results.comparison import Rules
    from results.selection import last_rules
    from results.selection import select as choose
    from results.selection_view import render

    if latency is not None and not ensemble:
        raise InputError(f"--latency {latency:g} limits an ensemble: give --ensemble, too")
    output = Output(json)
    with open_run(run, change=True) as folder:
        _check_learned(folder)
        last = last_rules(folder) or Rules()
        rules = Rules(
            top=last.top if top is None else top,
            seeds=last.seeds if seeds is None else seeds,
            splits=last.splits if splits is None else splits,
            ensemble=ensemble or last.ensemble,
            latency=latency if ensemble else last.latency,
        )
        selection = choose(
            folder, cache_folder(), rules, lambda line: output.progress.print(Text(line), soft_wrap=True)
        )
    output.show(selection, render(selection))


@app.command()
def report(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option(help="The file to write; default: report.html in the run.")] = None,
    json: Json = False,
) -> None:
    """Write all that a run says of itself as one HTML file, also while it is searched."""
    from results.report import write_report

    with open_run(run, change=out is None) as folder:
        written = write_report(folder, cache_folder(), out)
    Output(json).show(written, Text(f"wrote {written['report']} ({written['bytes'] / 1e6:.1f} MB)"))


@app.command()
def refit(
    run: RunArgument,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that train a resnet together; default: one a GPU, else a node.")
    ] = None,
    json: Json = False,
) -> None:
    """Train the selected model once more, on training and validation faces together."""
    from search.refit import refit as train

    output = Output(json)
    with open_run(run, change=True) as folder:
        _check_learned(folder)
        done = train(folder, cache_folder(), workers, lambda line: output.progress.print(Text(line), soft_wrap=True))
    trained = f"trained on {done['images']:,} faces by {done['workers']} process{'es' * (done['workers'] > 1)}"
    output.show(done, Text(f"trial {done['trial']} {trained} in {done['seconds']:.0f} s: {done['model']}"))


@app.command()
def export(
    run: RunArgument,
    out: Annotated[Path | None, typer.Option(help="Folder to make; default: exports/ and the run's name.")] = None,
    ensemble: Annotated[
        bool, typer.Option("--ensemble", help="Write the ensemble of the last `select --ensemble` instead.")
    ] = False,
    refit: Annotated[bool, typer.Option("--refit", help="Write what `fertune refit` made of it instead.")] = False,
    onnx: Annotated[bool, typer.Option(help="Write model.onnx too, and compare ONNX Runtime with the model.")] = True,
    json: Json = False,
) -> None:
    """Write the selected model, else the incumbent, as an artifact that can be copied and used anywhere."""
    from results.export import Which
    from results.export import export as write

    if ensemble and refit:
        raise InputError("export writes one model: give --ensemble or --refit, not both")
    which = Which.ENSEMBLE if ensemble else Which.REFIT if refit else Which.WINNER
    with open_run(run) as folder:
        _check_learned(folder)
        name = folder.path.resolve().name + ("" if which is Which.WINNER else f"-{which}")
        written = write(folder, out or Path("exports") / name, which, onnx)
    Output(json).show(written, Text(f"exported to {written['artifact']}"))


def _check_learned(run: RunFolder) -> None:
    if run.plan_values().get("fake"):
        raise InputError(f"{run.location}: its trials were fake (the plan's `fake`), there is no model in it")
