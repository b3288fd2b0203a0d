"""A whole search whose run and data lie on a real S3 server, and every command that reads a run."""

import json
import urllib.request
from pathlib import Path

import pytest
from command_line import CommandLine, wait_until
from face_files import make_faces, write_parquet
from s3_server import BUCKET, s3_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(500),
]

PLAN = """
budget: {trials: 2}
fidelity: {maximum: 3, eta: 3}
scheduler: none
space: {families: [svm], svm: {kernel: linear, features: {kind: hog, hog_cell: 8, pca: 16}}}
cluster: {cpus: 2}
"""


def test_a_run_on_object_storage_is_searched_read_selected_and_exported(fertune: CommandLine):
    with s3_server() as environment:
        for name, value in environment.items():
            fertune.set(name, value)
        (fertune.folder / "plan.yaml").write_text(PLAN)
        source = write_parquet(fertune.folder / "faces.parquet", make_faces(60, 20))
        address = environment["AWS_ENDPOINT_URL"]
        kind = {"Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{address}/faces/faces.parquet", source.read_bytes(), kind, method="PUT")
        urllib.request.urlopen(request, timeout=60).close()
        source.unlink()
        wanted = (
            "search",
            "plan.yaml",
            "--data",
            f"{BUCKET}/faces.parquet",
            "--runs",
            f"{BUCKET}/runs",
            "--name",
            "one",
        )
        outcome = fertune.json(*wanted)
        run = f"{BUCKET}/runs/one"
        assert (outcome["run"], outcome["trials"], outcome["finished"]) == (run, 2, 2)
        assert "holds a run already" in fertune.run(*wanted, code=2).stderr
        status = fertune.json("status", run)
        assert (status["finished"], status["active"]) == (2, False)
        assert fertune.json("results", run)["incumbent"]["trial"] == outcome["incumbent"]["trial"]
        assert fertune.json("resume", run, "--trials", "3")["finished"] == 3
        selected = fertune.json("select", run)
        assert fertune.json("select", run)["test"] == selected["test"]
        listed = urllib.request.urlopen(f"{address}/faces?list-type=2&prefix=runs/one/").read().decode()
        assert "runs/one/segments/test_readings.jsonl/" in listed
        assert "runs/one/lease.json" not in listed
        exported = fertune.json("export", run, "--out", "model")
        assert json.loads((fertune.folder / "model" / "manifest.json").read_text())["run"] == "one"
        assert exported["files"]
        assert Path(fertune.folder / "report.html") != Path(fertune.json("report", run)["report"])
        assert "no run here" in fertune.run("results", f"{BUCKET}/runs/none", code=2).stderr
        check_board(fertune, run, "search")
        check_board(fertune, f"{BUCKET}/runs", "one/search")
        doctor = fertune.json("doctor", "plan.yaml", "--data", f"{BUCKET}/faces.parquet", "--runs", f"{BUCKET}/runs")
        assert doctor["ok"]
        missing = fertune.json("doctor", "plan.yaml", "--runs", "s3://nobody/runs", code=1)
        assert [check["name"] for check in missing["checks"] if check["verdict"] == "failure"] == ["run folder"]


def check_board(fertune: CommandLine, run: str, expected: str) -> None:
    board = fertune.start("board", run, "--port", "0")
    try:
        assert board.stdout is not None
        address = board.stdout.readline().partition(" is at ")[2].split()[0]

        def tags() -> dict[str, list[str]]:
            found: dict[str, list[str]] = json.load(urllib.request.urlopen(f"{address}data/plugin/scalars/tags"))
            return found

        wait_until(lambda: expected in tags(), 60, lambda: "TensorBoard shows no run")
    finally:
        board.terminate()
        board.communicate(timeout=30)
