"""What every source of faces must do, whichever it is."""

from pathlib import Path

import numpy as np
import pytest
from face_files import make_faces, take, write_csv, write_folder, write_parquet

from trainables.data.faceset import SIDE, TEST, TRAIN, FaceSet
from trainables.data.protocol import load_test, load_training
from trainables.data.sources import read_source
from trainables.data.spec import DataSpec, ProtocolSpec
from trainables.data.store import load_faceset

FACES = make_faces()
WRITERS = {"csv": write_csv, "parquet": write_parquet, "folder": write_folder}
PROTOCOL = ProtocolSpec(balance=10)


def make_source(kind: str, folder: Path, faces: FaceSet = FACES) -> DataSpec:
    if kind == "demo":
        return DataSpec(source="demo", demo_images=700, protocol=PROTOCOL)
    suffix = "" if kind == "folder" else f".{kind}"
    return DataSpec(source=str(WRITERS[kind](folder / f"faces{suffix}", faces)), protocol=PROTOCOL)


@pytest.fixture(scope="module", params=["csv", "parquet", "folder", "demo"])
def spec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DataSpec:
    return make_source(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def faces(spec: DataSpec) -> FaceSet:
    return read_source(spec)


def assert_same(left: FaceSet, right: FaceSet, names: bool = True) -> None:
    np.testing.assert_array_equal(left.images, right.images)
    np.testing.assert_array_equal(left.emotions, right.emotions)
    np.testing.assert_array_equal(left.usage, right.usage)
    assert not names or left.names == right.names


def test_shapes_and_types(faces: FaceSet) -> None:
    n = len(faces)
    assert (faces.images.shape, faces.images.dtype) == ((n, SIDE, SIDE), np.uint8)
    assert (faces.emotions.shape, faces.emotions.dtype) == ((n,), np.int8)
    assert (faces.usage.shape, faces.usage.dtype) == ((n,), np.int8)
    assert len(faces.names) == n
    assert all(isinstance(name, str) and name for name in faces.names)


def test_every_emotion_stands_in_both_splits(faces: FaceSet) -> None:
    for side in (TRAIN, TEST):
        assert set(faces.emotions[faces.usage == side]) == set(range(7))


def test_stored_faces_are_the_faces(spec: DataSpec, faces: FaceSet, cache: Path) -> None:
    assert_same(load_faceset(spec, cache), faces)


def test_training_and_test_come_out(spec: DataSpec, cache: Path) -> None:
    data, test = load_training(spec, cache), load_test(spec, cache)
    assert np.bincount(data.train.labels).tolist() == [10, 10, 10]
    assert (np.bincount(data.validation.labels) > 0).all()
    assert (np.bincount(test.labels) > 0).all()


@pytest.mark.parametrize("kind", WRITERS)
def test_reads_exactly_what_was_written(kind: str, tmp_path: Path) -> None:
    assert_same(read_source(make_source(kind, tmp_path)), FACES, names=kind != "csv")


def test_reading_again_gives_the_same(spec: DataSpec, faces: FaceSet) -> None:
    assert_same(read_source(spec), faces)


def test_splits_are_the_same_in_any_layout_and_row_order(tmp_path: Path) -> None:
    order = np.random.default_rng(1).permutation(len(FACES))
    specs = [make_source(kind, tmp_path) for kind in WRITERS]
    specs.append(DataSpec(source=str(write_csv(tmp_path / "shuffled.csv", take(FACES, order))), protocol=PROTOCOL))
    first, *others = [load_training(spec, tmp_path / "cache") for spec in specs]
    for other in others:
        np.testing.assert_array_equal(other.train.images, first.train.images)
        np.testing.assert_array_equal(other.train.labels, first.train.labels)
        np.testing.assert_array_equal(other.validation.images, first.validation.images)
        assert other.split == first.split
