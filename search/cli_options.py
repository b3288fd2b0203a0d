"""What several commands take."""

import os
from pathlib import Path
from typing import Annotated

import typer

RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's folder or URL: runs/quick, s3://bucket/quick.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]


def cache_folder() -> Path:
    """The node's folder for parsed data: `FERTUNE_CACHE`, by default `~/.cache/fertune`."""
    return Path(os.environ.get("FERTUNE_CACHE") or Path.home() / ".cache" / "fertune")
