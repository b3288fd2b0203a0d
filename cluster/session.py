"""The Ray that a search runs on: started for it on this machine, or a cluster that runs already; a token always."""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cluster.address import AUTO, LOCAL, check_listening, find_cluster, is_loopback
from cluster.environment import prepare_environment
from cluster.errors import ClusterError
from cluster.folder import short_folder
from cluster.handshake import check_cluster

_OBJECT_STORE_BYTES = 256 * 1024**2  # data travels by memory-mapped files, hardly anything by the object store

Nodes = tuple[dict[str, float], ...]


@contextmanager
def session(address: str = LOCAL, cpus: int | None = None, gpus: int | None = None) -> Iterator[Nodes]:
    """Ray for the time of a `with` block; a cluster that ran before runs on afterwards.

    A cluster of several machines must see the run's folder under the same path (NFS, say) unless the run is at a URL,
    and the data likewise. This process must be on one of the cluster's machines, its head for instance.

    Args:
        address: `local`, `auto` or `host:port`.
        cpus: Logical CPUs of `local`, default all of the machine's.
        gpus: Logical GPUs of `local`, default all of the machine's.

    Yields:
        The resources of each node: `CPU`, and `GPU` where it has one.

    Raises:
        ClusterError: If Ray is already running in this process, cannot be started, or no cluster will have us.
    """
    with _started(cpus, gpus) if address == LOCAL else _joined(address):
        import ray

        try:
            yield alive_nodes()
        finally:
            ray.shutdown()


def alive_nodes() -> Nodes:
    """The resources of each node that lives now."""
    import ray

    return tuple(
        {name: amount for name, amount in node["Resources"].items() if name in ("CPU", "GPU")}
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    )


def free() -> dict[str, float]:
    """The resources of all nodes together that nobody uses now."""
    import ray

    found: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return found


def request(bundles: list[dict[str, float]]) -> None:
    """Ask a cluster that can grow to have room for all `bundles` at once; an empty list takes the request back."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=bundles)


def total(nodes: Nodes) -> dict[str, float]:
    """The resources of all nodes together."""
    names = dict.fromkeys(name for node in nodes for name in node)
    return {name: sum(node.get(name, 0.0) for node in nodes) for name in names}


@contextmanager
def _started(cpus: int | None, gpus: int | None) -> Iterator[None]:
    """Ray, started on this machine for this process alone."""
    prepare_environment()
    with tempfile.TemporaryDirectory(prefix="fertune-", dir=short_folder(), ignore_cleanup_errors=True) as folder:
        _initialize(
            "Ray did not start on this machine",
            address=LOCAL,
            num_cpus=cpus,
            num_gpus=gpus,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
        )
        yield


@contextmanager
def _joined(given: str) -> Iterator[None]:
    """A cluster that runs already."""
    address = find_cluster() if given == AUTO else given
    check_listening(address)
    prepare_environment(loopback=is_loopback(address), create_token=False)
    check_cluster(address)
    _initialize(f"cluster.address {address}: the cluster does not take this process as a driver", address=address)
    yield


def _initialize(complaint: str, **options: Any) -> None:
    """Call `ray.init`."""
    import ray
    from ray.exceptions import RayError

    if ray.is_initialized():
        raise ClusterError("Ray is already running in this process; end it with ray.shutdown() first")
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    try:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, configure_logging=True, **options)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()
        raise ClusterError(f"{complaint}: {reason[-1] if reason else type(error).__name__}") from error
