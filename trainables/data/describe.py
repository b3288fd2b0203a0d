"""What a source holds and what the protocol makes of it: figures for programs, tables for people."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from trainables.data.faceset import CLASSES, EMOTIONS, SIDE, TEST, TRAIN, FaceSet
from trainables.data.protocol import Verdict, class_of, pixel_std, split
from trainables.data.spec import DataSpec
from trainables.data.store import load_faceset

SIDES = {"train": TRAIN, "test": TEST}
FATES = ("found", "kept_whole", "dropped")


def describe(spec: DataSpec, cache: Path) -> dict[str, Any]:
    """The figures of `spec`, as JSON can hold them.

    Returns:
        `source`; `images`, the number of rows; `emotions`, rows by the source's split and emotion; `classes`, faces by
        final split and class, after cleaning and balancing; `blank`, `duplicates`, `conflicts` and `leaks_removed`,
        rows dropped for that reason (each row counts once, see `protocol.Verdict`); `fingerprint`; and `statistics`:
        `size` of an image in pixels, `mean` and `std` over all pixels, the smallest, median and largest standard
        deviation within an image (gray levels), and `cleaning`, rows by the source's split and verdict. Where `spec`
        crops, also `crop`: rows by the source's split whose face was `found`, that were `kept_whole` and `dropped`.

    Raises:
        InputError: If the source cannot be read.
    """
    faces = load_faceset(spec, cache)
    parts = split(faces, spec.protocol, spec.drops_faceless)
    rows = {"train": parts.train, "validation": parts.validation, "test": parts.test}
    labels = class_of(spec.protocol)[faces.emotions]
    dropped = np.bincount(parts.verdicts, minlength=len(Verdict))
    verdicts = [verdict.name.lower() for verdict in Verdict]
    info = {
        "source": spec.source,
        "images": len(faces),
        "emotions": {name: _counts(faces.emotions[faces.usage == side], EMOTIONS) for name, side in SIDES.items()},
        "classes": {name: _counts(labels[chosen], CLASSES) for name, chosen in rows.items()},
        "blank": int(dropped[Verdict.BLANK]),
        "duplicates": int(dropped[Verdict.DUPLICATE]),
        "conflicts": int(dropped[Verdict.CONFLICT]),
        "leaks_removed": int(dropped[Verdict.LEAK]),
        "fingerprint": faces.fingerprint,
        "statistics": _statistics(faces)
        | {"cleaning": {name: _counts(parts.verdicts[faces.usage == side], verdicts) for name, side in SIDES.items()}},
    }
    if faces.crops is not None:
        fates = np.where(faces.crops.found, 0, 2 if spec.drops_faceless else 1)
        info["crop"] = {name: _counts(fates[faces.usage == side], FATES) for name, side in SIDES.items()}
    return info


def tables(info: dict[str, Any]) -> list[Table]:
    """The figures of `describe` as tables: image statistics, emotions, classes, dropped rows, crops."""
    statistics = info["statistics"]
    within = "{minimum:.1f} .. {maximum:.1f}, median {median:.1f}".format(**statistics["image_std"])
    facts = Table("", "", title=Text(f"{info['source']}: {info['images']:,} images"), show_header=False)
    for name, value in (
        ("size", " x ".join(str(side) for side in statistics["size"])),
        ("mean gray level", f"{statistics['mean']:.1f}"),
        ("standard deviation of all pixels", f"{statistics['std']:.1f}"),
        ("standard deviation within an image", within),
        ("fingerprint", info["fingerprint"]),
    ):
        facts.add_row(name, value)
    views = [
        facts,
        _count_table("Images by emotion, as the source has them", info["emotions"]),
        _count_table("Faces by class, as they are used", info["classes"]),
        _count_table("What became of each image", statistics["cleaning"]),
    ]
    return [*views, _count_table("Faces looked for", info["crop"])] if "crop" in info else views


def _counts(values: NDArray[Any], names: Any) -> dict[str, int]:
    counts = np.bincount(values, minlength=len(names))
    return {name: int(count) for name, count in zip(names, counts, strict=True)}


def _statistics(faces: FaceSet) -> dict[str, Any]:
    within = pixel_std(faces.images)
    means = faces.images.mean(axis=(1, 2))
    return {
        "size": [SIDE, SIDE],
        "mean": float(means.mean()),
        "std": float(np.sqrt((within**2).mean() + means.var())),  # the law of total variance
        "image_std": {
            "minimum": float(within.min()),
            "median": float(np.median(within)),
            "maximum": float(within.max()),
        },
    }


def _count_table(title: str, counts: dict[str, dict[str, int]]) -> Table:
    """A row for each key of `counts`, a column for each thing counted, and their sum."""
    table = Table(title=title)
    table.add_column("")
    for name in [*next(iter(counts.values())), "all"]:
        table.add_column(name.replace("_", " "), justify="right")
    for name, row in counts.items():
        table.add_row(name, *(f"{count:,}" for count in [*row.values(), sum(row.values())]))
    return table
