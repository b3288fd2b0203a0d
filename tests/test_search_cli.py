"""The command line as its users and their scripts see it."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from command_line import CommandLine

from trainables.data.demo import draw_faces

pytestmark = pytest.mark.timeout(280)

PLAN = """
data: {demo_images: 900, protocol: {balance: none}}
budget: {trials: 6}
startup_trials: 6
space:
  families: [svm, forest]
  svm: {kernel: [linear, rbf], features: {kind: hog, hog_cell: 12, pca: 32}}
  forest: {trees: 27, features: {kind: hog, hog_cell: 12, pca: 0}}
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> CommandLine:
    """A real search of six trials, in a folder several tests look at."""
    from command_line import command_line

    folder = tmp_path_factory.mktemp("searched")
    (folder / "plan.yaml").write_text(PLAN)
    with command_line(folder, cache) as fertune:
        fertune.run("search", "plan.yaml", "--name", "real")
        yield fertune


def test_search_prints_the_leaderboard(searched):
    leaderboard = searched.run("results", "runs/real").stdout
    assert "6 trials" in leaderboard
    for column in ("trial", "family", "config", "status", "fidelity", "accuracy", "macro-F1", "seconds"):
        assert column in leaderboard


def test_results_keys(searched):
    found = searched.json("results", "runs/real")
    assert set(found) == {"runs", "trials", "incumbent"}
    keys = {"trial", "family", "config", "status", "fidelity", "val_accuracy", "val_macro_f1", "seconds", "seed"}
    assert all(set(trial) == keys for trial in found["trials"])
    assert found["incumbent"] in found["trials"]
    assert found["incumbent"]["fidelity"] == 27


def test_select_reads_the_test_set_once(searched):
    first = searched.json("select", "runs/real")
    assert {"winner", "candidates", "mcnemar_p", "test"} <= set(first)
    assert set(first["test"]) >= {"accuracy", "accuracy_ci", "macro_f1", "recall", "confusion", "n"}
    low, high = first["test"]["accuracy_ci"]
    assert low <= first["test"]["accuracy"] <= high
    assert np.sum(first["test"]["confusion"]) == first["test"]["n"]
    assert searched.json("select", "runs/real") == first
    assert len((searched.folder / "runs/real/test_readings.jsonl").read_text().splitlines()) == 1
    assert "test accuracy" in searched.run("select", "runs/real").stdout


def test_export_and_predict(searched):
    exported = searched.json("export", "runs/real", "--out", "model")
    assert set(exported) == {"artifact", "files"}
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in exported["files"].values())
    faces = draw_faces(4)
    for number, face in enumerate(faces.images):
        cv2.imwrite(str(searched.folder / f"face{number}.png"), face)
    found = searched.json("predict", "model", "face0.png", "face1.png", "face2.png")
    assert [set(item) for item in found] == [{"image", "face", "label", "probabilities"}] * 3
    for item in found:
        assert sum(item["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert item["label"] == max(item["probabilities"], key=item["probabilities"].get)
    assert found[0]["label"] in searched.run("predict", "model", "face0.png").stdout
    assert "not an empty folder" in searched.run("export", "runs/real", "--out", "model", code=2).stderr


@pytest.mark.slow
def test_an_ensemble_is_exported_and_used_in_every_way(searched):
    ensemble = searched.json("select", "runs/real", "--ensemble", "--latency", "60000")["ensemble"]
    exported = searched.json("export", "runs/real", "--ensemble", "--no-onnx", "--out", "together")
    members = {name.split("/")[1] for name in exported["files"] if name.startswith("model/")}
    assert members == {f"{part['trial']:05d}" for part in ensemble["members"]}
    for number, face in enumerate(draw_faces(4).images):
        cv2.imwrite(str(searched.folder / f"face{number}.png"), face)
    found = searched.json("predict", "together", "face0.png", "face1.png", "--csv", "faces.csv", "--draw", "drawn")
    lines = (searched.folder / "faces.csv").read_text().splitlines()
    assert lines[0] == "image,second,x,y,width,height,label,negative,neutral,positive"
    assert [line.split(",")[6] for line in lines[1:]] == [row["label"] for row in found]
    assert sorted(path.name for path in (searched.folder / "drawn").iterdir()) == ["face0.png", "face1.png"]
    measured = searched.json("evaluate", "together", "demo")
    assert measured["n"] == sum(map(sum, measured["confusion"]))
    assert "own run" in measured["warning"]
    assert "Brier score" in searched.run("evaluate", "together", "demo").stdout
    assert "test, train, all" in searched.run("evaluate", "together", "demo", "--part", "some", code=2).stderr
    assert "received neither" in searched.run("predict", "together", code=2).stderr
    assert "--ensemble" in searched.run("select", "runs/real", "--latency", "5", code=2).stderr
    assert "camera 97" in searched.run("predict", "together", "--camera", "97", code=2).stderr


def test_data_info_and_sample(searched):
    found = searched.json("data", "info", "--plan", "plan.yaml")
    keys = {"source", "images", "emotions", "classes", "blank", "duplicates", "leaks_removed", "fingerprint"}
    assert keys <= set(found)
    assert set(found["classes"]) == {"train", "validation", "test"}
    assert "happy" in searched.run("data", "info", "--plan", "plan.yaml").stdout
    searched.run("data", "sample", "--out", "sheet.png")
    assert cv2.imread(str(searched.folder / "sheet.png")) is not None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["search", "nowhere.yaml"], "nowhere.yaml: the plan cannot be read"),
        (["search", "plan.yaml", "--set", "speed=3"], "speed: no such field (received 3)"),
        (["search", "plan.yaml", "--trials", "0"], "budget.trials: input should be greater than or equal to 1"),
        (["search", "plan.yaml", "--data", "nowhere.csv"], "nowhere.csv"),
        (["search", "plan.yaml", "--name", "a/b"], "one folder name"),
        (["search", "plan.yaml", "--set", "resources.svm.cpus=64"], "a trial asks for 64 CPUs"),
        (["search"], "search takes a PLAN or --like RUN, received neither"),
        (["serch"], "No such command"),
        (["resume", "runs/none"], "no run here"),
        (["status", "runs/none"], "no run here"),
        (["results", "runs/none"], "no run here"),
        (["select", "runs/none"], "no run here"),
        (["export", "runs/none"], "no run here"),
        (["predict", "nowhere", "x.png"], "nowhere"),
        (["data", "info", "--data", "nowhere.csv"], "nowhere.csv"),
        (["data", "sample", "--out", "nowhere/sheet.png"], "nowhere"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(searched, arguments, sentence):
    done = searched.run(*arguments, code=2)
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_debug_shows_the_traceback(searched):
    assert "Traceback" in searched.run("--debug", "results", "runs/none", code=1).stderr
    assert "Traceback" in searched.run("results", "runs/none", "--debug", code=1).stderr


def test_a_search_in_which_no_trial_can_finish_fails(searched):
    done = searched.run("search", "plan.yaml", "--name", "hopeless", "--minutes", "0.001", "--json", code=1)
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["finished"] == 0
    assert outcome["incumbent"] is None
    assert "no trial of runs/hopeless reached full fidelity" in done.stderr
