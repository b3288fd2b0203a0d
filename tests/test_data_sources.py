import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from face_files import csv_row, make_faces, parquet_columns, write_csv, write_folder
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pandas import DataFrame

from spaces.errors import InputError
from trainables.data.faceset import TEST, TRAIN, FaceSet
from trainables.data.sources import read_csv, read_source
from trainables.data.spec import DataSpec

FACES = make_faces(per_emotion=1, test_per_emotion=1)
GOOD = csv_row(FACES.images[0])
PIXELS = GOOD.split(",")[1]
HEADER = "emotion,pixels,Usage"


def read(path: Path) -> FaceSet:
    return read_source(DataSpec(source=str(path)))


def with_pixel(value: str) -> str:
    return PIXELS.rpartition(" ")[0] + f" {value}"


def assert_refused(path: Path, says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        read(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("3,1 2 3", "2 fields, the header has 3"),
        (f"{GOOD},Training", "4 fields, the header has 3"),
        (f"3,{PIXELS.rpartition(' ')[0]},Training", "2303 pixels; a face has 48 x 48 = 2304"),
        (f"3,{PIXELS} 7,Training", "2305 pixels"),
        ("3,,Training", "0 pixels"),
        (f"3,{with_pixel('256')},Training", "pixel 2304 is '256'; a pixel is a whole number 0..255"),
        (f"3,{with_pixel('-1')},Training", "pixel 2304 is '-1'"),
        (f"3,{with_pixel('1.5')},Training", "pixel 2304 is '1.5'"),
        (f"3,{with_pixel('x')},Training", "pixel 2304 is 'x'"),
        (f"3,{with_pixel('nan')},Training", "pixel 2304 is 'nan'"),
        (f"3,{with_pixel('9' * 5000)},Training", "pixel 2304 is '9999"),
        (f"3,x {PIXELS},Training", "pixel 1 is 'x'"),
        (f"3,{PIXELS} x,Training", "pixel 2305 is 'x'"),
        (f"7,{PIXELS},Training", "emotion '7'; allowed are 0..6 (angry, disgust"),
        (f"-1,{PIXELS},Training", "emotion '-1'"),
        (f"happy,{PIXELS},Training", "emotion 'happy'"),
        (f",{PIXELS},Training", "emotion ''"),
        (f"3,{PIXELS},Trai", "Usage 'Trai'; allowed are Training, PublicTest, PrivateTest"),
        (f"3,{PIXELS},", "Usage ''"),
    ],
    ids=lambda value: value if len(value) < 40 else "row",
)
def test_csv_row_is_refused(tmp_path: Path, row: str, says: str) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_text("\n".join([HEADER, *[GOOD] * 16, row, GOOD]))
    assert_refused(path, f"{path}, row 17 (line 18): {says}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column emotion, pixels, Usage; found none"),
        (f"emotion,pixels\n3,{PIXELS}", "no column Usage; found emotion, pixels"),
        ("\x00\x01\xff garbage", "no column emotion, pixels, Usage"),
        (HEADER, "no images in it"),
        (f"{HEADER}\n{GOOD}\n", "1 images, none of them in the test split; both splits are needed"),
        (f"{HEADER}\n{csv_row(FACES.images[0], usage='PrivateTest')}", "none of them in the training split"),
        (f'{HEADER}\n3,"{"1 " * 100_000}",Training', "row 1 (line 2): field larger than field limit"),
    ],
)
def test_csv_file_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_text(text, encoding="latin-1")
    assert_refused(path, says)


def test_csv_cut_off_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "fer2013.csv", FACES)
    path.write_bytes(path.read_bytes()[:-5000])
    assert_refused(path, f"row {len(FACES)} (line {len(FACES) + 1}): 2 fields, the header has 3; is the file cut off?")


def test_csv_variants_are_read_alike(tmp_path: Path) -> None:
    plain = read(write_csv(tmp_path / "plain.csv", FACES))
    rows = [csv_row(*row).split(",") for row in zip(FACES.images, FACES.emotions, strict=True)]
    usage = ["Training" if side == TRAIN else "PrivateTest" for side in FACES.usage]
    lines = [f'{emotion}, {use},"{pixels}"' for (emotion, pixels, _), use in zip(rows, usage, strict=True)]
    varied = tmp_path / "icml_face_data.CSV"
    varied.write_text("\ufeffemotion, Usage, pixels\r\n" + "\r\n\r\n".join(lines), encoding="utf-8", newline="")
    other = read(varied)
    np.testing.assert_array_equal(other.images, plain.images)
    np.testing.assert_array_equal(other.emotions, plain.emotions)
    np.testing.assert_array_equal(other.usage, plain.usage)


@given(
    images=hnp.arrays(np.uint8, st.tuples(st.integers(2, 4), st.just(48), st.just(48)), fill=st.integers(0, 255)),
    data=st.data(),
)
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, images: np.ndarray, data: st.DataObject) -> None:
    n = len(images)
    emotions = data.draw(hnp.arrays(np.int8, n, elements=st.integers(0, 6)))
    usage = np.array(
        [TRAIN, TEST, *data.draw(st.lists(st.sampled_from([TRAIN, TEST]), min_size=n - 2, max_size=n - 2))]
    )
    faces = FaceSet(images, emotions, usage.astype(np.int8), ("",) * n)
    again = read_csv(write_csv(tmp_path_factory.mktemp("csv") / "fer2013.csv", faces))
    np.testing.assert_array_equal(again.images, images)
    np.testing.assert_array_equal(again.emotions, emotions)
    np.testing.assert_array_equal(again.usage, usage)


@given(st.text(alphabet='0123456789 .-+xe,\n"\x00\u00e9', max_size=60))
def test_csv_never_fails_but_by_a_sentence(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("csv") / "fer2013.csv"
    path.write_text(f"{HEADER}\n{GOOD}\n{text}")
    with pytest.raises(InputError, match=re.escape("fer2013.csv")):
        read_source(DataSpec(source=str(path)))


def write_columns(path: Path, **changes: object) -> Path:
    columns = {name: value for name, value in (parquet_columns(FACES) | changes).items() if value is not None}
    DataFrame(columns).to_parquet(path)
    return path


def changed(column: str, row: int, value: object) -> dict[str, list]:
    values = parquet_columns(FACES)[column]
    values[row - 1] = value
    return {column: values}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"usage": None}, "no column usage; found name, emotion, pixels"),
        (changed("emotion", 5, 9), ", row 5: emotion '9'"),
        (changed("usage", 5, "Test"), ", row 5: Usage 'Test'"),
        (changed("usage", 5, None), ", row 5: Usage 'None'"),
        (changed("pixels", 5, b"not a picture"), ", row 5: not a readable image (13 bytes)"),
        (changed("pixels", 5, b""), ", row 5: not a readable image (0 bytes)"),
        (changed("pixels", 5, None), ", row 5: an image is given by the bytes of an image file, received NoneType"),
        (changed("pixels", 5, parquet_columns(FACES)["pixels"][4][:-20]), ", row 5: not a readable image"),
        ({"usage": ["Training"] * len(FACES)}, "none of them in the test split"),
    ],
    ids=range(9),
)
def test_parquet_is_refused(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    assert_refused(write_columns(tmp_path / "faces.parquet", **changes), says)


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "faces.parquet"
    path.write_bytes(b"no parquet at all")
    assert_refused(path, "not a readable parquet file")


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    path = write_columns(tmp_path / "faces.parquet")
    data = bytearray(path.read_bytes())
    data[4:4000] = bytes(3996)
    path.write_bytes(data)
    assert_refused(path, "not a readable parquet file")


def test_images_of_any_size_and_mode_are_read(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "faces", FACES)
    checks = np.indices((96, 192)).sum(axis=0) % 2 * 40  # gone once areas are averaged
    ramp = (np.arange(192) + checks).astype(np.uint8)
    shrunk = ramp.reshape(48, 2, 48, 4).mean(axis=(1, 3))
    variants = {
        "gray.png": ramp,
        "colour.png": cv2.merge([ramp] * 3),
        "alpha.png": cv2.merge([*[ramp] * 3, np.full_like(ramp, 9)]),
        "deep.png": ramp.astype(np.uint16) * 257,
        "photo.JPG": ramp,
        "old.bmp": cv2.merge([ramp] * 3),
    }
    for name, image in variants.items():
        (folder / "train" / "happy" / f"a_{name}").write_bytes(cv2.imencode(Path(name).suffix, image)[1].tobytes())
    faces = read(folder)
    for name in variants:
        face = faces.images[faces.names.index(f"a_{name}")]
        assert np.abs(face - shrunk).max() <= 2, name


def test_folder_names_may_be_spelled_otherwise(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "faces", FACES)
    plain = read(folder)
    (folder / "train").rename(folder / "TRAIN")
    for old, new in (("angry", "Anger"), ("happy", "HAPPY"), ("surprise", "surprised")):
        (folder / "TRAIN" / old).rename(folder / "TRAIN" / new)
    (folder / "TRAIN" / ".DS_Store").write_bytes(b"hidden")
    (folder / "TRAIN" / "HAPPY" / ".DS_Store").write_bytes(b"hidden")
    again = read(folder)
    np.testing.assert_array_equal(again.images, plain.images)
    np.testing.assert_array_equal(again.emotions, plain.emotions)
    assert again.names == plain.names


def break_folder(folder: Path, how: str) -> None:
    if how == "no test":
        (folder / "test").rename(folder / "holdout")
    elif how == "unknown emotion":
        (folder / "train" / "happy").rename(folder / "train" / "contempt")
    elif how == "flat":
        for face in list((folder / "train").rglob("*.png")):
            face.rename(folder / "train" / face.name)
        for emotion in list((folder / "train").iterdir()):
            if emotion.is_dir():
                emotion.rmdir()
    elif how == "no images":
        for face in list((folder / "test").rglob("*.png")):
            face.unlink()
    elif how == "not an image":
        (folder / "test" / "sad" / "notes.txt").write_text("to do")
    else:
        (folder / "test" / "sad" / "more").mkdir()


@pytest.mark.parametrize(
    ("how", "says"),
    [
        (
            "no test",
            "no folder 'test'; found holdout, train; an image folder holds train/<emotion>/ and test/<emotion>/",
        ),
        ("unknown emotion", "found contempt; allowed are angry, disgust, fear, happy, sad, surprise, neutral"),
        ("flat", "every folder in it must be named after an emotion; found face_00000.png, face_00001.png"),
        ("no images", "7 images, none of them in the test split"),
        ("not an image", "notes.txt: not a readable image (5 bytes)"),
        ("folder in a folder", "more: cannot be read: Is a directory"),
    ],
)
def test_folder_is_refused(tmp_path: Path, how: str, says: str) -> None:
    folder = write_folder(tmp_path / "faces", FACES)
    break_folder(folder, how)
    assert_refused(folder, says)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path, "no folder 'train'; found nothing")


def test_missing_and_unknown_files_are_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "fer2013.csv", "no such file or folder; data is `demo`, a fer2013.csv")
    archive = tmp_path / "archive.zip"
    archive.write_bytes(b"PK")
    assert_refused(archive, "unknown type of file '.zip'")
