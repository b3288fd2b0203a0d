"""How a network is optimized: the learning rate's course, the parameter groups, and AdamW's state as plain tensors."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from spaces.resnet import ResnetConfig, Schedule
from trainables.backbones import stages

# Both courses begin with a warm-up over this share of the steps.
WARM_UP: dict[Schedule, float] = {"cosine": 0.1, "one_cycle": 0.3}
# Where one cycle begins and ends, as shares of the peak.
FIRST, LAST = 1 / 25, 1 / 250_000


def rate_factor(step: int, total: int, schedule: Schedule = "cosine") -> float:
    """Share of the peak learning rate used in `step`, 0 .. total - 1.

    It depends on nothing else, so a fidelity is a point on one course. `cosine` rises linearly over the first tenth of
    the steps and falls along half a cosine after it (Loshchilov and Hutter, "SGDR", ICLR 2017), never quite to zero.
    `one_cycle` rises along half a cosine over the first three tenths and falls along another (Smith and Topin,
    "Super-convergence", 2019), in the shape and with the constants of torch's `OneCycleLR`; AdamW's betas do not cycle.
    """
    if schedule == "one_cycle":
        peak = max(0.0, WARM_UP["one_cycle"] * total - 1)
        if step <= peak:
            return _half_cosine(FIRST, 1.0, step / peak if peak else 1.0)
        return _half_cosine(1.0, LAST, (step - peak) / (total - 1 - peak))
    warm = max(1, round(WARM_UP["cosine"] * total))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step + 1 - warm) / (total + 1 - warm)))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))


class Optimizer(torch.optim.AdamW):
    """Fused AdamW that goes through each tensor in the order in which it lies in memory.

    On CPUs torch's own first copies every gradient that is laid out channels last, and copies the parameter and its
    moments there and back, which takes longer than the step. Here such a parameter is stepped as a contiguous view of
    itself.

    Args:
        groups: As AdamW takes them.

    Attributes:
        parameters: The parameters of all groups, which hold the gradients.
    """

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        self._views: dict[Tensor, Tensor] = {}
        self.parameters = [parameter for group in groups for parameter in group["params"]]
        seen = [{**group, "params": [self._in_order(each) for each in group["params"]]} for group in groups]
        super().__init__(seen, fused=True)
        for group in self.param_groups:
            for stepped in group["params"]:
                # What AdamW would begin with at its first step, made now so that a checkpoint can be copied into it.
                self.state[stepped] = {
                    "step": torch.zeros((), device=stepped.device),
                    "exp_avg": torch.zeros_like(stepped),
                    "exp_avg_sq": torch.zeros_like(stepped),
                }

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step with the gradients of `parameters`."""
        for parameter, view in self._views.items():
            view.grad = None if parameter.grad is None else parameter.grad.permute(0, 2, 3, 1).contiguous()
        super().step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        super().zero_grad(set_to_none)
        for parameter in self._views:
            parameter.grad = None

    def state_of(self, parameter: Tensor) -> dict[str, Tensor]:
        """AdamW's state of one of `parameters`, in the parameter's shape."""
        view = self._views.get(parameter)
        if view is None:
            return dict(self.state[parameter])
        return {name: value if value.ndim == 0 else _back(value) for name, value in self.state[view].items()}

    def _in_order(self, parameter: Tensor) -> Tensor:
        """What is stepped for `parameter`: itself, or a contiguous view."""
        if parameter.device.type != "cpu" or parameter.is_contiguous() or parameter.ndim != 4:
            return parameter
        self._views[parameter] = nn.Parameter(parameter.detach().permute(0, 2, 3, 1))
        return self._views[parameter]


def _back(value: Tensor) -> Tensor:
    """A tensor in the order of memory as one of its parameter's shape; the same numbers, not a copy."""
    return value.permute(0, 3, 1, 2)


def make_optimizer(net: nn.Module, config: ResnetConfig, auxiliary: nn.Module | None = None) -> Optimizer:
    """AdamW (Loshchilov and Hutter, ICLR 2019) over the trained stages of `net`; norms and biases do not decay.

    Each group keeps its peak learning rate as `peak`; that of a stage below the head falls with its distance from it,
    see `ResnetConfig.stage_decay`. An `auxiliary` head is trained as the head is.
    """
    head, *below = stages(net)[: config.unfreeze + 1]
    heads = head if auxiliary is None else (*head, auxiliary)
    peaks = [(heads, config.head_lr)]
    peaks += [(stage, config.backbone_lr * config.stage_decay**k) for k, stage in enumerate(below)]
    groups = []
    for modules, peak in peaks:
        parameters = [parameter for module in modules for parameter in module.parameters()]
        groups += [
            {"params": [p for p in parameters if p.ndim > 1], "peak": peak, "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "peak": peak, "weight_decay": 0.0},
        ]
    return Optimizer([group for group in groups if group["params"]])


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Give every group `factor` of its peak learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def optimizer_tensors(module: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's state of `module`, each tensor named `<parameter>.<step|exp_avg|exp_avg_sq>`.

    Writing to a tensor changes the state.
    """
    return {
        f"{name}.{key}": value
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
        for key, value in optimizer.state_of(parameter).items()
    }
