"""Candidates are compared, the winner meets the test set once, and every reading of it is on record."""

import io
import json
import shutil

import numpy as np
import pytest
import yaml
from finished_run import TINY, add_trial, make_run
from rich.console import Console
from sklearn.metrics import f1_score

from results.artifact import load_artifact
from results.comparison import Rules, _chosen
from results.export import export
from results.journal import Journal
from results.leaderboard import ranked, trials_in
from results.readings import readings_of
from results.report_facts import facts_of
from results.run_folder import RunFolder
from results.schema import Status, TrialEnd, TrialStart
from results.selection import last_rules, select, selected
from results.selection_view import render
from results.statistics import accuracy_interval, mcnemar
from spaces.errors import InputError
from spaces.family import Family
from spaces.features import FeatureConfig
from spaces.forest import ForestConfig
from trainables.data.protocol import load_test, load_training
from trainables.families import load_model
from trainables.metrics import score

SVM = TINY[Family.SVM]
WEAK = SVM.model_copy(update={"features": FeatureConfig(pca=1)})


@pytest.fixture(scope="module")
def finished(tmp_path_factory, cache):
    return make_run(tmp_path_factory.mktemp("runs") / "finished", cache, [SVM])


@pytest.fixture
def run(finished, tmp_path):
    return RunFolder(shutil.copytree(finished.path, tmp_path / "run"))


@pytest.fixture
def no_cache(tmp_path):
    """A cache that cannot be used, so that reading any data fails."""
    path = tmp_path / "a-file-not-a-folder"
    path.write_text("")
    return path


def shown(selection) -> str:
    console = Console(file=io.StringIO(), width=240)
    console.print(render(selection))
    return console.file.getvalue()


def test_the_winner_is_scored_on_test_with_intervals(run, cache):
    selection = select(run, cache)
    assert list(selection)[:4] == ["winner", "candidates", "mcnemar_p", "test"]
    assert (selection["winner"]["trial"], selection["mcnemar_p"]) == (0, None)
    (candidate,) = selection["candidates"]
    assert candidate["val_accuracy_mean"] == selection["winner"]["val_accuracy"]
    assert candidate["seeds"] == [0]
    low, high = candidate["val_accuracy_ci"]
    assert low < candidate["val_accuracy_mean"] < high

    faces = load_test(run.data_spec(), cache)
    scores = score(faces.labels, load_model(Family.SVM, run.checkpoints / "00000/1/model").predict_proba(faces.images))
    test = selection["test"]
    assert (test["accuracy"], test["macro_f1"], test["n"]) == (scores.accuracy, scores.macro_f1, len(faces))
    assert np.array_equal(test["confusion"], scores.confusion)
    assert test["recall"] == list(scores.recall)
    assert test["accuracy_ci"] == list(accuracy_interval(scores.confusion))


def test_a_second_select_shows_the_recorded_reading_without_reading_data(run, cache, no_cache):
    first = select(run, cache)
    recorded = run.test_readings.read_bytes()
    assert select(run, no_cache) == first
    assert run.test_readings.read_bytes() == recorded
    assert (first["readings"], first["read_again"], first["warning"]) == (1, False, None)
    assert json.loads(recorded)["test"] == first["test"]


def test_a_new_incumbent_is_a_second_reading_and_is_flagged(tmp_path, cache, no_cache):
    run = make_run(tmp_path / "run", cache, [WEAK])
    first = select(run, cache)
    add_trial(run, cache, 1, SVM)
    second = select(run, cache)
    assert (first["winner"]["trial"], second["winner"]["trial"]) == (0, 1)
    assert (second["readings"], second["read_again"]) == (2, True)
    assert "read 2 times" in second["warning"]
    assert "read 2 times" in shown(second)
    assert select(run, no_cache) == second | {"read_again": False}


def test_a_torn_reading_is_made_again(run, cache):
    first = select(run, cache)
    run.test_readings.write_bytes(run.test_readings.read_bytes()[:-1])
    assert select(run, cache) == first
    assert len(readings_of(run)) == 1


def test_people_see_figures_and_confusion(run, cache):
    selection = select(run, cache)
    text = shown(selection)
    test = selection["test"]
    assert f"test accuracy {test['accuracy']:.4f} [{test['accuracy_ci'][0]:.4f}, {test['accuracy_ci'][1]:.4f}]" in text
    for name, counts, recall in zip(
        ("negative", "neutral", "positive"), test["confusion"], test["recall"], strict=True
    ):
        line = next(line for line in text.splitlines() if line.split()[:1] == [name] and "recall" not in line)
        assert line.split()[1:] == [*map(str, counts), f"{recall:.4f}"]
    assert "warning" not in text


def test_no_finished_trial_is_an_error(run, tmp_path, no_cache):
    run.measurements.unlink()
    with Journal(run.measurements) as journal:
        journal.append(TrialStart(trial=0, time=1.0, family=Family.SVM, config=SVM.model_dump(), seed=0))
        journal.append(TrialEnd(trial=0, time=2.0, status=Status.STOPPED))
    with pytest.raises(InputError, match=r"none of its 1 trials has finished"):
        select(run, no_cache)


@pytest.mark.parametrize("field", ["fingerprint", "split"])
def test_other_data_than_the_run_saw_are_refused_and_test_stays_unread(run, cache, field):
    provenance = json.loads(run.provenance.read_text())
    provenance["data"][field] = "another"
    run.provenance.write_text(json.dumps(provenance))
    with pytest.raises(InputError, match="not those the run began with"):
        select(run, cache)
    assert readings_of(run) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: np.save(path, np.load(path)[:-1]),
        lambda path: np.save(path, np.load(path)[:, :2]),
        lambda path: np.save(path, np.load(path)[::-1]),
    ],
    ids=["missing", "empty", "too short", "too narrow", "other order"],
)
def test_what_are_not_the_validation_probabilities_is_named(run, cache, damage):
    damage(run.checkpoints / "00000/1/validation.npy")
    with pytest.raises(InputError, match=r"validation\.npy: .*trial 0"):
        select(run, cache)


@pytest.fixture(scope="module")
def compared(tmp_path_factory, cache):
    """A run of four trials: a dear one, a cheap one that predicts the same, a weak one, and another family's."""
    run = make_run(tmp_path_factory.mktemp("runs") / "compared", cache, [SVM])
    add_trial(run, cache, 1, SVM, seconds=1.0)
    add_trial(run, cache, 2, WEAK, seconds=0.5)
    add_trial(run, cache, 3, TINY[Family.FOREST], seconds=3.0)
    return run


@pytest.fixture
def four(compared, tmp_path):
    return RunFolder(shutil.copytree(compared.path, tmp_path / "four"))


def kept(run, trial):
    return np.load(run.checkpoints / f"{trial:05d}/1/validation.npy")


def test_the_best_of_each_family_is_among_several_candidates_but_one_stays_one(four, cache):
    assert [row["trial"] for row in select(four, cache)["candidates"]] == [1]
    assert [row["trial"] for row in select(four, cache, Rules(top=2))["candidates"]] == [1, 0, 3]


def test_a_model_that_was_not_kept_is_named_and_enters_no_ensemble(four, cache):
    values = yaml.safe_load(four.plan.read_text()) | {"models": 1}
    four.plan.write_text(yaml.safe_dump(values))
    best = {record.family: record.trial for record in reversed(ranked(trials_in([four])))}
    for trial in set(range(4)) - set(best.values()):
        shutil.rmtree(four.checkpoints / f"{trial:05d}/1/model")
    found = select(four, cache, Rules(ensemble=True))["ensemble"]
    assert {member["trial"] for member in found["members"]} <= set(best.values())
    shutil.rmtree(four.checkpoints / f"{selected(four).trial:05d}/1/model")
    with pytest.raises(InputError, match="is not there; a search keeps those of the best trials"):
        export(four, four.path / "out")


def test_p_values_are_those_of_kept_predictions_corrected_for_their_number(four, cache):
    labels = load_training(four.data_spec(), cache).validation.labels
    found = select(four, cache, Rules(top=4))
    right = {trial: kept(four, trial).argmax(axis=1) == labels for trial in range(4)}
    raw = sorted(mcnemar(right[found["leader"]], right[trial]) for trial in range(4) if trial != found["leader"])
    adjusted = sorted(row["mcnemar_p"] for row in found["candidates"] if row["mcnemar_p"] is not None)
    assert adjusted[0] == pytest.approx(min(1, 3 * raw[0]))
    assert found["mcnemar_p"] == 1.0
    assert (found["leader"], found["runner_up"], 2 in found["told_apart"]) == (1, 0, True)


def test_the_optimism_of_picking_among_trials_is_shown(four, cache):
    found = select(four, cache)["optimism"]
    assert found["trials"] == 4
    assert found["corrected"] == found["val_accuracy"] - found["expected"] <= found["val_accuracy"]
    assert f"{found['expected']:.4f} too high for having been picked" in shown(select(four, cache))


def test_calibration_and_recalls_are_of_the_winner_on_validation(four, cache):
    found = select(four, cache)
    faces = load_training(four.data_spec(), cache).validation
    right = kept(four, found["winner"]["trial"]).argmax(axis=1) == faces.labels
    assert found["val_recall"] == pytest.approx([right[faces.labels == label].mean() for label in range(3)])
    recalls = found["recall_by_emotion"]
    assert sum(entry["n"] for entry in recalls.values()) == len(faces)
    assert sum(entry["n"] * entry["recall"] for entry in recalls.values()) == pytest.approx(right.sum())
    assert set(found["calibration"]) == {"temperature", "ece", "ece_scaled", "log_loss", "log_loss_scaled"}
    text = shown(found)
    assert f"expected calibration error {found['calibration']['ece']:.4f}" in text
    assert all(emotion in text for emotion in recalls)


def test_an_ensemble_is_compared_with_the_winner(four, cache):
    assert select(four, cache)["ensemble"] is None
    found = select(four, cache, Rules(ensemble=True))["ensemble"]
    assert sum(member["weight"] for member in found["members"]) == pytest.approx(1)
    low, high = found["gain_ci"]
    assert low <= found["gain"] <= high
    assert 0 <= found["mcnemar_p"] <= 1
    assert "ensemble of trial" in shown(select(four, cache, Rules(ensemble=True)))


def change_plan(run, **fields):
    run.plan.write_text(yaml.safe_dump(yaml.safe_load(run.plan.read_text()) | fields))


def test_several_candidates_go_by_the_objective_or_are_refused(four, cache):
    change_plan(four, objectives=["val_log_loss"])
    assert select(four, cache)["winner"]["trial"] in range(4)
    shutil.rmtree(four.selection)
    with pytest.raises(InputError, match="searched for val_log_loss, but candidates are compared by val_accuracy or"):
        select(four, cache, Rules(top=2))
    change_plan(four, objectives=["val_macro_f1"])
    found = select(four, cache, Rules(top=4))
    assert "macro-F1" in shown(found).partition("candidates")[2]
    labels = load_training(four.data_spec(), cache).validation.labels
    for row in found["candidates"]:
        predicted = kept(four, row["trial"]).argmax(axis=1)
        assert row["val_macro_f1_mean"] == pytest.approx(f1_score(labels, predicted, average="macro"))


def test_the_leader_is_the_best_by_the_objective(four):
    def row(trial: int, accuracy: float, macro_f1: float) -> dict[str, object]:
        means = {"val_accuracy_mean": accuracy, "val_macro_f1_mean": macro_f1}
        return {"trial": trial, "seconds": 1.0, "failed": None, "mcnemar_p": None, **means}

    right = [np.ones(9, dtype=np.bool_)] * 2
    for objective, leader in (("val_accuracy", 0), ("val_macro_f1", 1)):
        change_plan(four, objectives=[objective])
        place, chosen = _chosen(four, [row(0, 0.7, 0.6), row(1, 0.6, 0.7)], right)
        assert (place, chosen["leader"], chosen["measure"]) == (leader, leader, objective)


def test_a_selection_by_another_objective_holds_no_longer(four, cache):
    select(four, cache, Rules(top=2))
    change_plan(four, objectives=["val_macro_f1"])  # as earlier versions, which always went by accuracy, left it
    assert last_rules(four) is None


def test_an_ensemble_keeps_to_the_latency_that_the_plan_allows(four, cache):
    change_plan(four, constraints=["latency_ms <= 1000"])
    lines = [json.loads(line) for line in four.measurements.read_text().splitlines()]
    timed = [{**line, "latency_ms": 1.0} if line["kind"] == "measurement" else line for line in lines]
    four.measurements.write_text("".join(json.dumps(line) + "\n" for line in timed))
    assert 0 < select(four, cache, Rules(ensemble=True))["ensemble"]["milliseconds"] <= 1000
    shutil.rmtree(four.selection)
    with pytest.raises(InputError, match="an ensemble within 1e-06 ms"):
        select(four, cache, Rules(ensemble=True, latency=1e-6))


def test_a_cheaper_equal_wins_and_counts_until_another_trial_finishes(tmp_path, cache):
    run = make_run(tmp_path / "run", cache, [SVM])
    add_trial(run, cache, 1, ForestConfig(trees=60), seconds=0.1)
    assert selected(run).trial == 0
    found = select(run, cache, Rules(top=2))
    assert (found["leader"], found["winner"]["trial"], found["told_apart"]) == (0, 1, [])
    assert "cannot be told apart from trial 0" in shown(found)
    assert "is cheaper (0.1 s instead of 2.0 s)" in shown(found)
    assert selected(run).trial == 1
    export(run, tmp_path / "artifact")
    manifest = load_artifact(tmp_path / "artifact").manifest
    assert (manifest.trial, manifest.family, manifest.metrics.test.accuracy) == (1, "forest", found["test"]["accuracy"])
    add_trial(run, cache, 2, WEAK)
    assert selected(run).trial == 0


def test_a_winner_has_a_model(four, cache):
    """The cheap equal of the best won before; now its model was not kept."""
    assert select(four, cache, Rules(top=2))["winner"]["trial"] == 1
    shutil.rmtree(four.selection)
    values = yaml.safe_load(four.plan.read_text()) | {"models": 1}
    four.plan.write_text(yaml.safe_dump(values))
    found = select(four, cache, Rules(top=4))
    assert [row["trial"] for row in found["candidates"]] == [1, 3]


def test_the_rules_of_a_selection_hold_until_another_trial_finishes(tmp_path, cache):
    run = make_run(tmp_path / "run", cache, [SVM, WEAK])
    assert last_rules(run) is None
    select(run, cache, Rules(top=2))
    assert last_rules(run) == Rules(top=2)
    add_trial(run, cache, 2, WEAK)
    assert last_rules(run) is None


def test_the_artifact_tells_of_the_choice(four, cache, tmp_path):
    found = select(four, cache, Rules(top=2))
    export(four, tmp_path / "artifact", onnx=False)
    choice = load_artifact(tmp_path / "artifact").manifest.choice
    assert (choice.candidates, choice.refits, choice.mcnemar_p) == (3, 0, found["mcnemar_p"])
    assert choice.temperature == found["calibration"]["temperature"]
    card = (tmp_path / "artifact" / "README.md").read_text()
    assert "It was chosen among 3 (accuracy" in card
    assert f"flatter its validation accuracy by {found['optimism']['expected']:.4f}" in card


def test_what_was_not_picked_for_its_accuracy_was_not_flattered_by_the_pick(four, cache, tmp_path):
    change_plan(four, objectives=["val_macro_f1"])
    assert "for having been picked" not in shown(select(four, cache))
    export(four, tmp_path / "artifact", onnx=False)
    assert load_artifact(tmp_path / "artifact").manifest.choice.optimism is None
    card = (tmp_path / "artifact" / "README.md").read_text()
    assert "It was chosen among" in card
    assert "flatter" not in card


def test_the_report_is_of_the_winner_within_the_constraints(four, cache):
    """The best two break the constraint."""
    journal = [json.loads(line) for line in four.measurements.read_text().splitlines()]
    for line in journal:
        if line["kind"] == "measurement":
            line["latency_ms"] = 1.0 if line["trial"] in (2, 3) else 100.0
    four.measurements.write_text("".join(json.dumps(line) + "\n" for line in journal))
    values = yaml.safe_load(four.plan.read_text()) | {"constraints": ["latency_ms <= 20"]}
    four.plan.write_text(yaml.safe_dump(values))
    winner = select(four, cache)["winner"]["trial"]
    facts = facts_of(four, cache)
    assert winner in (2, 3)
    assert facts.winner.trial == winner == facts.selection.winner
    assert any(f"The best trial at full fidelity is trial {winner}" in sentence for sentence in facts.sentences())


def test_a_run_in_which_nothing_can_be_kept_is_named_and_test_stays_unread(run, cache):
    run.selection.write_text("")
    with pytest.raises(InputError, match="selection: a selection cannot be kept here"):
        select(run, cache)
    assert readings_of(run) == []


def test_a_damaged_record_of_a_selection_is_named(run, cache):
    select(run, cache)
    (run.selection / "selection.json").write_text("{}")
    with pytest.raises(InputError, match=r"selection\.json: not a Selection"):
        select(run, cache)


def test_the_command_tells_progress_and_prints_one_document(fertune, compared):
    shutil.copytree(compared.path, fertune.folder / "four")
    done = fertune.run("select", "four", "--top", "2", "--seeds", "1", "--no-splits", "--ensemble", "--json")
    assert "refit 3 of 3: trial 3, validation accuracy" in done.stderr
    found = json.loads(done.stdout)
    assert {"winner", "candidates", "mcnemar_p", "test"} <= set(found)
    assert {"val_accuracy_mean", "val_accuracy_ci", "seeds"} <= set(found["candidates"][0])
    assert found["rules"] == {"top": 2, "seeds": 1, "splits": False, "ensemble": True, "latency": None}
    again = fertune.run("select", "four", "--top", "2", "--seeds", "1", "--no-splits", "--ensemble")
    assert "1 refit on the run's split, for which it was picked" in " ".join(again.stdout.split())
    assert "refit 3" not in again.stderr


@pytest.mark.parametrize("option", ["--top", "--seeds"])
def test_a_count_below_what_makes_sense_is_refused(fertune, compared, option):
    shutil.copytree(compared.path, fertune.folder / "four")
    assert option in fertune.run("select", "four", option, "-1", code=2).stderr
