"""Shared work: computed once by any number of processes, bounded, whole or absent, and keyed by all it depends on."""

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import pytest
from damage import DAMAGES
from hypothesis import given
from hypothesis import strategies as st

import trainables.cache as cache_module
import trainables.lease as lease_module
from spaces.errors import InputError
from trainables.cache import Cache
from trainables.draft import Draft
from trainables.keys import Key, digest

MIB = 2**20
TRAITS = st.one_of(st.text(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none())
SPAWN = multiprocessing.get_context("spawn")


def key(number: int = 0) -> Key:
    return Key.of("thing", number=number)


def counting(folder: Path, value: float = 1.0, size: int = 1000, seconds: float = 0.0) -> Callable[[Draft], None]:
    """Computes an array, and leaves a line in `folder / "log"` each time."""

    def compute(draft: Draft) -> None:
        draft.put("values", np.full(size, value))
        with (folder / "log").open("a") as log:
            log.write(f"{os.getpid()}\n")
        time.sleep(seconds)

    return compute


def times_computed(folder: Path) -> int:
    return len((folder / "log").read_text().splitlines())


def stored(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_value_is_computed_once_and_read_back_by_others(tmp_path):
    first, second = Cache(tmp_path / "shared", MIB), Cache(tmp_path / "shared", MIB)
    for cache in (first, second, second):
        values = cache.get(key(), counting(tmp_path, 3.0))["values"]
        assert values.tolist() == [3.0] * 1000
        assert not values.flags.writeable
        assert isinstance(values.base, np.memmap)
    assert times_computed(tmp_path) == 1
    assert first.counts[:3] == (0, 1, 0)
    assert second.counts[:3] == (2, 0, 2 * 8000)


def test_seconds_saved_are_those_of_computing_from_nothing(tmp_path):
    def outer(cache: Cache) -> Callable[[Draft], None]:
        def compute(draft: Draft) -> None:
            inner = cache.get(key(1), counting(tmp_path, seconds=0.2))["values"]
            time.sleep(0.1)
            draft.put("doubled", 2 * inner)

        return compute

    warm = Cache(tmp_path / "shared", MIB)
    warm.get(key(1), counting(tmp_path, seconds=0.2))
    warm.get(key(2), outer(warm))
    assert 0.1 < warm.counts.seconds_saved < 0.21
    other = Cache(tmp_path / "shared", MIB)
    other.get(key(2), outer(other))
    assert (other.counts.hits, other.counts.misses) == (1, 0)
    assert 0.25 < other.counts.seconds_saved < 0.5


def test_seconds_of_computing_are_those_of_what_was_not_here_each_once(tmp_path):
    def outer(draft: Draft) -> None:
        draft.put("doubled", 2 * cache.get(key(1), counting(tmp_path, seconds=0.2))["values"])

    cache = Cache(tmp_path / "shared", MIB)
    cache.get(key(2), outer)
    assert 0.2 < cache.computing < 0.39
    computing = cache.computing
    cache.get(key(2), outer)
    assert cache.computing == computing


@given(
    kind=st.sampled_from(["a", "b"]),
    traits=st.dictionaries(st.sampled_from("xyz"), TRAITS, min_size=1),
    other=TRAITS,
    name=st.sampled_from("xyzw"),
)
def test_a_key_changes_with_everything_in_it_and_with_nothing_else(kind, traits, other, name):
    mine = Key.of(kind, **traits)
    assert Key.of(kind, **dict(reversed(traits.items()))).name == mine.name
    assert Key.of(kind + "c", **traits).name != mine.name
    changed = Key.of(kind, **{**traits, name: other})
    is_same = name in traits and type(traits[name]) is type(other) and repr(traits[name]) == repr(other)
    assert (changed.name == mine.name) == is_same
    assert mine.also("d", x=1).name != changed.also("d", x=1).name or is_same
    assert mine.also("d", x=1).name != mine.also("d", x=2).name


@given(st.integers(0, 5), st.integers(0, 255))
def test_a_digest_changes_with_any_value_the_shape_and_the_type(place, value):
    array = np.arange(6, dtype=np.uint8)
    changed = array.copy()
    changed[place] = value
    assert (digest(array) == digest(changed)) == (value == place)
    assert len({digest(array), digest(array.reshape(2, 3)), digest(array.astype(np.int8))}) == 3


def test_the_digest_of_an_array_that_was_written_to_is_a_new_one():
    array = np.zeros(3)
    before = digest(array)
    array[0] = 1
    assert digest(array) != before


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_entry_is_noticed_and_computed_again(tmp_path, damage):
    Cache(tmp_path / "shared", MIB).get(key(), counting(tmp_path))
    damage(tmp_path / "shared" / key().name)
    values = Cache(tmp_path / "shared", MIB).get(key(), counting(tmp_path))["values"]
    assert values.tolist() == [1.0] * 1000
    assert times_computed(tmp_path) == 2
    assert stored(tmp_path / "shared") == [key().name]


def test_the_folder_stays_within_its_limit_and_forgets_what_was_used_longest_ago(tmp_path):
    cache = Cache(tmp_path / "shared", 30_000)
    for number in range(3):
        cache.get(key(number), counting(tmp_path))
    cache.get(key(0), counting(tmp_path))
    cache.get(key(3), counting(tmp_path))
    assert stored(tmp_path / "shared") == sorted(key(number).name for number in (0, 2, 3))
    assert cache.counts[:2] == (1, 4)
    size = sum(path.stat().st_size for path in (tmp_path / "shared").rglob("*.npy"))
    assert size <= 30_000


def test_what_finds_no_room_is_handed_over_but_not_kept(tmp_path):
    cache = Cache(tmp_path / "shared", 30_000)
    cache.get(key(0), counting(tmp_path))
    values = cache.get(key(1), counting(tmp_path, size=5_000))["values"]
    assert values.shape == (5_000,)
    assert not values.flags.writeable
    assert stored(tmp_path / "shared") == [key(0).name]


def test_a_nearly_full_disk_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "SPARE_BYTES", 2**60)
    Cache(tmp_path / "shared", MIB).get(key(), counting(tmp_path))
    assert stored(tmp_path / "shared") == []


def test_the_capacity_is_the_limit_or_what_the_disk_has_for_entries_if_that_is_less(tmp_path, monkeypatch):
    cache = Cache(tmp_path / "shared", 10**7)
    cache.get(key(), counting(tmp_path))
    size = sum(path.stat().st_size for path in (tmp_path / "shared" / key().name).iterdir())
    disk = shutil.disk_usage(tmp_path)
    for free, expected in ((10**9, 10**7), (10**6, 10**6 + size), (-size, 0), (-(10**6), 0)):
        usage = disk._replace(free=cache_module.SPARE_BYTES + free)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder, usage=usage: usage)
        assert cache.capacity == expected


def test_an_entry_that_is_open_outlives_its_removal(tmp_path):
    cache = Cache(tmp_path / "shared", 10_000)
    values = cache.get(key(0), counting(tmp_path, 5.0))["values"]
    cache.get(key(1), counting(tmp_path))
    assert stored(tmp_path / "shared") == [key(1).name]
    assert values.tolist() == [5.0] * 1000


def test_an_error_of_the_computation_is_the_askers_and_leaves_nothing(tmp_path):
    def fail(draft: Draft) -> None:
        draft.put("half", np.ones(3))
        raise ValueError("no")

    cache = Cache(tmp_path / "shared", MIB)
    with pytest.raises(ValueError, match="no"):
        cache.get(key(), fail)
    assert [path.name for path in (tmp_path / "shared").iterdir()] == [".lock"]
    assert cache.get(key(), counting(tmp_path))["values"].sum() == 1000


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="shared work cannot be kept here"):
        Cache(tmp_path / "file" / "shared", MIB)


def ask(folder: Path, seconds: float) -> Cache:
    cache = Cache(folder / "shared", MIB)
    assert cache.get(key(), counting(folder, 3.0, seconds=seconds))["values"].tolist() == [3.0] * 1000
    return cache


def hang(folder: Path, size: int = 1000) -> None:
    """Compute, and go on only when there is a file `go`."""

    def compute(draft: Draft) -> None:
        counting(folder, 3.0, size)(draft)
        while not (folder / "go").exists():
            time.sleep(0.02)

    assert Cache(folder / "shared", MIB).get(key(), compute)["values"].tolist() == [3.0] * size


def elsewhere(work: Callable[..., object], folder: Path, *arguments: float) -> SpawnProcess:
    """A process that does `work` and has begun to compute."""
    process = SPAWN.Process(target=work, args=(folder, *arguments), daemon=True)  # a failed test leaves none behind
    process.start()
    while not (folder / "log").exists():
        time.sleep(0.02)
    return process


@pytest.mark.timeout(60)
def test_processes_that_ask_at_once_compute_once(tmp_path):
    processes = [SPAWN.Process(target=ask, args=(tmp_path, 1.0)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert times_computed(tmp_path) == 1


@pytest.mark.timeout(60)
def test_who_waits_is_told_for_how_long(tmp_path):
    process = elsewhere(ask, tmp_path, 4.0)
    began = time.perf_counter()
    counts = ask(tmp_path, 0.0).counts
    assert 0.5 < counts.wait_seconds < time.perf_counter() - began
    assert (counts.hits, counts.misses) == (1, 0)
    process.join()
    assert ask(tmp_path, 0.0).counts.wait_seconds == 0


@pytest.mark.timeout(60)
def test_a_computation_that_hangs_is_waited_for_no_longer_than_that_and_may_come_back(tmp_path, monkeypatch):
    monkeypatch.setattr(lease_module, "LONGEST", 3.0)
    process = elsewhere(hang, tmp_path)
    assert ask(tmp_path, 0.0).counts.misses == 1
    assert process.is_alive()
    assert ask(tmp_path, 0.0).counts.hits == 1
    (tmp_path / "go").write_text("")
    process.join()
    assert process.exitcode == 0
    assert times_computed(tmp_path) == 2
    assert {path.name for path in (tmp_path / "shared").iterdir()} == {".lock", key().name}


@pytest.mark.timeout(60)
def test_nobody_waits_for_what_finds_no_room(tmp_path):
    process = elsewhere(hang, tmp_path, MIB)
    cache = Cache(tmp_path / "shared", MIB)
    assert len(cache.get(key(), counting(tmp_path, size=MIB))["values"]) == MIB
    assert process.is_alive()
    (tmp_path / "go").write_text("")
    process.join()
    assert process.exitcode == 0
    assert [path.name for path in (tmp_path / "shared").iterdir()] == [".lock"]


@pytest.mark.timeout(60)
def test_a_process_killed_in_the_middle_is_replaced_and_leaves_no_draft(tmp_path):
    process = elsewhere(ask, tmp_path, 60.0)
    assert list((tmp_path / "shared").glob(".draft*"))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    began = time.perf_counter()
    ask(tmp_path, 0.0)
    assert time.perf_counter() - began < 20
    assert times_computed(tmp_path) == 2
    assert not list((tmp_path / "shared").glob(".draft*"))
