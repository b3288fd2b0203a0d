"""The training loop by itself, on labels of any number of classes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from spaces.resnet import ResnetConfig
from trainables import subsets
from trainables.augment import augment, dropout, seeded
from trainables.backbones import freeze, head, prepare, random_head, random_net, train_mode, trunk
from trainables.base import TrainingError, class_weights
from trainables.data.faceset import EMOTIONS
from trainables.finetuning import MIXING, VARIATION, Examples, FineTuning, ResidentData
from trainables.mixing import mix
from trainables.optimization import make_optimizer, rate_factor, set_rates
from trainables.precision import Compute, cpu_threads

CPU = Compute(torch.device("cpu"), bf16=False)
TINY = ResnetConfig(epochs=2, batch_size=6, image_size=32, unfreeze=1, augment=0.3, dropout=0.2, label_smoothing=0.1)
EVERYTHING = {"erasing": 0.5, "mixup": 0.4, "cutmix": 1.0, "auxiliary": 0.5, "ema": 0.9, "stage_decay": 0.5}


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    with cpu_threads(1):
        yield


def make_examples(*counts: int) -> Examples:
    """Noise in as many brightnesses as there are classes; emotions are other labels than the classes."""
    labels = np.repeat(np.arange(len(counts), dtype=np.int8), counts)
    noise = np.random.default_rng(0).integers(0, 20, (len(labels), 48, 48))
    images = (noise + (220 // len(counts)) * labels[:, None, None]).astype(np.uint8)
    return Examples(images, labels, len(counts), (6 - labels).astype(np.int8))


def make_training(examples: Examples, **change: Any) -> FineTuning:
    config = TINY.model_copy(update=change)
    net = CPU.place(random_net(config.arch, 0, config.stem, examples.classes))
    return FineTuning(net, config, examples, 1, CPU)


def tensors_of(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("n", "size"), [(12, 4), (13, 4), (3, 8)])
def test_an_epoch_sees_every_image_in_batches_of_one_size(n: int, size: int) -> None:
    training = make_training(make_examples(n - 2, 1, 1), batch_size=size, unfreeze=0)
    epochs = []
    for epoch in range(2):
        steps = range(epoch * training.steps_per_epoch, (epoch + 1) * training.steps_per_epoch)
        batches = [training.batch(step).tolist() for step in steps]
        assert {len(batch) for batch in batches} == {size}
        order = [place for batch in batches for place in batch]
        assert sorted(order[:n]) == list(range(n))
        epochs.append(order[:n])
    assert n == 3 or epochs[0] != epochs[1]


def test_trainings_see_the_same_blocks_each_in_its_own_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subsets, "BLOCK", 12)
    examples, seen = make_examples(12, 12, 12), {}
    for seed in (1, 2):
        net = CPU.place(random_net("resnet18", 0))
        training = FineTuning(net, TINY, examples, seed, CPU)
        orders = [training.batch(step).tolist() for step in range(12)]
        seen[seed] = [orders[first] + orders[first + 1] for first in range(0, 12, 2)]  # two batches to a block
    for one, other in zip(*seen.values(), strict=True):
        assert one != other
        assert sorted(one) == sorted(other)
    first, second = ([sorted(block) for block in seen[1][start : start + 3]] for start in (0, 3))
    assert sorted(first) == sorted(second)  # the same blocks in each epoch ..
    assert first != second  # .. in another order


def test_where_nothing_is_frozen_an_epoch_has_no_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    examples = make_examples(12, 12, 12)
    orders = []
    for size in (12, 36):
        monkeypatch.setattr(subsets, "BLOCK", size)
        training = make_training(examples, unfreeze=5)
        orders.append([training.batch(step).tolist() for step in range(6)])
    assert orders[0] == orders[1]


def test_classes_weigh_the_same_in_the_loss() -> None:
    examples = make_examples(6, 3, 1)
    weights = ResidentData.of(examples, CPU.device).weights
    np.testing.assert_allclose(weights.numpy(), class_weights(examples.labels), rtol=1e-6)
    assert ResidentData.of(make_examples(4, 4, 4), CPU.device).weights.tolist() == [1, 1, 1]


def test_with_every_option_off_a_step_is_the_plain_one() -> None:
    examples = make_examples(4, 4, 4)
    training = make_training(examples)
    training.run(range(3))
    net = CPU.place(random_net("resnet18", 0))
    freeze(net, 1)
    train_mode(net, 1)
    optimizer = make_optimizer(net, TINY)
    for step in range(3):
        picked, generator = training.batch(step).numpy(), seeded(CPU.device, 1, VARIATION, step)
        images = prepare(augment(torch.tensor(examples.images[picked]), 0.3, generator), 32)
        logits = head(net)(dropout(trunk(net)(images), 0.2, generator))
        labels = torch.tensor(examples.labels[picked], dtype=torch.int64)
        set_rates(optimizer, rate_factor(step, training.total_steps))
        functional.cross_entropy(logits, labels, label_smoothing=0.1).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert same(tensors_of(training.net), tensors_of(net))
    assert training.predictor is training.net


@pytest.mark.parametrize("change", [{}, EVERYTHING], ids=["plain", "everything"])
def test_a_training_continues_from_its_tensors_bit_for_bit(change: dict[str, Any]) -> None:
    examples = make_examples(4, 4, 4)
    straight = make_training(examples, **change)
    straight.run(range(4))
    first = make_training(examples, **change)
    first.run(range(2))
    predictor, state = tensors_of(first.predictor), {k: v.clone() for k, v in first.state().items()}
    second = make_training(examples, **change)
    second.net.load_state_dict(predictor)
    resumed = FineTuning(second.net, TINY.model_copy(update=change), examples, 1, CPU)
    for name, tensor in resumed.state().items():
        tensor.copy_(state[name])
    resumed.run(range(2, 4))
    assert same(straight.state(), resumed.state())
    assert same(tensors_of(straight.net), tensors_of(resumed.net))
    assert same(tensors_of(straight.predictor), tensors_of(resumed.predictor))


def test_it_learns_as_many_classes_as_it_is_given() -> None:
    examples = make_examples(*[3] * len(EMOTIONS))
    training = make_training(examples, unfreeze=0, epochs=8, head_lr=0.03, augment=0.0, dropout=0.0)
    assert head(training.net).out_features == len(EMOTIONS)
    training.run(range(training.total_steps))
    with torch.inference_mode():
        found = training.predictor.eval()(prepare(torch.tensor(examples.images), 32)).argmax(dim=1)
    assert (found.numpy() == examples.labels).mean() > 0.4  # chance is 0.14


def test_every_one_of_the_classes_needs_an_image() -> None:
    with pytest.raises(TrainingError, match=r"every class needs an image; counts are \[4, 0, 4, 0\]"):
        make_training(Examples(**vars(make_examples(4, 0, 4)) | {"classes": 4}))


@pytest.mark.parametrize("unfreeze", [0, 1])
def test_the_average_follows_the_training_and_leaves_it_alone(unfreeze: int) -> None:
    examples = make_examples(4, 4, 4)
    plain = make_training(examples, unfreeze=unfreeze)
    averaging = make_training(examples, unfreeze=unfreeze, ema=0.6)
    average, trained = tensors_of(plain.net), ("fc.", "layer4.")[: unfreeze + 1]
    for step in range(4):
        plain.run(range(step, step + 1))
        averaging.run(range(step, step + 1))
        decay = min(0.6, (1 + step) / (10 + step))
        for name, live in plain.net.state_dict().items():
            if name.endswith("num_batches_tracked"):
                average[name] = live.clone()
            elif name.startswith(trained):
                average[name] = decay * average[name] + (1 - decay) * live
    assert same(tensors_of(plain.net), tensors_of(averaging.net))
    for name, tensor in averaging.predictor.state_dict().items():
        torch.testing.assert_close(tensor, average[name], msg=name)
    assert not torch.equal(averaging.predictor.fc.weight, plain.net.fc.weight)


def test_batch_norm_of_the_average_is_averaged_too() -> None:
    training = make_training(make_examples(4, 4, 4), ema=0.9)
    start = training.net.layer4[0].bn1.running_mean.clone()
    training.run(range(4))
    live, averaged = training.net.layer4[0].bn1, training.predictor.layer4[0].bn1
    assert int(averaged.num_batches_tracked) == int(live.num_batches_tracked) == 4
    assert not torch.equal(averaged.running_mean, start)
    assert not torch.equal(averaged.running_mean, live.running_mean)


def test_the_auxiliary_head_changes_the_backbone_and_is_not_exported() -> None:
    examples = make_examples(4, 4, 4)
    plain, both = make_training(examples), make_training(examples, auxiliary=0.5)
    plain.run(range(2))
    before = both.state()["auxiliary.weight"].clone()
    both.run(range(2))
    assert both.state()["auxiliary.weight"].shape == (len(EMOTIONS), 512)
    assert not torch.equal(both.state()["auxiliary.weight"], before)
    assert not torch.equal(both.net.layer4[1].conv2.weight, plain.net.layer4[1].conv2.weight)
    assert tensors_of(both.predictor).keys() == tensors_of(plain.predictor).keys()


def test_the_auxiliary_head_learns_the_emotions() -> None:
    examples = make_examples(4, 4, 4)
    alike = Examples(examples.images, examples.labels, 3, np.full(12, 2, np.int8))
    training = make_training(alike, auxiliary=1.0, epochs=10, unfreeze=0, head_lr=0.03)
    training.run(range(training.total_steps))
    assert training.state()["auxiliary.bias"].argmax() == 2


def test_the_auxiliary_loss_is_added_with_its_weight() -> None:
    examples = make_examples(4, 4, 4)

    def first_loss(weight: float) -> float:
        return make_training(examples, auxiliary=weight).run(range(1))

    assert first_loss(2.0) - first_loss(0.0) == pytest.approx(2 * (first_loss(1.0) - first_loss(0.0)), rel=1e-4)
    assert first_loss(1.0) > first_loss(0.0) + 1


@pytest.mark.parametrize("change", [{"mixup": 5.0}, {"cutmix": 5.0}], ids=str)
def test_mixed_images_have_mixed_labels(change: dict[str, float]) -> None:
    examples = make_examples(4, 2, 6)
    training = make_training(examples, unfreeze=0, augment=0.0, dropout=0.0, auxiliary=0.5, **change)
    net, picked = CPU.place(random_net("resnet18", 0)).eval(), training.batch(0).numpy()
    auxiliary = random_head(net, len(EMOTIONS), 1)
    faces = torch.tensor(examples.images[picked])
    images, share = mix(faces, change.get("mixup", 0.0), change.get("cutmix", 0.0), 1, MIXING, 0)
    features = trunk(net)(prepare(images, 32))
    expected = 0.0
    for part, rows in ((share, picked), (1 - share, np.roll(picked, 1))):
        labels, emotions = (torch.tensor(y[rows], dtype=torch.int64) for y in (examples.labels, examples.emotions))
        weights = torch.tensor(class_weights(examples.labels), dtype=torch.float32)
        loss = functional.cross_entropy(head(net)(features), labels, weights, label_smoothing=0.1)
        loss += 0.5 * functional.cross_entropy(auxiliary(features), emotions, label_smoothing=0.1)
        expected += part * float(loss.detach())
    assert 0.1 < share < 0.9
    assert training.run(range(1)) == pytest.approx(expected, rel=1e-5)
