"""The frozen prefix: shared activations give what the whole network gives, and every trial that may share does."""

import functools
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import DAMAGES
from drawn_faces import drawn_faces

import trainables.cache as cache_module
from spaces.fidelity import Fidelity
from spaces.resnet import ResnetConfig
from trainables import subsets
from trainables.backbones import random_net, split_trunk, trunk
from trainables.base import Task
from trainables.cache import Cache, Counts
from trainables.precision import Compute
from trainables.prefix import Prefix, views_of
from trainables.resnet import ResnetLearner
from trainables.weights import starting_net, write_tensors

CPU = Compute(torch.device("cpu"), bf16=False)
TRAIN, FRESH = drawn_faces(48, seed=1), drawn_faces(20, seed=2)
# Rates so low that AdamW, which heeds the signs of gradients, does not blow up a rounding.
RATES = {"head_lr": 1e-3, "backbone_lr": 3e-5}
PLAIN = ResnetConfig(epochs=2, batch_size=16, image_size=32, augment=0, unfreeze=1, dropout=0.2, **RATES)
SCALE = Fidelity(maximum=3, eta=3)
LARGE = ("resnet50", "vgg16")
network = functools.cache(random_net)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> dict[str, str]:
    """A file of weights for each architecture: what is frozen must be the same in all trials."""
    folder = tmp_path_factory.mktemp("weights")
    found = {}
    for arch in ("resnet18", *LARGE):
        path = folder / f"{arch}.safetensors"
        write_tensors(random_net(arch, seed=5).state_dict(), path)
        found[arch] = str(path)
    return found


def learner(config: ResnetConfig, weights: dict[str, str], cache: Cache | None, seed: int = 0) -> ResnetLearner:
    config = config.model_copy(update={"weights": weights[config.arch]})
    return ResnetLearner(config, Task(TRAIN, seed, SCALE, cache=cache, views=2), CPU)


def shared(folder: Path, limit: int = 10**9) -> Cache:
    return Cache(folder / "shared", limit)


@pytest.mark.parametrize("arch", ["resnet18", *(pytest.param(arch, marks=pytest.mark.slow) for arch in LARGE)])
def test_the_two_parts_of_a_trunk_make_the_whole_at_any_cut(arch):
    net = random_net(arch, seed=0).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        whole = trunk(net)(images)
        for unfreeze in range(6):
            below, above = split_trunk(net, unfreeze)
            torch.testing.assert_close(above(below(images)), whole)
            trained = {id(p) for stage in range(unfreeze, 0, -1) for p in _stage(net, stage)}
            assert {id(p) for p in above.parameters()} == trained


def _stage(net, number):
    from trainables.backbones import stages

    return [p for module in stages(net)[number] for p in module.parameters()]


@pytest.mark.parametrize("unfreeze", [0, 1, pytest.param(3, marks=pytest.mark.slow)])
def test_with_plain_views_results_are_those_of_the_whole_network(tmp_path, weights, unfreeze):
    """Tolerances, of probabilities: 0.005 with the same weights, 0.02 after training. Activations keep eight bits."""
    config = PLAIN.model_copy(update={"unfreeze": unfreeze, "flip": True})
    off, on = learner(config, weights, None), learner(config, weights, shared(tmp_path))
    losses = [each.fit_to(1)["train_loss"] for each in (off, on)]
    assert losses[1] == pytest.approx(losses[0], abs=0.02)
    np.testing.assert_allclose(on.predict_proba(FRESH.images), off.predict_proba(FRESH.images), atol=0.02)
    # Prediction alone: the same weights, with and without the shared activations.
    np.testing.assert_allclose(on.predict_proba(FRESH.images), on.model.predict_proba(FRESH.images), atol=0.005)


def test_a_second_trial_finds_what_the_first_computed_and_other_seeds_share_it(tmp_path, weights):
    cache = shared(tmp_path)
    for seed in (0, 1):
        trained = learner(PLAIN, weights, cache, seed)
        trained.fit_to(3)
        trained.predict_proba(FRESH.images)
        assert cache.counts[:2] == (2 * seed, 2)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_activations_are_computed_again(tmp_path, damage):
    net = network("resnet18", 5, "imagenet")

    def batch(cache: Cache) -> torch.Tensor:
        return Prefix(net, 1, PLAIN, TRAIN.images, CPU, cache, 1).batch(0, torch.arange(48))

    before = batch(shared(tmp_path))
    (entry,) = (tmp_path / "shared").glob("prefix-*")
    damage(entry)
    again = shared(tmp_path)
    assert torch.equal(batch(again), before)
    assert again.counts[:2] == (0, 1)


def test_augmented_views_take_turns_and_are_shared(tmp_path, weights):
    config = PLAIN.model_copy(update={"augment": 0.5, "epochs": 3})
    cache = shared(tmp_path)
    trained = learner(config, weights, cache)
    trained.fit_to(3)
    assert cache.counts.misses == 2
    again = learner(config, weights, cache)
    again.fit_to(3)
    assert cache.counts[:2] == (2, 2)
    assert np.array_equal(trained.predict_proba(FRESH.images), again.predict_proba(FRESH.images))
    first, second = (trained._prefix.batch(epoch, torch.arange(8)) for epoch in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(first, trained._prefix.batch(2, torch.arange(8)))


def test_a_batch_is_put_together_from_blocks_in_its_own_order(tmp_path, monkeypatch):
    monkeypatch.setattr(subsets, "BLOCK", 16)
    prefix = Prefix(network("resnet18", 5, "imagenet"), 1, PLAIN, TRAIN.images, CPU, shared(tmp_path), 1)
    picked = torch.tensor([*np.random.default_rng(0).permutation(48), 7, 7, 30])
    (expected,) = prefix.plain(TRAIN.images[picked.numpy()], len(picked))
    torch.testing.assert_close(prefix.batch(0, picked), expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("augment", [0, 0.5])
def test_a_trial_that_is_stopped_within_an_epoch_computes_only_what_it_came_to(tmp_path, weights, monkeypatch, augment):
    monkeypatch.setattr(subsets, "BLOCK", 16)  # three blocks, as many as steps
    config = PLAIN.model_copy(update={"augment": augment})
    cache = shared(tmp_path)
    first, other = (learner(config, weights, cache, seed) for seed in (0, 1))
    first.fit_to(1)  # two steps of six
    assert cache.counts[:2] == (0, 2)
    other.fit_to(1)
    assert cache.counts[:2] == (2, 2)
    first.fit_to(3)
    assert cache.counts[:2] == (2, 6 if augment else 3)
    if not augment:
        whole = learner(config, weights, None)
        whole.fit_to(3)
        np.testing.assert_allclose(first.predict_proba(FRESH.images), whole.predict_proba(FRESH.images), atol=0.02)


def test_blocks_vary_each_in_a_way_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(subsets, "BLOCK", 16)
    alike = np.repeat(TRAIN.images[:1], 48, axis=0)
    config = PLAIN.model_copy(update={"augment": 0.5})
    prefix = Prefix(network("resnet18", 5, "imagenet"), 1, config, alike, CPU, shared(tmp_path), 2)
    activations = prefix.batch(0, torch.arange(48))
    assert len({row.numpy().tobytes() for row in activations}) == 48


@pytest.mark.slow
def test_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tmp_path, weights, monkeypatch):
    monkeypatch.setattr(subsets, "BLOCK", 24)  # the checkpoint is of a step within a block
    config = PLAIN.model_copy(update={"augment": 0.5})
    straight = learner(config, weights, shared(tmp_path))
    straight.fit_to(3)
    first, second = (learner(config, weights, shared(tmp_path)) for _ in range(2))
    first.fit_to(1)
    (tmp_path / "checkpoint").mkdir()
    first.save(tmp_path / "checkpoint")
    second.load(tmp_path / "checkpoint")
    second.fit_to(3)
    assert np.array_equal(straight.predict_proba(FRESH.images), second.predict_proba(FRESH.images))


@pytest.mark.slow
def test_frozen_stages_are_left_as_they_were(tmp_path, weights):
    trained = learner(PLAIN, weights, shared(tmp_path))
    trained.fit_to(3)
    start = random_net("resnet18", seed=5).state_dict()
    for name, tensor in trained.model.net.state_dict().items():
        if not name.startswith(("layer4", "fc")):
            assert torch.equal(tensor, start[name]), name


@pytest.mark.slow
def test_where_the_boundary_is_too_large_a_smaller_one_below_is_taken(tmp_path, weights):
    config = PLAIN.model_copy(update={"arch": "resnet50", "unfreeze": 3})

    def boundary(limit: int) -> int | None:
        each = learner(config, weights, shared(tmp_path, limit))
        each._begin()
        return each._prefix and each._prefix.boundary

    # Values of a face of 32 pixels: 256 x 8 x 8 after the first residual stage, 64 x 8 x 8 after the stem.
    per_face = 2 * len(TRAIN)
    assert boundary(2 * per_face * 256 * 64) == 3
    assert boundary(2 * per_face * 256 * 64 - 1) == 4
    assert boundary(2 * per_face * 64 * 64 - 1) is None


def test_on_a_full_disk_nothing_is_shared(tmp_path, weights, monkeypatch):
    monkeypatch.setattr(cache_module, "SPARE_BYTES", 2**60)
    cache = shared(tmp_path)
    off, on = learner(PLAIN, weights, None), learner(PLAIN, weights, cache)
    predicted = []
    for each in (off, on):
        each.fit_to(1)
        predicted.append(each.predict_proba(FRESH.images))
    assert np.array_equal(*predicted)
    assert cache.counts == Counts()


def test_of_views_that_find_no_room_a_process_holds_one(tmp_path, monkeypatch):
    monkeypatch.setattr(subsets, "BLOCK", 16)
    cache = shared(tmp_path, limit=1)
    config = PLAIN.model_copy(update={"augment": 0.5})
    prefix = Prefix(network("resnet18", 5, "imagenet"), 1, config, TRAIN.images, CPU, cache, 2)
    compute, held = prefix._activations, []

    def activations(images, view, block):
        held.append(len(prefix._opened))
        return compute(images, view, block)

    monkeypatch.setattr(prefix, "_activations", activations)
    batches = [prefix.batch(epoch, torch.arange(48)) for epoch in (0, 0, 1, 2)]
    assert held == [0, 1, 2] * 3  # the blocks of a view, none while another's are made
    assert cache.counts[:2] == (0, 9)
    assert torch.equal(batches[0], batches[3])
    assert not torch.equal(batches[0], batches[2])


@pytest.mark.slow
def test_results_do_not_depend_on_which_boundary_is_kept(tmp_path, weights):
    config = PLAIN.model_copy(update={"arch": "resnet50", "unfreeze": 3, "epochs": 1})
    kept = [learner(config, weights, shared(tmp_path, 4 * len(TRAIN) * 64 * size)) for size in (256, 64)]
    for each in kept:
        each.fit_to(1)
    first, second = (each.predict_proba(FRESH.images) for each in kept)
    assert [each._prefix.boundary for each in kept] == [3, 4]
    np.testing.assert_allclose(first, second, atol=0.02)


@pytest.mark.parametrize(
    ("change", "views"),
    [
        ({}, 1),
        ({"augment": 0.5}, 4),
        ({"erasing": 0.5}, 4),
        ({"mixup": 0.2}, 0),
        ({"cutmix": 0.2, "augment": 0.5}, 0),
    ],
)
def test_which_views_a_trial_may_share(change, views):
    assert views_of(PLAIN.model_copy(update=change), 4) == views


def test_what_is_trained_as_a_whole_shares_nothing(tmp_path, weights):
    cache = shared(tmp_path)
    whole = learner(PLAIN.model_copy(update={"unfreeze": 5}), weights, cache)
    whole.fit_to(1)
    whole.predict_proba(FRESH.images)
    assert cache.counts == Counts()


# Of each field of a config another value than in `PLAIN`, with variations; those that activations depend on.
CHANGES = {
    "family": "other",
    "arch": "resnet34",
    "stem": "small",
    "weights": "faces",
    "unfreeze": 2,
    "epochs": 9,
    "batch_size": 4,
    "head_lr": 0.5,
    "backbone_lr": 0.5,
    "stage_decay": 0.5,
    "schedule": "one_cycle",
    "weight_decay": 0.3,
    "dropout": 0.1,
    "label_smoothing": 0.1,
    "augment": 0.6,
    "erasing": 0.1,
    "mixup": 0.1,
    "cutmix": 0.1,
    "auxiliary": 0.1,
    "ema": 0.9,
    "image_size": 48,
    "flip": True,
}
VARYING = {"augment", "erasing"}
DECIDING = {"arch", "stem", "image_size", *VARYING}


def key(folder: Path, images=FRESH.images, view=0, block=None, seed=5, boundary=1, compute=CPU, **change) -> str:
    config = PLAIN.model_copy(update={"augment": 0.5, **change})
    net = random_net(config.arch, seed, config.stem)
    return Prefix(net, boundary, config, TRAIN.images, compute, shared(folder), 2).key(images, view, block).name


@pytest.mark.parametrize("name", ResnetConfig.model_fields)
def test_the_key_changes_with_every_field_that_activations_depend_on_and_no_other(tmp_path, name):
    """Weights are in the network, how many stages are trained in the boundary."""
    change = {name: CHANGES[name]}
    assert (key(tmp_path, **change) != key(tmp_path)) == (name in DECIDING)
    assert (key(tmp_path, view=None, **change) != key(tmp_path, view=None)) == (name in DECIDING - VARYING)


def test_the_key_changes_with_view_weights_boundary_and_faces(tmp_path):
    changes = [{}, {"view": 1}, {"view": None}, {"block": 0}, {"block": 1}, {"seed": 6}, {"boundary": 2}]
    changes.append({"images": TRAIN.images})
    assert len({key(tmp_path, **change) for change in changes}) == len(changes)


@pytest.mark.parametrize("name", [field.name for field in fields(Compute)])
def test_the_key_changes_with_every_field_of_how_it_is_computed(tmp_path, name):
    others = {"device": torch.device("meta"), "bf16": True}
    assert key(tmp_path, compute=replace(CPU, **{name: others[name]})) != key(tmp_path)


def test_a_network_is_known_by_its_file_until_the_file_changes(tmp_path):
    """Of a file hashed before the hash is remembered; it must be that of the tensors all the same."""
    path, config = tmp_path / "faces.safetensors", PLAIN.model_copy(update={"weights": "faces"})
    task = Task(TRAIN, 0, SCALE, weights={"resnet18 faces": path}, cache=shared(tmp_path), views=2)
    keys = []
    for seed in (5, 5, 6):
        write_tensors(random_net("resnet18", seed).state_dict(), path)
        for unfreeze in (0, 1):
            trial = ResnetLearner(config.model_copy(update={"unfreeze": unfreeze}), task, CPU)
            trial.fit_to(1)
            keys.append(trial._prefix.key(TRAIN.images, None).name)
            net = CPU.place(starting_net(trial.config, 0, files=task.weights))
            plain = Prefix.of(net, trial.config, task, CPU)
            assert plain.key(TRAIN.images, None).name == keys[-1]
    assert keys[:2] == keys[2:4]
    assert len(set(keys)) == 4
