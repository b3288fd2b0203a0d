"""The demo page: its server as programs see it, and the page in a real browser."""

import http.client
import json
import os
import threading
from contextlib import contextmanager
from pathlib import Path

import cv2
import pytest
from browser import console_errors, needs_browser, open_browser, phone, screenshot
from face_files import two_faces
from finished_run import TINY, make_run
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from results.artifact import load_artifact
from results.demo import CONTENT, LARGEST, DemoServer
from results.export import export
from results.predict import Onlooker
from spaces.errors import InputError
from spaces.family import Family

# Drops a file on the page, as a hand would: the browser's own file, the page's own handlers.
DROP = """
const [input, target] = [arguments[0], document.getElementById("drop")];
const carried = new DataTransfer();
carried.items.add(input.files[0]);
for (const kind of ["dragenter", "dragover", "drop"])
  target.dispatchEvent(new DragEvent(kind, {dataTransfer: carried, bubbles: true, cancelable: true}));
"""


@pytest.fixture(scope="module")
def artifact(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("demo")
    export(make_run(folder / "quick & small", cache, [TINY[Family.SVM]]), folder / "artifact", onnx=False)
    return load_artifact(folder / "artifact")


@contextmanager
def running(artifact):
    with DemoServer(artifact, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server(artifact):
    with running(artifact) as server:
        yield server


def request(server, method, path, body=None, **headers):
    connection = http.client.HTTPConnection(*server.server_address, timeout=30)
    try:
        connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def picture(image=None):
    return cv2.imencode(".png", two_faces() if image is None else image)[1].tobytes()


def test_it_listens_on_loopback_alone(server):
    assert server.server_address[0] == "127.0.0.1"


def test_the_page_is_whole_asks_for_nothing_and_escapes_names(server):
    status, headers, body = request(server, "GET", "/")
    text = body.decode()
    assert status == 200
    assert "quick &amp; small" in text
    assert "quick & small" not in text
    assert "http://" not in text
    assert "https://" not in text
    nonce = headers["Content-Security-Policy"].split("'nonce-")[1].split("'")[0]
    assert f'<script nonce="{nonce}">' in text
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_a_picture_is_answered_with_every_face(server, artifact):
    status, _, body = request(server, "POST", "/faces", picture(), Content_Type=CONTENT)
    found = json.loads(body)
    assert status == 200
    assert (found["width"], found["height"]) == (500, 300)
    (expected,) = Onlooker(artifact, all_faces=True).look([two_faces()])
    assert found["faces"] == [one.json() for one in expected]
    assert len(found["faces"]) == 2


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "says"),
    [
        ("POST", "/faces", b"no picture", {"Content_Type": CONTENT}, 422, "not a readable image"),
        ("POST", "/faces", b"", {"Content_Type": CONTENT}, 422, "not a readable image"),
        ("POST", "/faces", b"x", {"Content_Type": "text/plain"}, 400, "send a picture"),
        ("POST", "/faces", b"x", {"Content_Type": CONTENT, "Content_Length": "-1"}, 400, "send a picture"),
        ("POST", "/faces", b"x", {"Content_Type": CONTENT, "Content_Length": str(LARGEST + 1)}, 413, "allowed are"),
        ("POST", "/elsewhere", b"x", {"Content_Type": CONTENT}, 400, "send a picture"),
        ("GET", "/manifest.json", None, {}, 404, "one page"),
        ("GET", "/../manifest.json", None, {}, 404, "one page"),
        ("GET", "/", None, {"Host": "faces.example"}, 403, "its own address"),
        ("POST", "/faces", b"x", {"Content_Type": CONTENT, "Host": "faces.example:80"}, 403, "its own address"),
    ],
)
def test_what_is_not_of_the_page_is_refused(server, method, path, body, headers, status, says):
    found, _, content = request(server, method, path, body, **headers)
    assert found == status
    assert says in content.decode()


def test_a_taken_port_is_told(server, artifact):
    with pytest.raises(InputError, match=rf"port {server.server_port}: cannot be used"):
        DemoServer(artifact, server.server_port)


@pytest.mark.slow
@needs_browser
def test_the_page_shows_the_faces_of_a_dropped_picture(server, artifact, tmp_path):
    (tmp_path / "two.png").write_bytes(picture())
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (expected,) = Onlooker(artifact, all_faces=True).look([two_faces()])
    with open_browser(1280, 640) as driver:
        driver.get(server.address)
        give = driver.find_element(By.ID, "file")
        # A second input keeps the file: the page empties its own.
        driver.execute_script(
            "const kept = document.createElement('input'); kept.type = 'file'; kept.id = 'kept';"
            "document.body.append(kept)"
        )
        kept = driver.find_element(By.ID, "kept")
        kept.send_keys(str(tmp_path / "two.png"))
        driver.execute_script(DROP, kept)
        assert message(driver) == "2 faces"
        cards = driver.find_elements(By.CSS_SELECTOR, ".face")
        assert [card.find_element(By.TAG_NAME, "h2").text for card in cards] == [
            f"{number}: {one.label}" for number, one in enumerate(expected, 1)
        ]
        shown = [output.text for output in cards[0].find_elements(By.TAG_NAME, "output")]
        assert shown == [f"{100 * share:.1f} %" for share in expected[0].probabilities.values()]
        box, image = (driver.find_element(By.CSS_SELECTOR, which).rect for which in (".box", "#picture"))
        factor = image["width"] / 500
        assert (box["x"] - image["x"]) / factor == pytest.approx(expected[0].face[0], abs=2)
        assert box["width"] / factor == pytest.approx(expected[0].face[2], abs=2)

        driver.execute_script("arguments[0].hidden = true", kept)
        screenshot(driver, Path(os.environ.get("FERTUNE_SCREENSHOTS", tmp_path)) / "demo.png")
        phone(driver)
        assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        assert console_errors(driver) == []

        give.send_keys(str(tmp_path / "broken.png"))
        assert "not a readable image" in message(driver)
        assert driver.find_elements(By.CSS_SELECTOR, ".face, .box") == []
        give.send_keys(str(tmp_path / "two.png"))
        assert message(driver) == "2 faces"
        assert len(driver.find_elements(By.CSS_SELECTOR, ".box")) == 2


def message(driver):
    """What the page says once it has an answer."""
    element = driver.find_element(By.ID, "message")
    WebDriverWait(driver, 30).until(lambda _: element.text not in ("", "looking ..."))
    return element.text


@pytest.mark.slow
def test_the_command_serves_the_page(fertune, artifact, tmp_path, cache):
    export(make_run(tmp_path / "run", cache, [TINY[Family.SVM]]), tmp_path / "artifact", onnx=False)
    process = fertune.start("demo", str(tmp_path / "artifact"), "--port", "0")
    try:
        line = process.stdout.readline()
        assert "the demo is at http://127.0.0.1:" in line
        port = int(line.split("127.0.0.1:")[1].split()[0])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/")
        assert connection.getresponse().status == 200
        connection.close()
    finally:
        os.killpg(process.pid, 2)
        _, complaint = process.communicate(timeout=30)
    assert (process.returncode, complaint) == (0, "")
