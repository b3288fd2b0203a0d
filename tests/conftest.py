"""Fixtures that several test files share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import CommandLine, command_line, wait_until

from cluster.session import session

ROOT = Path(__file__).resolve().parent.parent
# What a test module imports to start processes of its own, or wait for them: Ray's, a server's.
STARTS_PROCESSES = (CommandLine, wait_until, session)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a module's tests together where several processes run them, and let one alone run those that start Ray.

    Modules share what is expensive to make, and two searches at once are more than two cores do in time.
    """
    for item in items:
        module = item.getparent(pytest.Module)
        imported = [] if module is None else vars(module.obj).values()
        does = any(value is each for value in imported for each in STARTS_PROCESSES)
        item.add_marker(pytest.mark.xdist_group("processes" if does else item.path.stem))


@pytest.fixture(scope="session")
def fer2013() -> Path:
    """The real FER2013 parquet file; tests that need it are marked `fer2013` and skipped where it is not."""
    path = Path(os.environ.get("FERTUNE_FER2013", ROOT.parent / "shared" / "data" / "fer2013.parquet"))
    if not path.is_file():
        pytest.skip(f"FER2013 is not at {path}; set FERTUNE_FER2013 to its parquet file")
    return path


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache folder for the whole session, so that parsed data is kept between tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def fertune(tmp_path: Path, cache: Path) -> Iterator[CommandLine]:
    """The real command line, run in `tmp_path`."""
    with command_line(tmp_path, cache) as line:
        yield line
