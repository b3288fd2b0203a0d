"""Data-parallel training: two processes give what one gives."""

import numpy as np
import pytest
import torch
from finished_run import DATA
from parallel_fit import FLOAT32, predicted_by, shared_batch_norm
from torch import nn

from spaces.fidelity import Fidelity
from spaces.resnet import ResnetConfig
from trainables.base import Task
from trainables.data.protocol import load_training
from trainables.resnet import ResnetLearner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

TOLERANCE = 2e-3
"""Largest difference of a probability: the same sums in another order, carried through some twenty steps of AdamW."""

PLAIN = ResnetConfig(epochs=2, batch_size=33, image_size=32, unfreeze=5, dropout=0.0, augment=0.0)
EVERYTHING = ResnetConfig(
    epochs=2,
    batch_size=32,
    image_size=32,
    unfreeze=5,
    dropout=0.3,
    augment=0.5,
    erasing=0.3,
    mixup=0.3,
    cutmix=0.5,
    auxiliary=0.4,
    label_smoothing=0.1,
    ema=0.9,
    head_lr=1e-3,
    backbone_lr=1e-3,
)


@pytest.mark.parametrize("config", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_two_processes_give_what_one_gives(config, cache, tmp_path):
    data = load_training(DATA, cache)
    faces = data.everything
    assert len(faces) == len(data.train) + len(data.validation)
    learner = ResnetLearner(config, Task(faces, seed=3, scale=Fidelity(maximum=3)), FLOAT32)
    learner.fit_to(1)
    learner.fit_to(3)
    one = learner.predict_proba(faces.images[:64])
    first, second = predicted_by(2, config, faces, tmp_path)
    assert np.array_equal(first, second)
    assert np.abs(first - one).max() < TOLERANCE
    untrained = ResnetLearner(config, Task(faces, seed=3, scale=Fidelity(maximum=3)), FLOAT32)
    untrained.fit_to(1)
    assert np.abs(untrained.predict_proba(faces.images[:64]) - one).max() > 10 * TOLERANCE


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
