"""The frozen part of a network: what it makes of faces is computed once, and trials train only what is above it.

Activations at the freeze boundary are kept in bfloat16, channels last, for the plain view of each face and for a number
of augmented views, which take turns from epoch to epoch. A view is computed block by block (`subsets.blocks`), as the
first trial comes to each: most trials of a search are stopped before they have seen every face once. Where the
activations are too large to keep, for the cache's limit or the disk, those at the next boundary below, nearer to the
image, are taken, if they are smaller (as those of a bottleneck network's stem are), and the frozen stages between run
in each step; where none fit nothing is shared. Should the room be gone later, each process computes for itself.

With plain views the results are those of the whole network, up to the rounding of the activations where the hardware
does not compute in bfloat16 anyway. With augmented views all trials see the same variations, and after as many epochs
as there are views they see them again; what that costs is measured in `docs/log.md`.
"""

from collections.abc import Iterator
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn

from spaces.resnet import ResnetConfig
from trainables.augment import augment, erase, seeded
from trainables.backbones import ALL_STAGES, prepare, split_trunk
from trainables.base import Task
from trainables.cache import Cache
from trainables.data.faceset import SIDE, Images
from trainables.draft import Draft
from trainables.keys import NETWORK_CODE, Key, code_digest, digest
from trainables.mapped import identity
from trainables.precision import Compute
from trainables.subsets import blocks

_BATCH = 256
_VIEW_SEED = 0
# The share of the cache that the views of one training may fill.
_SHARE = 0.5

# Hashes of frozen parts by the file they were read from and their structure: hashing takes as long as reading.
_known: dict[tuple[tuple[str, int, int], str], str] = {}


class Prefix:
    """The frozen part of one trial's network, and what it makes of faces.

    Args:
        net: The network, on the device of `compute`; the tensors of its frozen stages must not change any more.
        boundary: How many stages are above the activations, counted as `ResnetConfig.unfreeze` is.
        config: What is trained.
        faces: uint8, (n, 48, 48), the training faces.
        compute: Where and in which precision.
        cache: Where activations are kept.
        views: Augmented views of each training face; 1 if all views are plain, 0 if training has none here.
    """

    def __init__(
        self,
        net: nn.Module,
        boundary: int,
        config: ResnetConfig,
        faces: Images,
        compute: Compute,
        cache: Cache,
        views: int,
    ) -> None:
        self.boundary = boundary
        self.views = views
        self._below = split_trunk(net, boundary)[0].eval()
        self._config = config
        self._faces = faces
        self._compute = compute
        self._cache = cache
        self._blocks = blocks(len(faces))
        self._block_of, self._place_in = np.empty((2, len(faces)), np.intp)
        for number, rows in enumerate(self._blocks):
            self._block_of[rows], self._place_in[rows] = number, np.arange(len(rows))
        self._opened: dict[tuple[int, int], NDArray[np.int16]] = {}
        self._file: Path | None = None

    @classmethod
    def of(
        cls, net: nn.Module, config: ResnetConfig, task: Task, compute: Compute, file: Path | None = None
    ) -> "Prefix | None":
        """The prefix of a trial, None if nothing is frozen, nothing is shared, or no boundary's activations fit.

        Args:
            net: The trial's network.
            config: What is trained.
            task: What it is trained on.
            compute: Where and in which precision.
            file: What the frozen stages were read from just now, None if unknown: it spares hashing them each time.
        """
        if task.cache is None or config.unfreeze == ALL_STAGES:
            return None
        views = views_of(config, task.views)
        limit = _SHARE * task.cache.capacity / (2 * len(task.faces) * max(1, min(views, config.epochs)))
        for boundary, values in _sizes(net, config, compute):
            if values <= limit:
                prefix = cls(net, boundary, config, task.faces.images, compute, task.cache, views)
                prefix._file = file
                return prefix
        return None

    def above(self, net: nn.Module) -> nn.Sequential:
        """What of `net`, the trial's network or a copy of it, follows the activations, up to pooled features."""
        return split_trunk(net, self.boundary)[1]

    def batch(self, epoch: int, picked: Tensor) -> Tensor:
        """The activations, float (b, c, h, w) or (b, d), of the training faces `picked`, int64 (b,), in `epoch`."""
        rows = picked.cpu().numpy()
        numbers = self._block_of[rows]
        opened = {number: self._block(epoch % self.views, number) for number in np.unique(numbers).tolist()}
        bits = np.empty((len(rows), *next(iter(opened.values())).shape[1:]), np.int16)
        for number, block in opened.items():
            at = numbers == number
            bits[at] = block[self._place_in[rows[at]]]
        return self._tensor(bits)

    def _block(self, view: int, number: int) -> NDArray[np.int16]:
        """The bits of the activations of a block of the training faces in a view, in the block's order."""
        if (view, number) not in self._opened:
            # What found no room is in this process's memory: no more than one view of it at a time.
            self._opened = {
                key: found for key, found in self._opened.items() if key[0] == view or isinstance(found.base, np.memmap)
            }
            self._opened[view, number] = self._activations(self._faces, view if self._is_varied else None, number)
        return self._opened[view, number]

    def plain(self, images: Images, size: int) -> Iterator[Tensor]:
        """The activations of faces, uint8 (n, 48, 48), as they are, in batches of `size`."""
        activations = self._activations(images, None)
        for start in range(0, len(images), size):
            yield self._tensor(np.array(activations[start : start + size]))

    @property
    def _is_varied(self) -> bool:
        return self._config.augment > 0 or self._config.erasing > 0

    def _activations(self, images: Images, view: int | None, block: int | None = None) -> NDArray[np.int16]:
        """The bits of the activations of a view of a block of `images`, (n, h, w, c) or (n, d).

        The plain view is None, and so is what stands for all images as they come.
        """

        def compute(draft: Draft) -> None:
            out: NDArray[np.int16] | None = None
            seen = images if block is None else images[self._blocks[block]]
            for start in range(0, len(seen), _BATCH):
                variation = None if view is None else seeded(self._compute.device, _VIEW_SEED, view, start, block or 0)
                bits = self._run(seen[start : start + _BATCH], variation)
                if out is None:
                    out = draft.array("activations", (len(seen), *bits.shape[1:]), np.int16)
                out[start : start + _BATCH] = bits

        return self._cache.get(self.key(images, view, block), compute)["activations"]

    @cached_property
    def _network(self) -> str:
        return _network_digest(self._below, self._file)

    def key(self, images: Images, view: int | None, block: int | None = None) -> Key:
        """What the activations of a view of `images`, or of a block of them, depend on."""
        config = self._config
        return Key.of(
            "prefix",
            network=self._network,
            image_size=config.image_size,
            images=digest(images),
            block=block,
            view=view,
            seed=None if view is None else _VIEW_SEED,
            augment=None if view is None else config.augment,
            erasing=None if view is None else config.erasing,
            compute=f"{self._compute} {torch.__version__} {torchvision.__version__}",
            code=code_digest("prefix.py", "augment.py", "subsets.py", *NETWORK_CODE),
        )

    @torch.inference_mode()
    def _run(self, images: Images, variation: torch.Generator | None) -> NDArray[np.int16]:
        device, config = self._compute.device, self._config
        gray = torch.tensor(images, device=device)
        if variation is not None:
            gray = erase(augment(gray, config.augment, variation), config.erasing, variation)
        with self._compute.autocast():
            activations: Tensor = self._below(prepare(gray, config.image_size))
        if activations.ndim == 4:
            activations = activations.permute(0, 2, 3, 1)
        bits: NDArray[np.int16] = activations.to(torch.bfloat16).contiguous().view(torch.int16).cpu().numpy()
        return bits

    def _tensor(self, bits: NDArray[np.int16]) -> Tensor:
        values = torch.from_numpy(bits).to(self._compute.device).view(torch.bfloat16)
        if not self._compute.bf16:
            values = values.float()
        return values.permute(0, 3, 1, 2) if values.ndim == 4 else values


def views_of(config: ResnetConfig, shared: int) -> int:
    """How many views of each training face a trial of `config` shares, if `shared` augmented ones are kept.

    None where images are blended in each step; one where nothing is varied, since all views are plain then.
    """
    if config.mixup > 0 or config.cutmix > 0:
        return 0
    return shared if config.augment > 0 or config.erasing > 0 else 1


@torch.inference_mode()
def _sizes(net: nn.Module, config: ResnetConfig, compute: Compute) -> list[tuple[int, int]]:
    """The boundaries a trial may use, the one at its freeze boundary first, and how many values a face has at each."""
    image = torch.zeros((1, SIDE, SIDE), device=compute.device)
    sizes = []
    with compute.autocast():
        seen, passed = prepare(image, config.image_size), 0
        for boundary in range(ALL_STAGES - 1, config.unfreeze - 1, -1):
            below = split_trunk(net, boundary)[0]
            for module in list(below)[passed:]:
                # Frozen stages are in evaluation mode, or batch-norm would gather statistics of an empty image.
                seen = module.eval()(seen)
            passed = len(below)
            sizes.append((boundary, seen.numel()))
    return sizes[::-1]


def _network_digest(below: nn.Module, file: Path | None) -> str:
    """A hash of the structure and all tensors of a frozen part, which were read from `file`, if given."""
    structure = str(below)
    source = None if file is None else (identity(file, file), structure)
    if source in _known:
        return _known[source]
    content = blake2b(structure.encode(), digest_size=16)
    for name, tensor in below.state_dict().items():
        content.update(name.encode())
        content.update(np.ascontiguousarray(tensor.cpu().numpy()).data)
    if source is not None:
        _known[source] = content.hexdigest()
    return content.hexdigest()
