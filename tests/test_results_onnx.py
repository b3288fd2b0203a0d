"""ONNX Runtime against the original: descriptors, then whole models of every family and feature config."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import spox
import spox.opset.ai.onnx.v20 as op
from drawn_faces import drawn_faces

from results import onnx_features
from results.onnx_file import in_float32, run_onnx, session, write_onnx
from results.onnx_models import to_onnx
from spaces.family import Family
from spaces.features import FeatureConfig
from spaces.fidelity import Fidelity
from spaces.forest import ForestConfig
from spaces.resnet import ResnetConfig
from spaces.svm import SvmConfig
from trainables import descriptors
from trainables.backbones import random_net
from trainables.base import Task
from trainables.data.demo import draw_faces
from trainables.families import build_learner
from trainables.features import Features
from trainables.weights import write_tensors

CLOSE = 2e-5
"""The tolerance of probabilities in float32."""

CELLS = [{"hog_cell": cell, "hog_signed": signed} for cell in (6, 8, 12) for signed in (False, True)]
DESCRIPTORS = [
    {"kind": "pixels"},
    *({"kind": "hog", **cell} for cell in CELLS),
    *({"kind": "lbp", "lbp_cell": cell} for cell in (6, 8, 12)),
    *({"kind": kind, "contrast": contrast} for kind in ("pixels", "hog+lbp") for contrast in ("clahe", "standardize")),
]
AFTER = [
    {"pca": 0},
    {"pca": 32, "discriminants": "added"},
    {"pca": 32, "whiten": True, "flip": True},
    {"pca": 0, "flip": True},
]
# Every kind with every contrast, and what comes after it in turn.
FEATURES = [
    FeatureConfig(kind=kind, contrast=contrast, **after)
    for (kind, contrast), after in zip(
        itertools.product(("pixels", "hog", "lbp", "hog+lbp"), ("none", "clahe", "standardize")),
        itertools.cycle(AFTER),
        strict=False,
    )
]


@pytest.fixture(scope="module")
def thousand():
    images = draw_faces(1000).images
    edges = np.stack([np.zeros((48, 48)), np.full((48, 48), 255), np.indices((48, 48)).sum(axis=0) % 2 * 255])
    return np.concatenate([images[:-3], edges.astype(np.uint8)])


def name(features):
    values = features if isinstance(features, dict) else features.model_dump(exclude_defaults=True)
    return " ".join(f"{key}={value}" for key, value in values.items())


@pytest.mark.parametrize("values", DESCRIPTORS, ids=name)
def test_descriptors_are_those_of_the_original(values, thousand, tmp_path):
    config = FeatureConfig(**values)
    images = thousand[-150:]
    expected = descriptors.describe(config, images)
    width = expected.shape[1]
    faces = spox.argument(spox.Tensor(np.uint8, ("n", 48, 48)))
    plain = Features(config, np.zeros(width, np.float32), np.ones(width, np.float32))
    built = spox.build({"faces": faces}, {"raw": onnx_features.vectors(plain, faces)})
    (tmp_path / "raw.onnx").write_bytes(built.SerializeToString())
    found = run_onnx(session(tmp_path / "raw.onnx", threads=1), images)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 5e-6


@pytest.mark.parametrize("contrast", ["clahe", "standardize"])
def test_contrasts_give_the_same_gray_levels(contrast, thousand, tmp_path):
    faces = spox.argument(spox.Tensor(np.uint8, ("n", 48, 48)))
    levels = onnx_features.CONTRASTS[contrast](op.cast(faces, to=np.float32))
    (tmp_path / "levels.onnx").write_bytes(spox.build({"faces": faces}, {"levels": levels}).SerializeToString())
    found = run_onnx(session(tmp_path / "levels.onnx", threads=1), thousand[-300:])
    different = found != descriptors.CONTRASTS[contrast](thousand[-300:])
    # A level halfway between two may fall to either side where a compiler fuses a product and a sum.
    assert different.mean() < 1e-3
    assert np.abs(found - descriptors.CONTRASTS[contrast](thousand[-300:])).max() <= 1


def trained(config, folder: Path, faces=240):
    learner = build_learner(config, Task(drawn_faces(faces), scale=Fidelity(maximum=1)))
    learner.fit_to(1)
    learner.model.save(folder)
    return in_float32(Family(config.family), folder)


def both(config, images, folder: Path):
    """The probabilities of the model and of its ONNX file."""
    (folder / "model").mkdir()
    model = trained(config, folder / "model")
    (folder / "model.onnx").write_bytes(to_onnx([model], [1.0]).SerializeToString())
    return model.predict_proba(images), run_onnx(session(folder / "model.onnx", threads=1), images)


def assert_alike(expected, found, few=0, spread=0.02):
    """All probabilities are close, but of `few` faces; labels are the same wherever a model is not of two minds."""
    assert found.shape == expected.shape
    assert found.dtype == np.float32
    assert found.sum(axis=1) == pytest.approx(np.ones(len(found)), abs=1e-5)
    apart = np.abs(found - expected).max(axis=1) > CLOSE
    assert apart.sum() <= few
    lead = np.diff(np.sort(expected, axis=1)[:, 1:], axis=1)[:, 0]
    sure = ~apart & (lead > 2 * CLOSE)
    assert np.array_equal(found.argmax(axis=1)[sure], expected.argmax(axis=1)[sure])
    assert np.ptp(expected, axis=0).max() > spread  # it is no constant


@pytest.mark.slow
@pytest.mark.parametrize("features", FEATURES, ids=name)
def test_an_svm_on_any_features_gives_the_same_probabilities(features, thousand, tmp_path):
    assert_alike(*both(SvmConfig(features=features), thousand, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["linear", "poly", "sigmoid"])
def test_every_kernel_gives_the_same_probabilities(kernel, thousand, tmp_path):
    assert_alike(*both(SvmConfig(kernel=kernel, coef0=0.5), thousand, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("features", FEATURES, ids=name)
def test_a_forest_on_any_features_gives_the_same_probabilities(features, thousand, tmp_path):
    """Of a thousand faces, ten may have a tree whose vote turns on the last digit of a feature."""
    assert_alike(*both(ForestConfig(trees=60, features=features), thousand, tmp_path), few=10)


@pytest.mark.slow
@pytest.mark.parametrize("config", [SvmConfig(), ForestConfig(trees=20)], ids=["svm", "forest"])
def test_embeddings_give_the_same_probabilities(config, thousand, tmp_path):
    write_tensors(random_net("resnet18", seed=3).state_dict(), tmp_path / "backbone.safetensors")
    weights = str(tmp_path / "backbone.safetensors")
    features = FeatureConfig(kind="embedding", weights=weights, image_size=32, pca=16, flip=True)
    changed = config.model_copy(update={"features": features})
    assert_alike(*both(changed, thousand, tmp_path), few=10 if config.family == "forest" else 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "values",
    [
        {"arch": "resnet18", "image_size": 32, "flip": True},
        {"arch": "resnet18", "image_size": 64},
        {"arch": "resnet34", "image_size": 32},
        {"arch": "resnet50", "image_size": 48},
        {"arch": "resnet101", "image_size": 32},
        {"arch": "resnet18", "stem": "small", "image_size": 32},
        {"arch": "resnet18", "stem": "half", "image_size": 40},
        {"arch": "vgg16", "image_size": 32},
    ],
    ids=name,
)
def test_a_resnet_gives_the_same_probabilities(values, thousand, tmp_path):
    config = ResnetConfig(epochs=1, batch_size=60, head_lr=0.1 if values["arch"] == "vgg16" else 3e-3, **values)
    # 240 faces teach a vgg16 from scratch hardly anything.
    assert_alike(*both(config, thousand, tmp_path), spread=0.002 if values["arch"] == "vgg16" else 0.02)


def test_one_face_and_several_give_the_same(thousand, tmp_path):
    (tmp_path / "model").mkdir()
    model = trained(SvmConfig(features=FeatureConfig(kind="hog+lbp", flip=True)), tmp_path / "model", faces=60)
    (tmp_path / "model.onnx").write_bytes(to_onnx([model], [1.0]).SerializeToString())
    runtime = session(tmp_path / "model.onnx", threads=1)
    assert run_onnx(runtime, thousand[:5], batch=1) == pytest.approx(run_onnx(runtime, thousand[:5]), abs=1e-6)
    (faces,), (probabilities,) = runtime.get_inputs(), runtime.get_outputs()
    assert (faces.name, faces.type, faces.shape) == ("faces", "tensor(uint8)", ["n", 48, 48])
    assert (probabilities.name, probabilities.type, probabilities.shape[1]) == ("probabilities", "tensor(float)", 3)
    assert runtime.get_modelmeta().custom_metadata_map == {"classes": "negative,neutral,positive"}


def test_several_models_are_their_weighted_mean(thousand, tmp_path):
    folders = [tmp_path / "svm", tmp_path / "forest"]
    for folder in folders:
        folder.mkdir()
    svm = trained(SvmConfig(), folders[0], faces=60)
    forest = trained(ForestConfig(trees=5), folders[1], faces=60)
    images = thousand[:50]
    pairs = list(zip((Family.SVM, Family.FOREST), folders, strict=True))
    compared = write_onnx(pairs, [0.25, 0.75], tmp_path / "both.onnx")
    expected = 0.25 * svm.predict_proba(images) + 0.75 * forest.predict_proba(images)
    assert_alike(expected, run_onnx(session(tmp_path / "both.onnx", threads=1), images), few=1)
    assert compared.faces == 200
    assert compared.same_labels >= 198
    assert compared.mean_difference < 1e-3


def test_a_file_that_computes_something_else_is_not_kept_quiet(monkeypatch, tmp_path):
    for family, config in (("svm", SvmConfig()), ("forest", ForestConfig(trees=5))):
        (tmp_path / family).mkdir()
        trained(config, tmp_path / family, faces=60)
    other = in_float32(Family.FOREST, tmp_path / "forest")
    monkeypatch.setattr("results.onnx_file.to_onnx", lambda models, weights: to_onnx([other], weights))
    with pytest.raises(RuntimeError, match="does not compute what the model does"):
        write_onnx([(Family.SVM, tmp_path / "svm")], [1.0], tmp_path / "model.onnx")
