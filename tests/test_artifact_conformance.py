"""What every family's artifact must do: predict as the trial did, and not load once a byte is not the exported one."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import yaml
from finished_run import TINY, make_run

from results.artifact import load_artifact
from results.export import export
from results.onnx_file import in_float32, run_onnx, session
from results.selection import select
from spaces.errors import InputError
from spaces.family import Family
from trainables.data.protocol import load_training


@pytest.fixture(scope="module", params=list(Family), ids=str)
def exported(request, tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp(request.param)
    run = make_run(folder / "run", cache, [TINY[request.param]])
    selection = select(run, cache)
    written = export(run, folder / "artifact")
    return run, selection, written, folder / "artifact"


@pytest.fixture
def artifact(exported, tmp_path):
    return shutil.copytree(exported[-1], tmp_path / "artifact")


def model_files(artifact):
    return sorted(path for path in (artifact / "model").rglob("*") if path.is_file())


def test_it_predicts_what_the_trial_predicted(exported, artifact, cache):
    run = exported[0]
    images = load_training(run.data_spec(), cache).validation.images
    probabilities = load_artifact(artifact).model.predict_proba(images)
    assert np.array_equal(probabilities, np.load(run.checkpoints / "00000/1/validation.npy"))


def test_the_hashes_are_those_of_the_files(exported, artifact):
    _, _, written, folder = exported
    actual = {
        path.relative_to(artifact).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in artifact.rglob("*")
        if path.is_file()
    }
    assert written == {"artifact": str(folder), "files": actual}
    listed = json.loads((artifact / "manifest.json").read_text())["files"]
    assert listed == {name: digest for name, digest in actual.items() if name != "manifest.json"}


def test_nothing_in_it_is_a_pickle(artifact):
    for path in model_files(artifact):
        assert path.suffix in (".json", ".safetensors", ".skops", ".npy", ".npz"), path
        assert not path.read_bytes().startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"))


def test_onnx_runtime_gives_the_same_and_the_manifest_says_how_nearly(exported, artifact, cache):
    images = load_training(exported[0].data_spec(), cache).validation.images
    loaded = load_artifact(artifact)
    exact = in_float32(loaded.manifest.family, artifact / "model").predict_proba(images)
    found = run_onnx(session(artifact / "model.onnx", threads=1), images)
    assert np.abs(found - exact).max(axis=1) == pytest.approx(np.zeros(len(images)), abs=0.12)  # a tree of nine
    assert (found.argmax(axis=1) == exact.argmax(axis=1)).mean() > 0.99
    onnx = loaded.manifest.onnx
    assert (onnx.faces, onnx.opset) == (200, 20)
    assert onnx.same_labels >= 198
    assert onnx.mean_difference <= onnx.largest_difference < 0.12
    assert f"same label for {onnx.same_labels} of 200" in (artifact / "README.md").read_text()


def test_manifest_and_card_say_what_was_measured(exported, artifact):
    _, selection, _, _ = exported
    manifest = json.loads((artifact / "manifest.json").read_text())
    winner = selection["winner"]
    assert {name: manifest[name] for name in ("trial", "family", "config", "fidelity", "seed")} == {
        name: winner[name] for name in ("trial", "family", "config", "fidelity", "seed")
    }
    assert manifest["classes"] == ["negative", "neutral", "positive"]
    assert manifest["metrics"]["test"] == selection["test"]
    assert manifest["metrics"]["validation"]["accuracy"] == winner["val_accuracy"]
    assert manifest["thresholds"][0]["coverage"] == 1.0
    assert np.diff([row["confidence"] for row in manifest["thresholds"]]).min() >= 0
    card = (artifact / "README.md").read_text()
    assert card.startswith("---\n")
    front = yaml.safe_load(card.split("---\n")[1])
    (model,) = front["model-index"]
    assert [entry["dataset"]["split"] for entry in model["results"]] == ["validation", "test"]
    assert model["results"][1]["metrics"][0]["value"] == selection["test"]["accuracy"]
    for value in (winner["val_accuracy"], *selection["test"]["accuracy_ci"], *selection["test"]["recall"]):
        assert f"{value:.4f}" in card


def test_a_changed_byte_in_any_file_is_refused(exported, artifact):
    for name in exported[2]["files"].keys() - {"manifest.json"}:
        path = artifact / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        original, _ = path.read_bytes(), path.write_bytes(data)
        with pytest.raises(InputError, match=f"{name}.*sha256"):
            load_artifact(artifact)
        path.write_bytes(original)
    load_artifact(artifact)


def test_a_missing_file_is_refused(artifact):
    path = model_files(artifact)[0]
    path.unlink()
    with pytest.raises(InputError, match=f"{path.name}.* missing"):
        load_artifact(artifact)


def test_an_added_file_is_refused_but_a_hidden_one_is_passed_over(artifact):
    (artifact / ".gitattributes").write_text("")
    load_artifact(artifact)
    (artifact / "model" / "extra.json").write_text("{}")
    with pytest.raises(InputError, match=r"extra\.json.* not in the manifest"):
        load_artifact(artifact)
