"""Shared faces: their key, and what happens when they are damaged."""

import numpy as np
import pytest
from damage import DAMAGES
from hypothesis import given
from hypothesis import strategies as st

from trainables.cache import Cache
from trainables.data.protocol import TrainingData, load_training
from trainables.data.spec import CropSpec, DataSpec, ProtocolSpec
from trainables.shared_data import faces_key, training_data

FIELDS = {
    "negative": st.just(("angry", "sad")),
    "neutral": st.just(("neutral", "surprise")),
    "positive": st.just(("happy", "fear")),
    "blank_std": st.floats(0, 9),
    "validation": st.floats(0.05, 0.19),
    "balance": st.integers(10, 5000),
    "seed": st.integers(1, 100),
}


@given(st.data(), st.sampled_from(sorted(ProtocolSpec.model_fields)))
def test_the_key_changes_with_every_field_of_the_protocol(data, name):
    changed = DataSpec(protocol=ProtocolSpec(**{name: data.draw(FIELDS[name])}))
    assert faces_key(changed, "f", "s").name != faces_key(DataSpec(), "f", "s").name


@pytest.mark.parametrize(
    ("spec", "fingerprint", "split"),
    [(DataSpec(), "other", "s"), (DataSpec(), "f", "other"), (DataSpec(crop=CropSpec(missing="drop")), "f", "s")],
)
def test_the_key_changes_with_content_split_and_faceless_pictures(spec, fingerprint, split):
    assert faces_key(spec, fingerprint, split).name != faces_key(DataSpec(), "f", "s").name


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_faces_are_read_again(tmp_path, cache, damage):
    spec = DataSpec(demo_images=700, protocol=ProtocolSpec(balance="none"))
    plain = load_training(spec, cache)

    def shared() -> tuple[TrainingData, Cache]:
        kept = Cache(tmp_path / "shared", 10**9)
        return training_data(spec, cache, plain.fingerprint, plain.split, kept), kept

    shared()
    (entry,) = (tmp_path / "shared").glob("faces-*")
    damage(entry)
    found, kept = shared()
    assert kept.counts[:2] == (0, 1)
    for mine, its in ((found.train, plain.train), (found.validation, plain.validation)):
        assert np.array_equal(mine.images, its.images)
        assert np.array_equal(mine.labels, its.labels)
        assert np.array_equal(mine.emotions, its.emotions)
        assert mine.names == its.names


def test_the_key_is_the_same_for_the_same_faces():
    assert faces_key(DataSpec(source="here"), "f", "s").name == faces_key(DataSpec(source="there"), "f", "s").name
