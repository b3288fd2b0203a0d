"""Leases: who holds one, and for how long."""

import json
import multiprocessing
import os
import time

import trainables.lease as lease_module
from trainables.lease import Lease, is_at_work, is_held

SPAWN = multiprocessing.get_context("spawn")


def test_a_lease_is_held_until_it_is_given_back_or_its_holder_is_silent(tmp_path, monkeypatch):
    path = tmp_path / "lease"
    lease = Lease.take(path)
    assert lease is not None
    assert is_held(path)
    assert is_at_work(path, lease.token)
    assert not is_at_work(path, "another token")
    assert Lease.take(path) is None
    os.utime(path, (time.time() - 2 * lease_module.EXPIRY,) * 2)
    successor = Lease.take(path)
    assert successor is not None
    lease.give_back()
    assert is_at_work(path, successor.token)
    assert not is_at_work(path, lease.token)
    successor.give_back()
    assert not path.exists()


def test_a_lease_is_touched_while_its_holder_works(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "EXPIRY", 0.5)
    lease = Lease.take(tmp_path / "lease")
    with lease.kept_alive():
        time.sleep(1.2)
        assert is_held(lease.path)
    time.sleep(0.6)
    assert not is_held(lease.path)


def test_a_lease_that_is_touched_for_too_long_is_held_no_more(tmp_path):
    lease = Lease.take(tmp_path / "lease")
    holder = json.loads(lease.path.read_text())
    for age, held in ((lease_module.LONGEST - 60, True), (lease_module.LONGEST + 1, False)):
        lease.path.write_text(json.dumps({**holder, "taken": time.time() - age}))
        assert is_held(lease.path) == held
        assert is_at_work(lease.path, lease.token), "it may come back, and what it makes is not thrown away"


def test_a_lease_of_a_process_that_is_gone_counts_for_nothing(tmp_path):
    process = SPAWN.Process(target=time.sleep, args=(0,))
    process.start()
    process.join()
    lease = Lease.take(tmp_path / "lease")
    holder = json.loads(lease.path.read_text())
    lease.path.write_text(json.dumps({**holder, "pid": process.pid}))
    assert Lease.take(lease.path) is not None
