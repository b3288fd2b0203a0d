"""Trains a network with several processes, without Ray: gloo on loopback."""

import copy
import os
import socket
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed, multiprocessing, nn

from spaces.fidelity import Fidelity
from spaces.resnet import ResnetConfig
from trainables.base import Task
from trainables.data.faceset import Faces
from trainables.data_parallel import ParallelLearner, SharedBatchNorm2d, share_of
from trainables.precision import Compute

SCALE = Fidelity(maximum=3)
FLOAT32 = Compute(torch.device("cpu"), bf16=False)


def predicted_by(workers: int, config: ResnetConfig, faces: Faces, folder: Path) -> list[np.ndarray]:
    """What the network of each of `workers` processes says of the `faces` it was trained on."""
    multiprocessing.spawn(_work, (workers, free_port(), config, faces, folder), nprocs=workers)
    return [np.load(folder / f"{rank}.npy") for rank in range(workers)]


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _join(rank: int, workers: int, port: int) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=workers)


def _work(rank: int, workers: int, port: int, config: ResnetConfig, faces: Faces, folder: Path) -> None:
    _join(rank, workers, port)
    learner = ParallelLearner(config, Task(faces, seed=3, scale=SCALE), FLOAT32)
    learner.fit_to(1)
    learner.fit_to(3)
    np.save(folder / f"{rank}.npy", learner.predict_proba(faces.images))
    distributed.destroy_process_group()


def shared_batch_norm(
    norm: nn.BatchNorm2d, maps: Tensor, gradient: Tensor, folder: Path, workers: int = 2
) -> dict[str, Tensor]:
    """What shared batch-norm gives for `maps` and an output's `gradient`, put together from all processes."""
    multiprocessing.spawn(_norm, (workers, free_port(), norm, maps, gradient, folder), nprocs=workers)
    parts = [torch.load(folder / f"{rank}.pt") for rank in range(workers)]
    whole = {name: torch.cat([part[name] for part in parts]) for name in ("out", "maps")}
    whole |= {name: sum(part[name] for part in parts) for name in ("weight", "bias")}
    return whole | {name: parts[0][name] for name in ("running_mean", "running_var")}


def _norm(
    rank: int, workers: int, port: int, norm: nn.BatchNorm2d, maps: Tensor, gradient: Tensor, folder: Path
) -> None:
    _join(rank, workers, port)
    norm = copy.deepcopy(norm)  # tensors handed to a process are shared with it
    norm.__class__ = SharedBatchNorm2d
    mine = share_of(len(maps))
    share = maps[mine].clone().requires_grad_()
    out = norm.train()(share)
    out.backward(gradient[mine])
    found = {"out": out.detach(), "maps": share.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}
    found |= {"running_mean": norm.running_mean, "running_var": norm.running_var}
    torch.save(found, folder / f"{rank}.pt")
    distributed.destroy_process_group()
