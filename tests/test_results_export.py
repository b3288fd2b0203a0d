"""Exporting the incumbent, and refusing what is no artifact; what holds for each family is in the conformance suite."""

import json
import shutil

import pytest
import yaml
from finished_run import TINY, make_run

from results.artifact import load_artifact
from results.export import export
from results.run_folder import RunFolder
from results.selection import select
from spaces.errors import InputError
from spaces.family import Family


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    return make_run(tmp_path_factory.mktemp("runs") / "finished", cache, [TINY[Family.SVM]])


@pytest.fixture
def run(finished, tmp_path):
    return RunFolder(shutil.copytree(finished.path, tmp_path / "run"))


def with_manifest(artifact, **changes):
    path = artifact / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return artifact


def test_without_a_reading_there_are_no_test_figures_and_export_makes_none(run, tmp_path):
    export(run, tmp_path / "artifact", onnx=False)
    assert not run.test_readings.exists()
    metrics = load_artifact(tmp_path / "artifact").manifest.metrics
    assert (metrics.test, metrics.test_readings, metrics.validation.accuracy_ci) == (None, 0, None)
    card = (tmp_path / "artifact" / "README.md").read_text()
    assert "The test set had not been read" in card
    assert "| test |" not in card


def test_the_card_opens_with_front_matter_and_counts_the_readings(run, tmp_path, cache):
    select(run, cache)
    export(run, tmp_path / "artifact", onnx=False)
    _, front, body = (tmp_path / "artifact" / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(front)["tags"] == ["facial-expression-recognition", "svm"]
    assert "read the test set once" in body
    assert "fertune predict" in body


def test_the_provenance_of_the_run_is_kept(run, tmp_path):
    export(run, tmp_path / "artifact", onnx=False)
    manifest = load_artifact(tmp_path / "artifact").manifest
    assert manifest.provenance == json.loads(run.provenance.read_text())
    assert manifest.data == run.data_spec()
    assert manifest.run == "run"


def test_an_empty_folder_is_used_and_missing_parents_are_made(run, tmp_path):
    (tmp_path / "empty").mkdir()
    export(run, tmp_path / "empty", onnx=False)
    export(run, tmp_path / "a" / "b", onnx=False)
    assert load_artifact(tmp_path / "empty").manifest == load_artifact(tmp_path / "a" / "b").manifest


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_is_not_overwritten(run, tmp_path, kind):
    taken = tmp_path / "taken"
    file = taken / "notes.txt" if kind == "folder" else taken
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    with pytest.raises(InputError, match=r"taken: already exists"):
        export(run, taken, onnx=False)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("missing", ["provenance.json", "checkpoints/00000/1/model"])
def test_an_incomplete_run_leaves_nothing_behind(run, tmp_path, missing):
    path = run.path / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError, match=path.name):
        export(run, tmp_path / "artifact", onnx=False)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_run_without_finished_trial_has_nothing_to_export(run, tmp_path):
    run.measurements.write_text("")
    with pytest.raises(InputError, match="has finished"):
        export(run, tmp_path / "artifact", onnx=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 1}, r"format 1; this version reads format 2; export it again"),
        ({"trial": "x"}, r"trial: .*integer"),
        ({"trial": None}, r"either trial, family, config and seed, or members"),
        ({"classes": ["positive", "neutral", "negative"]}, r"classes"),
        ({"files": {}}, r"not in the manifest"),
        ({"files": {"../run/plan.yaml": "0"}}, r"plan\.yaml.* missing"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(run, tmp_path, changes, message):
    export(run, tmp_path / "artifact", onnx=False)
    with pytest.raises(InputError, match=message):
        load_artifact(with_manifest(tmp_path / "artifact", **changes))


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1', '"text"'])
def test_a_manifest_that_is_no_manifest_is_refused(tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"manifest\.json"):
        load_artifact(tmp_path)


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_a_folder_without_manifest_is_no_artifact(tmp_path, name):
    with pytest.raises(InputError, match="no artifact here"):
        load_artifact(tmp_path / name)
