from pathlib import Path

import cv2
import numpy as np
import pytest
from face_files import make_faces, take

from spaces.errors import InputError
from trainables.data.faceset import EMOTIONS
from trainables.data.sheet import LABEL_WIDTH, MARGIN, SCALE, contact_sheet, write_sheet

FACES = make_faces(12, 4)


def cell(sheet: np.ndarray, row: int, column: int) -> np.ndarray:
    """The face in a cell, back at 48 x 48."""
    side, step = SCALE * 48, SCALE * 48 + MARGIN
    top, left = MARGIN + row * step, LABEL_WIDTH + MARGIN + column * step
    return cv2.resize(sheet[top : top + side, left : left + side], (48, 48), interpolation=cv2.INTER_AREA)


def test_rows_are_emotions() -> None:
    sheet = contact_sheet(FACES, per_emotion=3)
    for emotion in range(7):
        own = FACES.images[FACES.emotions == emotion].astype(float)
        distances = [np.abs(own - cell(sheet, emotion, column)).mean(axis=(1, 2)) for column in range(3)]
        assert all(distance.min() < 20 for distance in distances)
        assert len({int(distance.argmin()) for distance in distances}) == 3
        label = sheet[MARGIN + emotion * 100 :, :LABEL_WIDTH][:96]
        assert (label < 128).sum() > 40, f"no label for {EMOTIONS[emotion]}"


def test_the_seed_fixes_the_sheet() -> None:
    np.testing.assert_array_equal(contact_sheet(FACES, seed=1), contact_sheet(FACES, seed=1))
    assert (contact_sheet(FACES, seed=1) != contact_sheet(FACES, seed=2)).any()


def test_a_short_row_is_left_white() -> None:
    few = take(FACES, np.flatnonzero(FACES.emotions != 2)[:5])
    sheet = contact_sheet(few, per_emotion=6)
    assert (cell(sheet, 2, 0) == 255).all()
    assert (cell(sheet, 0, 5) == 255).all()
    assert (cell(sheet, 0, 4) != 255).any()


@pytest.mark.parametrize("suffix", [".png", ".JPG"])
def test_a_sheet_is_written(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"sheet{suffix}"
    write_sheet(path, FACES, per_emotion=2)
    written = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    expected = contact_sheet(FACES, per_emotion=2)
    assert written.shape == expected.shape
    assert np.abs(written.astype(int) - expected).mean() < 5


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sheet.pdf: a sheet is an image; received suffix '.pdf', allowed are .png"):
        write_sheet(tmp_path / "sheet.pdf", FACES)
    with pytest.raises(InputError, match=r"sheet.png: the folder .*missing does not exist"):
        write_sheet(tmp_path / "missing" / "sheet.png", FACES)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(InputError, match=r"folder.png: cannot be written: Is a directory"):
        write_sheet(tmp_path / "folder.png", FACES)
