import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from face_files import make_faces, write_csv, write_folder, write_parquet

from spaces.errors import InputError
from trainables.data import store
from trainables.data.faceset import FaceSet
from trainables.data.sources import read_csv, read_source
from trainables.data.spec import DataSpec
from trainables.data.store import fingerprint, load_faceset

FACES = make_faces(4, 2)


@pytest.fixture
def spec(tmp_path: Path) -> DataSpec:
    return DataSpec(source=str(write_parquet(tmp_path / "faces.parquet", FACES)))


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sources that were really parsed, in order."""
    calls: list[str] = []

    def count(spec: DataSpec) -> FaceSet:
        calls.append(spec.source)
        return read_source(spec)

    monkeypatch.setattr(store, "read_source", count)
    return calls


def entries(cache: Path) -> list[Path]:
    return list(cache.iterdir())


def test_a_source_is_parsed_once(spec: DataSpec, tmp_path: Path, parsed: list[str]) -> None:
    cache = tmp_path / "new" / "cache"
    first, second = load_faceset(spec, cache), load_faceset(spec, cache)
    assert parsed == [spec.source]
    assert first.fingerprint == second.fingerprint == fingerprint(FACES)
    np.testing.assert_array_equal(second.images, FACES.images)
    assert second.names == FACES.names
    assert len(entries(cache)) == 1


def test_images_are_mapped_and_cannot_be_written(spec: DataSpec, tmp_path: Path) -> None:
    faces = load_faceset(spec, tmp_path / "cache")
    assert isinstance(faces.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        faces.images[0, 0] = 1


def test_a_changed_file_is_parsed_again(spec: DataSpec, tmp_path: Path, parsed: list[str]) -> None:
    before = load_faceset(spec, tmp_path / "cache")
    status = Path(spec.source).stat()
    write_parquet(Path(spec.source), make_faces(4, 2, seed=1))
    os.utime(spec.source, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    after = load_faceset(spec, tmp_path / "cache")
    assert len(parsed) == 2
    assert after.fingerprint != before.fingerprint


def test_a_changed_folder_is_parsed_again(tmp_path: Path, parsed: list[str]) -> None:
    folder = write_folder(tmp_path / "faces", FACES)
    spec = DataSpec(source=str(folder))
    load_faceset(spec, tmp_path / "cache")
    load_faceset(spec, tmp_path / "cache")
    assert len(parsed) == 1
    next((folder / "train" / "sad").iterdir()).unlink()
    assert len(load_faceset(spec, tmp_path / "cache")) == len(FACES) - 1
    face = next((folder / "train" / "happy").iterdir())
    face.rename(face.with_name("renamed.png"))
    assert "renamed.png" in load_faceset(spec, tmp_path / "cache").names
    assert len(parsed) == 3


def test_the_protocol_is_no_part_of_the_key(spec: DataSpec, tmp_path: Path, parsed: list[str]) -> None:
    load_faceset(spec, tmp_path / "cache")
    other = spec.model_copy(update={"protocol": spec.protocol.model_copy(update={"seed": 5})})
    load_faceset(other, tmp_path / "cache")
    assert len(parsed) == 1


def test_demo_is_keyed_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def draw_few(spec: DataSpec) -> FaceSet:
        drawn.append(spec.demo_images)
        return FACES

    monkeypatch.setattr(store, "read_source", draw_few)
    for images in (700, 701, 700):
        load_faceset(DataSpec(demo_images=images), tmp_path / "cache")
    assert drawn == [700, 701]


def damage(entry: Path, how: str) -> None:
    data = bytearray(entry.read_bytes())
    if how == "cut":
        del data[len(data) // 2 :]
    elif how == "empty":
        data.clear()
    elif how == "header":
        data[:8] = b"\x00" * 8
    elif how == "other array":
        np.save(entry, np.arange(5))
        return
    else:
        position = {"pixel": len(data) // 2, "last byte": len(data) - 4}[how]
        data[position] ^= 1
    entry.write_bytes(data)


@pytest.mark.parametrize("how", ["cut", "empty", "header", "other array", "pixel", "last byte"])
def test_a_damaged_entry_is_replaced(spec: DataSpec, tmp_path: Path, parsed: list[str], how: str) -> None:
    cache = tmp_path / "cache"
    load_faceset(spec, cache)
    (entry,) = entries(cache)
    damage(entry, how)
    np.testing.assert_array_equal(load_faceset(spec, cache).images, FACES.images)
    assert len(parsed) == 2
    load_faceset(spec, cache)
    assert len(parsed) == 2
    assert entries(cache) == [entry]


def load_in_process(source: str, cache: str, start: object, found: object) -> None:
    start.wait()
    faces = load_faceset(DataSpec(source=source), Path(cache))
    found.put((faces.fingerprint, int(faces.images.astype(int).sum())))


def test_processes_may_write_at_once(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "fer2013.csv", FACES)
    context = multiprocessing.get_context("spawn")
    start, found = context.Barrier(2), context.Queue()
    arguments = (str(source), str(tmp_path / "cache"), start, found)
    processes = [context.Process(target=load_in_process, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    results = [found.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    assert results == [(fingerprint(read_csv(source)), int(FACES.images.astype(int).sum()))] * 2
    assert len(entries(tmp_path / "cache")) == 1


def test_nothing_is_left_of_a_failed_write(spec: DataSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "fingerprint", lambda _: "no/such/folder")
    with pytest.raises(InputError, match="cannot keep parsed data here: No such file or directory"):
        load_faceset(spec, tmp_path / "cache")
    assert entries(tmp_path / "cache") == []


def test_a_cache_that_is_a_file_is_refused(spec: DataSpec) -> None:
    with pytest.raises(InputError, match="cannot keep parsed data here: File exists"):
        load_faceset(spec, Path(spec.source))


def test_a_bad_source_leaves_no_entry(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "fer2013.csv", FACES)
    path.write_text(path.read_text()[:-5000])
    with pytest.raises(InputError, match="row 42"):
        load_faceset(DataSpec(source=str(path)), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_fingerprint_sees_everything() -> None:
    images = FACES.images.copy()
    images[3, 4, 5] ^= 1
    emotions = FACES.emotions.copy()
    emotions[0] = 6
    usage = FACES.usage.copy()
    usage[0] = 1
    others = [
        FaceSet(images, FACES.emotions, FACES.usage, FACES.names),
        FaceSet(FACES.images, emotions, FACES.usage, FACES.names),
        FaceSet(FACES.images, FACES.emotions, usage, FACES.names),
        FaceSet(FACES.images, FACES.emotions, FACES.usage, ("other", *FACES.names[1:])),
    ]
    assert len({fingerprint(faces) for faces in [FACES, *others]}) == 5
    assert fingerprint(make_faces(4, 2)) == fingerprint(FACES)
