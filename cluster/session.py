"""Starts and ends the local Ray that a search runs on: loopback only, token authentication always on."""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cluster.errors import ClusterError

_OBJECT_STORE_BYTES = 256 * 1024**2  # data travels by memory-mapped files, hardly anything by the object store


@contextmanager
def local_session(cpus: int | None = None, gpus: int | None = None) -> Iterator[dict[str, float]]:
    """Ray on this machine for the time of a `with` block.

    Args:
        cpus: Logical CPUs, default all of the machine's.
        gpus: Logical GPUs, default all of the machine's.

    Yields:
        The resources of the session: `CPU`, and `GPU` where there is one.

    Raises:
        ClusterError: If Ray is already running in this process or cannot be started.
    """
    _prepare_environment()
    import ray

    if ray.is_initialized():
        raise ClusterError("Ray is already running in this process; end it with ray.shutdown() first")
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    with tempfile.TemporaryDirectory(prefix="fertune-", dir=_short_folder(), ignore_cleanup_errors=True) as folder:
        try:
            ray.init(
                address="local",
                num_cpus=cpus,
                num_gpus=gpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
                _node_ip_address="127.0.0.1",
                _temp_dir=folder,
            )
        except (OSError, RuntimeError, ValueError, ConnectionError) as error:
            raise ClusterError(f"Ray did not start on this machine: {error}") from error
        try:
            yield {
                name: amount
                for name, amount in ray.cluster_resources().items()  # type: ignore[no-untyped-call]
                if name in ("CPU", "GPU")
            }
        finally:
            ray.shutdown()


def _short_folder() -> str:
    """Where Ray may put its sockets, whose paths have at most 107 characters, of which Ray needs about 70."""
    folder = tempfile.gettempdir()
    return folder if len(folder) <= 20 else "/tmp"  # noqa: S108 (a private folder is made in it)


def _prepare_environment() -> None:
    """Settings Ray and Tune read from the environment; must run before Ray is imported."""
    os.environ["RAY_AUTH_MODE"] = "token"
    if "RAY_AUTH_TOKEN" not in os.environ and "RAY_AUTH_TOKEN_PATH" not in os.environ:
        ensure_token(Path.home() / ".ray" / "auth_token")
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # on Linux too: the one way to make Ray listen on loopback
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # else every worker would start through `uv run`
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "1"  # a trial that was given no GPU sees none
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # measurements and TensorBoard are written by the driver
    os.environ["RAY_AIR_NEW_OUTPUT"] = (
        "0"  # else Tune prints a banner on standard output, however quiet it is asked to be
    )
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C ends a search the way an exhausted budget does
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")


def ensure_token(path: Path) -> None:
    """Create the authentication token where it is missing, readable by its owner alone.

    Raises:
        ClusterError: If the file cannot be written.
    """
    import secrets

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
        path.chmod(0o600)
    except OSError as error:
        raise ClusterError(f"{path}: the Ray authentication token cannot be written ({error.strerror})") from error
