"""Weights a backbone starts from: torchvision's own, or a file. Nothing is unpickled."""

import hashlib
import re
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from types import MappingProxyType
from typing import cast, get_args
from urllib.parse import urlparse

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from spaces.errors import InputError
from spaces.resnet import Arch, ResnetConfig, Stem
from trainables.backbones import embedding_net, empty_net, random_net, reset_head
from trainables.base import weights_key
from trainables.data.faceset import CLASSES

SUFFIXES = (".safetensors", ".pth", ".pt")
# Published files of DenseNets name their layers as torch did before 0.4: `denselayer1.norm.1.weight`.
_OLD_NAME = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
# torchvision's names of what stands behind the pooled features.
HEADS = ("fc.", "classifier.")


def resolve_weights(arch: str, weights: str) -> Path | None:
    """The file that `weights` means, or None for `none`; what it returns, as a string, resolves to itself.

    Args:
        arch: The architecture, by torchvision's name.
        weights: `none`, `imagenet` or a path, as in `ResnetConfig.weights`; `faces` has no file of its own here.

    Raises:
        InputError: If the file is missing and cannot be downloaded, is not what its name says, or is of no known kind.
    """
    if weights == "none":
        return None
    if weights == "faces":
        raise InputError("weights 'faces': they are made by a search, before its first trial, and handed to its trials")
    if weights == "imagenet":
        return cached_file(torchvision.models.get_model_weights(arch).DEFAULT.url)
    path = Path(weights)
    if path.suffix not in SUFFIXES:
        raise InputError(
            f"weights {weights!r}: allowed are none, imagenet, faces or the path of a {', '.join(SUFFIXES[:-1])} "
            f"or {SUFFIXES[-1]} file"
        )
    if not path.is_file():
        raise InputError(f"weights {path}: there is no such file")
    return path


def cached_file(url: str) -> Path:
    """The file of `url` in torch's cache, downloaded if absent and checked against the hash in its name.

    torchvision's names end in the first digits of the file's sha256, as in `resnet18-f37072fd.pth`.

    Raises:
        InputError: If it is absent and cannot be downloaded, or is another file than its name says.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / Path(urlparse(url).path).name
    digits = path.stem.rpartition("-")[2]
    if not path.is_file():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=digits, progress=False)
        # A download of other content than expected is a RuntimeError.
        except (OSError, HTTPException, RuntimeError) as error:
            raise InputError(
                f"imagenet weights: {url} cannot be downloaded ({error}); put the file {path.name} into {folder}"
            ) from error
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(digits):
        raise InputError(
            f"weights {path}: the file's sha256 must begin with {digits}, as its name says, but begins with "
            f"{found[: len(digits)]}; delete it and fetch it again from {url}"
        )
    return path


def starting_net(
    config: ResnetConfig, seed: int, classes: int = len(CLASSES), files: Mapping[str, Path] = MappingProxyType({})
) -> nn.Module:
    """The network that `config` starts from, on the CPU: its weights in the backbone, a random head of `classes`.

    Args:
        config: Names architecture, stem and weights.
        seed: Fixes the random tensors.
        classes: Outputs of the head.
        files: Files of weights by `weights_key`; others are resolved here.

    Raises:
        InputError: See `resolve_weights` and `load_backbone`.
    """
    given = files.get(weights_key(config.arch, config.weights))
    weights = given or resolve_weights(config.arch, config.weights)
    if weights is None:
        return random_net(config.arch, seed, config.stem, classes)
    net = empty_net(config.arch, config.stem, classes)
    load_backbone(net, weights)
    reset_head(net, seed)
    return net


def load_backbone(net: nn.Module, path: Path) -> None:
    """Copy the weights in `path` into `net`, whose head is left as it is; the file may have another head or none.

    Raises:
        InputError: If the file cannot be read or does not fit the network.
    """
    _load_all_but(HEADS, net, path)


def load_embedding_net(backbone: str, path: Path, stem: Stem = "imagenet") -> nn.Module:
    """The network that `embedding_net` gives, with the weights in `path`, whose last layer is not looked at.

    Raises:
        InputError: If the file cannot be read or does not fit the network.
    """
    net, last = embedding_net(backbone, stem)
    # torchvision's vgg16 has three layers where ours has one.
    _load_all_but(HEADS if backbone in get_args(Arch) else (f"{last}.",), net, path)
    return net


def _load_all_but(prefixes: tuple[str, ...], net: nn.Module, path: Path) -> None:
    # Counters of batches, which files of old torch versions lack, and tables of whole numbers are no weights.
    expected = {
        key: value
        for key, value in net.state_dict().items()
        if value.is_floating_point() and not key.startswith(prefixes)
    }
    found = {_OLD_NAME.sub(r"\1\2", key): value for key, value in read_tensors(path).items()}
    tensors = {key: value for key, value in found.items() if value.is_floating_point() and not key.startswith(prefixes)}
    check_fit(tensors, expected, path)
    net.load_state_dict(tensors, strict=False)


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write named tensors as a `.safetensors` file."""
    # The format stores plain layouts only, and the weights are channels last.
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


def write_random(backbone: str, path: Path) -> None:
    """Write random weights from which networks and embeddings of `backbone` can start, as a `.safetensors` file."""
    is_arch = backbone in get_args(Arch)  # whose embedding nets are empty until loaded
    net = random_net(cast(Arch, backbone), seed=0) if is_arch else embedding_net(backbone)[0]
    write_tensors(net.state_dict(), path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The named tensors in a `.safetensors`, `.pth` or `.pt` file, on the CPU.

    Raises:
        InputError: If the file is missing or holds anything but named tensors.
    """
    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    except Exception as error:  # torch's restricted reader meets garbled bytes with errors of many kinds
        raise InputError(f"{path}: not a file of tensors that can be read without running code") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise InputError(f"{path}: the file must hold named tensors and nothing else (a saved state dict)")
    return tensors


def read_into(state: dict[str, Tensor], path: Path) -> None:
    """Copy the tensors in `path` into those of `state`, which change in place.

    Raises:
        InputError: If the file cannot be read or holds other tensors.
    """
    tensors = read_tensors(path)
    check_fit(tensors, state, path)
    for name, tensor in state.items():
        tensor.copy_(tensors[name])


def check_fit(tensors: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    """Compare the tensors found in `path` with those expected, by name and shape.

    Raises:
        InputError: If they differ; it names the first of each kind of difference.
    """
    differences = {
        "missing": [key for key in expected if key not in tensors],
        "unknown": [key for key in tensors if key not in expected],
        "of another shape": [key for key in expected if key in tensors and tensors[key].shape != expected[key].shape],
    }
    found = [f"{len(keys)} {kind} ({keys[0]} first)" for kind, keys in differences.items() if keys]
    if found:
        raise InputError(f"{path}: its tensors do not fit the network: {', '.join(found)}")
