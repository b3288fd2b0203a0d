"""Three Ray nodes that share no loopback, as on three machines: a search spreads, one loses its power, it finishes."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import wait_until
from namespaces import address, inside, kill_all, machines, needs_namespaces
from test_cluster_local import workers

from results.journal import read_events
from results.schema import Measurement, Status, TrialEnd

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(280), needs_namespaces]

PLAN = f"""
data: {{demo_images: 700, protocol: {{balance: none}}}}
budget: {{trials: 8}}
scheduler: none
startup_trials: 12
space: {{families: [svm, forest]}}
fake: {{seconds: 8.0}}
cluster: {{address: "{address(0)}:6379"}}
"""


class Machine:
    """Runs programs on one of the machines."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str]) -> None:
        self.name, self._folder, self._environment = name, folder, environment

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start a Python module there, with its arguments."""
        return subprocess.Popen(
            [*inside(self.name), sys.executable, "-m", *arguments],
            cwd=self._folder,
            env={**self._environment, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str, code: int = 0, **variables: str) -> str:
        """Run it to its end; what it printed."""
        process = self.start(*arguments, **variables)
        out, _ = process.communicate(timeout=120)
        assert process.returncode == code, out
        return out


@contextmanager
def three_machines(folder: Path, cache: Path) -> Iterator[list[Machine]]:
    """A Ray cluster of three machines, one CPU each, the first its head."""
    temporary = Path(tempfile.mkdtemp(prefix="ft-", dir="/tmp"))
    token = folder / "token"
    token.write_text("1" * 64)
    environment = {
        **os.environ,
        "FERTUNE_CACHE": str(cache),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "TMPDIR": str(temporary),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",
    }
    try:
        with machines(3) as names:
            found = [Machine(name, folder, environment) for name in names]
            for number, machine in enumerate(found):
                place = ["--head", "--port=6379", "--include-dashboard=false"] if number == 0 else []
                place = place or [f"--address={address(0)}:6379"]
                sizes = ["--num-cpus=1", f"--object-store-memory={128 * 1024**2}"]
                mine = [f"--node-ip-address={address(number)}", f"--temp-dir={temporary}/{number}"]
                machine.run("ray.scripts.scripts", "start", *place, *mine, *sizes, "--disable-usage-stats")
            yield found
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def test_a_search_spreads_over_machines_and_survives_the_loss_of_one(tmp_path: Path, cache: Path):
    (tmp_path / "plan.yaml").write_text(PLAN)
    with three_machines(tmp_path, cache) as (head, _, third):
        stranger = tmp_path / "stranger"
        stranger.write_text("2" * 64)
        refused = head.run("search", "search", "plan.yaml", code=1, RAY_AUTH_TOKEN_PATH=str(stranger))
        assert "token" in refused
        search = head.start("search", "search", "plan.yaml", "--name", "spread")
        run = tmp_path / "runs" / "spread"
        wait_until(
            lambda: search.poll() is not None or len({worker["node"] for worker in workers(run).values()}) == 3,
            120,
            lambda: f"work on {workers(run)}",
        )
        assert search.poll() is None, search.communicate()[0]
        kill_all(third.name)
        out, _ = search.communicate(timeout=200)
        assert search.returncode == 0, out
        events = read_events(run / "measurements.jsonl")
        ends = [event for event in events if isinstance(event, TrialEnd)]
        assert sorted(end.trial for end in ends) == list(range(8))
        assert {end.status for end in ends} == {Status.FINISHED}
        measured = [(event.trial, event.fidelity) for event in events if isinstance(event, Measurement)]
        assert len(measured) == len(set(measured)) == 32, "nothing that was measured is measured again"
