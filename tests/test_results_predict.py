"""From pictures to faces to probabilities."""

import dataclasses
import io
import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from face_files import two_faces
from finished_run import DATA, TINY, make_run
from onnx_detector import white_patch_detector
from rich.console import Console

from results.annotate import COLORS
from results.artifact import load_artifact
from results.export import export
from results.pictures import camera, pictures_at
from results.predict import Onlooker, predict, table, write_csv
from spaces.errors import InputError
from spaces.family import Family
from trainables.data.crop import FaceDetector, crop
from trainables.data.protocol import load_training
from trainables.data.spec import CropSpec, DataSpec


@pytest.fixture(scope="module")
def artifact(tmp_path_factory, cache):
    folder = tmp_path_factory.mktemp("predict")
    export(make_run(folder / "run", cache, [TINY[Family.SVM]]), folder / "artifact", onnx=False)
    return load_artifact(folder / "artifact")


@pytest.fixture(scope="module")
def faces(cache):
    return load_training(DATA, cache).validation.images


def write(path, image):
    assert cv2.imwrite(str(path), image)
    return path


def refuse(error):
    raise error


def told(artifact, paths, all_faces=False, every=1.0, pass_over=refuse, **options):
    return list(predict(Onlooker(artifact, all_faces), pictures_at(paths, every, pass_over), **options))


def test_a_file_that_cannot_be_read_is_told_and_the_others_are_predicted(artifact, faces, tmp_path):
    write(tmp_path / "a.png", faces[0])
    (tmp_path / "b.png").write_bytes(b"not an image")
    write(tmp_path / "c.png", faces[1])
    unread = []
    rows = told(artifact, [tmp_path], pass_over=unread.append)
    assert [row["image"] for row in rows] == [str(tmp_path / "a.png"), str(tmp_path / "c.png")]
    assert [str(error).partition(":")[0] for error in unread] == [str(tmp_path / "b.png")]


def test_a_cropped_face_is_taken_whole(artifact, faces, tmp_path):
    path = write(tmp_path / "face.png", faces[0])
    (row,) = told(artifact, [path])
    expected = artifact.model.predict_proba(faces[:1])[0]
    assert list(row) == ["image", "face", "label", "probabilities"]
    assert (row["image"], row["face"]) == (str(path), None)
    assert list(row["probabilities"]) == ["negative", "neutral", "positive"]
    assert list(row["probabilities"].values()) == pytest.approx(expected)
    assert row["label"] == max(row["probabilities"], key=row["probabilities"].get)
    assert json.loads(json.dumps(row)) == row


@pytest.mark.parametrize(
    ("name", "convert"),
    [
        ("color.png", lambda face: cv2.cvtColor(face, cv2.COLOR_GRAY2BGR)),
        ("alpha.png", lambda face: cv2.cvtColor(face, cv2.COLOR_GRAY2BGRA)),
        ("deep.png", lambda face: face.astype(np.uint16) * 257),
        ("gray.bmp", lambda face: face),
        ("gray.tiff", lambda face: face),
        ("gray.pgm", lambda face: face),
    ],
)
def test_modes_and_formats_that_keep_the_pixels_give_the_same_answer(artifact, faces, tmp_path, name, convert):
    plain, other = told(artifact, [write(tmp_path / "plain.png", faces[1]), write(tmp_path / name, convert(faces[1]))])
    assert other["probabilities"] == pytest.approx(plain["probabilities"], abs=0.02)


def test_folders_stand_for_their_images_in_order(artifact, faces, tmp_path):
    (tmp_path / "b").mkdir()
    paths = [write(tmp_path / name, faces[0]) for name in ("c.PNG", "a.png", "b/z.jpg")]
    (tmp_path / "notes.txt").write_text("no image")
    rows = told(artifact, [paths[0], tmp_path])
    assert [row["image"] for row in rows] == [str(paths[at]) for at in (0, 1, 2, 0)]


@pytest.mark.parametrize(
    ("name", "content"), [("empty.png", b""), ("text.png", b"not an image"), ("cut.png", b"\x89PNG\r\n\x1a\n\0\0")]
)
def test_what_cannot_be_read_is_named(artifact, tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: not an image"):
        told(artifact, [tmp_path / name])


def test_a_missing_image_and_an_empty_folder_are_named(artifact, tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.png"):
        told(artifact, [tmp_path / "nowhere.png"])
    with pytest.raises(InputError, match="no image in this folder"):
        told(artifact, [tmp_path])


def test_a_picture_without_a_face_is_used_whole(artifact, tmp_path):
    gradient = np.tile(np.linspace(0, 255, 200).astype(np.uint8), (150, 1))
    (row,) = told(artifact, [write(tmp_path / "gradient.png", gradient)])
    assert row["face"] is None
    whole = cv2.resize(gradient, (48, 48), interpolation=cv2.INTER_AREA)
    assert list(row["probabilities"].values()) == pytest.approx(artifact.model.predict_proba(whole[None])[0])


@pytest.fixture(scope="module")
def cropping(tmp_path_factory, cache):
    """An artifact that was trained on pictures cropped by a detector that the user brought, and its folder."""
    folder = tmp_path_factory.mktemp("cropping")
    detector = white_patch_detector(folder / "white.onnx", least=190)
    spec = CropSpec(detector="yunet", model=str(detector))
    export(
        make_run(folder / "run", cache, [TINY[Family.SVM]], DATA.model_copy(update={"crop": spec})),
        folder / "out",
        onnx=False,
    )
    detector.unlink()  # an artifact brings all it needs
    return load_artifact(folder / "out"), folder / "out"


def test_pictures_are_cropped_as_those_the_artifact_was_trained_on(cropping, artifact, tmp_path):
    picture = np.full((240, 320), 80, np.uint8)
    picture[32:64, 96:128] = 255
    face = np.full((48, 48), 80, np.uint8)
    face[12:20, 12:20] = 255
    paths = [write(tmp_path / "picture.png", picture), write(tmp_path / "face.png", face)]
    rows = told(cropping[0], paths)
    detector = FaceDetector(cropping[0].crop)
    for row, gray in zip(rows, (picture, face), strict=True):
        assert row["face"] == list(detector.find(gray))
        expected = cropping[0].model.predict_proba(crop(gray, tuple(row["face"]), detector.margin)[None])[0]
        assert list(row["probabilities"].values()) == pytest.approx(expected)
    assert [row["face"] for row in told(artifact, paths)] == [None, None]


def test_the_manifest_and_the_card_keep_the_detector_and_its_file_is_checked(cropping, artifact, tmp_path):
    loaded, folder = cropping
    assert artifact.crop is None
    assert loaded.manifest.data.crop.detector == "yunet"
    assert loaded.crop == loaded.manifest.data.crop.model_copy(update={"model": str(folder / "detector.onnx")})
    assert "found by the detector yunet" in (folder / "README.md").read_text()
    other = shutil.copytree(folder, tmp_path / "other")
    white_patch_detector(other / "detector.onnx", least=100)
    with pytest.raises(InputError, match=r"detector\.onnx.*sha256"):
        load_artifact(other)


def test_an_artifact_trained_on_cropped_faces_searches_small_pictures_too(artifact, faces, tmp_path):
    for number, face in enumerate(faces[:10]):
        write(tmp_path / f"{number}.png", face)
    searching = dataclasses.replace(artifact, crop=CropSpec())
    found = [row["face"] for row in told(searching, [tmp_path])]
    assert found == [box and list(box) for box in map(FaceDetector(CropSpec()).find, faces[:10])]
    assert sum(box is not None for box in found) > 4
    assert [row["face"] for row in told(artifact, [tmp_path])] == [None] * 10


def test_an_export_without_its_detector_names_it(tmp_path, cache):
    detector = white_patch_detector(tmp_path / "white.onnx")
    spec = CropSpec(detector="yunet", model=str(detector))
    run = make_run(tmp_path / "run", cache, [TINY[Family.FOREST]], DATA.model_copy(update={"crop": spec}))
    detector.unlink()
    with pytest.raises(InputError, match=r"white\.onnx: no such file"):
        export(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_people_see_a_row_an_image(artifact, faces, tmp_path):
    rows = told(artifact, [write(tmp_path / "face.png", faces[0])])
    console = Console(file=io.StringIO(), width=200)
    console.print(table(rows))
    text = console.file.getvalue()
    assert "face.png" in text
    assert "whole image" in text
    assert f"{rows[0]['probabilities']['neutral']:.3f}" in text


def test_every_face_is_told_where_asked_for_the_largest_first(artifact, tmp_path):
    path = write(tmp_path / "two.png", two_faces())
    rows = told(artifact, [path], all_faces=True)
    assert len(rows) == 2
    assert rows[0]["face"][2] > rows[1]["face"][2]
    assert rows[0]["face"][0] < 250 < rows[1]["face"][0]
    assert [row["face"] for row in told(artifact, [path])] == [rows[0]["face"]]


def test_pictures_looked_at_together_or_one_by_one_are_told_alike(artifact, faces, tmp_path):
    for number in range(5):
        write(tmp_path / f"{number}.png", faces[number])
    together, single = told(artifact, [tmp_path]), told(artifact, [tmp_path], batch=1)
    for one, other in zip(together, single, strict=True):
        # In float32 each CPU sums batches in an order of its own.
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
        assert (one["image"], one["label"]) == (other["image"], other["label"])


def test_the_csv_file_holds_a_row_a_face(artifact, faces, tmp_path):
    paths = [write(tmp_path / "two.png", two_faces()), write(tmp_path / "face, small.png", faces[0])]
    rows = told(artifact, paths, all_faces=True)
    write_csv(rows, tmp_path / "faces.csv")
    read = pd.read_csv(tmp_path / "faces.csv")
    assert list(read) == ["image", "second", "x", "y", "width", "height", "label", "negative", "neutral", "positive"]
    assert read["image"].tolist() == [row["image"] for row in rows]
    assert read.loc[0, ["x", "y", "width", "height"]].tolist() == rows[0]["face"]
    assert read.loc[2, ["second", "x", "width"]].isna().all()
    assert read["positive"].tolist() == pytest.approx([row["probabilities"]["positive"] for row in rows], abs=1e-6)
    with pytest.raises(InputError, match=r"missing.* cannot be written"):
        write_csv(rows, tmp_path / "missing" / "faces.csv")


def test_copies_are_drawn_with_frames_and_the_originals_are_left_alone(artifact, faces, tmp_path):
    (tmp_path / "in" / "deeper").mkdir(parents=True)
    picture = cv2.cvtColor(two_faces(), cv2.COLOR_GRAY2BGR)
    paths = [write(tmp_path / "in" / "two.png", picture), write(tmp_path / "in" / "deeper" / "two.png", faces[0])]
    before = [path.read_bytes() for path in paths]
    rows = told(artifact, paths, all_faces=True, draw=tmp_path / "out")
    assert [path.read_bytes() for path in paths] == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["two-2.png", "two.png"]
    drawn = cv2.imread(str(tmp_path / "out" / "two.png"))
    assert drawn.shape == (600, 1000, 3)  # enlarged, so that labels can be read
    x, y, width, height = (2 * side for side in rows[1]["face"])
    assert tuple(drawn[y + height // 2, x]) == COLORS[rows[1]["label"]]
    middle = drawn[y + height // 2, x + width // 2]
    assert (middle == picture[(y + height // 2) // 2, (x + width // 2) // 2]).all()
    assert cv2.imread(str(tmp_path / "out" / "two-2.png")).shape == (336, 336, 3)


def film(path, frames, rate=10.0):
    """A video of three channels in Motion JPEG, which every OpenCV writes."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, frames[0].shape[1::-1])
    for frame in frames:
        writer.write(cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR))
    writer.release()
    return path


def test_a_video_is_told_frame_by_frame(artifact, tmp_path):
    blank = np.full((300, 500), 128, np.uint8)
    path = film(tmp_path / "film.avi", [blank] * 10 + [two_faces()] * 15)
    rows = told(artifact, [path], every=0.5, draw=tmp_path / "out")
    assert [row["second"] for row in rows] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert [row["face"] is None for row in rows] == [True, True, False, False, False]
    assert {row["image"] for row in rows} == {str(path)}
    names = [f"film-{second:09.3f}.png" for second in (0.0, 0.5, 1.0, 1.5, 2.0)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert len(told(artifact, [path], every=0)) == 25


def test_what_is_no_video_is_named(artifact, tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"not a film")
    with pytest.raises(InputError, match=r"film\.mp4: not a video"):
        told(artifact, [tmp_path / "film.mp4"])
    with pytest.raises(InputError, match=r"nowhere\.mp4: no such file"):
        told(artifact, [tmp_path / "nowhere.mp4"])


def test_a_camera_that_is_not_there_is_named():
    with pytest.raises(InputError, match=r"camera 97: cannot be opened"):
        next(camera(97, 1.0, None))


@pytest.mark.fer2013
def test_faces_are_found_in_pictures_with_a_background(artifact, fer2013, cache, tmp_path):
    """Real faces, enlarged four times, somewhere on a gradient of 640 x 480: most are found, few are mistaken."""
    images = load_training(DataSpec(source=str(fer2013)), cache).validation.images[:80]
    generator = np.random.default_rng(0)
    side, places = 192, []
    for number, image in enumerate(images):
        picture = np.tile(np.linspace(60, 180, 640).astype(np.uint8), (480, 1))
        x, y = int(generator.integers(0, 640 - side)), int(generator.integers(0, 480 - side))
        picture[y : y + side, x : x + side] = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
        write(tmp_path / f"{number:02d}.png", picture)
        places.append((x, y))
    rows = told(artifact, [tmp_path])
    right = [
        row["face"] is not None
        and abs(row["face"][0] + row["face"][2] / 2 - x - side / 2) < side / 5
        and abs(row["face"][1] + row["face"][3] / 2 - y - side / 2) < side / 5
        for row, (x, y) in zip(rows, places, strict=True)
    ]
    found = [row for row in rows if row["face"] is not None]
    assert sum(right) > 0.6 * len(rows)
    assert sum(right) > 0.85 * len(found)
