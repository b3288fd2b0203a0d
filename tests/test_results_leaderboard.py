"""Trials are rebuilt from events, ranked so that only like is compared, and shown to people and programs."""

import io
import json
import random

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from results.describe import describe
from results.goals import Goals
from results.journal import Journal
from results.leaderboard import (
    COLUMNS,
    incumbent,
    leaderboard,
    ranked,
    results_json,
    table,
    trials_in,
    trials_of,
    write_csv,
)
from results.run_folder import RunFolder
from results.schema import Event, Measurement, SessionStart, Status, TrialEnd, TrialStart
from spaces.errors import InputError
from spaces.family import Family
from spaces.features import FeatureConfig
from spaces.forest import ForestConfig
from spaces.resnet import ResnetConfig
from spaces.svm import SvmConfig

CONFIG = SvmConfig(C=3.2, gamma=1.1, features=FeatureConfig(pca=128, mirror=True)).model_dump()


def start(trial: int) -> TrialStart:
    return TrialStart(trial=trial, time=1.0, family=Family.SVM, config=CONFIG, seed=7)


def rung(trial: int, fidelity: int, accuracy: float, seconds: float = 1.0) -> Measurement:
    return Measurement(
        trial=trial,
        time=2.0,
        fidelity=fidelity,
        val_accuracy=accuracy,
        val_macro_f1=accuracy / 2,
        val_log_loss=0.9,
        val_recall=(accuracy,) * 3,
        fit_seconds=seconds / 2,
        total_seconds=seconds,
        images_per_second=100.0,
        cache_hit=True,
        checkpoint=f"checkpoints/{trial:05d}/{fidelity}",
    )


def end(trial: int, status: Status, reason: str = "") -> TrialEnd:
    return TrialEnd(trial=trial, time=3.0, status=status, reason=reason)


EVENTS: list[Event] = [
    SessionStart(time=0.5),
    *(start(trial) for trial in range(7)),
    rung(0, 1, 0.4),
    rung(0, 27, 0.70, seconds=9.0),
    end(0, Status.FINISHED),
    rung(1, 1, 0.99),
    end(1, Status.STOPPED),
    rung(2, 27, 0.70, seconds=5.0),
    end(2, Status.FINISHED),
    rung(3, 9, 0.6),
    end(4, Status.FAILED, "the loss is not finite"),
    rung(5, 1, 0.5),
    rung(6, 27, 0.60, seconds=1.0),
    end(6, Status.FINISHED),
]


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "first", EVENTS)


def make_run(path, events):
    path.mkdir()
    with Journal(path / "measurements.jsonl") as journal:
        for event in events:
            journal.append(event)
    return RunFolder(path)


def shown(view) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(view)
    return console.file.getvalue()


def test_a_trial_is_what_its_lines_say():
    record = trials_of(EVENTS, "runs/x")[0]
    assert (record.run, record.trial, record.family, record.seed) == ("runs/x", 0, Family.SVM, 7)
    assert (record.status, record.fidelity, record.val_accuracy, record.seconds) == (Status.FINISHED, 27, 0.70, 9.0)
    assert [measured.fidelity for measured in record.measurements] == [1, 27]


@pytest.mark.parametrize(
    ("trial", "status", "fidelity", "reason"),
    [(1, "STOPPED", 1, ""), (3, "RUNNING", 9, ""), (4, "FAILED", 0, "the loss is not finite")],
)
def test_status_and_fidelity_of_trials_that_did_not_finish(trial, status, fidelity, reason):
    record = trials_of(EVENTS)[trial]
    assert (record.status, record.fidelity, record.reason) == (status, fidelity, reason)


def test_of_two_measurements_of_a_rung_the_later_wins():
    (record,) = trials_of([start(0), rung(0, 1, 0.4), rung(0, 3, 0.5), rung(0, 1, 0.45)])
    assert [measured.val_accuracy for measured in record.measurements] == [0.45, 0.5]
    assert record.val_accuracy == 0.5


@pytest.mark.parametrize("line", [rung(3, 1, 0.5), end(3, Status.FAILED)])
def test_lines_of_a_trial_that_never_started_are_an_error(line):
    with pytest.raises(InputError, match=r"runs/x: trial 3 "):
        trials_of([start(0), line], "runs/x")


def test_finished_trials_rank_first_and_a_tie_goes_to_the_cheaper():
    assert [record.trial for record in ranked(trials_of(EVENTS))] == [2, 0, 6, 3, 1, 5, 4]


def test_what_measured_nothing_ranks_below_what_breaks_a_constraint():
    goals = Goals(constraints=("val_accuracy >= 0.65",))
    assert [record.trial for record in ranked(trials_of(EVENTS), goals)] == [2, 0, 6, 1, 3, 5, 4]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.5, 0.6]), st.sampled_from([1.0, 2.0]), st.booleans()), max_size=8))
def test_the_incumbent_is_best_at_full_fidelity_then_cheapest_then_first(trials):
    events = [
        event
        for trial, (accuracy, seconds, finished) in enumerate(trials)
        for event in (
            start(trial),
            rung(trial, 27 if finished else 9, accuracy if finished else 1.0, seconds),
            *([end(trial, Status.FINISHED)] if finished else []),
        )
    ]
    random.Random(0).shuffle(records := trials_of(events))
    expected = min(
        ((-accuracy, seconds, trial) for trial, (accuracy, seconds, finished) in enumerate(trials) if finished),
        default=None,
    )
    best = incumbent(records)
    assert (best and (-best.val_accuracy, best.seconds, best.trial)) == expected
    if best:
        assert ranked(records)[0] is best


def test_leaderboard_has_a_row_a_trial_in_order(run):
    board = leaderboard([run])
    assert tuple(board.columns) == COLUMNS
    assert board["trial"].tolist() == [2, 0, 6, 3, 1, 5, 4]
    assert board["config"][0] == CONFIG
    assert pd.isna(board["val_accuracy"].iloc[-1])


def test_json_has_the_stable_keys_and_survives_json(run):
    results = results_json([run], trials_in([run]))
    assert set(results) == {"runs", "trials", "incumbent"}
    keys = ["trial", "family", "config", "status", "fidelity", "val_accuracy", "val_macro_f1", "seconds", "seed"]
    assert all(list(trial) == keys for trial in results["trials"])
    assert results["runs"] == [str(run.path)]
    assert results["incumbent"] == results["trials"][0]
    assert json.loads(json.dumps(results, allow_nan=False)) == results


def test_trials_of_several_runs_say_which_run(run, tmp_path):
    better = [start(0), rung(0, 27, 0.9), end(0, Status.FINISHED)]
    other = make_run(tmp_path / "second", better)
    results = results_json([run, other], trials_in([run, other]))
    assert results["incumbent"]["run"] == str(other.path)
    assert {trial["run"] for trial in results["trials"]} == {str(run.path), str(other.path)}
    assert "second" in shown(table(leaderboard([run, other])))


def test_a_run_without_trials_has_an_empty_board(tmp_path):
    run = make_run(tmp_path / "empty", [])
    assert results_json([run], trials_in([run])) == {"runs": [str(run.path)], "trials": [], "incumbent": None}
    assert "0 trials" in shown(table(leaderboard([run])))
    write_csv(leaderboard([run]), run.leaderboard)
    assert run.leaderboard.read_text().strip() == ",".join(COLUMNS)


def test_the_table_fits_a_terminal_of_100_columns(run):
    text = shown(table(leaderboard([run]), top=3))
    assert "rbf C=3.2 gamma=1.1 hog8 pca=128 mirror" in text
    assert "best 3 of 7 trials" in text
    assert text.count("FINISHED") == 3
    assert "STOPPED" not in text


def test_csv_reads_back_and_replaces_the_old_file(run):
    run.leaderboard.write_text("old")
    write_csv(leaderboard([run]), run.leaderboard)
    read = pd.read_csv(run.leaderboard)
    assert read["trial"].tolist() == [2, 0, 6, 3, 1, 5, 4]
    assert json.loads(read["config"][0]) == CONFIG
    assert {path.name for path in run.path.iterdir()} == {"leaderboard.csv", "measurements.jsonl"}


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (SvmConfig(kernel="linear", C=0.12345), "linear C=0.123 hog8"),
        (SvmConfig(kernel="poly", degree=2, coef0=0.5), "poly C=3 gamma=1 degree=2 coef0=0.5 hog8"),
        (
            SvmConfig(
                class_weight="none",
                features=FeatureConfig(
                    kind="hog+lbp", hog_signed=True, contrast="clahe", pca=64, whiten=True, shift=1, flip=True
                ),
            ),
            "rbf C=3 gamma=1 unweighted hog8s+lbp8 clahe pca=64 whiten shift=1 flip",
        ),
        (
            ForestConfig(features=FeatureConfig(kind="pixels")),
            "gini trees=270 depth=20 leaf=1 max_features=0.05 pixels",
        ),
        (
            ResnetConfig(unfreeze=0, augment=0, dropout=0.25),
            "resnet18 weights=none unfreeze=0 epochs=8 batch=64 head_lr=0.003 decay=0.01 dropout=0.25 48px",
        ),
        (
            ResnetConfig(stem="small", schedule="one_cycle", stage_decay=0.5, mixup=0.2, ema=0.9995, flip=True),
            "resnet18 small_stem weights=none unfreeze=5 epochs=8 batch=64 head_lr=0.003 backbone_lr=0.001 "
            "stage_decay=0.5 one_cycle decay=0.01 augment=0.5 mixup=0.2 ema=0.9995 48px flip",
        ),
        (
            ResnetConfig(arch="vgg16", stem="small", unfreeze=0, stage_decay=0.5, augment=0),
            "vgg16 weights=none unfreeze=0 epochs=8 batch=64 head_lr=0.003 decay=0.01 48px",
        ),
    ],
)
def test_a_config_in_one_line_leaves_out_what_is_unused(config, text):
    assert describe(config.model_dump()) == text


def test_what_is_no_config_is_named():
    with pytest.raises(InputError, match=r"svm\.C: .*greater than 0"):
        describe({"family": "svm", "C": -1})
