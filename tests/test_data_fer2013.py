"""The protocol on the real FER2013: every figure, counted a second time in plain Python, then pinned."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from trainables.data.describe import describe
from trainables.data.faceset import EMOTIONS
from trainables.data.protocol import load_test, load_training
from trainables.data.spec import DataSpec, ProtocolSpec

pytestmark = pytest.mark.fer2013

CLASS = {"angry": "negative", "disgust": "negative", "sad": "negative", "neutral": "neutral", "happy": "positive"}


@dataclass(frozen=True)
class Row:
    side: str
    emotion: str
    pixels: bytes
    std: float


@pytest.fixture(scope="module")
def rows(fer2013: Path) -> list[Row]:
    """The file as pandas and cv2 alone read it."""
    rows = []
    for row in pd.read_parquet(fer2013).itertuples():
        image = cv2.imdecode(np.frombuffer(row.pixels, np.uint8), cv2.IMREAD_UNCHANGED)
        side = "train" if row.usage == "Training" else "test"
        rows.append(Row(side, EMOTIONS[row.emotion], image.tobytes(), float(image.std())))
    return rows


@pytest.fixture(scope="module")
def cleaning(rows: list[Row]) -> dict[str, Counter[str]]:
    """What becomes of each row, judged one by one; the key of a kept one is its class."""
    test_images = {row.pixels for row in rows if row.side == "test"}
    emotions = defaultdict(set)
    for row in rows:
        emotions[row.side, row.pixels].add(row.emotion)
    counts: dict[str, Counter[str]] = {"train": Counter(), "test": Counter()}
    seen = set()
    for row in rows:
        key = (row.side, row.pixels)
        if row.std < 10:
            fate = "blank"
        elif row.side == "train" and row.pixels in test_images:
            fate = "leak"
        elif len(emotions[key]) > 1:
            fate = "conflict"
        elif key in seen:
            fate = "duplicate"
        else:
            fate = CLASS.get(row.emotion, "no_class")
        seen.add(key)
        counts[row.side][fate] += 1
    return counts


@pytest.fixture(scope="module")
def info(fer2013: Path, cache: Path) -> dict:
    return describe(DataSpec(source=str(fer2013)), cache)


def test_emotions(info: dict) -> None:
    assert info["images"] == 32_298
    assert list(info["emotions"]["train"].values()) == [3995, 436, 4097, 7215, 4830, 3171, 4965]
    assert list(info["emotions"]["test"].values()) == [467, 56, 496, 895, 653, 415, 607]


def test_cleaning_agrees_with_a_plain_count(info: dict, cleaning: dict[str, Counter[str]]) -> None:
    for side, counts in info["statistics"]["cleaning"].items():
        for verdict in ("blank", "leak", "conflict", "duplicate", "no_class"):
            assert counts[verdict] == cleaning[side][verdict], (side, verdict)
        assert counts["kept"] == sum(cleaning[side][name] for name in ("negative", "neutral", "positive"))


def test_cleaning_is_pinned(info: dict) -> None:
    cleaning = {side: dict(counts) for side, counts in info["statistics"]["cleaning"].items()}
    assert [counts.pop("no_face") for counts in cleaning.values()] == [0, 0]
    assert cleaning == {
        "train": {"kept": 20_763, "blank": 13, "leak": 340, "conflict": 83, "duplicate": 1105, "no_class": 6405},
        "test": {"kept": 2667, "blank": 2, "leak": 0, "conflict": 2, "duplicate": 25, "no_class": 893},
    }
    assert (info["blank"], info["duplicates"], info["conflicts"], info["leaks_removed"]) == (15, 1130, 85, 340)


@pytest.mark.parametrize("balance", [2400, "none"])
def test_classes(fer2013: Path, cache: Path, cleaning: dict[str, Counter[str]], balance: int | str) -> None:
    classes = describe(DataSpec(source=str(fer2013), protocol=ProtocolSpec(balance=balance)), cache)["classes"]
    assert classes["test"] == {name: cleaning["test"][name] for name in classes["test"]}
    assert classes["test"] == {"negative": 1169, "neutral": 605, "positive": 893}
    assert classes["validation"] == {"negative": 1773, "neutral": 969, "positive": 1411}
    rest = {name: cleaning["train"][name] - classes["validation"][name] for name in classes["validation"]}
    assert rest == {"negative": 7090, "neutral": 3875, "positive": 5645}
    assert classes["train"] == (rest if balance == "none" else dict.fromkeys(rest, 2400))


def test_statistics(info: dict, rows: list[Row]) -> None:
    statistics = info["statistics"]
    pixels = np.frombuffer(b"".join(row.pixels for row in rows), np.uint8)
    within = [row.std for row in rows]
    assert statistics["mean"] == pytest.approx(pixels.mean()) == pytest.approx(129.419395)
    assert statistics["std"] == pytest.approx(pixels.std()) == pytest.approx(65.024775)
    assert statistics["image_std"]["median"] == pytest.approx(np.median(within)) == pytest.approx(53.607953)
    assert statistics["image_std"]["maximum"] == pytest.approx(max(within)) == pytest.approx(114.151993)
    assert statistics["image_std"]["minimum"] == 0


def test_the_split_never_moves(fer2013: Path, cache: Path) -> None:
    data = load_training(DataSpec(source=str(fer2013)), cache)
    assert data.fingerprint == "3c2cfdbdd670e217b592bbf14fa9b034"
    assert data.split == "f3629d3c839ae00c9de9e0b3d95ec167"
    assert data.train.names[:3] == ("Training_9136707.jpg", "Training_51716089.jpg", "Training_57529893.jpg")
    assert data.validation.names[:3] == ("Training_24751535.jpg", "Training_59105097.jpg", "Training_68256652.jpg")


def test_nothing_of_the_test_split_is_seen_in_training(fer2013: Path, cache: Path, rows: list[Row]) -> None:
    spec = DataSpec(source=str(fer2013), protocol=ProtocolSpec(balance="none"))
    data, test = load_training(spec, cache), load_test(spec, cache)
    train, validation, tested = (
        [image.tobytes() for image in part.images] for part in (data.train, data.validation, test)
    )
    assert len(set(train)) == len(train) == 16_610
    assert len(set(validation)) == len(validation) == 4153
    assert len(set(tested)) == len(tested) == 2667
    test_images = {row.pixels for row in rows if row.side == "test"}
    assert set(tested) <= test_images
    assert not set(train) & (test_images | set(validation))
    assert not set(validation) & test_images
