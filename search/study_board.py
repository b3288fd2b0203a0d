"""optuna-dashboard on a run's study, also while it is searched; nobody can change the study through it."""

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIApplication

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from spaces.errors import InputError


class _ReadOnly(JournalFileBackend):
    """A journal to which nothing is added: the search alone writes its study."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        raise PermissionError("the study of a run is shown, not changed")


class _Dashboard:
    """The dashboard of a study's file, made anew when a resumed search has written the file anew."""

    def __init__(self, study: Path, make: Callable[[JournalStorage], WSGIApplication]) -> None:
        self._study, self._make = study, make
        self._lock = threading.Lock()
        self._shown = (b"", make(JournalStorage(_ReadOnly(str(study)))))

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        return self._current()(environ, start_response)

    def _current(self) -> WSGIApplication:
        with self._lock, suppress(FileNotFoundError):  # for a moment a file that is written anew is not there
            with self._study.open("rb") as file:
                first = file.readline()  # names the process that made the study
            if first != self._shown[0]:
                self._shown = (first, self._make(JournalStorage(_ReadOnly(str(self._study)))))
        return self._shown[1]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing: requests are of no interest on a terminal."""


def serve_study(study: Path, port: int) -> str:
    """Start optuna-dashboard on loopback in this process; returns its address.

    Args:
        study: A run's `study.journal`.
        port: The port, 0 for any free one.

    Raises:
        InputError: If optuna-dashboard is not installed, there is no study yet, or the port is taken.
    """
    try:
        from optuna_dashboard import wsgi
    except ImportError as error:
        raise InputError(
            "`board --optuna` needs optuna-dashboard, which is not installed; `pip install fertune[dashboard]`, or "
            "leave --optuna out for TensorBoard"
        ) from error
    if not study.is_file():
        raise InputError(f"{study}: no study here yet; it comes when the search starts")
    try:
        server = make_server("127.0.0.1", port, _Dashboard(study, wsgi), server_class=_Server, handler_class=_Silent)
    except (OSError, OverflowError) as error:
        raise InputError(f"port {port} cannot be used ({error}); choose another with --port") from error
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"
