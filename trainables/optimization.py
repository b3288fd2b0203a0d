"""How a network is optimized: the learning rate's course, the parameter groups, and AdamW's state as plain tensors."""

import math

import torch
from torch import Tensor, nn

from spaces.resnet import ResnetConfig
from trainables.backbones import stages

WARM_UP = 0.1


def rate_factor(step: int, total: int) -> float:
    """Share of the peak learning rate used in `step`, 0 .. total - 1.

    It rises linearly over the first tenth of the steps and falls along half a cosine after it (Loshchilov and Hutter,
    "SGDR", ICLR 2017), never quite to zero. It depends on nothing else, so a fidelity is a point on one course.
    """
    warm = max(1, round(WARM_UP * total))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step + 1 - warm) / (total + 1 - warm)))


def make_optimizer(net: nn.Module, config: ResnetConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter, ICLR 2019) over the trained stages of `net`; norms and biases do not decay.

    Each group keeps its peak learning rate as `peak`.
    """
    head, *below = stages(net)[: config.unfreeze + 1]
    groups = []
    for modules, peak in (
        (head, config.head_lr),
        ([module for stage in below for module in stage], config.backbone_lr),
    ):
        parameters = [parameter for module in modules for parameter in module.parameters()]
        groups += [
            {"params": [p for p in parameters if p.ndim > 1], "peak": peak, "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "peak": peak, "weight_decay": 0.0},
        ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], fused=True)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            # What AdamW would begin with at its first step, made now so that a checkpoint can be copied into it.
            optimizer.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
    return optimizer


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Give every group `factor` of its peak learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def optimizer_tensors(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state, each tensor named `<parameter>.<step|exp_avg|exp_avg_sq>`; writing to one changes it."""
    return {
        f"{name}.{key}": value
        for name, parameter in net.named_parameters()
        if parameter.requires_grad
        for key, value in optimizer.state[parameter].items()
    }
