"""How a network is optimized: the learning rate's course, the parameter groups, and AdamW's state as plain tensors."""

import math

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


def make_optimizer(net: nn.Module, config: ResnetConfig, auxiliary: nn.Module | None = None) -> torch.optim.AdamW:
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


def optimizer_tensors(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state of `module`, each tensor named `<parameter>.<step|exp_avg|exp_avg_sq>`.

    Writing to a tensor changes the state.
    """
    return {
        f"{name}.{key}": value
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
        for key, value in optimizer.state[parameter].items()
    }
