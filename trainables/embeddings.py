"""Embeddings: the pooled features of a frozen network, as a descriptor for svm and forest."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spaces.features import EMBEDDED, FeatureConfig
from trainables.backbones import empty_net, prepare, trunk
from trainables.data.faceset import Images
from trainables.features import PREFIX
from trainables.files import Shape
from trainables.precision import Compute
from trainables.weights import HEADS, load_backbone, resolve_weights, weights_key

EMBED_BATCH = 256
# Vectors kept by a process: the rungs of a trial, and the trials of a search, show the same faces again and again.
REMEMBERED = 200_000


@dataclass(frozen=True)
class Embedder:
    """A frozen network from images to pooled features.

    Attributes:
        config: Names the architecture and the image size.
        tensors: float32, the network's parameters and buffers by torchvision's names, without the head.
    """

    config: FeatureConfig
    tensors: dict[str, NDArray[np.float32]]

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
        net = empty_net(arch, config.stem)
        load_backbone(net, path)
        return cls(config, _plain(net.state_dict()))

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
        with torch.device("meta"):
            state = empty_net(config.backbone, config.stem).state_dict()
        return {f"{PREFIX}{name}": tuple(tensor.shape) for name, tensor in state.items() if _is_kept(name)}

    def describe(self, images: Images) -> NDArray[np.float32]:
        """Pooled features, float32, (n, d), of faces, uint8, (n, 48, 48); computed once per face and process."""
        known = _remembered(self._key)
        digests = [blake2b(image, digest_size=16).digest() for image in np.ascontiguousarray(images)]
        fresh = list({digest: row for row, digest in enumerate(digests) if digest not in known}.values())
        for start in range(0, len(fresh), EMBED_BATCH):
            rows = fresh[start : start + EMBED_BATCH]
            for row, vector in zip(rows, self._embed(images[rows]), strict=True):
                known[digests[row]] = vector
        found = np.empty((len(digests), EMBEDDED[self.config.backbone]), dtype=np.float32)
        for place, digest in enumerate(digests):
            found[place] = known[digest]
        if len(known) > REMEMBERED:
            known.clear()
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
        compute = Compute.best()
        net = empty_net(self.config.backbone, self.config.stem)
        tensors = {name: torch.tensor(array) for name, array in self.tensors.items()}
        net.load_state_dict(tensors, strict=False)
        return compute, compute.place(trunk(net).eval())

    @cached_property
    def _key(self) -> str:
        content = blake2b(
            f"{self.config.backbone} {self.config.stem} {self.config.image_size}".encode(), digest_size=16
        )
        for name, array in sorted(self.tensors.items()):
            content.update(name.encode())
            content.update(array.tobytes())
        return content.hexdigest()


_memory: dict[str, dict[bytes, NDArray[np.float32]]] = {}


def _remembered(key: str) -> dict[bytes, NDArray[np.float32]]:
    """The vectors this process has computed with the network `key`; those of other networks are forgotten."""
    if key not in _memory:
        _memory.clear()
        _memory[key] = {}
    return _memory[key]


def _is_kept(name: str) -> bool:
    return not name.startswith(HEADS) and not name.endswith("num_batches_tracked")


def _plain(state: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
    return {name: tensor.numpy() for name, tensor in state.items() if _is_kept(name)}
