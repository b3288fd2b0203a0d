"""What a resnet saves to predict with, and how it predicts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from drawn_faces import drawn_faces
from safetensors.torch import load_file

from spaces.errors import InputError
from spaces.resnet import ResnetConfig
from trainables.base import Task
from trainables.precision import Compute, cpu_threads
from trainables.resnet import PREDICT_BATCH, ResnetLearner, ResnetModel

FLOAT32 = Compute(torch.device("cpu"), bf16=False)
TINY = ResnetConfig(epochs=1, batch_size=12, image_size=32, unfreeze=1)
FACES = drawn_faces(36)
IMAGES = FACES.images


def train(config: ResnetConfig) -> ResnetLearner:
    learner = ResnetLearner(config, Task(FACES), FLOAT32)
    learner.fit_to(27)
    return learner


@pytest.fixture(scope="module")
def trained() -> ResnetLearner:
    return train(TINY)


def test_predictions_do_not_depend_on_how_many_images_come_at_once(trained: ResnetLearner) -> None:
    images = np.random.default_rng(0).integers(0, 256, (PREDICT_BATCH + 7, 48, 48)).astype(np.uint8)
    together = trained.predict_proba(images)
    np.testing.assert_allclose(together[-9:], trained.predict_proba(images[-9:]), atol=1e-5)
    assert trained.predict_proba(images[:0]).shape == (0, 3)


def test_a_saved_model_predicts_the_same_and_is_torchvisions(trained: ResnetLearner, tmp_path: Path) -> None:
    trained.model.save(tmp_path)
    with cpu_threads(1):
        again = ResnetModel.load(tmp_path, FLOAT32).predict_proba(IMAGES)
    assert np.array_equal(again, trained.predict_proba(IMAGES))
    assert {path.name for path in tmp_path.iterdir()} == {"model.json", "model.safetensors"}
    torchvision.models.resnet18(num_classes=3).load_state_dict(load_file(tmp_path / "model.safetensors"))


def test_a_model_saved_before_there_were_choices_still_loads(trained: ResnetLearner, tmp_path: Path) -> None:
    trained.model.save(tmp_path)
    (tmp_path / "model.json").write_text('{"arch": "resnet18", "image_size": 32}')
    with cpu_threads(1):
        again = ResnetModel.load(tmp_path, FLOAT32).predict_proba(IMAGES)
    assert np.array_equal(again, trained.predict_proba(IMAGES))


def test_flip_predicts_the_mean_over_an_image_and_its_mirror(trained: ResnetLearner, tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, 48, 48)).astype(np.uint8)
    flipping = ResnetModel(trained.model.net, trained.model.form.model_copy(update={"flip": True}), FLOAT32)
    flipping.save(tmp_path)
    with cpu_threads(1):
        one, other = trained.model.predict_proba(images), trained.model.predict_proba(images[:, :, ::-1].copy())
        both = ResnetModel.load(tmp_path, FLOAT32).predict_proba(images)
    assert not np.allclose(one, other, atol=1e-5)
    np.testing.assert_allclose(both, (one + other) / 2, atol=1e-6)


@pytest.mark.parametrize(
    "change", [{"stem": "small"}, {"flip": True}, {"ema": 0.9}, {"arch": "vgg16", "unfreeze": 0}], ids=str
)
def test_the_saved_form_rebuilds_the_network(change: dict[str, Any], tmp_path: Path) -> None:
    config = TINY.model_copy(update={"unfreeze": 1, "epochs": 1} | change)
    learner = train(config)
    learner.save(tmp_path)
    with cpu_threads(1):
        again = ResnetModel.load(tmp_path / "model", FLOAT32)
        assert np.array_equal(again.predict_proba(IMAGES), learner.predict_proba(IMAGES))
    assert type(again.net) is type(learner.model.net)
    assert again.form == learner.model.form


def test_a_model_whose_files_belong_to_different_networks_is_refused(trained: ResnetLearner, tmp_path: Path) -> None:
    trained.model.save(tmp_path)
    form = (tmp_path / "model.json").read_text()
    (tmp_path / "model.json").write_text(form.replace("resnet18", "resnet34"))
    with pytest.raises(InputError, match="do not fit the network"):
        ResnetModel.load(tmp_path)
