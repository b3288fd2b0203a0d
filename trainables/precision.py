"""What a network computes on: the device, the precision, and how many CPU threads."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn

from trainables.devices import may_use_gpus
from trainables.small_maps import speed_up


@dataclass(frozen=True)
class Compute:
    """Where and how a network runs.

    Attributes:
        device: Where its weights and data live.
        bf16: Whether convolutions and matrix products run in bfloat16 (autocast: weights and sums stay float32).
    """

    device: torch.device
    bf16: bool

    @classmethod
    def best(cls) -> Self:
        """The first GPU if this process may use one, else the CPU; bfloat16 where the hardware multiplies it natively.

        On CPUs without such instructions autocast works but is slower than float32.
        """
        if may_use_gpus() and torch.cuda.is_available():
            return cls(torch.device("cuda"), bf16=torch.cuda.is_bf16_supported(including_emulation=False))
        cpu = torch.cpu.get_capabilities()
        return cls(torch.device("cpu"), bf16=bool(cpu.get("avx512_bf16", False) or cpu.get("amx_bf16", False)))

    def place(self, net: nn.Module) -> nn.Module:
        """Move `net` to the device, its weights laid out channels last; on a CPU, see `small_maps`."""
        placed = net.to(self.device).to(memory_format=torch.channels_last)
        return speed_up(placed) if self.device.type == "cpu" else placed

    def autocast(self) -> torch.autocast:
        """The context in which forward passes run."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16)


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Let torch use `count` CPU threads inside, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def bound_gpu_memory(share: float) -> None:
    """Let this process take no more than `share`, 0..1, of its GPU's memory; who asks for more runs out of memory.

    So a trial that owns a part of a GPU fails alone, and not its neighbours with it. Without a GPU nothing happens.
    """
    if torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(share)


def out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that there was too little memory, on a GPU or on the CPU."""
    # torch has a class of its own for GPUs only; on a CPU its allocator's name is all there is.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def release_memory(compute: Compute) -> None:
    """Give memory that torch keeps for later back to the GPU, for its other users."""
    if compute.device.type == "cuda":
        torch.cuda.empty_cache()
