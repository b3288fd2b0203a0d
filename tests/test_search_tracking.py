"""Trackers: a real MLflow server, wandb's own files; what neither can be told is said before anything starts."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import CommandLine
from parallel_fit import free_port

from results.leaderboard import trials_in
from results.run_folder import RunFolder
from results.schema import Status
from search.cli import main
from search.plan import validate_plan
from search.tracking import check_tracker
from spaces.errors import InputError
from spaces.joint import JointSpace, parse_config
from spaces.points import asked

pytestmark = pytest.mark.timeout(280)

PLAN = (
    "data: {demo_images: 700, protocol: {balance: none}}\nbudget: {trials: 6}\nfake: {seconds: 0.3}\n"
    "cluster: {cpus: 2}\nstartup_trials: 3\n"
)


def test_only_known_trackers_are_taken():
    with pytest.raises(InputError, match="track: input should be 'mlflow' or 'wandb'"):
        validate_plan({"budget": {"trials": 1}, "track": "notebook"}, "test")


def test_a_tracker_that_is_not_installed_is_told_before_anything_starts(monkeypatch):
    monkeypatch.setattr("search.tracking.find_spec", lambda name: None)
    with pytest.raises(InputError, match="track: wandb is not installed here; `pip install wandb`"):
        check_tracker(validate_plan({"budget": {"trials": 1}, "track": "wandb"}, "test"))


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_told_before_anything_starts(tmp_path, monkeypatch, capsys):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.chdir(tmp_path)
    Path("plan.yaml").write_text(PLAN + "track: mlflow\n")
    with pytest.raises(SystemExit) as end:
        main(["search", "plan.yaml", "--name", "one"])
    assert end.value.code == 2
    assert "mlflow does not answer at http://127.0.0.1:" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def mlflow_server(tmp_path: Path) -> Iterator[str]:
    pytest.importorskip("mlflow")
    folder = tmp_path / "server"
    folder.mkdir()
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    log = (folder / "log").open("w")
    store = ("--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--default-artifact-root", str(folder / "files"))
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
            *store,
        ],
        cwd=folder,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        end = time.monotonic() + 120
        while not answers(address):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.5)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, ConnectionError):
        return False


@pytest.mark.slow
def test_mlflow_hears_of_every_trial(fertune: CommandLine, mlflow_server: str):
    import mlflow

    fertune.set("MLFLOW_TRACKING_URI", mlflow_server)
    (fertune.folder / "plan.yaml").write_text(PLAN + "track: mlflow\n")
    fertune.run("search", "plan.yaml", "--name", "tracked")
    client = mlflow.MlflowClient(mlflow_server)
    experiment = client.get_experiment_by_name("tracked")
    told = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    records = trials_in([RunFolder(fertune.folder / "runs" / "tracked")])
    assert set(told) == {f"trial-{record.trial:05d}-{record.family}" for record in records}
    for record in records:
        run = told[f"trial-{record.trial:05d}-{record.family}"]
        expected = asked(JointSpace(), parse_config(record.config)) | {"trial": record.trial, "seed": record.seed}
        assert run.data.params == {name: str(value) for name, value in expected.items()}
        assert run.data.metrics["val_accuracy"] == pytest.approx(record.val_accuracy)
        history = client.get_metric_history(run.info.run_id, "val_accuracy")
        assert [(each.step, pytest.approx(each.value)) for each in sorted(history, key=lambda each: each.step)] == [
            (each.fidelity, each.val_accuracy) for each in record.measurements
        ]
        assert run.info.status == "FINISHED"
        assert record.status in (Status.FINISHED, Status.STOPPED)


@pytest.mark.slow
def test_wandb_hears_of_every_trial(fertune: CommandLine):
    pytest.importorskip("wandb")
    folder = fertune.folder / "wandb-files"
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": str(folder), "WANDB_SILENT": "true"}.items():
        fertune.set(name, value)
    folder.mkdir()
    (fertune.folder / "plan.yaml").write_text(PLAN.replace("trials: 6", "trials: 3") + "track: wandb\n")
    fertune.run("search", "plan.yaml", "--name", "tracked")
    kept = list(fertune.folder.rglob("*.wandb"))
    assert len(kept) == 3
