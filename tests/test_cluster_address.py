"""Addresses, and what is remembered of a cluster; nothing runs here."""

import os

import pytest

from cluster.address import check_address, find_cluster, is_loopback
from cluster.errors import ClusterError
from cluster.state import Process, State, forget_state, read_state, state_file, state_lock, write_state
from search.plan import validate_plan
from spaces.errors import InputError


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """No cluster of this machine is found."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    state_file().parent.mkdir(parents=True)


def state_of(tmp_path, keeper: Process) -> State:
    return State(address="127.0.0.1:1", folder=tmp_path, keeper=keeper, wanted=1, cpus=1, gpus=0)


@pytest.mark.parametrize("address", ["local", "auto", "10.0.0.5:6379", "head.example:1", "[::1]:6379"])
def test_addresses(address):
    assert check_address(address) == address
    assert validate_plan({"budget": {"trials": 1}, "cluster": {"address": address}}, "plan").cluster.address == address


@pytest.mark.parametrize(
    "address", ["", "remote", "ray://head:10001", "head:", ":6379", "head:x", "head:0", "head:70000"]
)
def test_what_is_no_address_gets_a_sentence(address):
    with pytest.raises(InputError, match="cluster.address: expected local, auto or the host:port of a Ray head"):
        validate_plan({"budget": {"trials": 1}, "cluster": {"address": address}}, "plan")


def test_a_cluster_has_the_cpus_it_has():
    with pytest.raises(InputError, match="cpus and gpus are for address local; the cluster at auto offers"):
        validate_plan({"budget": {"trials": 1}, "cluster": {"address": "auto", "cpus": 2}}, "plan")


def test_auto_looks_where_ray_does(tmp_path, monkeypatch):
    with pytest.raises(ClusterError, match="no cluster runs on this machine"):
        find_cluster()
    noted = tmp_path / "tmp" / "ray" / "ray_current_cluster"
    noted.parent.mkdir(parents=True)
    noted.write_text("10.0.0.1:6379")
    assert find_cluster() == "10.0.0.1:6379"
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    assert find_cluster() == "10.0.0.2:6379"
    monkeypatch.setenv("RAY_ADDRESS", "ray://10.0.0.2:10001")
    with pytest.raises(ClusterError, match="RAY_ADDRESS: expected"):
        find_cluster()


def test_loopback():
    assert is_loopback("127.0.0.1:6379")
    assert is_loopback("[::1]:6379")
    assert not is_loopback("10.0.0.5:6379")


def test_a_process_that_took_over_a_number_is_another():
    mine = Process.of(os.getpid())
    assert mine.running() is not None
    assert Process(mine.pid, mine.began - 60).running() is None


def test_a_state_is_remembered_and_a_dead_keeper_is_no_cluster(tmp_path):
    assert read_state() is None
    dead = state_of(tmp_path, Process(os.getpid(), 0.0))
    write_state(dead)
    assert read_state() == dead
    assert not dead.is_whole
    with pytest.raises(ClusterError, match="no cluster runs on this machine"):
        find_cluster()
    forget_state()
    assert read_state() is None


def test_a_damaged_state_gets_a_sentence():
    state_file().write_text('{"address": 1')
    with pytest.raises(ClusterError, match=r"cluster.json: not what `fertune cluster up` wrote"):
        read_state()


def test_one_command_at_a_time():
    with state_lock(), pytest.raises(ClusterError, match="another `fertune cluster` command is at work"), state_lock():
        pass
