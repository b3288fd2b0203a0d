"""How fast convolutions of small maps are as matrix products, layer by layer, against torch's own.

Each line is one convolution of a network at one map size, forward and backward, torch's own and ours in turn; the
places per output channel are what `trainables.small_maps.PLACES_PER_CHANNEL` decides by.

    python benchmarks/small_maps.py [--arch resnet18] [--size 64] [--batch 64] [--threads 1] [--rounds 7] [--float32]
"""

import argparse
import copy
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from trainables import small_maps
from trainables.backbones import prepare, random_net
from trainables.precision import cpu_threads


def layers(arch: str, size: int, batch: int) -> dict[tuple[int, ...], tuple[nn.Conv2d, torch.Size]]:
    """One convolution of each geometry in the network, and the shape of what it sees."""
    net = random_net(arch, 0).eval()
    found: dict[tuple[int, ...], tuple[nn.Conv2d, torch.Size]] = {}

    def note(module: nn.Module, given: tuple[Tensor], _: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        shape = given[0].shape
        key = (*shape[1:], module.out_channels, module.kernel_size[0], module.stride[0])
        found.setdefault(key, (module, torch.Size([batch, *shape[1:]])))

    hooks = [module.register_forward_hook(note) for module in net.modules() if isinstance(module, nn.Conv2d)]
    with torch.inference_mode():
        net(prepare(torch.zeros(1, 48, 48), size))
    for hook in hooks:
        hook.remove()
    return found


def step_of(module: nn.Module, images: Tensor, bf16: bool) -> Callable[[], None]:
    """One forward and backward pass of a convolution, as a training step makes it."""

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            maps = module(images)
        maps.backward(maps.detach())

    return step


def seconds(step: Callable[[], None]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--float32", action="store_true")
    given = parser.parse_args()
    print(
        f"{given.arch}, {given.size} px, batches of {given.batch}, {'float32' if given.float32 else 'bf16'}, "
        f"{given.threads} threads, medians of {given.rounds}; torch {torch.__version__}, Python "
        f"{platform.python_version()}"
    )
    small_maps.PLACES_PER_CHANNEL = {torch.bfloat16: 10**9, torch.float32: 10**9}  # products everywhere, to compare
    with cpu_threads(given.threads):
        for module, shape in layers(given.arch, given.size, given.batch).values():
            report(module, shape, given.rounds, bf16=not given.float32)


def report(module: nn.Conv2d, shape: torch.Size, rounds: int, bf16: bool) -> None:
    """Print how long one convolution takes in either way."""
    plain = module.to(memory_format=torch.channels_last)
    ours = small_maps.speed_up(copy.deepcopy(plain))
    images = torch.randn(shape, dtype=torch.bfloat16 if bf16 else torch.float32)
    images = images.to(memory_format=torch.channels_last).requires_grad_()
    steps = [step_of(plain, images, bf16), step_of(ours, images, bf16)]
    with torch.no_grad():
        places = shape[0] * plain(images.float()).shape[2] ** 2
    for step in steps:
        step()
    taken = [[seconds(step) for step in steps] for _ in range(rounds)]
    torchs, mine = (statistics.median(times) for times in zip(*taken, strict=True))
    ratio = statistics.median(before / after for before, after in taken)
    print(
        f"{shape[1]:4} -> {module.out_channels:4} channels, {module.kernel_size[0]} x {module.kernel_size[0]}, stride "
        f"{module.stride[0]}, maps of {shape[2]:2}: {places / module.out_channels:6.1f} places a channel, torch "
        f"{torchs * 1e3:6.2f} ms, product {mine * 1e3:6.2f} ms, {ratio:.2f} times as fast"
    )


if __name__ == "__main__":
    main()
