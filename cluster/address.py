"""Where a cluster is: `local`, `auto` and `host:port`."""

import os
import socket
import tempfile
from pathlib import Path

from cluster.errors import ClusterError
from cluster.state import read_state

LOCAL = "local"
AUTO = "auto"
_SECONDS = 5.0


def check_address(address: str) -> str:
    """`address`, if it is `local`, `auto` or `host:port`.

    Raises:
        ValueError: If it is none of them.
    """
    host, separator, port = address.rpartition(":")
    is_place = bool(separator and host and "/" not in host and port.isdecimal() and 0 < int(port) < 65536)
    if address not in (LOCAL, AUTO) and not is_place:
        raise ValueError(
            f"expected {LOCAL}, {AUTO} or the host:port of a Ray head, such as 10.0.0.5:6379, received {address!r}"
        )
    return address


def find_cluster() -> str:
    """The `host:port` of the cluster that runs on this machine.

    It is looked for as Ray does, in `RAY_ADDRESS` and in the note that `ray start` leaves, and between the two in what
    `fertune cluster up` remembers. Other than Ray, any Ray process that happens to run here is not taken for one:
    it may be the private one of another search.

    Raises:
        ClusterError: If there is none.
    """
    given = os.environ.get("RAY_ADDRESS", "")
    if given not in ("", AUTO, LOCAL):
        try:
            return check_address(given)
        except ValueError as error:
            raise ClusterError(f"RAY_ADDRESS: {error}") from None
    state = read_state()
    if state is not None and state.is_up:
        return state.address
    temporary = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or tempfile.gettempdir()
    noted = Path(temporary, "ray", "ray_current_cluster")
    if noted.is_file():
        return noted.read_text().strip()
    raise ClusterError(
        "cluster.address auto: no cluster runs on this machine; start one with `fertune cluster up`, give its "
        "host:port, or search with cluster.address local"
    )


def check_listening(address: str) -> None:
    """See that something listens at `host:port`.

    Raises:
        ClusterError: If nothing does.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"cluster.address {address}: no cluster there ({error}); see `fertune cluster status`, "
            "or `ray status` on its head"
        ) from error


def is_loopback(address: str) -> bool:
    """Whether the host of `host:port` is this machine's own loopback."""
    host = address.rpartition(":")[0].strip("[]")
    return host in ("localhost", "::1") or host.startswith("127.")
