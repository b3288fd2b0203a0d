"""The TensorBoard server for one run or a folder of runs, on loopback."""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from results.remote_run import RemoteRun
from results.run_folder import RunFolder
from search.board import COLUMNS, write_columns
from search.place import open_run
from spaces.errors import InputError
from trainables.storage import Storage, is_url, join

LOOK_AGAIN = 3.0
"""Seconds between two looks for new trials."""


@contextmanager
def served(location: str, port: int) -> Iterator[tuple[str, Callable[[], None]]]:
    """Serve TensorBoard in this process for as long as the context lasts.

    Args:
        location: A run's path or URL, or a folder that holds runs.
        port: The port on loopback, 0 for any free one.

    Yields:
        Its address, and what is to be called now and then so that it shows what has come since.

    Raises:
        InputError: If there is no run, if there are no events, or the port is taken.
    """
    if is_url(location) and not Storage(location).exists("plan.yaml"):
        with tempfile.TemporaryDirectory(prefix="fertune-board-") as temporary:
            copies = Copies(location, Path(temporary, "copies"))
            copies.update()
            linked = Linked(Path(temporary, "shown"), copies.folder)

            def refresh() -> None:
                try:
                    copies.update()
                finally:
                    linked.update()

            linked.update()
            yield _launch(Path(temporary, "shown"), port), refresh
        return
    if not runs_in(Path(location)):
        with open_run(location) as run:
            if not run.tensorboard.is_dir():
                raise InputError(
                    f"{run.location}: no TensorBoard events here yet; they come with the first measurement"
                )
            yield _launch(run.tensorboard, port), run.refresh
        return
    with tempfile.TemporaryDirectory(prefix="fertune-board-") as temporary:
        linked = Linked(Path(temporary), Path(location))
        linked.update()
        yield _launch(Path(temporary), port), linked.update


def runs_in(path: Path) -> list[RunFolder]:
    """The runs in the folder `path`, by name; none if `path` is a run itself or no folder."""
    if (path / "plan.yaml").is_file() or not path.is_dir():
        return []
    return [RunFolder(child) for child in sorted(path.iterdir()) if (child / "plan.yaml").is_file()]


class Copies:
    """Copies of the runs in a folder at a URL, without their checkpoints.

    Attributes:
        folder: Where the copies are.

    Args:
        url: The folder of the runs.
        folder: A folder of nobody else, which is made.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.folder = folder
        self._storage = Storage(url)
        self._runs: dict[str, RemoteRun] = {}
        folder.mkdir(parents=True)

    def update(self) -> None:
        """Fetch what has come since: events of runs that are searched, and runs.

        Raises:
            InputError: If there is no run.
        """
        for name in self._storage.entries(""):
            if name not in self._runs and self._storage.exists(f"{name}/plan.yaml"):
                self._runs[name] = RemoteRun(join(self._storage.url, name), self.folder / name)
        if not self._runs:
            raise InputError(f"{self._storage.url}: no run here, and no folder of runs")
        failed: InputError | None = None
        for run in self._runs.values():
            try:
                run.pull()
            except InputError as error:  # the others are fetched all the same
                failed = failed or error
        if failed is not None:
            raise failed


class Linked:
    """A folder in which TensorBoard sees several runs as one experiment, and nothing else of them.

    TensorBoard takes the columns of its HPARAMS tab from any one run. So each run's own are left out, and all of theirs
    are told in one place, for the runs that there were at the start.

    Args:
        folder: A folder of nobody else, which is filled with links.
        path: The folder of the runs.
    """

    def __init__(self, folder: Path, path: Path) -> None:
        self._folder = folder
        self._path = path
        folder.mkdir(exist_ok=True)
        write_columns(folder / COLUMNS, [run.space() for run in runs_in(path)])

    def update(self) -> None:
        """Link what has come since: trials of runs that are searched, and runs."""
        for run in runs_in(self._path):
            if not run.tensorboard.is_dir():
                continue
            (self._folder / run.path.name).mkdir(exist_ok=True)
            for events in run.tensorboard.iterdir():
                link = self._folder / run.path.name / events.name
                if events.name != COLUMNS and not link.is_symlink():
                    link.symlink_to(events.resolve())


def wait_until_interrupted(refresh: Callable[[], None], say: Callable[[str], object]) -> None:
    """Sleep until Ctrl-C; call `refresh` every few seconds, and `say` once why it fails, until it does not."""
    complaint = ""
    try:
        while True:
            time.sleep(LOOK_AGAIN)
            try:
                refresh()
                complaint = ""
            except (InputError, OSError) as error:
                if complaint != (complaint := str(error)):
                    say(f"cannot look for what is new, trying again: {error}")
    except KeyboardInterrupt:
        return


def _launch(folder: Path, port: int) -> str:
    from tensorboard import program

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    server = program.TensorBoard()
    server.configure(logdir=str(folder), host="127.0.0.1", port=port, reload_interval=2)
    try:
        address: str = server.launch()
    except (OSError, SystemExit, program.TensorBoardServerException) as error:
        raise InputError(f"port {port} cannot be used for TensorBoard ({error}); choose another with --port") from error
    return address
