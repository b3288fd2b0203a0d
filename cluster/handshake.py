"""Whether a running cluster is one of ours: it answers, it takes our token, and it runs the same Ray and Python."""

import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import ClusterError

_SECONDS = 10.0


def check_cluster(address: str) -> None:
    """Ask the head at `host:port` what it is, before Ray's own attempts, which say less and take longer.

    Raises:
        ClusterError: If it refuses the token, is no Ray head, or runs another version of Ray or Python.
    """
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # in the compiled module, not in its stub
    from ray.exceptions import AuthenticationError, RpcError

    try:
        with _without_complaints():
            client = GcsClient(address=address)
            written = client.internal_kv_get(b"CLUSTER_METADATA", namespace=b"cluster", timeout=_SECONDS)
    except AuthenticationError as error:
        raise ClusterError(
            f"cluster.address {address}: the cluster refuses this machine's authentication token; copy the cluster's "
            "into ~/.ray/auth_token, name its file in RAY_AUTH_TOKEN_PATH, or give it in RAY_AUTH_TOKEN"
        ) from error
    except (RpcError, RuntimeError, OSError) as error:
        raise ClusterError(
            f"cluster.address {address}: what listens there does not answer as the head of a Ray cluster ({error})"
        ) from error
    about = json.loads(written) if written else {}
    for name, key, ours in (
        ("Ray", "ray_version", ray.__version__),
        ("Python", "python_version", platform.python_version()),
    ):
        theirs = about.get(key, ours)
        if theirs != ours:
            raise ClusterError(
                f"cluster.address {address}: the cluster runs {name} {theirs}, this process {name} {ours}; "
                "both must be the same"
            )


@contextmanager
def _without_complaints() -> Iterator[None]:
    """Ray's C++ half writes to the file descriptor of standard error, whatever its log level; our sentence will do."""
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
