"""A cluster of several Ray nodes on this machine: up and down."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from cluster.environment import prepare_environment
from cluster.errors import ClusterError
from cluster.folder import short_folder
from cluster.state import Process, State, forget_state, read_state, state_lock, write_state

_NODE_SECONDS = 120.0
_END_SECONDS = 30.0
_PREFIX = "ftc-"  # short: see `short_folder`


def up(nodes: int, cpus: int | None, gpus: int, say: Callable[[str], None]) -> State:
    """Start a head and `nodes - 1` workers as separate Ray nodes on loopback, with our token.

    Args:
        nodes: How many nodes, the head included.
        cpus: Logical CPUs of each; default: the machine's, shared among them.
        gpus: Logical GPUs of each.
        say: Told of every step.

    Raises:
        ClusterError: If a cluster runs already, or a node does not start; then nothing is left of it.
    """
    with state_lock():
        old = read_state()
        if old is not None and old.keeper.running():
            raise ClusterError(
                f"a cluster of {old.wanted} nodes is running or starting already; `fertune cluster down` stops it"
            )
        if old is not None:
            _end(old)
        prepare_environment()
        share = cpus or max(1, (os.cpu_count() or 1) // nodes)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=short_folder()))
        state = State(folder=folder, keeper=_start_keeper(folder), wanted=nodes, cpus=share, gpus=gpus)
        write_state(state)
        try:
            for number in range(1, nodes + 1):
                state = _joined(number)
                say(f"node {number} of {nodes} runs")
        except BaseException:
            _end(read_state() or state)
            raise
        return state


def add(nodes: int, say: Callable[[str], None]) -> State:
    """Start `nodes` more workers like the others; what searches already gives them work.

    Raises:
        ClusterError: If no whole cluster runs, or a node does not start; those that run go on.
    """
    with state_lock():
        state = read_state()
        if state is None or not state.is_whole:
            raise ClusterError("no whole cluster runs here; `fertune cluster up` starts one")
        first, last = state.wanted + 1, state.wanted + nodes
        write_state(state.model_copy(update={"wanted": last}))
        for number in range(first, last + 1):
            state = _joined(number)
            say(f"node {number} of {last} runs")
        return state


def down() -> State | None:
    """Stop what `up` started, whether it is whole, half or dead; what was stopped, None if there was nothing.

    Raises:
        ClusterError: If a process does not end.
    """
    with state_lock():
        state = read_state()
        if state is not None:
            _end(state)
        return state


def _start_keeper(folder: Path) -> Process:
    """The keeper, in a session of its own: it outlives this terminal and does not hear its Ctrl-C."""
    with (folder / "keeper.log").open("w") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-P", "-m", "cluster.keeper"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return Process.of(keeper.pid)


def _joined(number: int) -> State:
    """The state once it has `number` nodes.

    Raises:
        ClusterError: If the keeper ends or takes too long, with the last it said.
    """
    end = time.monotonic() + _NODE_SECONDS
    while True:
        state = read_state()
        if state is None:
            raise ClusterError("the cluster was stopped while it started")
        if len(state.nodes) >= number:
            return state
        if state.wanted < number or state.keeper.running() is None or time.monotonic() > end:
            said = (state.folder / "keeper.log").read_text(errors="replace").strip().splitlines()
            because = said[-1] if said else f"its keeper said nothing for {_NODE_SECONDS:.0f} s"
            raise ClusterError(f"node {number} of the cluster did not start: {because}")
        time.sleep(0.1)


def _end(state: State) -> None:
    """End every process of `state` and what they started, then forget it.

    Raises:
        ClusterError: If one does not end.
    """
    known = [process for each in state.processes if (process := each.running()) is not None]
    family = {process.pid: process for process in (*known, *_descendants(known))}
    keeper = state.keeper.running()
    if keeper is not None:
        with suppress(psutil.NoSuchProcess):
            keeper.terminate()
        psutil.wait_procs([keeper], timeout=_END_SECONDS)
    _, alive = psutil.wait_procs(family.values(), timeout=5)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _, alive = psutil.wait_procs(alive, timeout=_END_SECONDS)
    if alive:
        raise ClusterError(f"processes of the cluster do not end: {', '.join(str(process.pid) for process in alive)}")
    if state.folder.name.startswith(_PREFIX):
        shutil.rmtree(state.folder, ignore_errors=True)
    forget_state()


def _descendants(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            found += process.children(recursive=True)
    return found
