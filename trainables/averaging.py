"""An exponential moving average of a network in training, which predicts better than its last weights do."""

import copy

from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from trainables.backbones import trained_tensors


class WeightAverage:
    """The moving average of the trained stages of a network (Polyak and Juditsky, 1992; Tarvainen and Valpola, 2017).

    Means and variances of batch-norm are averaged as weights are, since they belong to the weights they were gathered
    under; counters of batches are copied. Frozen stages never change, so they need no average.

    Args:
        net: The network in training, on its device; its present tensors are where the average begins.
        unfreeze: How many stages below the head are trained.
        decay: Share of the average kept at a step, 0..1; early on less, `(1 + step) / (10 + step)`, so that the random
            weights a training starts from are soon forgotten.

    Attributes:
        net: The averaged network, in evaluation mode.
    """

    def __init__(self, net: nn.Module, unfreeze: int, decay: float) -> None:
        self.net = copy.deepcopy(net).requires_grad_(False).eval()
        self._decay = decay
        live, averaged = trained_tensors(net, unfreeze), trained_tensors(self.net, unfreeze)
        real = [name for name, tensor in live.items() if tensor.is_floating_point()]
        self._real = [averaged[name] for name in real], [live[name] for name in real]
        self._counters = [(averaged[name], live[name]) for name in live.keys() - set(real)]

    def update(self, step: int) -> None:
        """Take the tensors of the network after `step`, counted from 0 over the whole training, into the average."""
        average = get_ema_multi_avg_fn(min(self._decay, (1 + step) / (10 + step)))  # type: ignore[no-untyped-call]
        average(*self._real, None)
        for averaged, live in self._counters:
            averaged.copy_(live)
