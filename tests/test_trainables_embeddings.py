"""Embeddings of any of torchvision's classifiers."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from drawn_faces import drawn_faces
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from spaces.backbones import LEAST_SIDE, WIDTHS
from spaces.errors import InputError
from spaces.features import DESCRIPTORS, FeatureConfig, FeatureSpace
from spaces.resnet import STEMMED
from trainables.backbones import CHANNEL_MEAN, CHANNEL_STD, embedding_net, prepare, random_net, trunk
from trainables.base import weights_key
from trainables.embeddings import Embedder
from trainables.precision import Compute
from trainables.weights import load_embedding_net

FACES = drawn_faces(6).images
LEFT_OUT = ("efficientnet_v2_l", "googlenet", "inception_v3", "mnasnet", "squeezenet", "vit_h_14")
# One of each kind; the largest are of the same kinds.
KINDS = ["densenet121", "efficientnet_b0", "mobilenet_v3_small", "regnet_y_400mf", "shufflenet_v2_x0_5", "swin_t"]


def weights_of(backbone: str, folder: Path) -> tuple[nn.Module, Path]:
    """A classifier of torchvision's with random weights, and a file of them, as one that is published."""
    torch.manual_seed(0)
    net = torchvision.models.get_model(backbone, weights=None)
    path = folder / f"{backbone}.safetensors"
    save_file({name: tensor.contiguous() for name, tensor in net.state_dict().items()}, path)
    return net.eval(), path


def test_every_classifier_of_torchvision_is_there_or_left_out_by_name() -> None:
    known = torchvision.models.list_models(module=torchvision.models)
    assert sorted(WIDTHS) == [name for name in known if not name.startswith(LEFT_OUT)]


@pytest.mark.parametrize("backbone", WIDTHS)
def test_published_weights_expect_what_they_are_shown(backbone: str) -> None:
    expects = torchvision.models.get_model_weights(backbone).DEFAULT.transforms()
    assert (tuple(expects.mean), tuple(expects.std)) == (CHANNEL_MEAN, CHANNEL_STD)
    assert LEAST_SIDE.get(backbone, 0) in (0, 64, *expects.crop_size)


@pytest.mark.parametrize("backbone", [*KINDS, "resnet18"])
def test_features_are_what_stands_before_torchvisions_last_layer(backbone: str, tmp_path: Path) -> None:
    net, path = weights_of(backbone, tmp_path)
    config = FeatureConfig(kind="embedding", backbone=backbone, weights=str(path), image_size=48)
    embedder = Embedder.start(config, {weights_key(backbone, str(path)): path})
    *_, last = (module for module in net.modules() if isinstance(module, nn.Linear))
    seen: list[torch.Tensor] = []
    last.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    with torch.inference_mode(), Compute.best().autocast():
        net(prepare(torch.tensor(FACES), 48))
    found = embedder.describe(FACES)
    assert found.shape == (len(FACES), WIDTHS[backbone])
    expected = seen[0].float().numpy()
    assert np.linalg.norm(found - expected) < 0.03 * np.linalg.norm(expected)  # bfloat16, in another memory layout
    again = Embedder.of(config, embedder.arrays())
    assert np.array_equal(again.describe(FACES), found)
    assert {name: array.shape for name, array in embedder.arrays().items()} == Embedder.shapes(config)


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone", [name for name in WIDTHS if not name.startswith(("vit_h", "vit_l", "regnet_y_128"))]
)
def test_every_backbone_gives_as_many_features_as_the_table_says(backbone: str) -> None:
    net, _ = embedding_net(backbone)
    side = max(48, LEAST_SIDE.get(backbone, 0))
    with torch.inference_mode():
        assert net.eval()(torch.zeros(1, 3, side, side)).shape == (1, WIDTHS[backbone])


def test_published_densenets_name_their_layers_in_the_old_way(tmp_path: Path) -> None:
    net, path = weights_of("densenet121", tmp_path)
    renamed = {
        name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): tensor
        for name, tensor in net.state_dict().items()
    }
    assert any(".norm.1." in name for name in renamed)
    save_file({name: tensor.contiguous() for name, tensor in renamed.items()}, path)
    loaded = load_embedding_net("densenet121", path).state_dict()
    convolutions = net.get_submodule("features").state_dict(prefix="features.")
    assert all(torch.equal(loaded[name], tensor) for name, tensor in convolutions.items())


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    _, path = weights_of("shufflenet_v2_x0_5", tmp_path)
    with pytest.raises(InputError, match="do not fit the network"):
        load_embedding_net("shufflenet_v2_x1_0", path)


def test_a_stem_changes_what_is_seen_and_only_residual_networks_have_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "net.safetensors"
    net = random_net("resnet18", 0, "half")
    save_file(net.state_dict(), path)
    config = FeatureConfig(kind="embedding", stem="half", weights=str(path), image_size=32)
    found = Embedder.start(config, {weights_key("resnet18", str(path)): path}).describe(FACES)
    with torch.inference_mode(), Compute.best().autocast():
        expected = trunk(net.eval())(prepare(torch.tensor(FACES), 32)).float().numpy()
    assert np.linalg.norm(found - expected) < 0.03 * np.linalg.norm(expected)
    with pytest.raises(ValidationError, match="stem must be imagenet, received half"):
        FeatureConfig(kind="embedding", backbone="vgg16", stem="half")


class First:
    """Answers every question with its first choice, and remembers the questions."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def suggest_categorical(self, name: str, choices: list[object]) -> object:
        self.asked.append(name)
        return choices[0]


@pytest.mark.parametrize("backbone", ["resnet50", "swin_t"])
def test_only_residual_networks_are_asked_for_their_stem(backbone: str) -> None:
    space = FeatureSpace.model_validate({"kind": "embedding", "backbone": backbone, "stem": ["imagenet", "half"]})
    trial = First()
    assert space.suggest(trial, "x").backbone == backbone
    assert ("x.stem" in trial.asked) == (backbone in STEMMED)


def test_unknown_and_too_small_backbones_are_refused_in_a_sentence() -> None:
    with pytest.raises(ValidationError, match="allowed are alexnet, convnext_base"):
        FeatureConfig(backbone="resnet19")
    with pytest.raises(ValidationError, match="vit_b_16 takes images of 224 pixels or more; received 64"):
        FeatureConfig(kind="embedding", backbone="vit_b_16")
    with pytest.raises(ValidationError, match="alexnet takes images of 64 pixels or more; received 48"):
        FeatureSpace.model_validate({"kind": "embedding", "backbone": "alexnet", "image_size": [64, 48]})


EMBEDDER = Embedder(
    FeatureConfig(kind="embedding"),
    {"a": np.zeros(4, np.float32), "b": np.ones(2, np.float32)},
    Compute(torch.device("cpu"), bf16=False),
)


def tensors(**change: Any) -> dict[str, np.ndarray]:
    return {name: value for name, value in {**EMBEDDER.tensors, **change}.items() if value is not None}


# Other values than those of `EMBEDDER`: of its config, whose weights are in the tensors, and of each of its fields.
SEEN = {"backbone": "resnet34", "stem": "half", "image_size": 48}
CHANGES: dict[str, list[Any]] = {
    "config": [EMBEDDER.config.model_copy(update={name: value}) for name, value in SEEN.items()],
    "tensors": [
        tensors(a=np.array([0, 0, 0, 1e-6], np.float32)),
        tensors(b=None),
        tensors(c=np.zeros(1, np.float32)),
        {"a": EMBEDDER.tensors["a"], "c": EMBEDDER.tensors["b"]},
        tensors(a=np.zeros((2, 2), np.float32)),
    ],
    "compute": [Compute(torch.device("meta"), bf16=False), Compute(torch.device("cpu"), bf16=True)],
}


@pytest.mark.parametrize("name", [field.name for field in fields(Embedder)])
def test_the_key_changes_with_every_field_of_the_embedder(name: str) -> None:
    keys = [EMBEDDER.key, *(replace(EMBEDDER, **{name: value}).key for value in CHANGES[name])]
    assert len(set(keys)) == 1 + len(CHANGES[name])
    assert replace(EMBEDDER).key == EMBEDDER.key
    assert set(SEEN) == set(DESCRIPTORS["embedding"]) - {"weights"}


@pytest.mark.parametrize("name", [field.name for field in fields(Compute)])
def test_the_key_changes_with_every_field_of_how_it_is_computed(name: str) -> None:
    others = {"device": torch.device("meta"), "bf16": True}
    changed = replace(EMBEDDER, compute=replace(EMBEDDER.compute, **{name: others[name]}))
    assert changed.key != EMBEDDER.key
