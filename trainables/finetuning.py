"""The training loop of the resnet family: data on the device, whole batches, one optimizer step after another."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from spaces.resnet import ResnetConfig
from trainables.augment import augment, dropout, seeded
from trainables.backbones import freeze, head, prepare, train_mode, trunk
from trainables.base import Task, TrainingError, class_weights
from trainables.optimization import make_optimizer, rate_factor, set_rates
from trainables.precision import Compute

# Reading the loss makes a GPU wait for its queue, so it is not read at every step.
STEPS_BETWEEN_CHECKS = 50
# The second number of a generator's key says what it is for.
ORDER, VARIATION = 0, 1


@dataclass(frozen=True)
class ResidentData:
    """Training faces on the device.

    Attributes:
        images: uint8, (n, 48, 48).
        labels: int64, (n,).
        weights: float32, (3,): what each class weighs in the loss, ones where the classes are balanced.
    """

    images: Tensor
    labels: Tensor
    weights: Tensor

    @classmethod
    def of(cls, task: Task, device: torch.device) -> Self:
        """Copy the faces of `task` to `device`."""
        labels = task.faces.labels
        return cls(
            images=torch.tensor(task.faces.images, device=device),
            labels=torch.tensor(labels, device=device, dtype=torch.int64),
            weights=torch.tensor(class_weights(labels), device=device, dtype=torch.float32),
        )


class FineTuning:
    """A network in training.

    An epoch is `ceil(n / batch_size)` steps. Each has its own order of images, and its last batch is filled up from
    the start of that order: batches are all of one size, and batch-norm never meets a batch of one.

    Attributes:
        net: The network, on the device.
        optimizer: Its optimizer.
        total_steps: Optimizer steps of the full budget.
    """

    def __init__(self, net: nn.Module, config: ResnetConfig, task: Task, compute: Compute) -> None:
        freeze(net, config.unfreeze)
        self.net = net
        self.optimizer = make_optimizer(net, config)
        self.steps_per_epoch = -(-len(task.faces) // config.batch_size)
        self.total_steps = config.epochs * self.steps_per_epoch
        self._config = config
        self._seed = task.seed
        self._compute = compute
        self._data = ResidentData.of(task, compute.device)
        self._trunk, self._head = trunk(net), head(net)
        self._order_of_epoch: tuple[int, Tensor] | None = None

    def run(self, steps: range) -> float:
        """Take the optimizer steps `steps`, at least one, and return the mean of their losses.

        Raises:
            TrainingError: If the loss or a weight is no longer finite.
        """
        train_mode(self.net, self._config.unfreeze)
        losses = torch.zeros((), device=self._compute.device, dtype=torch.float64)
        for step in steps:
            losses += self._step(step)
            if (step + 1) % STEPS_BETWEEN_CHECKS == 0:
                self._check_finite(losses, step)
        tensors = [tensor for tensor in self.net.state_dict().values() if tensor.is_floating_point()]
        self._check_finite(torch.stack([losses, *(tensor.sum(dtype=torch.float64) for tensor in tensors)]), steps[-1])
        return float(losses) / len(steps)

    def _step(self, step: int) -> Tensor:
        """Take one optimizer step and return its loss, still on the device."""
        config, data = self._config, self._data
        picked = self.batch(step)
        # Keyed by the step, so that a resumed training meets the same numbers.
        generator = seeded(self._compute.device, self._seed, VARIATION, step)
        images = prepare(augment(data.images[picked], config.augment, generator), config.image_size)
        with self._compute.autocast():
            logits = self._head(dropout(self._trunk(images), config.dropout, generator))
        loss = functional.cross_entropy(
            logits.float(), data.labels[picked], weight=data.weights, label_smoothing=config.label_smoothing
        )
        set_rates(self.optimizer, rate_factor(step, self.total_steps))
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def batch(self, step: int) -> Tensor:
        """Which images step `step` sees: int64, (batch_size,), on the device."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        if self._order_of_epoch is None or self._order_of_epoch[0] != epoch:
            order = torch.randperm(
                len(self._data.labels),
                generator=seeded(self._compute.device, self._seed, ORDER, epoch),
                device=self._compute.device,
            )
            self._order_of_epoch = epoch, order
        order = self._order_of_epoch[1]
        size = self._config.batch_size
        places = torch.arange(batch * size, (batch + 1) * size, device=order.device)
        return order[places % len(order)]

    def _check_finite(self, values: Tensor, step: int) -> None:
        if not bool(values.isfinite().all()):
            config = self._config
            raise TrainingError(
                f"training diverged: loss or weights not finite after step {step + 1} of {self.total_steps} "
                f"(head_lr {config.head_lr:g}, backbone_lr {config.backbone_lr:g}, "
                f"weight_decay {config.weight_decay:g})"
            )
