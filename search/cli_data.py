"""`fertune data`: look at the faces before searching."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from search.cli_options import Json
from spaces.errors import InputError
from trainables.data.spec import DataSpec

app = typer.Typer(help="Look at the data, or get it.", no_args_is_help=True)

Source = Annotated[str, typer.Option("--data", help="`demo`, or a FER2013 csv file, parquet file or image folder.")]


@app.command()
def info(
    data: Source = "demo",
    plan: Annotated[Path | None, typer.Option(help="Take source and protocol from this plan instead.")] = None,
    json: Json = False,
) -> None:
    """Count the faces by emotion, class and split, the blanks, the duplicates and the leaks."""
    from search.cli_options import cache_folder
    from search.cli_output import Output
    from search.plan_file import read_plan
    from trainables.data.describe import describe, tables

    if plan is not None and data != "demo":
        raise InputError("give --data or --plan, not both")
    counted = describe(read_plan(plan).data if plan else DataSpec(source=data), cache_folder())
    Output(json).show(counted, Group(*tables(counted)))


@app.command()
def sample(
    out: Annotated[Path, typer.Option(help="The picture to write, such as sheet.png.")],
    data: Source = "demo",
    columns: Annotated[int, typer.Option(min=1, max=100, help="Faces of each emotion.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Which faces are drawn.")] = 0,
) -> None:
    """Draw a contact sheet of faces of every emotion."""
    from search.cli_options import cache_folder
    from search.cli_output import Output
    from trainables.data.sheet import write_sheet
    from trainables.data.store import load_faceset

    write_sheet(out, load_faceset(DataSpec(source=data), cache_folder()), columns, seed)
    Output(False).show(None, Text(f"wrote {out}"))


@app.command()
def fetch(
    out: Annotated[Path | None, typer.Option(help="Folder to put it in; default: kagglehub's own cache.")] = None,
) -> None:
    """Download FER2013 through kagglehub."""
    from search.cli_output import Output
    from trainables.data.fetch import fetch as download

    folder = download(out)
    Output(False).show(None, Text(f"FER2013 is in {folder}; use it with --data {folder}"))
