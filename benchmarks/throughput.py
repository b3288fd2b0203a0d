"""How fast a network is trained: ours against two loops that anyone might write, in one run.

Ours is the training loop of a resnet trial, augmentation included. `bare` is the same network, size, precision and
optimizer over ready-made float tensors in memory, without augmentation: nothing but the network's own work; once with
torch's convolutions, once with ours (`trainables/small_maps.py`), which tells what the loop around them costs.
`usual` is the pipeline of most tutorials: a Dataset that decodes PNG bytes with PIL, torchvision's transforms (flip,
affine, jitter) one image at a time, and a DataLoader with worker processes; once in our precision and layout, once as
the tutorials leave them (float32, channels first).

Rounds of all loops are run in turn, in one process with the given threads, and compared round by round, since the
machine may be shared.

    python benchmarks/throughput.py [--arch resnet18] [--size 48] [--threads 2] [--rounds 5] [--steps 20]
"""

import argparse
import io
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torchvision
from PIL import Image
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from spaces.resnet import ResnetConfig
from trainables.backbones import CHANNEL_MEAN, CHANNEL_STD, prepare, random_net
from trainables.base import Task
from trainables.data.demo import draw_faces
from trainables.data.faceset import Faces
from trainables.finetuning import Examples, FineTuning
from trainables.precision import Compute

FACES = 4096
WORKERS = 2


def make_faces() -> Faces:
    drawn = draw_faces(FACES)
    return Faces(drawn.images, (drawn.emotions % 3).astype(np.int8), drawn.emotions, drawn.names)


def ours(config: ResnetConfig, faces: Faces, compute: Compute) -> Callable[[int], None]:
    task = Task(faces)
    net = compute.place(random_net(config.arch, 0))
    training = FineTuning(net, config, Examples.of(task.faces), 0, compute)
    done = 0

    def run(steps: int) -> None:
        nonlocal done
        training.run(range(done, done + steps))
        done += steps

    return run


def step_of(net: torch.nn.Module, compute: Compute) -> Callable[[torch.Tensor, torch.Tensor], None]:
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    net.train()

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        with compute.autocast():
            logits = net(images)
        functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def bare(config: ResnetConfig, faces: Faces, compute: Compute, fast: bool = False) -> Callable[[int], None]:
    images = prepare(torch.tensor(faces.images, device=compute.device), config.image_size)
    labels = torch.tensor(faces.labels, device=compute.device, dtype=torch.int64)
    step = step_of(placed(config, compute, fast), compute)
    size = config.batch_size

    def run(steps: int) -> None:
        for number in range(steps):
            part = slice(number * size % FACES, number * size % FACES + size)
            step(images[part], labels[part])
        if compute.device.type == "cuda":
            torch.cuda.synchronize()

    return run


def placed(config: ResnetConfig, compute: Compute, fast: bool = False) -> torch.nn.Module:
    """A network as torch has it, channels last; `fast`: with our convolutions of small maps."""
    net = random_net(config.arch, 0)
    return compute.place(net) if fast else net.to(compute.device).to(memory_format=torch.channels_last)


class Pictures(Dataset):
    """PNG files in memory, decoded, varied and normalized one at a time."""

    def __init__(self, faces: Faces, size: int) -> None:
        self.files = []
        for image in faces.images:
            file = io.BytesIO()
            Image.fromarray(image).save(file, "png")
            self.files.append(file.getvalue())
        self.labels = faces.labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.Grayscale(3),
                transforms.Resize(size),
                transforms.RandomHorizontalFlip(),
                transforms.RandomAffine(12, (0.08, 0.08), (0.9, 1.1)),
                transforms.ColorJitter(0.2, 0.2),
                transforms.ToTensor(),
                transforms.Normalize(CHANNEL_MEAN, CHANNEL_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.open(io.BytesIO(self.files[row]))), self.labels[row]


def usual(config: ResnetConfig, faces: Faces, compute: Compute, plain: bool) -> Callable[[int], None]:
    loader = DataLoader(
        Pictures(faces, config.image_size),
        config.batch_size,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
        drop_last=True,
    )
    used = Compute(compute.device, bf16=False) if plain else compute
    step = step_of(random_net(config.arch, 0).to(compute.device) if plain else placed(config, compute), used)

    def batches() -> Iterator[Any]:
        while True:
            yield from loader

    endless = batches()

    def run(steps: int) -> None:
        for _ in range(steps):
            images, labels = next(endless)
            images = images.to(compute.device, memory_format=torch.contiguous_format if plain else torch.channels_last)
            step(images, labels.to(compute.device))
        if compute.device.type == "cuda":
            torch.cuda.synchronize()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    compute, faces = Compute.best(), make_faces()
    config = ResnetConfig(arch=given.arch, image_size=given.size, batch_size=given.batch, epochs=1000)
    loops = {
        "ours": ours(config, faces, compute),
        "bare": bare(config, faces, compute),
        "bare, ours in it": bare(config, faces, compute, fast=True),
        "usual": usual(config, faces, compute, plain=False),
        "usual, float32": usual(config, faces, compute, plain=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(given.rounds + 1):
        for name, run in loops.items():
            began = time.perf_counter()
            run(given.steps)
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - began)
    print(
        f"{given.arch}, {given.size} px, batches of {given.batch}, {compute.device}, bf16 {compute.bf16}, "
        f"{given.threads} threads, n = {given.rounds} rounds of {given.steps} steps; "
        f"torch {torch.__version__}, torchvision {torchvision.__version__}, Python {platform.python_version()}"
    )
    images = given.steps * given.batch
    for name, times in seconds.items():
        ratios = [other / mine for other, mine in zip(times, seconds["ours"], strict=True)]
        rate = images / statistics.median(times)
        print(f"{name:16} {rate:7.0f} images/s, ours is {statistics.median(ratios):.3f} times as fast")


if __name__ == "__main__":
    main()
