import io
import json
from pathlib import Path

import numpy as np
import pytest
from face_files import make_faces, write_parquet
from rich.console import Console

from trainables.data.describe import describe, tables
from trainables.data.faceset import EMOTIONS, TEST, TRAIN, FaceSet
from trainables.data.protocol import load_test, load_training
from trainables.data.spec import DataSpec, ProtocolSpec


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    """Clean faces but for a blank (row 0), a leak (row 1), a conflict (rows 2 and 30) and a duplicate (row 4)."""
    faces = make_faces(20, 4)
    images = faces.images
    images[0] = 9
    images[1] = images[faces.usage == TEST][0]
    images[2] = images[30]
    images[4] = images[3]
    return faces


@pytest.fixture(scope="module")
def spec(faces: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> DataSpec:
    path = write_parquet(tmp_path_factory.mktemp("describe") / "faces.parquet", faces)
    return DataSpec(source=str(path), protocol=ProtocolSpec(balance=10))


def test_figures(faces: FaceSet, spec: DataSpec, cache: Path) -> None:
    info = describe(spec, cache)
    assert list(info) == [
        *("source", "images", "emotions", "classes", "blank", "duplicates", "conflicts", "leaks_removed"),
        *("fingerprint", "statistics"),
    ]
    assert (info["source"], info["images"]) == (spec.source, 168)
    assert info["emotions"] == {"train": dict.fromkeys(EMOTIONS, 20), "test": dict.fromkeys(EMOTIONS, 4)}
    assert (info["blank"], info["duplicates"], info["conflicts"], info["leaks_removed"]) == (1, 1, 2, 1)
    data, test = load_training(spec, cache), load_test(spec, cache)
    for name, part in (("train", data.train), ("validation", data.validation), ("test", test)):
        assert list(info["classes"][name].values()) == np.bincount(part.labels).tolist()
    assert info["fingerprint"] == data.fingerprint


def test_statistics(faces: FaceSet, spec: DataSpec, cache: Path) -> None:
    statistics = describe(spec, cache)["statistics"]
    within = faces.images.std(axis=(1, 2))
    assert statistics["size"] == [48, 48]
    assert statistics["mean"] == pytest.approx(faces.images.mean())
    assert statistics["std"] == pytest.approx(faces.images.std())
    assert statistics["image_std"] == {
        "minimum": pytest.approx(within.min()),
        "median": pytest.approx(np.median(within)),
        "maximum": pytest.approx(within.max()),
    }
    for name, side in (("train", TRAIN), ("test", TEST)):
        assert sum(statistics["cleaning"][name].values()) == (faces.usage == side).sum()


def test_figures_are_json(spec: DataSpec, cache: Path) -> None:
    info = describe(spec, cache)
    assert json.loads(json.dumps(info)) == info


def test_figures_are_given_where_too_few_images_are_left_to_train(spec: DataSpec, cache: Path) -> None:
    info = describe(DataSpec(source=spec.source), cache)
    assert info["classes"]["train"]["positive"] == 16


def test_tables_show_every_figure(spec: DataSpec, cache: Path) -> None:
    info = describe(spec, cache)
    console = Console(file=io.StringIO(), width=200)
    console.print(*tables(info))
    shown = console.file.getvalue()
    for word in (*EMOTIONS, "negative", "validation", "blank", "leak", "conflict", "duplicate", "no class", "kept"):
        assert word in shown
    assert info["fingerprint"] in shown
    assert "48 x 48" in shown
    assert f"{info['statistics']['mean']:.1f}" in shown
