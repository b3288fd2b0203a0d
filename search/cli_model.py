"""`fertune predict`, `demo` and `evaluate`: what an exported model is for."""

from pathlib import Path
from typing import Annotated, cast, get_args

import typer
from rich.console import Console
from rich.text import Text

from search.cli_options import Json
from search.cli_output import Output
from spaces.errors import InputError

app = typer.Typer()

ArtifactFolder = Annotated[Path, typer.Argument(metavar="ARTIFACT", help="The folder of an exported model.")]


@app.command()
def predict(
    artifact: ArtifactFolder,
    images: Annotated[
        list[Path] | None, typer.Argument(metavar="[IMAGES...]", help="Pictures, folders of them, or videos.")
    ] = None,
    camera: Annotated[int | None, typer.Option(min=0, help="Watch this camera, 0 the first, until Ctrl-C.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0, help="Watch the camera for so long.")] = None,
    every: Annotated[float, typer.Option(min=0, help="Seconds from frame to frame of a video or camera.")] = 1.0,
    all_faces: Annotated[bool, typer.Option("--all-faces", help="Every face of a picture, not the largest alone.")] = (
        False
    ),
    csv: Annotated[Path | None, typer.Option(help="Write a CSV file, a row a face.")] = None,
    draw: Annotated[Path | None, typer.Option(help="Write copies with faces and labels drawn in into a folder.")] = (
        None
    ),
    json: Json = False,
) -> None:
    """Predict the expressions of the faces in pictures, videos or before a camera."""
    from results.artifact import load_artifact
    from results.pictures import camera as watch
    from results.pictures import pictures_at
    from results.predict import BATCH, Onlooker, table, write_csv
    from results.predict import predict as predict_pictures

    if (camera is None) == (not images):
        raise InputError(f"predict takes IMAGES or --camera, received {'neither' if camera is None else 'both'}")
    output = Output(json)
    onlooker = Onlooker(load_artifact(artifact), all_faces)
    unread: list[InputError] = []
    pictures = pictures_at(images or [], every, unread.append) if camera is None else watch(camera, every, seconds)
    found = []
    try:
        for row in predict_pictures(onlooker, pictures, draw, BATCH if camera is None else 1):
            found.append(row)
            if camera is not None:
                label, share = row["label"], row["probabilities"][row["label"]]
                face = "" if row["face"] else " (no face found: whole picture)"
                output.progress.print(f"{row['second']:.1f} s: {label} {share:.0%}{face}", highlight=False)
    except KeyboardInterrupt:
        if camera is None:
            raise
    if unread and not found:
        raise unread[0]
    if csv is not None:
        write_csv(found, csv)
    output.show(found, table(found))
    for error in unread:
        output.progress.print(Text(f"fertune: {error}", style="red"), soft_wrap=True)
    if unread:
        raise typer.Exit(2)


@app.command()
def demo(
    artifact: ArtifactFolder, port: Annotated[int, typer.Option(help="Port on loopback, 0 for any free one.")] = 8000
) -> None:
    """Show a web page on loopback: drop a picture, see its faces and their expressions."""
    from results.artifact import load_artifact
    from results.demo import DemoServer

    with DemoServer(load_artifact(artifact), port) as server:
        Console(soft_wrap=True).print(f"the demo is at {server.address} (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return


@app.command()
def evaluate(
    artifact: ArtifactFolder,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="`demo`, a FER2013 csv or parquet file, a folder with train and test, or one with a folder of "
            "pictures for each emotion or class.",
        ),
    ],
    part: Annotated[str, typer.Option(help="Which split of DATA, if it has any: test, train or all.")] = "test",
    json: Json = False,
) -> None:
    """Measure a model on any labelled set, with all metrics."""
    from results.artifact import load_artifact
    from results.evaluate import evaluate as measure
    from results.evaluate import render
    from results.labelled import Part

    if part not in get_args(Part):
        raise InputError(f"--part {part}: allowed are {', '.join(get_args(Part))}")
    found = measure(load_artifact(artifact), data, cast(Part, part))
    Output(json).show(found, render(found))
