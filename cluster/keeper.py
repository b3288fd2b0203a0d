"""The process that keeps a local cluster: it starts the Ray nodes, one after another, and they end when it ends.

It is told what to start by the state that `local_cluster.up` wrote, and writes down each node that has joined. Ray lets
the kernel (or a reaper, where the kernel cannot) end the nodes when this process dies, so that no crash and no kill
leaves one behind. Two nodes that start at once make each other time out.
"""

import logging
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from cluster.environment import prepare_environment
from cluster.state import Node, Process, State, read_state, write_state

_OBJECT_STORE_BYTES = 256 * 1024**2
_ORDER_SECONDS = 30.0
_LOOK_SECONDS = 0.5  # between looks at the state, which may ask for more nodes than there are


def main() -> None:
    """Start the nodes, one after another, then those that are asked for later, and wait to be ended."""
    state = _order()
    prepare_environment()
    os.environ["RAY_TMPDIR"] = str(state.folder)  # Ray's note of the current cluster goes here, not over another's
    (state.folder / "ray").mkdir()
    # A job's `python` is this one.
    os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    os.environ["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"
    from ray.cluster_utils import Cluster

    logging.getLogger("ray").setLevel(logging.ERROR)
    devices = [device for device in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if device]
    cluster, jobs, is_up = Cluster(shutdown_at_exit=True), _free_port(), False
    while True:
        while len(state.nodes) < state.wanted:
            try:
                state = _add_node(cluster, state, jobs, devices)
            except Exception:
                if not is_up:
                    raise
                traceback.print_exc()  # into the log; the nodes that run go on, and who asked is told
                state = state.model_copy(update={"wanted": len(state.nodes)})
                write_state(state)
        signal.signal(signal.SIGTERM, _end)
        is_up = True
        time.sleep(_LOOK_SECONDS)
        state = read_state() or state


def _add_node(cluster: Any, state: State, jobs: tuple[str, int], devices: list[str]) -> State:
    """Start the next node and write down that it has joined."""
    number = len(state.nodes)
    if state.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(_devices_of(number, state.gpus, devices))
    folder = state.folder / str(number)  # a shared one would have each node unpack a job's program over the others'
    folder.mkdir()
    started = cluster.add_node(
        node_ip_address="127.0.0.1",
        num_cpus=state.cpus,
        num_gpus=state.gpus,
        object_store_memory=_OBJECT_STORE_BYTES,
        temp_dir=str(folder),
        **(_listening(jobs) if number == 0 else {}),
    )
    if number == 0:
        # Where a job looks for its own cluster before it takes any other that runs on this machine.
        (folder / "ray_current_cluster").write_text(cluster.address)
    state = state.model_copy(
        update={
            "address": cluster.address,
            "jobs": f"http://{jobs[0]}:{jobs[1]}",
            "nodes": (*state.nodes, _node(started)),
        }
    )
    write_state(state)
    return state


def _order() -> State:
    """The state that names this process as its keeper; who started it writes it at once."""
    end = time.monotonic() + _ORDER_SECONDS
    while time.monotonic() < end:
        state = read_state()
        if state is not None and state.keeper.pid == os.getpid():
            return state
        time.sleep(0.05)
    sys.exit("nobody said what cluster to start")


def _free_port() -> tuple[str, int]:
    """Loopback and a port of it that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host, port = probe.getsockname()
        return host, port


def _listening(jobs: tuple[str, int]) -> dict[str, Any]:
    """What makes the head take jobs at a host and port, whatever other Ray runs on this machine.

    The port of its agent, through which jobs go, is a fixed one unless it is said to be any.
    """
    any_port = {"dashboard_agent_listen_port": 0}
    return {"include_dashboard": True, "dashboard_host": jobs[0], "dashboard_port": jobs[1], **any_port}


def _devices_of(number: int, gpus: int, devices: list[str]) -> list[str]:
    """The GPUs of node `number`, which no other node has; `devices` are those this machine may use, if it says so."""
    numbers = range(number * gpus, (number + 1) * gpus)
    return [devices[each] if each < len(devices) else str(each) for each in numbers]


def _node(started: Any) -> Node:
    """What to remember of a Ray node."""
    processes = {kind: Process.of(process.pid) for kind, process in started.live_processes()}
    raylet = processes.pop("raylet")
    return Node(raylet=raylet, others=tuple(processes.values()))


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(0)  # Ray's own exit handlers end the nodes, the last first


if __name__ == "__main__":
    main()
