"""A real S3-compatible server on loopback, for the time of a test."""

import logging
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from moto.moto_server.threaded_moto_server import ThreadedMotoServer

BUCKET = "s3://faces"


def _post(url: str) -> None:
    urllib.request.urlopen(urllib.request.Request(url, method="POST")).close()


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """The environment in which `s3://faces` is an empty bucket of this server."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        _post(f"{address}/moto-api/reset")  # its buckets belong to the process
        urllib.request.urlopen(urllib.request.Request(f"{address}/faces", method="PUT")).close()
        yield {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "a secret",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.stop()
