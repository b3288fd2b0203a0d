"""Features through the cache: what is shared, with whom, and under which key."""

from typing import Any, get_args

import numpy as np
import pytest
import torch
from damage import DAMAGES
from drawn_faces import drawn_faces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spaces.features import DESCRIPTORS, FeatureConfig
from spaces.forest import ForestConfig
from spaces.svm import SvmConfig
from trainables.base import Learner, Task
from trainables.cache import Cache
from trainables.data.faceset import Faces
from trainables.descriptors import copies
from trainables.embeddings import Embedder
from trainables.families import build_learner
from trainables.precision import Compute
from trainables.shared_features import fit_features, fit_on_part, fitted_key, raw_key, vectors_of

FACES, FRESH = drawn_faces(90, seed=1), drawn_faces(30, seed=2)
CONFIGS = [
    FeatureConfig(kind="pixels"),
    FeatureConfig(kind="hog+lbp", contrast="clahe", pca=12, whiten=True, mirror=True, flip=True),
    FeatureConfig(pca=12, discriminants="added", shift=1),
]
CPU, TENSORS = Compute(torch.device("cpu"), bf16=False), {"a": np.zeros(4, np.float32)}
HANDMADE = [
    config for config in FeatureConfig.model_fields if config not in ("backbone", "stem", "weights", "image_size")
]


@pytest.fixture
def shared(tmp_path) -> Cache:
    return Cache(tmp_path / "shared", 10**9)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_shared_features_are_those_computed_on_the_spot(shared, config):
    alone, alone_vectors = fit_features(config, FACES, None, None)
    for _ in range(2):
        features, vectors = fit_features(config, FACES, None, shared)
        np.testing.assert_allclose(vectors, alone_vectors, atol=1e-5)
        assert len(vectors) == copies(config) * len(FACES)
        np.testing.assert_allclose(vectors_of(features, FRESH.images, shared), alone.transform(FRESH.images), atol=1e-5)
    assert (shared.counts.hits, shared.counts.misses) == (2, 3 + copies(config))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_features_are_computed_again(shared, damage):
    config = CONFIGS[1]

    def vectors() -> list[np.ndarray]:
        features, found = fit_features(config, FACES, None, shared)
        return [np.array(found), np.array(vectors_of(features, FRESH.images, shared))]

    before, misses = vectors(), shared.counts.misses
    entries = list(shared.folder.glob("[a-z]*-*"))
    assert {entry.name.partition("-")[0] for entry in entries} == {"raw", "fitted", "vectors"}
    for entry in entries:
        damage(entry)
    for now, once in zip(vectors(), before, strict=True):
        assert np.array_equal(now, once)
    assert shared.counts.misses == 2 * misses


def test_features_of_a_part_heed_that_part_alone(shared):
    part = np.arange(len(FACES)) < 60
    config = CONFIGS[1]
    features, vectors = fit_on_part(config, FACES, part, None, shared)
    expected, _ = fit_features(config, FACES.take(np.flatnonzero(part)), None, None)
    np.testing.assert_allclose(features.mean, expected.mean, atol=1e-6)
    np.testing.assert_allclose(vectors[: len(FACES)], features.transform(FACES.images), atol=1e-5)


def trained(config: SvmConfig | ForestConfig, cache: Cache | None, seed: int = 0) -> Learner:
    learner = build_learner(config, Task(FACES, seed, cache=cache))
    learner.fit_to(27)
    return learner


def test_an_svm_and_a_forest_share_features_and_so_do_other_seeds_and_penalties(shared):
    features = FeatureConfig(pca=12, mirror=True)
    trained(SvmConfig(features=features), shared).predict_proba(FRESH.images)
    misses = shared.counts.misses
    trained(SvmConfig(C=7.0, features=features), shared, seed=5).predict_proba(FRESH.images)
    trained(ForestConfig(trees=3, features=features), shared).predict_proba(FRESH.images)
    assert (shared.counts.hits, shared.counts.misses) == (4, misses)


@pytest.mark.parametrize("features", CONFIGS, ids=str)
@pytest.mark.parametrize("family", ["svm", "forest"])
def test_predictions_with_and_without_sharing_agree(shared, family, features):
    config = SvmConfig(features=features) if family == "svm" else ForestConfig(trees=9, features=features)
    alone = trained(config, None).predict_proba(FRESH.images)
    for _ in range(2):
        learner = trained(config, shared)
        np.testing.assert_allclose(learner.predict_proba(FRESH.images), alone, atol=1e-3)
        np.testing.assert_allclose(learner.model.predict_proba(FRESH.images), alone, atol=1e-3)


def values_of(name: str) -> st.SearchStrategy[Any]:
    if name in ("backbone", "weights"):
        return st.sampled_from(["resnet18", "resnet34"])
    if name == "image_size":
        return st.integers(32, 200)
    annotation = FeatureConfig.model_fields[name].annotation
    if annotation is bool:
        return st.booleans()
    return st.integers(0, 1024) if annotation is int else st.sampled_from(get_args(annotation))


def matters(config: FeatureConfig, name: str) -> bool:
    used = {"kind", "pca", "mirror", "shift"} | {each for kind in config.descriptors for each in DESCRIPTORS[kind]}
    return name in used - {"weights"} or (name in ("whiten", "discriminants") and config.pca > 0)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data(), name=st.sampled_from(HANDMADE))
def test_the_key_changes_with_every_field_that_matters_and_no_other(data, name):
    handmade = {each: data.draw(values_of(each)) for each in HANDMADE if each != "kind"}
    config = FeatureConfig(kind=data.draw(st.sampled_from(["pixels", "hog", "lbp", "hog+lbp"])), **handmade)
    value = data.draw(values_of(name).filter(lambda each: each != "embedding"))
    changed = config.model_copy(update={name: value})
    is_other = value != getattr(config, name) and (matters(config, name) or matters(changed, name))
    assert (fitted_key(config, FACES, None).name != fitted_key(changed, FACES, None).name) == is_other


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(set(FeatureConfig.model_fields) - {"kind"})))
def test_the_key_of_embeddings_changes_with_every_field_that_matters_and_no_other(data, name):
    """The weights are in the embedder's tensors; what they are called counts for nothing."""
    values = {each: data.draw(values_of(each)) for each in FeatureConfig.model_fields if each != "kind"}
    config = FeatureConfig(kind="embedding", **values)
    changed = config.model_copy(update={name: data.draw(values_of(name))})
    keys = {fitted_key(each, FACES, Embedder(each, TENSORS, CPU)).name for each in (config, changed)}
    is_other = getattr(changed, name) != getattr(config, name) and (matters(config, name) or matters(changed, name))
    assert (len(keys) == 2) == is_other


def test_the_key_changes_with_the_faces_and_where_it_matters_their_emotions():
    config, taught = FeatureConfig(pca=12), FeatureConfig(pca=12, discriminants="only")
    emotions = FACES.emotions.copy()
    emotions[0] = (emotions[0] + 1) % 7
    other = Faces(FACES.images, FACES.labels, emotions, FACES.names)
    assert raw_key(config, FACES.images, None).name != raw_key(config, FACES.images[1:], None).name
    assert fitted_key(config, FACES, None).name == fitted_key(config, other, None).name
    assert fitted_key(taught, FACES, None).name != fitted_key(taught, other, None).name
