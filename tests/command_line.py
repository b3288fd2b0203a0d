"""Runs the real command line in processes of its own, and sees that it leaves none behind."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil


class CommandLine:
    """`fertune` in a folder of its own: its runs, its cache, and a short temporary folder for Ray."""

    def __init__(self, folder: Path, cache: Path, temporary: Path) -> None:
        self.folder = folder
        self._environment = {**os.environ, "FERTUNE_CACHE": str(cache), "TMPDIR": str(temporary), "COLUMNS": "120"}
        self._temporary = temporary

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own, as a terminal would."""
        return subprocess.Popen(
            [sys.executable, "-m", "search", *arguments],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def set(self, name: str, value: str) -> None:
        """Give the commands to come an environment variable."""
        self._environment[name] = value

    def python(self, script: str, *arguments: str) -> str:
        """What a Python script prints, run where and how the commands are."""
        command = [sys.executable, "-c", script, *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *arguments: str, code: int | None = 0, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a command to its end and check its exit code, unless that is None."""
        process = self.start(*arguments)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        assert code in (process.returncode, None), f"exit code {process.returncode}\n{out}\n{err}"
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def json(self, *arguments: str, code: int | None = 0, timeout: float = 240) -> Any:
        """Run a command with `--json`; what standard output holds, which is one document on its last line."""
        return json.loads(self.run(*arguments, "--json", code=code, timeout=timeout).stdout.splitlines()[-1])

    def leftovers(self) -> list[str]:
        """Command lines of processes of Ray sessions started from here."""
        found = []
        for process in psutil.process_iter():
            try:
                command = " ".join(process.cmdline())
                mine = str(self._temporary) in command or process.environ().get("TMPDIR") == str(self._temporary)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
            if mine:
                found.append(command)
        return found

    def wait_for_no_leftovers(self, seconds: float = 90) -> None:
        """Give Ray's processes `seconds` to end.

        Most are gone at once. If a driver was killed, and the head of its session went before Ray's agents noticed,
        these try for a minute to tell it that their node died.
        """
        wait_until(lambda: not self.leftovers(), seconds, lambda: f"still running: {self.leftovers()}")


def wait_until(condition: Callable[[], bool], seconds: float, complaint: Callable[[], str]) -> None:
    """Poll `condition` until it holds; fail with `complaint` if it does not within `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, complaint()
        time.sleep(0.05)


@contextmanager
def command_line(folder: Path, cache: Path) -> Iterator[CommandLine]:
    """A command line for a test; its processes are gone afterwards."""
    temporary = Path(tempfile.mkdtemp(prefix="ft-", dir="/tmp"))
    line = CommandLine(folder, cache, temporary)
    try:
        yield line
        line.wait_for_no_leftovers()
    finally:
        for process in psutil.process_iter():
            try:
                if process.environ().get("TMPDIR") == str(temporary):
                    process.kill()
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        shutil.rmtree(temporary, ignore_errors=True)
