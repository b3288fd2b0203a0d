"""Embeddings: the pooled features of a frozen network, as a descriptor for svm and forest."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor

from spaces.backbones import WIDTHS
from spaces.features import FeatureConfig
from trainables.backbones import embedding_net, prepare
from trainables.base import weights_key
from trainables.data.faceset import Images
from trainables.features import PREFIX
from trainables.files import Shape
from trainables.keys import NETWORK_CODE, code_digest, digest
from trainables.precision import Compute
from trainables.weights import load_embedding_net, resolve_weights

EMBED_BATCH = 256


@dataclass(frozen=True)
class Embedder:
    """A frozen network from images to pooled features.

    Attributes:
        config: Names the architecture and the image size.
        tensors: float32, the network's parameters and buffers by torchvision's names, without the last layer.
        compute: Where and in which precision it runs; None for the best that this machine has.
    """

    config: FeatureConfig
    tensors: dict[str, NDArray[np.float32]]
    compute: Compute | None = None

    @classmethod
    def start(cls, config: FeatureConfig, files: Mapping[str, Path]) -> Self:
        """The network that `config` names.

        Args:
            config: Names architecture, weights and image size.
            files: Files of weights by `weights_key`; others are resolved here.

        Raises:
            InputError: If the weights cannot be found or do not fit.
        """
        arch, weights = config.backbone, config.weights
        path = files.get(weights_key(arch, weights)) or resolve_weights(arch, weights)
        assert path is not None, "embeddings have weights: FeatureConfig forbids none"
        return cls(config, _plain(load_embedding_net(arch, path, config.stem).state_dict()))

    @classmethod
    def of(cls, config: FeatureConfig, arrays: Mapping[str, NDArray[np.float32]]) -> Self:
        """The network in what `arrays` gave."""
        return cls(config, {name.removeprefix(PREFIX): array for name, array in arrays.items()})

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Its tensors, each name with the prefix `backbone.`."""
        return {f"{PREFIX}{name}": array for name, array in self.tensors.items()}

    @staticmethod
    def shapes(config: FeatureConfig) -> dict[str, Shape]:
        """The shapes of `arrays`."""
        state = embedding_net(config.backbone, config.stem)[0].state_dict()
        return {f"{PREFIX}{name}": array.shape for name, array in _plain(state).items()}

    def net(self) -> torch.nn.Module:
        """The network on the CPU as torch builds it: (n, 3, s, s) to pooled features (n, d)."""
        net, _ = embedding_net(self.config.backbone, self.config.stem)
        tensors = {name: torch.tensor(array) for name, array in self.tensors.items()}
        net.load_state_dict(tensors, strict=False)
        return net.eval()

    def describe(self, images: Images) -> NDArray[np.float32]:
        """Pooled features, float32, (n, d), of faces, uint8, (n, 48, 48)."""
        found = np.empty((len(images), WIDTHS[self.config.backbone]), dtype=np.float32)
        for start in range(0, len(images), EMBED_BATCH):
            part = slice(start, start + EMBED_BATCH)
            found[part] = self._embed(images[part])
        return found

    @torch.inference_mode()
    def _embed(self, images: Images) -> NDArray[np.float32]:
        compute, network = self._network
        batch = prepare(torch.tensor(images, device=compute.device), self.config.image_size)
        with compute.autocast():
            features: Tensor = network(batch)
        return features.float().cpu().numpy()

    @cached_property
    def _network(self) -> tuple[Compute, torch.nn.Module]:
        compute = self.compute or Compute.best()
        return compute, compute.place(self.net())

    @cached_property
    def key(self) -> str:
        """A hash of all that the features of a face depend on: the network, and how it is computed."""
        config = self.config
        versions = (torch.__version__, torchvision.__version__)
        how = (self.compute or Compute.best(), versions, code_digest("embeddings.py", *NETWORK_CODE))
        what = f"{config.backbone} {config.stem} {config.image_size} {how}"
        content = blake2b(what.encode(), digest_size=16)
        for name, array in sorted(self.tensors.items()):
            content.update(f"{name} {digest(array)} ".encode())
        return content.hexdigest()


def _plain(state: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
    """The weights; counters of batches and tables of whole numbers are none."""
    return {name: tensor.numpy() for name, tensor in state.items() if tensor.is_floating_point()}
