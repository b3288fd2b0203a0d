"""Three real Ray nodes in processes of their own: searches as jobs, nodes that are killed or come late, a lost head."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from command_line import CommandLine, wait_until
from s3_server import BUCKET, s3_server
from test_cluster_local import own_cluster, workers

from results.journal import read_events
from results.schema import Measurement, Status, TrialEnd

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(500),
]

PLAN = """
data: {demo_images: 700, protocol: {balance: none}}
budget: {trials: 6}
scheduler: none
startup_trials: 12
space: {families: [svm, forest]}
fake: {seconds: 8.0}
"""

NODES = """
from cluster.session import session
with session("auto"):
    import ray
    print(*(node["NodeID"] for node in ray.nodes() if node["Alive"]))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[CommandLine]:
    """Three nodes of one CPU."""
    with own_cluster(tmp_path_factory.mktemp("jobs"), cache) as fertune:
        (fertune.folder / "plan.yaml").write_text(PLAN)
        fertune.run("cluster", "up", "--nodes", "3", "--cpus-per-node", "1")
        yield fertune


def ends(run: Path) -> list[TrialEnd]:
    path = run / "measurements.jsonl"
    return [event for event in read_events(path) if isinstance(event, TrialEnd)] if path.exists() else []


def state_of(fertune: CommandLine) -> Path:
    return fertune.folder / "state" / "fertune" / "cluster.json"


def submit(fertune: CommandLine, name: str, *more: str, code: int = 0) -> dict:
    runs = ("--runs", str(fertune.folder / "runs")) if "--runs" not in more else ()
    return fertune.json("submit", "plan.yaml", "--name", name, *runs, *more, code=code)


def test_a_job_spreads_over_the_nodes_and_tells_what_it_does(cluster):
    done = cluster.run("submit", "plan.yaml", "--name", "spread", "--runs", str(cluster.folder / "runs"), "--json")
    job = json.loads(done.stdout.splitlines()[-1])
    assert (job["status"], job["exit_code"]) == ("SUCCEEDED", 0)
    sent = float(done.stderr.partition("; sent ")[2].partition(" KiB")[0])
    assert 100 < sent < 2000, "the program is of a thousand; neither data nor its environment goes with it"
    assert "trial 0 FINISHED" in done.stderr  # what it printed was passed on
    run = cluster.folder / "runs" / "spread"
    assert [end.status for end in ends(run)] == [Status.FINISHED] * 6
    assert len({worker["node"] for worker in workers(run).values()}) == 3
    assert json.loads((run / "provenance.json").read_text())["sessions"][0]["commit"]
    assert [each["job"] for each in cluster.json("jobs", "list")] == [job["job"]]
    assert cluster.json("jobs", "status", "spread")["run"] == str(run)
    assert "trial 0 FINISHED" in cluster.run("jobs", "logs", job["job"]).stdout
    assert "no job" in cluster.run("jobs", "status", "another", code=1).stderr


def test_what_a_job_cannot_be_is_refused(cluster):
    relative = cluster.run("submit", "plan.yaml", "--name", "x", "--runs", "runs", "--data", "faces.csv", code=2).stderr
    assert "--runs: runs" in relative
    assert "data.source: faces.csv" in relative
    assert "no Jobs endpoint" in cluster.run("jobs", "list", "--address", "http://127.0.0.1:9", code=1).stderr
    assert "is http://host:port" in cluster.run("jobs", "list", "--address", "10.0.0.1:8265", code=2).stderr
    token = cluster.folder / "wrong"
    token.write_text("0" * 64)
    cluster.set("RAY_AUTH_TOKEN_PATH", str(token))
    try:
        assert "refuses this machine's authentication token" in cluster.run("jobs", "list", code=1).stderr
        refused = cluster.run("submit", "plan.yaml", "--runs", str(cluster.folder / "runs"), code=1).stderr
        assert "refuses this machine's authentication token" in refused
    finally:
        cluster.set("RAY_AUTH_TOKEN_PATH", str(cluster.folder / "token"))


def test_a_stopped_job_ends_in_order_and_goes_on_when_submitted_again(cluster):
    job = submit(cluster, "stopped", "--detach")
    assert job["status"] in ("PENDING", "RUNNING")
    run = cluster.folder / "runs" / "stopped"
    wait_until(lambda: len(ends(run)) >= 1, 200, lambda: cluster.run("jobs", "logs", job["job"]).stdout)
    busy = cluster.run("submit", "plan.yaml", "--name", "stopped", "--runs", str(cluster.folder / "runs"), code=1)
    assert "is searching" in busy.stderr
    assert cluster.json("jobs", "stop", "stopped")["status"] == "STOPPED"
    assert cluster.json("jobs", "status", job["job"], code=130)["status"] == "STOPPED"
    before = ends(run)
    assert 1 <= len(before) < 6
    assert not cluster.json("status", str(run))["active"]
    other = submit(cluster, "stopped", "--set", "seed=7", code=2)
    assert (other["status"], other["exit_code"]) == ("FAILED", 2)
    assert "seed" in cluster.run("jobs", "logs", other["job"]).stdout
    assert submit(cluster, "stopped")["status"] == "SUCCEEDED"
    assert ends(run)[: len(before)] == before
    assert sorted(end.trial for end in ends(run)) == list(range(6))


def test_a_node_that_joins_late_gets_work(cluster):
    job = submit(cluster, "late", "--set", "budget.trials=60", "--detach")
    run = cluster.folder / "runs" / "late"
    wait_until(lambda: len(workers(run)) >= 1, 200, lambda: cluster.run("jobs", "logs", job["job"]).stdout)
    nodes = set(cluster.python(NODES).split())
    assert len(nodes) == 3
    cluster.run("cluster", "add")
    wait_until(
        lambda: bool({worker["node"] for worker in workers(run).values()} - nodes),
        200,
        lambda: cluster.run("jobs", "logs", job["job"]).stdout,
    )
    cluster.run("jobs", "stop", "late")


def test_a_killed_node_costs_only_what_came_after_the_last_checkpoints(cluster):
    head = cluster.json("cluster", "status")["nodes"][0]["pids"]
    job = submit(cluster, "killed", "--set", "budget.trials=8", "--detach")
    run = cluster.folder / "runs" / "killed"

    def begun_elsewhere() -> dict[int, int]:
        """Trials that have a checkpoint and most of their work to do, and the raylets of their nodes but the head."""
        fresh = {trial: worker["pid"] for trial, worker in workers(run, below=9).items()}
        raylets = {trial: psutil.Process(pid).ppid() for trial, pid in fresh.items() if psutil.pid_exists(pid)}
        return {trial: raylet for trial, raylet in raylets.items() if raylet not in head}

    wait_until(lambda: bool(begun_elsewhere()), 200, lambda: cluster.run("jobs", "logs", job["job"]).stdout)
    trial, raylet = begun_elsewhere().popitem()
    node = psutil.Process(raylet)
    for process in (node, *node.children(recursive=True)):  # as if its machine had lost its power
        process.kill()
    lost = workers(run)[trial]["node"]
    cluster.run("jobs", "logs", "--follow", "killed")
    assert [end.status for end in ends(run)] == [Status.FINISHED] * 8
    assert sorted(end.trial for end in ends(run)) == list(range(8))
    alive = set(cluster.python(NODES).split())
    assert lost not in alive
    assert workers(run)[trial]["node"] in alive
    measured = [event for event in read_events(run / "measurements.jsonl") if isinstance(event, Measurement)]
    assert [event.fidelity for event in measured if event.trial == trial] == [1, 3, 9, 27]
    assert cluster.json("cluster", "status", code=1)["state"] == "damaged"


def test_a_lost_head_and_a_new_cluster_with_the_same_storage(tmp_path, cache):
    with s3_server() as environment, own_cluster(tmp_path, cache) as fertune:
        for name, value in environment.items():
            fertune.set(name, value)
        (tmp_path / "plan.yaml").write_text(PLAN)
        fertune.run("cluster", "up", "--nodes", "2", "--cpus-per-node", "1")
        job = submit(fertune, "lost", "--runs", f"{BUCKET}/runs", "--detach")
        location = f"{BUCKET}/runs/lost"

        def finished() -> int:
            started = any(each["status"] == "RUNNING" for each in fertune.json("jobs", "list"))
            done = fertune.start("status", location, "--json").communicate(timeout=60)[0] if started else ""
            return int(json.loads(done)["finished"]) if done else 0

        wait_until(lambda: finished() >= 2, 150, lambda: fertune.run("jobs", "logs", job["job"]).stdout)
        before = fertune.json("results", location)["trials"]
        for pid in fertune.json("cluster", "status", code=None)["nodes"][0]["pids"]:
            os.kill(pid, signal.SIGKILL)
        fertune.run("cluster", "down")
        fertune.wait_for_no_leftovers()
        fertune.run("cluster", "up", "--nodes", "2", "--cpus-per-node", "1")
        assert submit(fertune, "lost", "--runs", f"{BUCKET}/runs")["status"] == "SUCCEEDED"
        after = fertune.json("results", location)["trials"]
        assert sorted(trial["trial"] for trial in after) == list(range(6))
        assert {trial["status"] for trial in after} == {Status.FINISHED}
        known = {trial["trial"]: trial for trial in after}
        assert all(known[trial["trial"]] == trial for trial in before if trial["status"] == Status.FINISHED)
