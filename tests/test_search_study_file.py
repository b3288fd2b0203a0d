"""The study's file is one that Optuna itself reads."""

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from search.study_file import StudyFile


def test_optuna_reads_what_was_written(tmp_path):
    path = str(tmp_path / "study.journal")
    study = optuna.create_study(study_name="one", storage=JournalStorage(StudyFile(path)), direction="maximize")
    for number in range(3):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        study.tell(trial, number)
    read = optuna.load_study(study_name="one", storage=JournalStorage(JournalFileBackend(path)))
    assert [trial.value for trial in read.trials] == [0, 1, 2]
    assert [trial.params for trial in read.trials] == [trial.params for trial in study.trials]
