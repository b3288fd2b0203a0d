"""What the search writes for TensorBoard, read back by TensorBoard's own reader."""

import shutil
from collections import Counter

import cv2
import numpy as np
import pytest
from board_run import search_on, searched_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, metadata

from results.journal import read_events
from results.leaderboard import trials_in
from results.run_folder import RunFolder
from results.schema import Measurement, Status, TrialEnd
from search import board_server
from search.board_server import Copies, Linked, runs_in, wait_until_interrupted
from search.plan_file import read_plan
from spaces.errors import InputError
from spaces.joint import JointSpace, parse_config
from spaces.points import asked, parameters
from trainables.data.protocol import load_training


@pytest.fixture(scope="module")
def run(tmp_path_factory, cache):
    return searched_run(tmp_path_factory.mktemp("runs") / "one", cache)


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    return events


def folder_of(run, record):
    return run.tensorboard / f"trial-{record.trial:05d}-{record.family}"


def content(events, tag):
    return events.SummaryMetadata(tag).plugin_data.content


def experiment_in(folder):
    return metadata.parse_experiment_plugin_data(content(read(folder), metadata.EXPERIMENT_TAG))


def values_of(events):
    start = metadata.parse_session_start_info_plugin_data(content(events, metadata.SESSION_START_INFO_TAG))
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in start.hparams.items()}


def status_of(events):
    end = metadata.parse_session_end_info_plugin_data(content(events, metadata.SESSION_END_INFO_TAG))
    return end.status


def test_all_columns_of_the_conditional_space_are_told_at_the_start(run):
    experiment = experiment_in(run.tensorboard / "columns")
    columns = {info.name: info for info in experiment.hparam_infos}
    assert list(columns["family"].domain_discrete) == ["svm", "forest", "resnet"]
    assert columns["svm.C"].domain_interval.min_value == 0.03
    assert columns["svm.C"].domain_interval.max_value == 100
    assert list(columns["svm.degree"].domain_discrete) == [2, 3]
    assert columns["svm.features.mirror"].type == api_pb2.DATA_TYPE_BOOL
    assert "resnet.weights" not in columns, "it has one value"
    metrics = {metric.name.tag for metric in experiment.metric_infos}
    for record in trials_in([run]):
        events = read(folder_of(run, record))
        assert metrics <= set(events.Tags()["scalars"])
        assert {"family", f"{record.family}.features.kind"} & columns.keys()
        searched = {name for name, info in columns.items() if name in values_of(events)}
        assert searched >= {name for name in asked(JointSpace(), parse_config(record.config)) if name in columns}


def test_each_trial_tells_the_values_it_was_asked_for_and_no_others(run):
    kernels = set()
    for record in trials_in([run]):
        values = values_of(read(folder_of(run, record)))
        config = parameters(parse_config(record.config))
        assert values == {name: config[name] for name in values}
        assert values["family"] == record.family
        if record.family == "svm":
            kernels.add(values["svm.kernel"])
            assert ("svm.degree" in values) == (values["svm.kernel"] == "poly")
            assert ("svm.gamma" in values) == (values["svm.kernel"] != "linear")
    assert kernels


def test_scalars_and_status_are_those_of_the_run(run):
    counts = Counter()
    for record in trials_in([run]):
        events = read(folder_of(run, record))
        found = [(each.step, each.value) for each in events.Scalars("validation/accuracy")]
        assert found == [(each.fidelity, pytest.approx(each.val_accuracy, abs=1e-6)) for each in record.measurements]
        assert [each.value for each in events.Scalars("fidelity")] == [each.fidelity for each in record.measurements]
        assert status_of(events) == api_pb2.STATUS_SUCCESS
        counts[record.status] += 1
    assert counts[Status.FINISHED]
    assert counts[Status.STOPPED]


def test_pictures_show_the_confusion_at_each_rung_and_the_mistakes_at_the_last(run):
    for record in trials_in([run]):
        events = read(folder_of(run, record))
        confusions = events.Images("confusion")
        assert [image.step for image in confusions] == [each.fidelity for each in record.measurements]
        picture = cv2.imdecode(np.frombuffer(confusions[-1].encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (confusions[-1].height, confusions[-1].width, 3)
        assert ("most_confident_mistakes" in events.Tags()["images"]) == (record.status is Status.FINISHED)


def test_the_plan_is_there_as_text(run):
    (text,) = read(run.tensorboard / "search").Tensors("plan")
    assert run.plan.read_text() in text.tensor_proto.string_val[0].decode()


def test_a_trial_that_runs_has_its_values_already_and_no_end(tmp_path, cache):
    run = searched_run(tmp_path / "run", cache, steps=1)
    events = read_events(run.measurements)
    measured, ended = ({e.trial for e in events if isinstance(e, kind)} for kind in (Measurement, TrialEnd))
    running = [record for record in trials_in([run]) if record.trial not in measured | ended]
    assert running
    for record in running:
        found = read(folder_of(run, record))
        assert values_of(found)["family"] == record.family
        assert metadata.SESSION_END_INFO_TAG not in found.Tags()["tensors"]


def test_a_resumed_search_goes_on_in_the_same_folders(tmp_path, cache):
    run = searched_run(tmp_path / "run", cache, steps=4)
    plan = read_plan(run.plan)
    search_on(run, plan, load_training(plan.data, cache), 10_000, read_events(run.measurements))
    for record in trials_in([run]):
        events = read(folder_of(run, record))
        assert status_of(events) == api_pb2.STATUS_SUCCESS
        assert [each.step for each in events.Scalars("validation/accuracy")] == [
            each.fidelity for each in record.measurements
        ]


def test_probabilities_that_cannot_be_read_cost_a_picture_and_not_the_search(tmp_path, cache, monkeypatch):
    monkeypatch.setattr("board_run.np.save", lambda path, values: None)
    run = searched_run(tmp_path / "run", cache)
    record = trials_in([run])[0]
    assert record.status is not Status.RUNNING
    events = read(folder_of(run, record))
    assert not events.Tags()["images"]
    assert "pictures" in str(events.Tags()["tensors"])


def test_several_runs_have_all_their_columns_and_each_trial_once(run, tmp_path, cache):
    runs = tmp_path / "runs"
    shutil.copytree(run.path, runs / "one")
    searched_run(runs / "two", cache, space={"families": ["svm"], "svm": {"C": {"low": 1, "high": 1000, "log": True}}})
    (runs / "notes").mkdir()
    assert [found.path.name for found in runs_in(runs)] == ["one", "two"]
    assert runs_in(runs / "one") == []
    assert runs_in(runs / "none") == []
    linked = tmp_path / "linked"
    Linked(linked, runs).update()
    columns = {info.name: info for info in experiment_in(linked / "columns").hparam_infos}
    assert columns["svm.C"].domain_interval.min_value == 0.03
    assert columns["svm.C"].domain_interval.max_value == 1000
    assert {"forest.depth", "resnet.arch"} <= columns.keys()
    for name in ("one", "two"):
        there = {path.name for path in (linked / name).iterdir()}
        assert there == {path.name for path in (runs / name / "tensorboard").iterdir()} - {"columns"}


def test_a_run_that_comes_later_is_linked_too(run, tmp_path):
    runs, linked = tmp_path / "runs", tmp_path / "linked"
    shutil.copytree(run.path, runs / "one")
    several = Linked(linked, runs)
    several.update()
    shutil.copytree(run.path, runs / "later")
    shutil.copytree(run.tensorboard / "search", runs / "one" / "tensorboard" / "trial-00099-svm")
    several.update()
    assert (linked / "later" / "search").is_dir()
    assert (linked / "one" / "trial-00099-svm").is_dir()
    assert RunFolder(runs / "later").tensorboard.is_dir()


def test_a_look_that_fails_is_told_once_and_tried_again(monkeypatch):
    monkeypatch.setattr(board_server, "LOOK_AGAIN", 0.0)
    looks = iter([InputError("gone"), InputError("gone"), None, OSError("gone"), KeyboardInterrupt()])
    told: list[str] = []

    def look() -> None:
        if (error := next(looks)) is not None:
            raise error

    wait_until_interrupted(look, told.append)
    assert told == ["cannot look for what is new, trying again: gone"] * 2
    assert next(looks, "all were made") == "all were made"


def test_a_run_that_cannot_be_fetched_does_not_keep_the_others_from_being(tmp_path):
    for name in ("broken", "whole"):
        (tmp_path / "there" / name / "segments" / "measurements.jsonl").mkdir(parents=True)
        (tmp_path / "there" / name / "plan.yaml").write_text("seed: 0")
    segments = [tmp_path / "there" / name / "segments" / "measurements.jsonl" for name in ("broken", "whole")]
    (segments[0] / f"{7:015d}").write_text("{}\n")  # what came before it is missing
    (segments[1] / f"{0:015d}").write_text("{}\n")
    copies = Copies(f"file://{tmp_path / 'there'}", tmp_path / "copies")
    with pytest.raises(InputError, match="begins at byte 7, expected byte 0"):
        copies.update()
    assert (copies.folder / "whole" / "measurements.jsonl").read_text() == "{}\n"
