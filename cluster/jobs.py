"""Jobs: commands that a cluster's head runs for somebody who need not stay; Ray's Jobs endpoint, with a token."""

import asyncio
import logging
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.environment import prepare_environment
from cluster.errors import ClusterError
from cluster.state import read_state

_STOP_SECONDS = 60
_AGENT_SECONDS = 60
_RUN = "fertune_run"

# A stopped search ends in order, as after Ctrl-C: Ray's own habit is SIGTERM, and SIGKILL 3 s later.
_ORDERLY_STOP = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_SECONDS)}


@dataclass(frozen=True)
class JobView:
    """A job, as its cluster tells it.

    Attributes:
        job: Its id.
        run: The run it searches, a path or URL; None if it is not one of ours.
        status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        message: What the cluster says about it.
        began: When it was submitted, in seconds since 1970; None if that is not known.
        exit_code: Of its command, None while it runs or where it was ended from outside.
    """

    job: str
    run: str | None
    status: str
    message: str
    began: float | None
    exit_code: int | None

    @property
    def is_over(self) -> bool:
        """Whether it has ended, in whatever way."""
        return self.status in ("SUCCEEDED", "FAILED", "STOPPED")

    @property
    def code(self) -> int:
        """The exit code that tells how it ended: its command's, 130 if it was stopped, 0 while it runs."""
        if self.status == "STOPPED":
            return 130
        return (self.exit_code or 1) if self.status == "FAILED" else 0


class Jobs:
    """The jobs of one cluster.

    Attributes:
        address: Its Jobs endpoint.
    """

    def __init__(self, address: str | None = None) -> None:
        """Find the endpoint and see that it takes our token.

        Args:
            address: `http://host:port`; default: `RAY_API_SERVER_ADDRESS`, else the cluster started on this machine.

        Raises:
            ClusterError: If there is none, it refuses the token, or it runs another Ray.
            ValueError: If the address is none.
        """
        self.address = endpoint(address)
        prepare_environment(create_token=False)
        with self._complaints():
            from ray.job_submission import JobSubmissionClient

            logging.getLogger("ray").setLevel(logging.WARNING)
            self._client = JobSubmissionClient(self.address)
        self._check_version()

    def submit(self, job: str, command: Sequence[str], folder: Path, run: str, variables: Mapping[str, str]) -> None:
        """Hand in a command that searches a run.

        Args:
            job: The id that it gets.
            command: Run on the head, in a copy of `folder`.
            folder: The program and its plan; workers get the same copy.
            run: Where the run is, a path or URL that the cluster knows.
            variables: Environment variables of the command and its workers.

        Raises:
            ClusterError: If the cluster does not take it, or another job searches the same run.
        """
        busy = next((each for each in self.list() if each.run == run and not each.is_over), None)
        if busy is not None:
            raise ClusterError(
                f"{self.address}: job {busy.job} is searching {run} already; `fertune jobs stop` ends it"
            )
        with self._complaints():
            self._when_ready(
                lambda: self._client.submit_job(
                    submission_id=job,
                    entrypoint=f"exec {shlex.join(command)}",
                    runtime_env={"working_dir": str(folder), "env_vars": {**_ORDERLY_STOP, **variables}},
                    metadata={_RUN: run},
                )
            )

    def list(self) -> list[JobView]:
        """All jobs, the oldest first."""
        with self._complaints():
            found = [_view(details) for details in self._client.list_jobs() if details.submission_id]
        return sorted(found, key=lambda view: view.began or 0.0)

    def find(self, name: str) -> JobView:
        """The job with the id `name`, else the last one that searches a run of that name.

        Raises:
            ClusterError: If there is none.
        """
        jobs = self.list()
        named = [view for view in jobs if view.job == name] or [
            view for view in jobs if view.run and name in (view.run, view.run.rstrip("/").rpartition("/")[2])
        ]
        if not named:
            known = ", ".join(view.job for view in jobs[-5:]) or "none"
            raise ClusterError(
                f"{self.address}: no job, and no run of one, is called {name}; the last jobs are: {known}"
            )
        return named[-1]

    def stop(self, job: str) -> None:
        """Ask the job to end in order, which it does within a minute."""
        with self._complaints():
            self._client.stop_job(job)

    def logs(self, job: str) -> str:
        """What the job has printed so far."""
        with self._complaints():
            return self._client.get_job_logs(job)

    def follow(self, job: str, write: Callable[[str], Any]) -> JobView:
        """Pass on what the job prints until it ends, from its beginning; how it ended.

        Raises:
            ClusterError: If the cluster is lost on the way.
        """

        async def pass_on() -> None:
            async for text in self._client.tail_job_logs(job):
                write(text)

        with self._complaints(
            f"; the job may run on: `fertune jobs logs --follow {job}` follows it again. If its head is gone, submit "
            "with the same --name on another cluster"
        ):
            asyncio.run(pass_on())
        return self.find(job)

    def _when_ready(self, hand_in: Callable[[], Any]) -> None:
        """Hand in once the head can run jobs: its endpoint answers some seconds before its agent has started."""
        end = time.monotonic() + _AGENT_SECONDS
        while True:
            try:
                hand_in()
                return
            except RuntimeError as error:
                # Ray's client has no class for it, and answers so before it has kept anything of the job.
                if "No available agent" not in str(error) or time.monotonic() > end:
                    raise
            time.sleep(0.5)

    def _check_version(self) -> None:
        import ray

        theirs = self._client._server_ray_version
        if theirs is not None and theirs != ray.__version__:
            raise ClusterError(
                f"{self.address}: the cluster runs Ray {theirs}, this process {ray.__version__}; both must be the same"
            )

    @contextmanager
    def _complaints(self, advice: str = "") -> Iterator[None]:
        """Say what Ray's client raises in one sentence."""
        import requests
        from aiohttp import ClientError
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            raise ClusterError(
                f"{self.address}: the cluster refuses this machine's authentication token; copy the cluster's into "
                "~/.ray/auth_token, name its file in RAY_AUTH_TOKEN_PATH, or give it in RAY_AUTH_TOKEN"
            ) from error
        except (ConnectionError, requests.ConnectionError, ClientError) as error:
            raise ClusterError(f"{self.address}: no Jobs endpoint answers there{advice}") from error
        except (RuntimeError, ValueError, requests.RequestException) as error:
            lines = str(error).strip().splitlines()
            raise ClusterError(f"{self.address}: {lines[-1] if lines else type(error).__name__}{advice}") from error


def is_clear_text(address: str) -> bool:
    """Whether the token would travel to `address` unencrypted, over more than this machine's loopback."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    return parts.scheme == "http" and not (host in ("localhost", "::1") or host.startswith("127."))


def endpoint(given: str | None) -> str:
    """The Jobs endpoint that is meant.

    Args:
        given: `http://host:port`; default: `RAY_API_SERVER_ADDRESS`, else that of the cluster started on this machine.

    Raises:
        ValueError: If it is no such address.
        ClusterError: If none is given and no cluster runs here.
    """
    address = given or os.environ.get("RAY_API_SERVER_ADDRESS", "")
    if address:
        try:
            parts = urlsplit(address)
            is_place = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # half a bracket, a port that is no number
            is_place = False
        if not is_place:
            raise ValueError(f"{address}: a Jobs endpoint is http://host:port or https://..., 8265 is Ray's own port")
        return address.rstrip("/")
    state = read_state()
    if state is None or not state.is_up:
        raise ClusterError(
            "no cluster runs on this machine; give the Jobs endpoint of one with --address http://host:8265, "
            "or start one with `fertune cluster up`"
        )
    return state.jobs


def _view(details: Any) -> JobView:
    began = details.start_time / 1000 if details.start_time else None
    run = (details.metadata or {}).get(_RUN)
    return JobView(
        job=details.submission_id,
        run=run,
        status=str(details.status.value),
        message=(details.message or "").strip(),
        began=began,
        exit_code=details.driver_exit_code,
    )
