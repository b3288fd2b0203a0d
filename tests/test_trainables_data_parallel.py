"""Data-parallel training: two processes give what one gives."""

import numpy as np
import pytest
import torch
from parallel_fit import FLOAT32, SCALE, predicted_by, shared_batch_norm
from torch import nn

from spaces.resnet import ResnetConfig
from trainables.base import Task
from trainables.data.faceset import Faces
from trainables.resnet import ResnetLearner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

TOLERANCE = 2e-3
"""Largest difference of a probability: the same sums in another order, and AdamW makes a step of every sign."""

EVERYTHING = ResnetConfig(
    epochs=1,
    batch_size=33,
    image_size=64,
    unfreeze=5,
    dropout=0.3,
    augment=0.5,
    erasing=0.3,
    mixup=0.3,
    cutmix=0.5,
    auxiliary=0.4,
    label_smoothing=0.1,
    ema=0.9,
    head_lr=1e-4,
    backbone_lr=1e-4,
)


def noise(n=96):
    """Faces of noise, whose classes are not equally many."""
    emotions = np.array([0, 3, 6, 3, 4, 3], np.int8)[np.arange(n) % 6]
    labels = np.array([0, 0, 0, 2, 0, 0, 1], np.int8)[emotions]
    images = np.random.default_rng(0).integers(0, 255, (n, 48, 48), dtype=np.uint8)
    return Faces(images, labels, emotions, tuple(str(number) for number in range(n)))


def test_two_processes_give_what_one_gives(tmp_path):
    faces = noise()

    def one(config):
        learner = ResnetLearner(config, Task(faces, seed=3, scale=SCALE), FLOAT32)
        learner.fit_to(SCALE.maximum)
        return learner.predict_proba(faces.images)

    expected = one(EVERYTHING)
    first, second = predicted_by(2, EVERYTHING, faces, tmp_path)
    assert np.array_equal(first, second)
    assert np.abs(first - expected).max() < TOLERANCE
    hardly = EVERYTHING.model_copy(update={"head_lr": 1e-7, "backbone_lr": 1e-7})
    assert np.abs(one(hardly) - expected).max() > 4 * TOLERANCE


def test_batch_norm_of_a_share_is_that_of_the_whole(tmp_path):
    """Forward, backward and running statistics, against torch's own on the whole batch."""
    torch.manual_seed(0)
    maps, gradient = torch.randn(7, 4, 3, 3) * 3 + 1, torch.randn(7, 4, 3, 3)
    norm = nn.BatchNorm2d(4)
    nn.init.uniform_(norm.weight)
    ours = shared_batch_norm(norm, maps, gradient, tmp_path)
    whole = maps.clone().requires_grad_()
    out = norm.train()(whole)
    out.backward(gradient)
    for name, expected in {
        "out": out.detach(),
        "maps": whole.grad,
        "running_mean": norm.running_mean,
        "running_var": norm.running_var,
        "weight": norm.weight.grad,
        "bias": norm.bias.grad,
    }.items():
        torch.testing.assert_close(ours[name], expected, rtol=1e-5, atol=1e-5)
