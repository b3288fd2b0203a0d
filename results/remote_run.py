"""A run on object storage, which cannot append: this process's copy of it in a folder, and what keeps the two alike.

Files that only grow (measurements, study, readings, TensorBoard events) lie there as segments, numbered by the byte at
which each begins; readers join them. All others are written whole. Checkpoints are not copied: workers write them to
the storage themselves, and they are fetched one by one when somebody asks for them.
"""

import tempfile
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from results.run_folder import RunFolder
from spaces.errors import InputError
from trainables.storage import Storage, join

_SEGMENTS = "segments"
_LINES = (".jsonl", ".journal")
_EVENTS = "tensorboard/"
LEASE = "lease.json"
_SHARED = "weights"
_OWN = ("checkpoints/", "tune/", f"{_SHARED}/", LEASE)  # never copied: the workers' own, or rebuilt at each start
_DIGITS = 15
_CONNECTIONS = 16


class RemoteRun(RunFolder):
    """A run at a URL; `path` is this process's copy of it.

    Attributes:
        storage: Where it lies.
        has_changed: Set when the copy has something that is worth an upload at once.

    Args:
        url: The run.
        path: A folder for the copy, of nobody else.
    """

    def __init__(self, url: str, path: Path) -> None:
        super().__init__(path)
        self.storage = Storage(url)
        self._sent: dict[str, int] = {}
        self._whole: dict[str, tuple[int, int]] = {}
        self.has_changed = threading.Event()

    @property
    def location(self) -> str:
        return self.storage.url

    @property
    def checkpoints_location(self) -> str:
        return join(self.storage.url, self.checkpoints.name)

    def fetched(self, name: str) -> Path:
        path = self.path / name
        if not path.exists():
            names = [name] if path.suffix else list(self.storage.sizes(name))
            with tempfile.TemporaryDirectory(prefix=".part-", dir=self.path) as part:  # all of it or nothing
                self._fetch((each, Path(part) / each) for each in names)
                if names:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    (Path(part) / name).rename(path)
        return path

    def for_workers(self, path: Path, is_shared: bool) -> str:
        name = f"{_SHARED}/{path.name}"
        if self.storage.size(name) != path.stat().st_size:
            self.storage.upload(path, name)
        return join(self.location, name)

    def changed(self) -> None:
        self.has_changed.set()

    def refresh(self) -> None:
        self.pull()

    def pull(self, without: tuple[str, ...] = ()) -> None:
        """Bring the copy up to what lies in the storage.

        Args:
            without: Names that are not fetched, since they are made anew; the next `push` replaces them.

        Raises:
            InputError: If something cannot be read, or a segment is missing.
        """
        sizes = self.storage.sizes()
        segments: dict[str, list[tuple[int, str]]] = {}
        whole = []
        for name, size in sizes.items():
            if name.startswith(f"{_SEGMENTS}/"):
                grown, _, start = name.removeprefix(f"{_SEGMENTS}/").rpartition("/")
                if grown not in without:
                    segments.setdefault(grown, []).append((int(start), name))
            elif not name.startswith(_OWN) and self._differs(name, size):
                whole.append(name)
        self._fetch((name, self.path / name) for name in whole)
        for grown, parts in segments.items():
            self._join(grown, parts, sizes)
        self._whole.update({name: _look(self.path / name) for name in whole})

    def push(self) -> None:
        """Bring the storage up to the copy: new lines of files that grow, and whole files that changed.

        Raises:
            InputError: If something cannot be written.
        """
        for path in self._copied():
            name = path.relative_to(self.path).as_posix()
            if _grows(name):
                self._send_growth(path, name)
            elif self._whole.get(name) != (look := _look(path)):
                self.storage.upload(path, name)
                self._whole[name] = look

    def _copied(self) -> Iterator[Path]:
        """The files of the copy that go up; what comes and goes beside them (Tune's own, say) is not looked at."""
        for top in sorted(self.path.iterdir()):
            if top.name.startswith(".") or f"{top.name}/".startswith(_OWN) or top.name == LEASE:
                continue
            below = sorted(top.rglob("*")) if top.is_dir() else [top]
            yield from (path for path in below if not path.name.startswith(".") and path.is_file())

    def _differs(self, name: str, size: int) -> bool:
        path = self.path / name
        return not path.is_file() or path.stat().st_size != size

    def _fetch(self, pairs: Iterable[tuple[str, Path]]) -> None:
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            list(pool.map(lambda pair: self.storage.download(*pair), pairs))

    def _join(self, name: str, parts: list[tuple[int, str]], sizes: dict[str, int]) -> None:
        """Append the segments that the copy does not have yet; what was made anew since is taken from its beginning."""
        path = self.path / name
        have = path.stat().st_size if path.is_file() else 0
        ends = {start + sizes[segment] for start, segment in parts}
        if have not in {0, *ends}:
            path.unlink()
            have = 0
        wanted = sorted(part for part in parts if part[0] >= have)
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            contents = list(pool.map(lambda part: self.storage.read(part[1]), wanted))
        for (start, segment), content in zip(wanted, contents, strict=True):
            if start != have or len(content) != sizes[segment]:
                raise InputError(
                    f"{join(self.location, segment)}: begins at byte {start}, expected byte {have}; read again"
                )
            have += len(content)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(b"".join(contents))
        self._sent[name] = have

    def _send_growth(self, path: Path, name: str) -> None:
        sent = self._sent.get(name)
        size = path.stat().st_size
        if sent is None or size < sent:  # made anew: what lies there is of an earlier session
            for segment in self.storage.sizes(f"{_SEGMENTS}/{name}"):
                self.storage.remove(segment)
            sent = 0
        with path.open("rb") as file:
            file.seek(sent)
            content = file.read(size - sent)
        if name.endswith(_LINES):
            content = content[: content.rfind(b"\n") + 1]  # a line counts once it is whole
        if content:
            self.storage.write(f"{_SEGMENTS}/{name}/{sent:0{_DIGITS}d}", content)
        self._sent[name] = sent + len(content)


def checkpoints_of(run: RemoteRun) -> Iterator[int]:
    """The trials of which the storage holds checkpoints."""
    for name in run.storage.entries(run.checkpoints.name):
        if name.isdigit():
            yield int(name)


def _grows(name: str) -> bool:
    return name.endswith(_LINES) or name.startswith(_EVENTS)


def _look(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_mtime_ns, status.st_size
