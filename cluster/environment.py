"""What Ray is told through the environment, before it is imported: its token, its listening addresses, its silence."""

import os
import secrets
from pathlib import Path

from cluster.errors import ClusterError


def prepare_environment(loopback: bool = True, create_token: bool = True) -> None:
    """Set what Ray and Tune read from the environment; must run before Ray is imported.

    Args:
        loopback: Whether every node is on this machine, so that nothing of Ray listens on another address.
        create_token: Whether a missing token may be made: for a cluster we start, not for one that has its own.

    Raises:
        ClusterError: If there is no token, or its file cannot be read, made or kept from others.
    """
    os.environ["RAY_AUTH_MODE"] = "token"
    path = token_path()
    if path is not None:
        if not create_token and not path.is_file():
            raise ClusterError(
                f"{path}: no Ray authentication token here; copy the cluster's, name its file in RAY_AUTH_TOKEN_PATH, "
                "or give it in RAY_AUTH_TOKEN"
            )
        ensure_token(path)
    # On Linux too: the one way to make Ray listen on loopback.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0" if loopback else "1"
    os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"  # else every worker would start through `uv run`
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "1"  # a trial that asks for no GPU sees none
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # measurements and TensorBoard are written by the driver
    os.environ["RAY_AIR_NEW_OUTPUT"] = (
        "0"  # else Tune prints a banner on standard output, however quiet it is asked to be
    )
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # Ctrl-C ends a search the way an exhausted budget does
    os.environ.setdefault("RAY_DEDUP_LOGS", "1")


def token_path() -> Path | None:
    """The token's file: RAY_AUTH_TOKEN_PATH, else `~/.ray/auth_token`; None if RAY_AUTH_TOKEN holds the token."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return None
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(given) if given else Path.home() / ".ray" / "auth_token"


def ensure_token(path: Path) -> None:
    """Create the authentication token where it is missing, readable by its owner alone.

    Raises:
        ClusterError: If the file cannot be written, or is empty.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
        about = path.stat()
        if about.st_mode & 0o077 and about.st_uid == os.getuid():  # a file of somebody else's is theirs to guard
            path.chmod(0o600)
        empty = not path.read_text().strip()
    except OSError as error:
        raise ClusterError(f"{path}: the Ray authentication token cannot be written ({error.strerror})") from error
    if empty:
        raise ClusterError(f"{path}: the Ray authentication token is empty; delete the file and another is made")
