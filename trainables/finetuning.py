"""The training loop of the resnet family: data on the device, whole batches, one optimizer step after another."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.resnet import ResnetConfig
from trainables.augment import augment, dropout, erase, seeded
from trainables.averaging import WeightAverage
from trainables.backbones import ALL_STAGES, freeze, head, prepare, random_head, train_mode, trained_tensors, trunk
from trainables.base import TrainingError, class_weights
from trainables.data.faceset import CLASSES, EMOTIONS, Faces, Images, Labels
from trainables.mixing import mix
from trainables.optimization import make_optimizer, optimizer_tensors, rate_factor, set_rates
from trainables.precision import Compute
from trainables.prefix import Prefix
from trainables.subsets import blocks

# Reading the loss makes a GPU wait for its queue, so it is not read at every step.
STEPS_BETWEEN_CHECKS = 50
# The second number of a generator's key says what it is for.
ORDER, VARIATION, MIXING = 0, 1, 2


@dataclass(frozen=True)
class Examples:
    """What a network is to learn: any labels of faces, those of the three classes or others.

    Attributes:
        images: uint8, (n, 48, 48).
        labels: int8, (n,), 0 .. classes - 1.
        classes: How many there are: the outputs of the network's head.
        emotions: int8, (n,), index into `EMOTIONS`: what an auxiliary head learns.
        balanced: Whether the loss weighs the classes so that each counts the same.
    """

    images: Images
    labels: Labels
    classes: int
    emotions: Labels
    balanced: bool = True

    @classmethod
    def of(cls, faces: Faces) -> Self:
        """The three classes of `faces`."""
        return cls(faces.images, faces.labels, len(CLASSES), faces.emotions)


def _shared(images: Images) -> Tensor:
    """`images` as a tensor on the CPU, not copied: all workers of a node map the same file."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(images)


@dataclass(frozen=True)
class ResidentData:
    """Training faces on the device; they are only read.

    Attributes:
        images: uint8, (n, 48, 48).
        labels: int64, (n,).
        emotions: int64, (n,).
        weights: float32, (classes,): what each class weighs in the loss.
    """

    images: Tensor
    labels: Tensor
    emotions: Tensor
    weights: Tensor

    @classmethod
    def of(cls, examples: Examples, device: torch.device) -> Self:
        """Copy `examples` to `device`.

        Raises:
            TrainingError: If a class has no image.
        """
        weights = class_weights(examples.labels, examples.classes) if examples.balanced else np.ones(examples.classes)
        return cls(
            images=_shared(examples.images).to(device),
            labels=torch.tensor(examples.labels, device=device, dtype=torch.int64),
            emotions=torch.tensor(examples.emotions, device=device, dtype=torch.int64),
            weights=torch.tensor(weights, device=device, dtype=torch.float32),
        )


class FineTuning:
    """A network in training.

    An epoch is `ceil(n / batch_size)` steps. Each has its own order of images, and its last batch is filled up from
    the start of that order: batches are all of one size, and batch-norm never meets a batch of one. Where stages are
    frozen, the order is one of blocks (`subsets.blocks`), the same in all trainings, and one of this training in each.

    Args:
        net: The network, on the device of `compute`, with a head of `examples.classes` outputs.
        config: How it is trained; `arch`, `stem`, `weights` and `flip` are not looked at.
        examples: What it learns.
        seed: Fixes every random choice of the training.
        compute: Where and in which precision.
        prefix: What the frozen stages make of the examples, if that is shared; `images` are then the prefix's faces.

    Attributes:
        net: The network in training.
        optimizer: Its optimizer.
        total_steps: Optimizer steps of the full budget.

    Raises:
        TrainingError: If a class has no image.
    """

    def __init__(
        self,
        net: nn.Module,
        config: ResnetConfig,
        examples: Examples,
        seed: int,
        compute: Compute,
        prefix: Prefix | None = None,
    ) -> None:
        freeze(net, config.unfreeze)
        self.net = net
        self._auxiliary = random_head(net, len(EMOTIONS), seed).to(compute.device) if config.auxiliary > 0 else None
        self._average = WeightAverage(net, config.unfreeze, config.ema) if config.ema > 0 else None
        self.optimizer = make_optimizer(net, config, self._auxiliary)
        self.steps_per_epoch = -(-len(examples.labels) // config.batch_size)
        self.total_steps = config.epochs * self.steps_per_epoch
        self._config = config
        self._seed = seed
        self._compute = compute
        self._data = ResidentData.of(examples, compute.device)
        # A prefix may serve predictions alone.
        self._prefix = prefix if prefix is not None and prefix.views else None
        self._trunk, self._head = self._prefix.above(net) if self._prefix else trunk(net), head(net)
        rows = np.arange(len(examples.labels))
        groups = [rows] if config.unfreeze == ALL_STAGES else blocks(len(rows))
        self._blocks = [torch.from_numpy(group).to(compute.device) for group in groups]
        self._order_of_epoch: tuple[int, Tensor] | None = None

    @property
    def predictor(self) -> nn.Module:
        """The network that predicts and is exported: the moving average of weights where there is one, else `net`."""
        return self.net if self._average is None else self._average.net

    def state(self) -> dict[str, Tensor]:
        """What continuing needs besides the tensors of `predictor`, by name; writing to a tensor changes the training.

        That is the optimizer's state, and where they are in use the auxiliary head (`auxiliary.*`) and the trained
        tensors of `net` (`live.*`).
        """
        state = optimizer_tensors(self.net, self.optimizer)
        if self._auxiliary is not None:
            heads = nn.ModuleDict({"auxiliary": self._auxiliary})
            state |= heads.state_dict() | optimizer_tensors(heads, self.optimizer)
        if self._average is not None:
            live = trained_tensors(self.net, self._config.unfreeze)
            state |= {f"live.{name}": tensor for name, tensor in live.items()}
        return state

    def rate(self, step: int) -> float:
        """The learning rate of the head in `step`."""
        return self._config.head_lr * rate_factor(step, self.total_steps, self._config.schedule)

    def run(self, steps: range, note_batch: Callable[[], None] = lambda: None) -> float:
        """Take the optimizer steps `steps`, at least one, and return the mean of their losses.

        Args:
            steps: Their numbers.
            note_batch: Called whenever the inputs of a batch are at hand.

        Raises:
            TrainingError: If the loss or a weight is no longer finite.
        """
        train_mode(self.net, self._config.unfreeze)
        losses = torch.zeros((), device=self._compute.device, dtype=torch.float64)
        for step in steps:
            losses += self._step(step, note_batch)
            if (step + 1) % STEPS_BETWEEN_CHECKS == 0:
                self._check_finite(losses, step)
        tensors = [tensor for tensor in self.net.state_dict().values() if tensor.is_floating_point()]
        self._check_finite(torch.stack([losses, *(tensor.sum(dtype=torch.float64) for tensor in tensors)]), steps[-1])
        return float(losses) / len(steps)

    def _step(self, step: int, note_batch: Callable[[], None]) -> Tensor:
        """Take one optimizer step and return its loss, still on the device."""
        config = self._config
        picked = self.batch(step)
        # Keyed by the step, so that a resumed training meets the same numbers.
        generator = seeded(self._compute.device, self._seed, VARIATION, step)
        images, share = self._inputs(step, picked, generator)
        note_batch()
        loss = self._differentiate(images, picked, share, generator)
        set_rates(self.optimizer, rate_factor(step, self.total_steps, config.schedule))
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self._average is not None:
            self._average.update(step)
        return loss

    def _differentiate(self, images: Tensor, picked: Tensor, share: float, generator: torch.Generator) -> Tensor:
        """Compute the gradients of the loss on a batch, whose `_inputs` are given, and return the loss."""
        config = self._config
        with self._compute.autocast():
            features = dropout(self._trunk(images), config.dropout, generator)
            logits = self._head(features)
            emotions = None if self._auxiliary is None else self._auxiliary(features)
        loss = self._loss(logits, self._data.labels[picked], share, self._data.weights)
        if emotions is not None:
            loss = loss + config.auxiliary * self._loss(emotions, self._data.emotions[picked], share)
        torch.autograd.backward(loss)
        return loss.detach()

    def _inputs(self, step: int, picked: Tensor, generator: torch.Generator) -> tuple[Tensor, float]:
        """What the trunk sees of the images `picked`, and the share of each image's own label (see `mix`)."""
        config = self._config
        if self._prefix is not None:
            return self._prefix.batch(step // self.steps_per_epoch, picked), 1.0
        images = augment(self._data.images[picked], config.augment, generator)
        images = erase(images, config.erasing, generator)
        images, share = mix(images, config.mixup, config.cutmix, self._seed, MIXING, step)
        return prepare(images, config.image_size), share

    def _loss(self, logits: Tensor, labels: Tensor, share: float, weights: Tensor | None = None) -> Tensor:
        """Cross-entropy, in which `share` of each image is its own label's and the rest that of the image before it."""

        def against(labels: Tensor) -> Tensor:
            smoothing = self._config.label_smoothing
            return functional.cross_entropy(logits.float(), labels, weight=weights, label_smoothing=smoothing)

        return against(labels) if share == 1 else share * against(labels) + (1 - share) * against(labels.roll(1))

    def batch(self, step: int) -> Tensor:
        """Which images step `step` sees: int64, (batch_size,), on the device."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        if self._order_of_epoch is None or self._order_of_epoch[0] != epoch:
            self._order_of_epoch = epoch, self._order(epoch)
        order = self._order_of_epoch[1]
        size = self._config.batch_size
        places = torch.arange(batch * size, (batch + 1) * size, device=order.device)
        return order[places % len(order)]

    def _order(self, epoch: int) -> Tensor:
        """All images, int64 (n,), in the order of `epoch`."""
        device = self._compute.device
        generator = seeded(device, self._seed, ORDER, epoch)
        sequence = np.random.default_rng(epoch).permutation(len(self._blocks))
        parts = [self._blocks[number] for number in sequence]
        return torch.cat([part[torch.randperm(len(part), generator=generator, device=device)] for part in parts])

    def _check_finite(self, values: Tensor, step: int) -> None:
        if not bool(values.isfinite().all()):
            config = self._config
            raise TrainingError(
                f"training diverged: loss or weights not finite after step {step + 1} of {self.total_steps} "
                f"(head_lr {config.head_lr:g}, backbone_lr {config.backbone_lr:g}, "
                f"weight_decay {config.weight_decay:g})"
            )
