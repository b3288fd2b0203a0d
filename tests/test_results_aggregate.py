"""Tables over many runs: filters, learning curves, families, rungs; written in three forms; 10,000 trials at once."""

import json
import time

import pandas as pd
import pytest

from results.aggregate import frame_of, kept, values_of, write_frame
from results.leaderboard import leaderboard, trials_in
from results.run_folder import RunFolder
from results.schema import Measurement, Status, TrialEnd, TrialStart
from search.cli import main
from spaces.errors import InputError
from spaces.family import Family
from spaces.forest import ForestConfig
from spaces.resnet import ResnetConfig
from spaces.svm import SvmConfig

CONFIGS = [config.model_dump(mode="json") for config in (SvmConfig(), ForestConfig(), ResnetConfig())]


def write_run(path, trials):
    """A run whose trials take the families in turn; of three in a row one is stopped at 1, one at 3, one finishes."""
    path.mkdir(parents=True)
    (path / "plan.yaml").write_text("budget: {trials: 1}\n")
    run = RunFolder(path)
    lines = []
    for trial in range(trials):
        config, last = CONFIGS[trial % 3], (trial // 3) % 3
        lines.append(TrialStart(trial=trial, time=1.0, family=config["family"], config=config, seed=trial))
        for fidelity in (1, 3, 27)[: last + 1]:
            lines.append(
                Measurement(
                    trial=trial,
                    time=2.0,
                    fidelity=fidelity,
                    val_accuracy=(trial % 100) / 100,
                    val_macro_f1=0.5,
                    val_log_loss=1.0,
                    val_recall=(0.5, 0.5, 0.5),
                    fit_seconds=1.0,
                    total_seconds=float(fidelity),
                    images_per_second=1.0,
                    cache_hit=False,
                    checkpoint="checkpoints/x",
                )
            )
        status = Status.FINISHED if last == 2 else Status.STOPPED
        lines.append(TrialEnd(trial=trial, time=3.0, status=status))
    run.measurements.write_text("".join(line.model_dump_json() + "\n" for line in lines))
    return run


@pytest.fixture
def runs(tmp_path):
    return [write_run(tmp_path / "runs" / "a", 18), write_run(tmp_path / "runs" / "b", 9)]


def test_trials_are_kept_by_family_and_status(runs):
    records = trials_in(runs)
    assert len(kept(records)) == 27
    found = kept(records, [Family.SVM, Family.FOREST], [Status.FINISHED])
    assert {(record.family, record.status) for record in found} == {
        (Family.SVM, Status.FINISHED),
        (Family.FOREST, Status.FINISHED),
    }
    assert len(found) == 6


def test_curves_hold_every_measurement(runs):
    curves = frame_of(trials_in(runs), "curves")
    assert len(curves) == 9 * (1 + 2 + 3)
    one = curves[(curves["run"] == str(runs[1].path)) & (curves["trial"] == 6)]
    assert one["fidelity"].tolist() == [1, 3, 27]
    assert one["seconds"].tolist() == [1.0, 3.0, 27.0]
    assert set(one["status"]) == {"FINISHED"}


def test_families_say_what_they_cost_and_gave(runs):
    families = frame_of(trials_in(runs), "families").set_index("family")
    assert families["trials"].to_dict() == {"svm": 9, "forest": 9, "resnet": 9}
    assert families.loc["svm", "finished"] == 3
    assert families.loc["svm", "stopped"] == 6
    assert families.loc["svm", "seconds"] == 3 * (1 + 3 + 27)
    assert families.loc["svm", "finished_seconds"] == 3 * 27
    assert families["share"].sum() == pytest.approx(1)
    assert families.loc["forest", ["best_val_accuracy", "best_trial", "best_run"]].tolist() == [
        0.16,
        16,
        str(runs[0].path),
    ]


def test_rungs_say_what_was_stopped_where(runs):
    rungs = frame_of(trials_in(runs), "rungs")
    svm = rungs[rungs["family"] == "svm"][["rung", "reached", "passed", "stopped", "left"]]
    assert svm.to_numpy().tolist() == [[1, 9, 6, 3, 0], [3, 6, 3, 3, 0], [27, 3, 3, 0, 0]]


@pytest.mark.parametrize("table", ["trials", "curves", "families", "rungs"])
def test_each_table_is_the_same_in_each_form(runs, table, tmp_path):
    frame = frame_of(trials_in(runs), table)
    for suffix in ("csv", "parquet", "json"):
        write_frame(frame, tmp_path / f"table.{suffix}")
    read = [
        pd.read_csv(tmp_path / "table.csv", keep_default_na=False, na_values=[""]),
        pd.read_parquet(tmp_path / "table.parquet"),
        pd.DataFrame(json.loads((tmp_path / "table.json").read_text())),
    ]
    for found in read:
        pd.testing.assert_frame_equal(found, frame, check_dtype=False)
    assert {path.name for path in tmp_path.iterdir()} == {"runs", *(f"table.{s}" for s in ("csv", "parquet", "json"))}


def test_no_trial_is_an_empty_table_and_not_a_fault(tmp_path):
    for table in ("trials", "curves", "families", "rungs"):
        frame = frame_of([], table)
        assert len(frame) == 0
        assert values_of(frame) == []
        write_frame(frame, tmp_path / f"{table}.csv")


def test_other_forms_are_refused(runs, tmp_path):
    with pytest.raises(InputError, match=r"a table is written as .csv, .parquet, .json; received .xlsx"):
        write_frame(frame_of(trials_in(runs), "trials"), tmp_path / "table.xlsx")
    with pytest.raises(InputError, match="cannot be written"):
        write_frame(frame_of(trials_in(runs), "trials"), tmp_path / "none" / "table.csv")


def test_the_command_filters_prints_and_writes(runs, tmp_path, capsys):
    folders = [str(run.path) for run in runs]

    def values(*options):
        with pytest.raises(SystemExit) as end:
            main(["results", *folders, *options, "--json"])
        assert end.value.code == 0
        return json.loads(capsys.readouterr().out)

    found = values("--family", "svm", "--status", "FINISHED", "--out", str(tmp_path / "best.parquet"))
    assert len(found["trials"]) == 3
    assert found["incumbent"] == found["trials"][0]
    assert len(pd.read_parquet(tmp_path / "best.parquet")) == 3
    rows = values("--table", "rungs")["rungs"]
    assert rows[0] == {"family": "svm", "rung": 1, "reached": 9, "passed": 6, "stopped": 3, "left": 0}
    unfinished = values("--table", "families", "--status", "STOPPED")["families"]
    assert unfinished[0]["best_val_accuracy"] is None
    with pytest.raises(SystemExit):
        main(["results", *folders, "--table", "families"])
    assert "0.3333" in capsys.readouterr().out, "the share of a family"


def test_ten_thousand_trials_load_in_under_three_seconds(tmp_path):
    """Seconds of the processor, since the machine that tests run on has other work."""
    run = write_run(tmp_path / "run", 10_000)
    began = time.process_time()
    assert len(leaderboard([run])) == 10_000
    assert time.process_time() - began < 3
