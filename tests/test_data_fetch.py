import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from spaces.errors import InputError
from trainables.data import fetch as module
from trainables.data.fetch import fetch

BY_HAND = r"download it by hand from https://www\.kaggle\.com/.* pass its place with --data PATH, .*a fer2013\.csv"


@pytest.fixture
def silent_port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A port that takes connections and never answers; requests to Kaggle go there, whatever network there is."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        set_proxy(monkeypatch, port)
        yield port


def set_proxy(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)


def test_without_a_network_it_says_what_to_do(
    silent_port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    set_proxy(monkeypatch, closed)
    with pytest.raises(InputError, match=rf"Kaggle cannot be reached \(.*refused\); {BY_HAND}"):
        fetch(tmp_path / "faces")


@pytest.mark.usefixtures("silent_port")
def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    start = time.monotonic()
    with pytest.raises(InputError, match=rf"Kaggle cannot be reached \(.*timed out\); {BY_HAND}"):
        fetch(tmp_path / "faces")
    assert time.monotonic() - start < 10


def test_without_kagglehub_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(InputError, match=rf"kagglehub is not installed \(pip install kagglehub\); {BY_HAND}"):
        fetch()
