"""A small web page on loopback: drop a picture, see its faces and what the artifact says of each.

The page asks for nothing but itself and the answer about a picture, which is not kept. Requests that were not made by
the page itself are refused: by the name of the host, so that no other site can reach it through a name of its own, and
by the kind of content, which other sites' pages cannot send without asking first.
"""

import json
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

from jinja2 import Environment

from results.artifact import Artifact
from results.describe import describe
from results.predict import Onlooker
from spaces.errors import InputError
from trainables.data.decode import decode_gray
from trainables.data.faceset import CLASSES

LOOPBACK = "127.0.0.1"
LARGEST = 50_000_000
"""Bytes of the largest picture that is taken."""
CONTENT = "application/octet-stream"
TEMPLATE = Path(__file__).with_name("demo.html")


class DemoServer(ThreadingHTTPServer):
    """The demo of one artifact; `serve_forever` runs it, `address` is what to open.

    Args:
        artifact: What `load_artifact` returned.
        port: On loopback; 0 for any free one.

    Raises:
        InputError: If the port is taken or the detector cannot be read.
    """

    daemon_threads = True

    def __init__(self, artifact: Artifact, port: int) -> None:
        self.artifact = artifact
        self._onlooker = Onlooker(artifact, all_faces=True)
        self._one_at_a_time = threading.Lock()
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise InputError(f"port {port}: cannot be used ({error.strerror}); --port 0 takes a free one") from error
        self.hosts = [f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost")]
        self.address = f"http://{LOOPBACK}:{self.server_port}"

    def look(self, data: bytes) -> dict[str, Any]:
        """What the page shows of the picture in `data`.

        Returns:
            `width` and `height` of the picture in pixels, and `faces`, see `Expression.json`.

        Raises:
            InputError: If it is no picture that can be read.
        """
        gray = decode_gray(data)
        with self._one_at_a_time:
            (found,) = self._onlooker.look([gray])
        height, width = gray.shape
        return {"width": width, "height": height, "faces": [one.json() for one in found]}


def page(artifact: Artifact, nonce: str) -> str:
    """The page, an HTML document whose script and style carry `nonce`."""
    manifest = artifact.manifest
    if manifest.config is None:
        model = f"an ensemble of {len(manifest.members)} models"
    else:
        model = f"{manifest.family}, {describe(manifest.config)}"
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text())
    return template.render(nonce=nonce, run=manifest.run, model=model, metrics=manifest.metrics, classes=CLASSES)


class _Handler(BaseHTTPRequestHandler):
    server: DemoServer
    server_version = "fertune"
    timeout = 60

    def do_GET(self) -> None:
        if self._is_foreign():
            return
        if self.path != "/":
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there is one page here, /")
            return
        nonce = token_urlsafe(16)
        policy = (
            f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src blob: data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        body = page(self.server.artifact, nonce).encode()
        self._send(HTTPStatus.OK, "text/html; charset=utf-8", body, {"Content-Security-Policy": policy})

    def do_POST(self) -> None:
        if self._is_foreign():
            return
        length = self.headers.get("Content-Length", "")
        if self.path != "/faces" or self.headers.get("Content-Type") != CONTENT or not length.isdecimal():
            self._answer(HTTPStatus.BAD_REQUEST, {"error": f"send a picture to /faces as {CONTENT}"})
        elif int(length) > LARGEST:
            self._answer(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                {"error": f"the picture has {int(length):,} bytes; allowed are {LARGEST:,}"},
            )
        else:
            self._answer_picture(self.rfile.read(int(length)))

    def _answer_picture(self, data: bytes) -> None:
        try:
            self._answer(HTTPStatus.OK, self.server.look(data))
        except InputError as error:
            self._answer(HTTPStatus.UNPROCESSABLE_ENTITY, {"error": str(error)})

    def _is_foreign(self) -> bool:
        if self.headers.get("Host") in self.server.hosts:
            return False
        self._send(HTTPStatus.FORBIDDEN, "text/plain", b"this page answers to its own address alone")
        return True

    def _answer(self, status: HTTPStatus, values: dict[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(values).encode())

    def _send(self, status: HTTPStatus, kind: str, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.close_connection = True  # a body that was refused has not been read
        self.send_response(status)
        fixed = {"Content-Type": kind, "Content-Length": str(len(body)), "X-Content-Type-Options": "nosniff"}
        for name, value in {**fixed, "Cache-Control": "no-store", "Connection": "close", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's name)
        """Say nothing of each request."""
