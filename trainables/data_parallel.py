"""A network trained by several processes at once, each on its share of every batch.

The processes are those of torch's default process group, which someone else opens (Ray Train, for a refit). They draw
the same batch and the same random numbers, and batch-norm, loss and gradients are of the whole batch: so how many they
are changes nothing but the order in which numbers are added up. DistributedDataParallel would average the losses of the
shares instead, which is another loss where classes weigh differently; and torch's SyncBatchNorm runs on GPUs only.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional

from spaces.resnet import ResnetConfig
from trainables.augment import dropout
from trainables.backbones import head
from trainables.finetuning import Examples, FineTuning
from trainables.precision import Compute
from trainables.resnet import ResnetLearner


class SharedBatchNorm2d(nn.BatchNorm2d):
    """Batch-norm whose mean and variance, in training, are those of the whole batch (as in torch's SyncBatchNorm)."""

    def forward(self, images: Tensor) -> Tensor:
        """Float (n, c, h, w), this process's part of a batch, to the same shape."""
        if not self.training:
            found: Tensor = super().forward(images)
            return found
        maps = images.float()
        counted = torch.cat([maps.sum(dim=(0, 2, 3)), maps.new_tensor([maps.numel() / maps.shape[1]])])
        totals = _total(counted)
        count = totals[-1]
        mean = totals[:-1] / count
        centred = maps - mean.view(1, -1, 1, 1)
        variance = _total(centred.square().sum(dim=(0, 2, 3))) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        normed: Tensor = centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
        return normed.to(images.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Take the statistics of a batch into the running ones."""
        assert self.momentum is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


class ParallelTuning(FineTuning):
    """As `FineTuning`, each process of the default process group on its share of every batch."""

    def __init__(self, net: nn.Module, config: ResnetConfig, examples: Examples, seed: int, compute: Compute) -> None:
        for module in net.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = SharedBatchNorm2d  # a subclass without state of its own
        super().__init__(net, config, examples, seed, compute)
        self._features = head(net).in_features

    def _differentiate(self, images: Tensor, picked: Tensor, share: float, generator: torch.Generator) -> Tensor:
        config, mine = self._config, share_of(len(picked))
        # The mask is that of the whole batch, so that each face meets the numbers it meets in one process.
        mask = dropout(images.new_ones(len(picked), self._features), config.dropout, generator)[mine]
        with self._compute.autocast():
            features = self._trunk(images[mine])
            features = features * mask.to(features.dtype)
            logits = self._head(features)
            emotions = None if self._auxiliary is None else self._auxiliary(features)
        loss = self._loss_of(logits, mine, self._data.labels[picked], share, self._data.weights)
        if emotions is not None:
            unweighted = torch.ones(emotions.shape[1], device=emotions.device)
            loss = loss + config.auxiliary * self._loss_of(
                emotions, mine, self._data.emotions[picked], share, unweighted
            )
        torch.autograd.backward(loss)
        return self._add_up(loss.detach())

    def _loss_of(self, logits: Tensor, mine: slice, labels: Tensor, share: float, weights: Tensor) -> Tensor:
        """This process's part of the cross-entropy of the whole batch, whose `labels` are given; see `_loss`."""

        def against(labels: Tensor) -> Tensor:
            smoothing = self._config.label_smoothing
            total = functional.cross_entropy(
                logits.float(), labels[mine], weight=weights, label_smoothing=smoothing, reduction="sum"
            )
            return total / weights[labels].sum()

        return against(labels) if share == 1 else share * against(labels) + (1 - share) * against(labels.roll(1))

    def _add_up(self, loss: Tensor) -> Tensor:
        """Give every process the sum of all gradients, and return the sum of all losses: one message for everything."""
        own = [parameter.grad for parameter in self.optimizer.parameters if parameter.grad is not None]
        message = torch.cat([*(gradient.reshape(-1) for gradient in own), loss.reshape(1)])
        distributed.all_reduce(message)
        *gradients, total = torch.split(message, [*(gradient.numel() for gradient in own), 1])
        for gradient, summed in zip(own, gradients, strict=True):
            gradient.copy_(summed.view(gradient.shape))
        return total[0]


class ParallelLearner(ResnetLearner):
    """A resnet trained by all processes of the default process group, each of which makes one of these."""

    def _training_of(self, net: nn.Module) -> FineTuning:
        return ParallelTuning(net, self.config, Examples.of(self.task.faces), self.task.seed, self.compute)


def share_of(batch: int) -> slice:
    """Which images of a batch of `batch` this process has; the shares differ by one image at most."""
    rank, count = distributed.get_rank(), distributed.get_world_size()
    return slice(rank * batch // count, (rank + 1) * batch // count)


class _Total(torch.autograd.Function):
    """The sum over all processes; what depends on it in any of them counts for the gradient in each."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        return _summed(values)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(values: Tensor) -> Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total


def _total(values: Tensor) -> Tensor:
    """The sum of `values` over all processes, through which gradients flow back to each of them."""
    total: Tensor = _Total.apply(values)
    return total
