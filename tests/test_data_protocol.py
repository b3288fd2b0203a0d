from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from face_files import make_faces, take, write_parquet
from hypothesis import given, settings
from hypothesis import strategies as st

from spaces.errors import InputError
from trainables.data.faceset import CLASSES, EMOTIONS, TEST, TRAIN, FaceSet
from trainables.data.protocol import (
    Verdict,
    class_of,
    judge,
    load_pretraining,
    load_test,
    load_training,
    pixel_std,
    split,
)
from trainables.data.spec import DataSpec, ProtocolSpec

ALL = ProtocolSpec(balance="none")
POOL = np.random.default_rng(0).integers(0, 256, (6, 48, 48), dtype=np.uint8)
POOL[0], POOL[1] = 0, 120
POOL[1, 0, 0] = 121


@st.composite
def messy_faces(draw: st.DrawFn) -> FaceSet:
    """Few different images, two of them blank, in many rows: full of duplicates, conflicts and leaks."""
    row = st.tuples(st.integers(0, len(POOL) - 1), st.integers(0, 6), st.sampled_from([TRAIN, TEST]))
    rows = draw(st.lists(row, min_size=1, max_size=40))
    images, emotions, usage = (np.array(column) for column in zip(*rows, strict=True))
    names = tuple(f"row {number}" for number in range(len(rows)))
    return FaceSet(POOL[images], emotions.astype(np.int8), usage.astype(np.int8), names)


def judge_plainly(faces: FaceSet, spec: ProtocolSpec) -> list[Verdict]:
    """The rules of `Verdict`, row by row."""
    used = {*spec.negative, *spec.neutral, *spec.positive}
    rows = [(i.tobytes(), int(u), int(e)) for i, u, e in zip(faces.images, faces.usage, faces.emotions, strict=True)]
    verdicts = []
    for number, (pixels, side, emotion) in enumerate(rows):
        if faces.images[number].std() < spec.blank_std:
            verdicts.append(Verdict.BLANK)
        elif side == TRAIN and any(p == pixels and s == TEST for p, s, _ in rows):
            verdicts.append(Verdict.LEAK)
        elif any(p == pixels and s == side and e != emotion for p, s, e in rows):
            verdicts.append(Verdict.CONFLICT)
        elif (pixels, side, emotion) in rows[:number]:
            verdicts.append(Verdict.DUPLICATE)
        elif EMOTIONS[emotion] not in used:
            verdicts.append(Verdict.NO_CLASS)
        else:
            verdicts.append(Verdict.KEPT)
    return verdicts


@given(messy_faces())
def test_verdicts_follow_the_rules(faces: FaceSet) -> None:
    assert judge(faces, ALL).tolist() == judge_plainly(faces, ALL)


@given(messy_faces())
def test_every_row_is_used_or_dropped_for_one_reason(faces: FaceSet) -> None:
    parts = split(faces, ALL)
    used = [*parts.train, *parts.validation, *parts.test]
    assert len(set(used)) == len(used)
    assert sorted(used) == np.flatnonzero(parts.verdicts == Verdict.KEPT).tolist()
    dropped = sum(int((parts.verdicts == verdict).sum()) for verdict in Verdict if verdict is not Verdict.KEPT)
    assert dropped + len(used) == len(faces)


@given(messy_faces())
def test_no_image_stands_in_two_splits_or_twice_in_one(faces: FaceSet) -> None:
    parts = split(faces, ALL)
    seen = Counter(faces.images[row].tobytes() for rows in (parts.train, parts.validation, parts.test) for row in rows)
    assert not seen or max(seen.values()) == 1
    test_side = {image.tobytes() for image in faces.images[faces.usage == TEST]}
    assert not any(faces.images[row].tobytes() in test_side for row in [*parts.train, *parts.validation])


@given(messy_faces(), st.randoms(use_true_random=False))
def test_row_order_plays_no_part(faces: FaceSet, random: object) -> None:
    order = list(range(len(faces)))
    random.shuffle(order)
    shuffled = take(faces, order)
    parts, others = split(faces, ALL), split(shuffled, ALL)
    for rows, other_rows in (
        (parts.train, others.train),
        (parts.validation, others.validation),
        (parts.test, others.test),
    ):
        np.testing.assert_array_equal(shuffled.images[other_rows], faces.images[rows])
        np.testing.assert_array_equal(shuffled.emotions[other_rows], faces.emotions[rows])


@settings(max_examples=25)
@given(st.integers(1, 30), st.floats(0.01, 0.89), st.integers(0, 2**40))
def test_validation_is_a_stratified_share(per_emotion: int, share: float, seed: int) -> None:
    faces = make_faces(per_emotion, 1)
    parts = split(faces, ProtocolSpec(balance="none", validation=share, seed=seed))
    wanted = max(1, int(share * per_emotion + 0.5))
    used = [0, 1, 3, 4, 6]
    assert np.bincount(faces.emotions[parts.validation], minlength=7)[used].tolist() == [wanted] * 5
    assert np.bincount(faces.emotions[parts.train], minlength=7)[used].tolist() == [per_emotion - wanted] * 5


def test_validation_depends_on_the_seed_alone() -> None:
    faces = make_faces(30, 2)
    base = split(faces, ProtocolSpec(balance=10))
    for other in (ProtocolSpec(balance=24), ALL):
        np.testing.assert_array_equal(split(faces, other).validation, base.validation)
    fewer = split(faces, ProtocolSpec(balance=10, negative=("sad",))).validation
    assert set(fewer) == {row for row in base.validation if EMOTIONS[faces.emotions[row]] not in ("angry", "disgust")}
    assert set(split(faces, ProtocolSpec(balance=10, seed=1)).validation) != set(base.validation)


def test_a_smaller_training_set_is_part_of_a_larger() -> None:
    faces = make_faces(30, 2)
    small, large, full = (split(faces, ProtocolSpec(balance=b)).train for b in (10, 20, "none"))
    assert np.bincount(class_of(ALL)[faces.emotions[small]]).tolist() == [10, 10, 10]
    assert np.bincount(class_of(ALL)[faces.emotions[large]]).tolist() == [20, 20, 20]
    assert set(small) < set(large) < set(full)
    assert [row for row in large if row in set(small)] == small.tolist()


def test_training_order_mixes_the_classes() -> None:
    faces = make_faces(100, 2)
    labels = class_of(ALL)[faces.emotions[split(faces, ProtocolSpec(balance=60)).train]]
    assert (np.bincount(labels[:60], minlength=3) > 5).all()


def test_blank_is_below_the_threshold() -> None:
    faces = take(make_faces(1, 1), range(4))
    for image, (low, high) in zip(faces.images, [(100, 119), (100, 120), (100, 121), (7, 7)], strict=True):
        image[:24], image[24:] = low, high
    spec = ProtocolSpec(balance="none", negative=EMOTIONS[:4], positive=("sad",))
    assert (judge(faces, spec) == Verdict.BLANK).tolist() == [True, False, False, True]


@given(st.integers(0, 2**32))
def test_pixel_std_is_numpys(seed: int) -> None:
    images = np.random.default_rng(seed).integers(0, 256, (3, 48, 48), dtype=np.uint8)
    images[0] = 255
    np.testing.assert_allclose(pixel_std(images), images.std(axis=(1, 2)), atol=1e-9)


def parquet_spec(folder: Path, faces: FaceSet, **protocol: object) -> DataSpec:
    return DataSpec(source=str(write_parquet(folder / "faces.parquet", faces)), protocol=ProtocolSpec(**protocol))


def test_loaded_faces_are_labelled_and_apart(tmp_path: Path) -> None:
    faces = make_faces(20, 4)
    spec = parquet_spec(tmp_path, faces, balance=10)
    data, test = load_training(spec, tmp_path), load_test(spec, tmp_path)
    names = [*data.train.names, *data.validation.names, *test.names]
    assert len(set(names)) == len(names)
    classes = {"angry": 0, "disgust": 0, "sad": 0, "neutral": 1, "happy": 2}
    for part in (data.train, data.validation, test):
        for number, name in enumerate(part.names):
            row = faces.names.index(name)
            np.testing.assert_array_equal(part.images[number], faces.images[row])
            assert part.emotions[number] == faces.emotions[row]
            assert part.labels[number] == classes[EMOTIONS[faces.emotions[row]]]
    assert (data.train.images.dtype, data.train.labels.dtype, data.train.emotions.dtype) == (np.uint8, np.int8, np.int8)
    assert all((faces.usage[faces.names.index(name)] == TEST) == (name in test.names) for name in names)


def test_split_names_what_is_held_out(tmp_path: Path) -> None:
    faces = make_faces(30, 4)
    spec = parquet_spec(tmp_path, faces, balance=10)
    data = load_training(spec, tmp_path)

    def other(**changes: object) -> str:
        protocol = spec.protocol.model_copy(update=changes)
        return load_training(spec.model_copy(update={"protocol": protocol}), tmp_path).split

    assert other(balance="none") == data.split
    faces.images[-1] ^= 1
    assert load_training(parquet_spec(tmp_path, faces, balance=10), tmp_path).split != data.split
    assert other(seed=1) != data.split
    assert other(validation=0.3) != data.split


@pytest.mark.parametrize(
    ("protocol", "says"),
    [
        (
            {"balance": 2400},
            "too few images of class negative for training: 24, needed 2400; lower `balance` or set it to none",
        ),
        ({"balance": 12}, "too few images of class neutral for training: 8, needed 12"),
        ({"balance": "none", "blank_std": 300}, "too few images of class negative for validation: 0, needed 1"),
    ],
)
def test_too_few_training_images_are_refused(tmp_path: Path, protocol: dict[str, object], says: str) -> None:
    spec = parquet_spec(tmp_path, make_faces(10, 2), **protocol)
    with pytest.raises(InputError, match=f"^{spec.source}: {says}"):
        load_training(spec, tmp_path)


def test_a_test_split_without_a_class_is_refused(tmp_path: Path) -> None:
    faces = make_faces(10, 2)
    unhappy = (faces.emotions != EMOTIONS.index("happy")) | (faces.usage == TRAIN)
    spec = parquet_spec(tmp_path, take(faces, np.flatnonzero(unhappy)), balance="none")
    with pytest.raises(InputError, match=r"too few images of class positive for test: 0, needed 1$"):
        load_test(spec, tmp_path)
    assert len(load_training(spec, tmp_path).train) == 40


def test_class_of_follows_the_mapping() -> None:
    spec = ProtocolSpec(negative=("fear",), neutral=("neutral", "surprise"), positive=("happy",))
    assert class_of(spec).tolist() == [-1, -1, 0, 2, -1, 1, 1]
    assert CLASSES == ("negative", "neutral", "positive")


def test_pretraining_sees_every_emotion_and_nothing_held_out(tmp_path: Path) -> None:
    faces = make_faces(30, 6)
    tested = np.flatnonzero(faces.usage == TEST)[:5]
    spec = DataSpec(source=str(write_parquet(tmp_path / "faces.parquet", faces)))
    drawn = {image.tobytes() for image in load_training(spec, tmp_path).validation.images}
    validated = [row for row, image in enumerate(faces.images) if image.tobytes() in drawn][:5]
    leaking = take(faces, [*range(len(faces)), *tested, *validated])
    leaking.usage[-10:] = TRAIN
    leaking.emotions[-3:] = EMOTIONS.index("fear")  # copies of validation faces, three of them with another label
    spec = DataSpec(source=str(write_parquet(tmp_path / "leaking.parquet", leaking)))
    data, allowed = load_training(spec, tmp_path), load_pretraining(spec, tmp_path)
    held_out = {image.tobytes() for image in (*data.validation.images, *load_test(spec, tmp_path).images)}
    held_out |= {image.tobytes() for image in faces.images[faces.usage == TEST]}
    seen = {image.tobytes() for image in allowed.images}
    assert not seen & held_out
    assert {image.tobytes() for image in data.train.images} <= seen
    assert set(allowed.emotions) == set(range(len(EMOTIONS)))
    assert (allowed.split, allowed.fingerprint) == (data.split, data.fingerprint)
    fewer = DataSpec(source=spec.source, protocol=ProtocolSpec(balance=10))
    assert len(load_pretraining(fewer, tmp_path).images) == len(allowed.images)
    other = DataSpec(source=spec.source, protocol=ProtocolSpec(seed=1))
    assert load_pretraining(other, tmp_path).split != allowed.split
