"""Machines of their own on one: network namespaces joined by a bridge, which share no loopback."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

SUBNET = "10.77.0"


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def can_make_them() -> bool:
    """Whether this process may make network namespaces: Linux, root, and the programs of iproute2."""
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"ft{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if made:
        _ip("netns", "del", name)
    return made


needs_namespaces = pytest.mark.skipif(
    not can_make_them(), reason="network namespaces cannot be made here (Linux, root and iproute2 are needed)"
)


def address(number: int) -> str:
    """The address of machine `number`, which its own others reach."""
    return f"{SUBNET}.{number + 1}"


def inside(name: str) -> list[str]:
    """What to put before a command that is to run in the namespace `name`."""
    return ["ip", "netns", "exec", name]


def kill_all(name: str) -> None:
    """Kill every process in the namespace `name`, as if the machine had lost its power."""
    for pid in subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=True).stdout.split():
        with suppress(psutil.NoSuchProcess):
            psutil.Process(int(pid)).kill()


@contextmanager
def machines(count: int) -> Iterator[list[str]]:
    """`count` namespaces, the others plugged into a bridge in the first; they end with all that runs in them."""
    names = [f"ft{os.getpid()}-{number}" for number in range(count)]
    try:
        for number, name in enumerate(names):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
            if number == 0:
                _ip("-n", name, "link", "add", "net", "type", "bridge")
            else:
                _ip("-n", name, "link", "add", "net", "type", "veth", "peer", "name", f"to{number}", "netns", names[0])
                _ip("-n", names[0], "link", "set", f"to{number}", "master", "net", "up")
            _ip("-n", name, "addr", "add", f"{address(number)}/24", "dev", "net")
            _ip("-n", name, "link", "set", "net", "up")
        yield names
    finally:
        for name in reversed(names):
            with suppress(subprocess.CalledProcessError):
                kill_all(name)
                _ip("netns", "del", name)
