"""The key of shared faces."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.data.spec import CropSpec, DataSpec, ProtocolSpec
from trainables.shared_data import faces_key

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


def test_the_key_is_the_same_for_the_same_faces():
    assert faces_key(DataSpec(source="here"), "f", "s").name == faces_key(DataSpec(source="there"), "f", "s").name
