"""The ensemble of a selection as one artifact: it predicts the weighted mean, natively and by ONNX Runtime."""

import json
import shutil

import numpy as np
import pytest
from finished_run import TINY, make_run

from results.artifact import load_artifact
from results.comparison import Rules
from results.export import Which, export
from results.onnx_file import run_onnx, session
from results.selection import select
from spaces.errors import InputError
from spaces.family import Family
from spaces.features import FeatureConfig
from spaces.forest import ForestConfig
from spaces.svm import SvmConfig
from trainables.data.protocol import load_training

CONFIGS = [TINY[Family.SVM], SvmConfig(features=FeatureConfig(kind="lbp")), ForestConfig(trees=12, depth=8)]


@pytest.fixture(scope="module")
def run(tmp_path_factory, cache):
    return make_run(tmp_path_factory.mktemp("ensemble") / "run", cache, CONFIGS)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory, cache):
    selection = select(run, cache, Rules(ensemble=True))
    folder = tmp_path_factory.mktemp("ensemble") / "artifact"
    return selection["ensemble"], export(run, folder, Which.ENSEMBLE), folder


def test_it_predicts_the_weighted_mean_of_its_members(run, exported, cache):
    ensemble, _, folder = exported
    images = load_training(run.data_spec(), cache).validation.images
    assert len(ensemble["members"]) > 1
    expected = sum(
        part["weight"] * np.load(run.checkpoints / f"{part['trial']:05d}" / "1" / "validation.npy").astype(float)
        for part in ensemble["members"]
    )
    found = load_artifact(folder).model.predict_proba(images)
    assert (found.dtype, found.shape) == (np.float32, (len(images), 3))
    assert np.allclose(found, expected, atol=1e-6)
    by_onnx = run_onnx(session(folder / "model.onnx", threads=1), images)
    assert np.abs(by_onnx - expected).mean() < 1e-3
    assert (by_onnx.argmax(axis=1) == expected.argmax(axis=1)).mean() > 0.99


def test_manifest_and_card_tell_of_the_members(exported):
    ensemble, written, folder = exported
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["family"], manifest["trial"]) == (None, None)
    told = [{name: part[name] for name in ("trial", "family", "weight")} for part in manifest["members"]]
    assert told == ensemble["members"]
    assert sum(part["weight"] for part in manifest["members"]) == pytest.approx(1)
    folders = {name.split("/")[1] for name in written["files"] if name.startswith("model/")}
    assert folders == {f"{part['trial']:05d}" for part in ensemble["members"]}
    validation = manifest["metrics"]["validation"]
    assert validation["accuracy"] == ensemble["val_accuracy"]
    assert validation["gain_ci"] == ensemble["gain_ci"]
    assert manifest["metrics"]["test"] is None
    card = (folder / "README.md").read_text()
    assert f"accuracy {ensemble['val_accuracy']:.4f}" in card
    assert "had not been read for this model" in card


def test_a_changed_byte_in_a_member_is_refused(exported, tmp_path):
    folder = shutil.copytree(exported[2], tmp_path / "artifact")
    path = next((folder / "model").rglob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(InputError, match=r"safetensors.*sha256"):
        load_artifact(folder)


def test_without_an_ensemble_there_is_none_to_export(tmp_path, cache):
    run = make_run(tmp_path / "run", cache, [TINY[Family.SVM]])
    with pytest.raises(InputError, match="no ensemble of its finished trials"):
        export(run, tmp_path / "artifact", Which.ENSEMBLE)
    select(run, cache)
    with pytest.raises(InputError, match="no ensemble of its finished trials"):
        export(run, tmp_path / "artifact", Which.ENSEMBLE)


def test_a_limit_on_latency_is_kept_or_told(run, cache):
    # Slow enough for all of them on any machine, then too fast for any.
    free = select(run, cache, Rules(ensemble=True, latency=1e6))["ensemble"]
    assert 0 < free["milliseconds"] < 1e6
    assert free["members"] == select(run, cache, Rules(ensemble=True))["ensemble"]["members"]
    with pytest.raises(InputError, match=r"within 1e-06 ms .*: the fastest .* takes \d+\.\d\d ms"):
        select(run, cache, Rules(ensemble=True, latency=1e-6))
