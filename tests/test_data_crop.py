"""From pictures with a background to crops, on every way from a source to the splits.

YuNet's own file is not shipped: its path is run here by OpenCV's `FaceDetectorYN` with a network that takes white
patches for faces (`onnx_detector`), so what YuNet itself finds in pictures is not tested.
"""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from face_files import take, write_csv, write_folder, write_parquet
from onnx_detector import PATCH, another_network, white_patch_detector

from spaces.errors import InputError
from trainables.data import store
from trainables.data.crop import FaceDetector, crop, crop_traits
from trainables.data.decode import whole_face
from trainables.data.demo import draw_faces
from trainables.data.describe import describe, tables
from trainables.data.faceset import EMOTIONS, TEST, TRAIN, Crops, FaceSet
from trainables.data.protocol import Verdict, judge, load_pretraining, load_test, load_training, split
from trainables.data.sources import read_source
from trainables.data.spec import CropSpec, DataSpec, ProtocolSpec
from trainables.data.store import load_faceset

PROTOCOL = ProtocolSpec(blank_std=0, validation=0.34)
KEEP, DROP = CropSpec(), CropSpec(missing="drop")
SIDE, WIDTH, HEIGHT = 96, 200, 150


@pytest.fixture(scope="module")
def haar() -> FaceDetector:
    return FaceDetector(KEEP)


@pytest.fixture(scope="module")
def drawn() -> FaceSet:
    return draw_faces(500)


@pytest.fixture(scope="module")
def faces(drawn: FaceSet) -> FaceSet:
    """Eight built-in faces of each emotion, two of them for test: the first of each kind."""
    rows: list[int] = []
    for emotion in range(len(EMOTIONS)):
        for side, amount in ((TRAIN, 6), (TEST, 2)):
            rows += np.flatnonzero((drawn.emotions == emotion) & (drawn.usage == side))[:amount].tolist()
    return take(drawn, rows)


def texture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(120, 200, (HEIGHT, WIDTH)).astype(np.float32)
    return cv2.GaussianBlur(noise, (0, 0), 4).clip(0, 255).astype(np.uint8)


def photo(face: np.ndarray, seed: int) -> tuple[np.ndarray, tuple[int, int]]:
    """`face`, twice as large, somewhere on a textured background; and its upper left corner."""
    generator = np.random.default_rng(seed)
    x, y = int(generator.integers(0, WIDTH - SIDE)), int(generator.integers(0, HEIGHT - SIDE))
    picture = texture(seed)
    picture[y : y + SIDE, x : x + SIDE] = cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    return picture, (x, y)


def write_photos(folder: Path, faces: FaceSet) -> Path:
    """A folder of photos of `faces`; the photos of every emotion's first two training faces show texture only."""
    write_folder(folder, faces)
    for row, (name, side, emotion) in enumerate(zip(faces.names, faces.usage, faces.emotions, strict=True)):
        path = folder / ("train", "test")[side] / EMOTIONS[emotion] / name
        faceless = side == TRAIN and row in np.flatnonzero((faces.usage == TRAIN) & (faces.emotions == emotion))[:2]
        assert cv2.imwrite(str(path), texture(row) if faceless else photo(faces.images[row], row)[0])
    return folder


@pytest.fixture(scope="module")
def photos(faces: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_photos(tmp_path_factory.mktemp("photos"), faces))


def likeness(left: np.ndarray, right: np.ndarray) -> float:
    return float(np.corrcoef(left.ravel(), right.ravel())[0, 1])


def test_photos_are_cropped_to_their_faces_at_their_own_size(
    photos: str, faces: FaceSet, haar: FaceDetector, cache: Path
) -> None:
    plain, stored = (load_faceset(DataSpec(source=photos, crop=crop), cache) for crop in (None, KEEP))
    assert stored.crops is not None
    files = {path.name: path for path in Path(photos).rglob("*.png")}
    for row in range(0, len(stored), 5):
        picture = cv2.imread(str(files[stored.names[row]]), cv2.IMREAD_GRAYSCALE)
        np.testing.assert_array_equal(stored.images[row], crop(picture, haar.find(picture), KEEP.margin))
    found = stored.crops.found
    pasted = dict(zip(faces.names, faces.images, strict=True))
    whole, cropped = (
        [likeness(image, pasted[name]) for image, name in zip(those.images, those.names, strict=True)]
        for those in (plain, stored)
    )
    assert plain.crops is None
    assert found.sum() > 0.4 * len(faces)
    # Not quite the face as it was pasted: the box is a few pixels larger or smaller, or off.
    assert np.median(np.array(cropped)[found]) > 0.6
    assert np.median(np.array(whole)[found]) < 0.4


def test_where_no_face_is_found_the_picture_is_kept_whole(photos: str, cache: Path) -> None:
    whole, kept = load_faceset(DataSpec(source=photos), cache), load_faceset(DataSpec(source=photos, crop=KEEP), cache)
    assert kept.crops is not None
    assert 0.1 < (~kept.crops.found).mean() < 0.7
    np.testing.assert_array_equal(kept.images[~kept.crops.found], whole.images[~kept.crops.found])
    np.testing.assert_array_equal(kept.origins, whole.digests)


def test_pictures_without_a_face_are_dropped_from_every_split(photos: str, cache: Path) -> None:
    spec = DataSpec(source=photos, crop=DROP, protocol=PROTOCOL)
    stored = load_faceset(spec, cache)
    assert stored.crops is not None
    data, test = load_training(spec, cache), load_test(spec, cache)
    used = {name for part in (data.train, data.validation, test) for name in part.names}
    kept = {name for name, found in zip(stored.names, stored.crops.found, strict=True) if found}
    in_a_class = {name for name, label in zip(stored.names, stored.emotions, strict=True) if label not in (2, 5)}
    assert used == kept & in_a_class
    pretraining = load_pretraining(spec, cache)
    assert pretraining.split == data.split
    clean = {image.tobytes() for image in stored.images[stored.crops.found]}
    assert {image.tobytes() for image in pretraining.images} <= clean
    assert not {image.tobytes() for image in pretraining.images} & {image.tobytes() for image in data.validation.images}


@pytest.mark.parametrize("missing", ["keep", "drop"])
def test_what_was_found_is_counted(photos: str, cache: Path, missing: str) -> None:
    spec = DataSpec(source=photos, crop=CropSpec(missing=missing), protocol=PROTOCOL)
    stored = load_faceset(spec, cache)
    assert stored.crops is not None
    info = describe(spec, cache)
    for name, side in (("train", TRAIN), ("test", TEST)):
        found = stored.crops.found[stored.usage == side]
        others = {"kept_whole": 0, "dropped": 0} | {"kept_whole" if missing == "keep" else "dropped": (~found).sum()}
        assert info["crop"][name] == {"found": found.sum()} | others
        assert info["statistics"]["cleaning"][name]["no_face"] == others["dropped"]
    assert len(tables(info)) == len(tables(describe(DataSpec(source=photos), cache))) + 1
    assert "crop" not in describe(DataSpec(source=photos), cache)


@pytest.mark.parametrize("write", [write_csv, write_parquet, write_folder], ids=["csv", "parquet", "folder"])
def test_faces_of_48_pixels_are_searched_in_every_layout(faces: FaceSet, tmp_path: Path, write) -> None:
    suffix = {write_csv: ".csv", write_parquet: ".parquet"}.get(write, "")
    spec = DataSpec(source=str(write(tmp_path / f"faces{suffix}", faces)), crop=KEEP)
    stored = read_source(spec)
    detector = FaceDetector(KEEP)
    boxes = [detector.find(image) for image in faces.images]
    assert sum(box is not None for box in boxes) > 0.6 * len(faces)
    expected = {crop(image, box, KEEP.margin).tobytes() for image, box in zip(faces.images, boxes, strict=True)}
    assert {image.tobytes() for image in stored.images} == expected


def test_built_in_faces_are_cropped_too() -> None:
    plain, stored = read_source(DataSpec(demo_images=700)), read_source(DataSpec(demo_images=700, crop=KEEP))
    assert stored.crops is not None
    assert stored.crops.found.mean() > 0.6
    changed = (stored.images != plain.images).any(axis=(1, 2))
    assert not changed[~stored.crops.found].any()
    assert changed.mean() > 0.3


def test_boxes_of_small_pictures_lie_around_their_middle(haar: FaceDetector, drawn: FaceSet) -> None:
    boxes = np.array([box for box in map(haar.find, drawn.images[:100]) if box is not None])
    middles = boxes[:, :2] + boxes[:, 2:] / 2
    assert np.abs(np.median(middles, axis=0) - 24).max() < 3
    assert 36 < np.median(boxes[:, 2]) < 56


def test_boxes_of_photos_lie_where_the_face_was_pasted(haar: FaceDetector, faces: FaceSet) -> None:
    hits = 0
    for row, face in enumerate(faces.images):
        picture, (x, y) = photo(face, row)
        box = haar.find(picture)
        hits += (
            box is not None
            and max(abs(box[0] + box[2] / 2 - x - SIDE / 2), abs(box[1] + box[3] / 2 - y - SIDE / 2)) < SIDE / 5
        )
    assert hits > 0.6 * len(faces)


def test_boxes_do_not_depend_on_threads(haar: FaceDetector, faces: FaceSet) -> None:
    pictures = [photo(face, row)[0] for row, face in enumerate(faces.images[:6])]
    before = cv2.getNumThreads()
    try:
        runs = []
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            runs.append([FaceDetector(KEEP).find(picture) for picture in pictures])
            assert cv2.getNumThreads() == threads
    finally:
        cv2.setNumThreads(before)
    assert runs[0] == runs[1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 60), (3, 2), (64, 64), (65, 1), (5, 500), (200, 100)])
@pytest.mark.parametrize("level", [0, 255])
def test_pictures_of_any_shape_can_be_searched(haar: FaceDetector, shape: tuple[int, int], level: int) -> None:
    picture = np.full(shape, level, np.uint8)
    assert haar.find(picture) is None
    np.testing.assert_array_equal(crop(picture, None, 0), np.full((48, 48), level))


@pytest.mark.parametrize("face", [(0, 0, 100, 100), (140, 60, 100, 100), (40, 20, 120, 120), (0, 0, 160, 160)])
def test_a_crop_lies_within_the_picture_and_covers_the_face(face: tuple[int, int, int, int]) -> None:
    rows, columns = np.mgrid[0:160, 0:240]
    x, y, width, height = face
    for ramp, start, length, limit in ((rows, y, height, 160), (columns, x, width, 240)):
        part = crop(ramp.astype(np.uint8), face, 0)
        assert part.shape == (48, 48)
        side = min(max(width, height), 160)
        assert part.min() <= max(start, 0) + 3
        assert part.max() >= min(start + min(length, side), limit) - 5


@pytest.mark.parametrize("face", [(-3, -5, 56, 56), (20, 20, 40, 40), (-2, 0, 30, 30)])
def test_a_box_past_the_edges_gives_a_crop_within(face: tuple[int, int, int, int]) -> None:
    image = np.arange(48 * 48, dtype=np.uint32).reshape(48, 48).astype(np.uint8)
    assert crop(image, face, 0.1).shape == (48, 48)


def test_a_source_is_parsed_for_each_way_to_crop_but_not_for_what_becomes_of_missing_faces(
    photos: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[CropSpec | None] = []

    def read(spec: DataSpec) -> FaceSet:
        parsed.append(spec.crop)
        return read_source(spec)

    monkeypatch.setattr(store, "read_source", read)
    other = CropSpec(margin=0.2)
    for spec in (None, KEEP, DROP, other, None, KEEP):
        stored = load_faceset(DataSpec(source=photos, crop=spec), tmp_path)
        assert (stored.crops is None) == (spec is None)
    assert parsed == [None, KEEP, other]
    assert len({entry.name.rpartition("-")[2] for entry in tmp_path.iterdir()}) == 3


def test_another_file_of_the_detector_is_another_key(tmp_path: Path) -> None:
    spec = CropSpec(detector="yunet", model=str(tmp_path / "yunet.onnx"))
    before = crop_traits(CropSpec(detector="yunet", model=str(white_patch_detector(tmp_path / "yunet.onnx"))))
    assert crop_traits(spec) == before
    white_patch_detector(tmp_path / "yunet.onnx", least=210)
    assert crop_traits(spec) != before
    assert crop_traits(KEEP) != crop_traits(spec)


def test_with_and_without_cropping_the_same_pictures_validate(photos: str, faces: FaceSet, cache: Path) -> None:
    plain, kept = (load_training(DataSpec(source=photos, crop=crop, protocol=PROTOCOL), cache) for crop in (None, KEEP))
    assert kept.validation.names == plain.validation.names
    assert kept.train.names == plain.train.names
    assert (kept.fingerprint, kept.split) != (plain.fingerprint, plain.split)


def test_equal_crops_of_different_pictures_are_one_face_in_any_order_of_rows() -> None:
    generator = np.random.default_rng(0)
    images = np.repeat(generator.integers(0, 256, (30, 48, 48), dtype=np.uint8), 2, axis=0)
    usage = np.tile([TRAIN, TRAIN, TRAIN, TEST], 15).astype(np.int8)
    origins = np.frombuffer(generator.bytes(16 * 60), dtype="V16")
    emotions = np.full(60, 3, np.int8)
    faces = FaceSet(images, emotions, usage, ("",) * 60, crops=Crops(np.ones(60, bool), origins))
    verdicts = judge(faces, PROTOCOL)
    assert verdicts[2::4].tolist() == [Verdict.LEAK] * 15  # its twin stands in test
    for pair in range(0, 60, 4):
        first = min((pair, pair + 1), key=lambda row: origins[row].tobytes())
        assert verdicts[[pair, pair + 1]].tolist() == [
            Verdict.KEPT if row == first else Verdict.DUPLICATE for row in (pair, pair + 1)
        ]
    order = generator.permutation(60)
    crops = Crops(np.ones(60, bool), origins[order])
    shuffled = FaceSet(images[order], emotions, usage[order], ("",) * 60, crops=crops)
    parts, others = split(faces, PROTOCOL), split(shuffled, PROTOCOL)
    for rows, again in ((parts.train, others.train), (parts.validation, others.validation), (parts.test, others.test)):
        assert rows.tolist() == order[again].tolist()


@pytest.mark.parametrize(
    ("size", "corner", "scale"),
    [((360, 480), (96, 160), 1.0), ((1280, 960), (128, 256), 2.0)],
    ids=["as it is", "shrunk to 640"],
)
def test_yunet_boxes_come_back_in_pixels_of_the_picture(
    tmp_path: Path, size: tuple[int, int], corner: tuple[int, int], scale: float
) -> None:
    detector = FaceDetector(CropSpec(detector="yunet", model=str(white_patch_detector(tmp_path / "white.onnx"))))
    picture = np.full(size, 80, np.uint8)
    assert detector.find(picture) is None
    (top, left), cell = corner, round(32 * scale)
    picture[top : top + cell, left : left + cell] = 255
    shift = 1.5 * cell - PATCH * scale / 2
    assert detector.find(picture) == pytest.approx((left + shift, top + shift, PATCH * scale, PATCH * scale), abs=1)


def test_yunet_searches_small_pictures_enlarged(tmp_path: Path) -> None:
    detector = FaceDetector(CropSpec(detector="yunet", model=str(white_patch_detector(tmp_path / "white.onnx"))))
    face = np.full((48, 48), 80, np.uint8)
    face[12:20, 12:20] = 255  # one cell, once the picture is four times as large and has 12 pixels more on each side
    assert detector.find(face) == pytest.approx((6, 6, PATCH / 4, PATCH / 4), abs=1)


def test_what_is_not_yunet_is_refused_in_a_sentence(tmp_path: Path) -> None:
    text = tmp_path / "text.onnx"
    text.write_text("not a network")
    for path, says in (
        (tmp_path / "nowhere.onnx", "no such file; `crop.model` is the path of YuNet's .onnx file"),
        (tmp_path, "no such file"),
        (text, "not YuNet as an ONNX model that OpenCV reads"),
        (another_network(tmp_path / "other.onnx"), "not YuNet as an ONNX model that OpenCV reads"),
    ):
        with pytest.raises(InputError, match=re.escape(f"{path}: {says}")) as error:
            FaceDetector(CropSpec(detector="yunet", model=str(path)))
        assert "\n" not in str(error.value)


def test_a_missing_detector_is_told_before_the_source_is_read(photos: str, tmp_path: Path) -> None:
    spec = DataSpec(source=photos, crop=CropSpec(detector="yunet", model=str(tmp_path / "nowhere.onnx")))
    with pytest.raises(InputError, match=r"nowhere\.onnx: no such file"):
        load_training(spec, tmp_path)


def test_a_crop_of_the_whole_is_the_whole(drawn: FaceSet) -> None:
    np.testing.assert_array_equal(crop(drawn.images[0], (0, 0, 48, 48), 0.1), whole_face(drawn.images[0]))


@pytest.mark.parametrize(("margin", "side"), [(-0.25, 40), (0, 80), (0.25, 120), (1, 160)])
def test_the_margin_widens_the_square_about_the_middle(margin: float, side: int) -> None:
    columns = np.mgrid[0:160, 0:240][1].astype(np.uint8)
    part = crop(columns, (80, 40, 80, 80), margin).astype(float)
    assert part[:, -1].mean() - part[:, 0].mean() == pytest.approx(side * 47 / 48, abs=3)
    assert part.mean() == pytest.approx(119.5, abs=1)
