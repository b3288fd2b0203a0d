"""Runs, checkpoints and data at URLs: the parts, on folders that are named by URLs and on a real S3 server."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from face_files import make_faces, write_parquet
from s3_server import BUCKET, s3_server

from results.journal import Journal, read_events
from results.remote_run import RemoteRun
from results.run_folder import RunFolder
from results.schema import SessionEnd, SessionStart
from search import place
from spaces.errors import InputError
from spaces.svm import SvmConfig
from trainables.base import Task
from trainables.data.faceset import Faces
from trainables.data.spec import DataSpec
from trainables.data.store import load_faceset
from trainables.fake import FakeLearner
from trainables.remote_checkpoint import checkpoints_at, remove_checkpoints
from trainables.storage import Storage, StorageError, join


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.slow)])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Somewhere to put files: a folder named by a URL, and a bucket."""
    if request.param == "file":
        yield (tmp_path / "store").as_uri()
        return
    with s3_server() as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield f"{BUCKET}/store"


def test_files_come_back_as_they_went(url, tmp_path):
    storage = Storage(url)
    assert storage.sizes() == {}
    assert not storage.exists("a/b")
    storage.write("a/b", b"one")
    storage.write("a/b", b"three")
    storage.write("c", b"")
    assert storage.sizes() == {"a/b": 5, "c": 0}
    assert storage.sizes("a") == {"a/b": 5}
    assert storage.entries() == ["a", "c"]
    storage.download("a/b", tmp_path / "deep" / "b")
    assert (tmp_path / "deep" / "b").read_bytes() == b"three"
    storage.remove("a/b")
    assert storage.sizes() == {"c": 0}
    with pytest.raises(InputError, match="store/a/b"):
        storage.read("a/b")


def test_what_no_library_knows_is_told():
    with pytest.raises(InputError, match="nosuch://there: not a filesystem"):
        Storage("nosuch://there")


def test_a_growing_file_goes_up_in_segments_and_is_joined(url, tmp_path):
    ours, theirs = RemoteRun(url, tmp_path / "ours"), RemoteRun(url, tmp_path / "theirs")
    ours.path.mkdir()
    with Journal(ours.measurements) as journal:
        journal.append(SessionStart(time=1.0))
        ours.push()
        theirs.pull()
        assert read_events(theirs.measurements) == [SessionStart(time=1.0)]
        journal.append(SessionEnd(time=2.0))
    with ours.measurements.open("ab") as file:
        file.write(b'{"kind": "session_st')  # being written
    ours.push()
    ours.push()
    theirs.pull()
    assert read_events(theirs.measurements) == [SessionStart(time=1.0), SessionEnd(time=2.0)]
    names = list(ours.storage.sizes("segments"))
    assert len(names) == 2
    assert names[0].endswith("measurements.jsonl/000000000000000")
    ours.storage.remove(names[0])
    with pytest.raises(InputError, match="expected byte 0"):
        RemoteRun(url, tmp_path / "late").pull()


def test_a_file_made_anew_replaces_its_segments_and_whole_files_are_rewritten(url, tmp_path):
    run = RemoteRun(url, tmp_path / "ours")
    run.path.mkdir()
    run.study.write_text("old 1\nold 2\n")
    run.leaderboard.write_text("a")
    run.push()
    run.study.write_text("new\n")
    run.leaderboard.write_text("bb")
    run.push()
    copy = RemoteRun(url, tmp_path / "copy")
    copy.pull()
    assert copy.study.read_text() == "new\n"
    assert copy.leaderboard.read_text() == "bb"
    later = RemoteRun(url, tmp_path / "later")
    later.pull(without=("study.journal",))
    assert not later.study.exists()
    later.study.write_text("of a later session\n")
    later.push()
    copies = [copy, RemoteRun(url, tmp_path / "another")]  # one has what lay there before
    for each in copies:
        each.pull()
        assert each.study.read_text() == "of a later session\n"
    with later.study.open("a") as study:
        study.write("and more\n")
    later.push()
    for each in copies:
        each.pull()
        assert each.study.read_text() == "of a later session\nand more\n"


def test_what_is_the_drivers_own_stays_with_it(url, tmp_path):
    run = RemoteRun(url, tmp_path / "ours")
    for name in ("plan.yaml", "tune/state.json", "selection/a.json", ".lock", "checkpoints/00000/1/report.json"):
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_text("x")
    run.push()
    assert list(run.storage.sizes()) == ["plan.yaml", "selection/a.json"]


def learner_at(fidelity: int) -> FakeLearner:
    images = np.random.default_rng(0).integers(0, 255, (9, 48, 48), np.uint8)
    learner = FakeLearner(SvmConfig(), Task(Faces(images, np.arange(9) % 3, np.zeros(9, np.int8), ("",) * 9)), 0.0)
    learner.fit_to(fidelity)
    return learner


def test_checkpoints_are_whole_or_absent_and_continue_elsewhere(url):
    location = join(url, "checkpoints")
    mine = checkpoints_at(location, 7)
    assert mine.latest() == 0
    probabilities = np.full((4, 3), 1 / 3, np.float32)
    for fidelity in (1, 3):
        mine.write(learner_at(fidelity), probabilities, {"fidelity": fidelity}, keep_state=True)
    other = checkpoints_at(location, 7)
    assert other.latest() == 3
    assert other.report(3) == {"fidelity": 3}
    fresh = learner_at(1)
    fresh.load(other.path(3))
    assert fresh.fidelity == 3
    storage = Storage(location)
    assert not [name for name in storage.sizes() if name.startswith("00007/1/")]
    state = [name for name in storage.sizes() if "model/" not in name and "report" not in name and "valid" not in name]
    assert state
    other.drop_state()
    assert not set(state) & set(storage.sizes())
    assert checkpoints_at(location, 7).latest() == 3
    storage.write("00007/9/validation.npy", b"half a checkpoint")
    assert checkpoints_at(location, 7).latest() == 3
    remove_checkpoints(location, 7)
    assert storage.sizes() == {}


def test_one_driver_at_a_time(url, tmp_path, monkeypatch):
    monkeypatch.setattr(place, "LEASE_SECONDS", 4.0)
    monkeypatch.setattr(place, "_IDLE_SECONDS", 0.5)
    said: list[str] = []
    with place.drive_run(join(url, "run"), tmp_path / "a", said.append) as run:
        run.plan.write_text("{}")
        with pytest.raises(InputError, match="another process is searching this run"):
            place.Lease(Storage(run.location)).take(said.append)
        assert place.is_driven(run)
    assert len(said) == 1
    with place.open_run(join(url, "run")) as copy:
        assert copy.plan.read_text() == "{}"
        assert not place.is_driven(copy)


def test_what_was_fetched_in_part_is_fetched_again(url, tmp_path, monkeypatch):
    location = join(url, "checkpoints")
    mine = checkpoints_at(location, 7)
    mine.write(learner_at(3), np.full((4, 3), 1 / 3, np.float32), {"fidelity": 3}, keep_state=True)
    run = RemoteRun(url, tmp_path)
    read = Storage.read

    def fails_at_the_report(storage: Storage, name: str) -> bytes:
        if name.endswith("report.json"):
            raise StorageError("the network is gone")
        return read(storage, name)

    other = checkpoints_at(location, 7)
    with monkeypatch.context() as patch:
        patch.setattr(Storage, "read", fails_at_the_report)
        for fetch in (lambda: other.path(3), lambda: run.fetched("checkpoints/00007/3")):
            with pytest.raises(StorageError):
                fetch()
    assert other.report(3) == {"fidelity": 3}
    assert (run.fetched("checkpoints/00007/3") / "report.json").exists()


def test_a_dead_drivers_lease_is_waited_for_and_its_unknown_checkpoints_go(url, tmp_path, monkeypatch):
    monkeypatch.setattr(place, "LEASE_SECONDS", 1.0)
    location = join(url, "run")
    Storage(location).write("lease.json", b'{"host": "gone", "pid": 1, "driver": "x", "time": 4e9}')
    Storage(location).write("checkpoints/00003/1/report.json", b"{}")
    said: list[str] = []
    with place.drive_run(location, tmp_path, said.append):
        assert "gone" in said[0]
        assert Storage(location).entries("checkpoints") in ([], ["00003"])
        assert Storage(join(location, "checkpoints")).sizes() == {}


def test_a_run_that_is_not_there_is_told(url, tmp_path):
    with pytest.raises(InputError, match="no run here"), place.open_run(join(url, "nothing")):
        pass
    with pytest.raises(InputError, match="no run here"), place.open_run(str(tmp_path / "nothing")):
        pass
    assert isinstance(RunFolder(tmp_path), RunFolder)


def test_data_at_a_url_is_fetched_once_and_gives_the_same_faces(url, tmp_path):
    source = write_parquet(tmp_path / "faces.parquet", make_faces())
    storage = Storage(url)
    storage.upload(source, "data/faces.parquet")
    there = load_faceset(DataSpec(source=join(url, "data/faces.parquet")), tmp_path / "cache")
    assert there.fingerprint == load_faceset(DataSpec(source=str(source)), tmp_path / "other").fingerprint
    copies = list((tmp_path / "cache" / "fetched").glob("*/faces.parquet"))
    assert len(copies) == 1
    began = copies[0].stat().st_mtime_ns
    load_faceset(DataSpec(source=join(url, "data/faces.parquet")), tmp_path / "cache")
    assert [path.stat().st_mtime_ns for path in (tmp_path / "cache" / "fetched").glob("*/faces.parquet")] == [began]
    with pytest.raises(InputError, match="nothing there"):
        load_faceset(DataSpec(source=join(url, "data/none.parquet")), tmp_path / "cache")
