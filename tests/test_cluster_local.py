"""A real cluster of two Ray nodes on this machine: up, searched on, damaged, down."""

import json
import math
import os
import signal
import stat
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from command_line import CommandLine, command_line, wait_until

from results.journal import read_events
from results.schema import Measurement, TrialStart
from spaces.family import Family

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(280)]

PLAN = """
data: {demo_images: 700, protocol: {balance: none}}
budget: {trials: 12}
fake: {seconds: 1.0}
startup_trials: 12
cluster: {address: auto}
space: {families: [svm, resnet]}
"""

# What the head says of itself stands in its own store.
SAY_VERSION = """
import json, sys
from cluster.address import find_cluster
from cluster.environment import prepare_environment
prepare_environment()
from ray._raylet import GcsClient
client = GcsClient(address=find_cluster())
about = json.loads(client.internal_kv_get(b"CLUSTER_METADATA", namespace=b"cluster"))
print(about["python_version"])
about["python_version"] = sys.argv[1]
client.internal_kv_put(b"CLUSTER_METADATA", json.dumps(about).encode(), True, b"cluster")
"""


@contextmanager
def own_cluster(folder: Path, cache: Path) -> Iterator[CommandLine]:
    """A command line that knows of no cluster but its own, and is left with none."""
    with command_line(folder, cache) as fertune:
        fertune.set("XDG_STATE_HOME", str(folder / "state"))
        fertune.set("RAY_AUTH_TOKEN_PATH", str(folder / "token"))
        (folder / "plan.yaml").write_text(PLAN)
        try:
            yield fertune
        finally:
            fertune.run("cluster", "down")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[CommandLine]:
    """Two nodes of two CPUs and two logical GPUs."""
    with own_cluster(tmp_path_factory.mktemp("cluster"), cache) as fertune:
        fertune.run("cluster", "up", "--nodes", "2", "--cpus-per-node", "2", "--gpus-per-node", "2")
        yield fertune


def family_of(status: dict[str, Any]) -> list[psutil.Process]:
    """The processes of a cluster and theirs."""
    roots = [psutil.Process(pid) for node in status["nodes"] for pid in node["pids"]]
    return [process for root in roots for process in (root, *root.children(recursive=True))]


def workers(run: Path, below: float = math.inf) -> dict[int, dict[str, Any]]:
    """Where each trial measured last, if that was at a fidelity below the one given."""
    reports = []
    for path in (run / "checkpoints").glob("*/*/report.json"):
        with suppress(FileNotFoundError):  # an older rung goes when the next is written
            reports.append(json.loads(path.read_text()))
    last = {report["trial"]: report for report in sorted(reports, key=lambda report: report["fidelity"])}
    return {trial: report["worker"] for trial, report in last.items() if report["fidelity"] < below}


def spans(run: Path) -> dict[int, tuple[float, float]]:
    """When each trial computed first and last, in seconds since 1970."""
    measured: dict[int, list[Measurement]] = defaultdict(list)
    for event in read_events(run / "measurements.jsonl"):
        if isinstance(event, Measurement):
            measured[event.trial].append(event)
    return {trial: (each[0].time - each[0].total_seconds, each[-1].time) for trial, each in measured.items()}


def test_it_listens_on_loopback_alone_with_a_token_of_its_own(cluster):
    status = cluster.json("cluster", "status")
    assert status["state"] == "running"
    assert [node["alive"] for node in status["nodes"]] == [True, True]
    token = cluster.folder / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    heard = [c.laddr.ip for p in family_of(status) for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert heard
    assert not [ip for ip in heard if ip.removeprefix("::ffff:") not in ("127.0.0.1", "::1")]
    assert "running or starting already" in cluster.run("cluster", "up", code=1).stderr


def test_a_search_spreads_over_the_nodes_and_gives_each_resnet_a_gpu_of_its_own(cluster):
    before = cluster.json("cluster", "status")
    outcome = cluster.json("search", "plan.yaml", "--name", "auto")
    assert outcome["trials"] == 12 == outcome["finished"] + outcome["stopped"]
    run = cluster.folder / "runs" / "auto"
    where, when = workers(run), spans(run)
    assert len({worker["node"] for worker in where.values()}) == 2
    starts = [event for event in read_events(run / "measurements.jsonl") if isinstance(event, TrialStart)]
    resnets = [event.trial for event in starts if event.family is Family.RESNET]
    assert len(resnets) == 6
    assert {where[event.trial]["gpus"] for event in starts if event.family is Family.SVM} == {""}
    assert {where[trial]["gpus"] for trial in resnets} <= {"0", "1", "2", "3"}
    together = [
        (a, b) for a in resnets for b in resnets if a < b and when[a][0] < when[b][1] and when[b][0] < when[a][1]
    ]
    assert together, "no two resnets ran at the same time"
    assert all(where[a]["gpus"] != where[b]["gpus"] for a, b in together)
    provenance = json.loads((run / "provenance.json").read_text())
    assert provenance["sessions"][0]["hardware"]["resources"] == {"CPU": 4.0, "GPU": 4.0}
    assert cluster.json("cluster", "status") == before


def test_half_a_gpu_holds_two(cluster):
    settings = ["resources.resnet.gpus=0.5", "space.families=[resnet]", "budget.trials=4", "fake.seconds=3"]
    flags = [flag for setting in settings for flag in ("--set", setting)]
    assert cluster.json("search", "plan.yaml", "--name", "halves", *flags)["failed"] == 0
    where = workers(cluster.folder / "runs" / "halves")
    assert all(len(worker["gpus"].split(",")) == 1 for worker in where.values())
    shared = {(worker["node"], worker["gpus"]) for worker in where.values()}
    assert len({worker["pid"] for worker in where.values()}) > len(shared)


def test_local_does_not_take_the_cluster_that_runs(cluster):
    address = cluster.json("cluster", "status")["address"]
    cluster.set("RAY_ADDRESS", address)
    try:
        settings = ["cluster.address=local", "cluster.cpus=1", "budget.trials=1", "fake.seconds=0"]
        cluster.run("search", "plan.yaml", "--name", "own", *[f for s in settings for f in ("--set", s)])
    finally:
        cluster.set("RAY_ADDRESS", "")
    provenance = json.loads((cluster.folder / "runs" / "own" / "provenance.json").read_text())
    assert provenance["sessions"][0]["hardware"]["resources"] == {"CPU": 1.0}


def test_what_a_cluster_refuses_is_one_sentence(cluster):
    def sentence(*settings: str) -> str:
        flags = [flag for setting in settings for flag in ("--set", setting)]
        done = cluster.run("search", "plan.yaml", "--name", "refused", *flags, code=1)
        (line,) = [line for line in done.stderr.splitlines() if not line.endswith("...")]
        return line

    (cluster.folder / "other").write_text("0" * 64)
    cluster.set("RAY_AUTH_TOKEN_PATH", str(cluster.folder / "other"))
    try:
        assert "refuses this machine's authentication token" in sentence()
        cluster.set("RAY_AUTH_TOKEN_PATH", str(cluster.folder / "none"))
        assert "no Ray authentication token here" in sentence()
    finally:
        cluster.set("RAY_AUTH_TOKEN_PATH", str(cluster.folder / "token"))
    assert "no cluster there" in sentence("cluster.address=127.0.0.1:1")
    before = cluster.python(SAY_VERSION, "3.9.1").strip()
    try:
        assert f"the cluster runs Python 3.9.1, this process Python {before}" in sentence()
    finally:
        cluster.python(SAY_VERSION, before)
    done = cluster.run("search", "plan.yaml", "--name", "refused", "--set", "resources.svm.cpus=3", code=2)
    assert "asks for 3 CPUs and 0 GPUs, a machine of this cluster offers 2 CPUs and 2 GPUs" in done.stderr


def test_the_doctor_looks_at_every_node(cluster):
    found = cluster.json("doctor", "plan.yaml")
    assert found["ok"]
    names = [check["name"] for check in found["checks"]]
    assert {"token", "data", "weights", "run folder", "Ray", "resources", "GPUs", "disk"} <= set(names)
    assert names.count("versions") == names.count("clock") == 2
    settings = ["--set", "resources.svm.cpus=3", "--data", "nowhere.csv", "--runs", "plan.yaml/runs"]
    found = cluster.json("doctor", "plan.yaml", *settings, code=1)
    failed = {check["name"]: check for check in found["checks"] if check["verdict"] == "failure"}
    assert set(failed) == {"data", "resources", "run folder"}
    assert all(check["advice"] for check in failed.values())
    assert "checks: 0 failures" in cluster.run("doctor", "plan.yaml").stdout


@pytest.mark.slow
def test_a_killed_node_costs_the_search_nothing_but_time_and_a_killed_keeper_leaves_nothing(tmp_path, cache):
    with own_cluster(tmp_path, cache) as fertune:
        fertune.run("cluster", "up", "--nodes", "2", "--cpus-per-node", "1")
        status = fertune.json("cluster", "status")
        search = fertune.start("search", "plan.yaml", "--name", "hurt", "--set", "fake.seconds=4")
        measurements = tmp_path / "runs" / "hurt" / "measurements.jsonl"
        wait_until(
            lambda: measurements.exists() and len({e.trial for e in read_events(measurements) if e.kind == "end"}) > 1,
            100,
            lambda: f"no trial ended: {search.poll()}",
        )
        os.kill(status["nodes"][1]["pids"][0], signal.SIGKILL)
        out, err = search.communicate(timeout=150)
        assert search.returncode == 0, f"{out}\n{err}"
        assert "12 trials" in out
        assert "0 failed" in out
        hurt = fertune.json("cluster", "status", code=1)
        assert [hurt["state"], *(node["alive"] for node in hurt["nodes"])] == ["damaged", True, False]
        keeper = json.loads((tmp_path / "state" / "fertune" / "cluster.json").read_text())["keeper"][0]
        os.kill(keeper, signal.SIGKILL)
        fertune.wait_for_no_leftovers()
        assert fertune.json("cluster", "status", code=1)["state"] == "dead"
        assert "no cluster runs on this machine" in fertune.run("search", "plan.yaml", code=1).stderr
        fertune.run("cluster", "down")
        assert fertune.json("cluster", "status", code=1)["state"] == "none"


@pytest.mark.slow
def test_a_start_that_is_broken_off_leaves_nothing(tmp_path, cache):
    with own_cluster(tmp_path, cache) as fertune:
        starting = fertune.start("cluster", "up", "--nodes", "2", "--cpus-per-node", "1")
        state = tmp_path / "state" / "fertune" / "cluster.json"
        wait_until(lambda: state.exists() and bool(json.loads(state.read_text())["nodes"]), 60, lambda: "no head")
        starting.send_signal(signal.SIGINT)
        starting.communicate(timeout=60)
        assert starting.returncode not in (0, None)
        fertune.wait_for_no_leftovers()
        assert not state.exists()
        starting = fertune.start("cluster", "up", "--nodes", "2", "--cpus-per-node", "1")
        wait_until(state.exists, 60, lambda: "nothing was begun")
        starting.kill()  # the keeper goes on alone
        starting.communicate(timeout=60)
        wait_until(lambda: status_of(fertune)["state"] == "running", 60, lambda: "not started")
        fertune.run("cluster", "down")
        fertune.wait_for_no_leftovers()


def status_of(fertune: CommandLine) -> dict[str, Any]:
    done = fertune.start("cluster", "status", "--json")
    status: dict[str, Any] = json.loads(done.communicate(timeout=30)[0])
    return status
