"""What the faces of a search cost n processes in memory: one memory-mapped copy for all, against a copy in each.

Each process opens the faces as a worker does and reads all of them. The growth of the proportional set size of all
processes together (pages that several share count once) is given in copies: the bytes of all arrays of the faces. Each
process has opened a few other faces before, so that libraries are loaded. Medians over the repeats.

    python benchmarks/sharing_memory.py [--data fer2013.csv] [--processes 1 2 4] [--repeats 3]
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil

from trainables.cache import Cache
from trainables.data.protocol import TrainingData, load_training
from trainables.data.spec import DataSpec
from trainables.shared_data import training_data

CACHE_BYTES = 10**10
OTHER = DataSpec(demo_images=700)
SPAWN = multiprocessing.get_context("spawn")


def opened(spec: DataSpec, folder: Path, seen: tuple[str, str], is_shared: bool) -> TrainingData:
    """The faces as a worker has them, every byte of them read."""
    cache = Cache(folder / "shared", CACHE_BYTES) if is_shared else None
    data = training_data(spec, folder, *seen, cache)
    for faces in (data.train, data.validation):
        for array in (faces.images, faces.labels, faces.emotions):
            int(array.sum(dtype=np.int64))
        sum(len(name) for name in faces.names)
    return data


def worker(spec: DataSpec, folder: Path, seen: dict[str, tuple[str, str]], is_shared: bool, parent: Connection) -> None:
    opened(OTHER, folder, seen["other"], is_shared)
    parent.send(os.getpid())
    parent.recv()
    data = opened(spec, folder, seen["faces"], is_shared)
    parent.send(len(data.train))
    parent.recv()


def growth(count: int, spec: DataSpec, folder: Path, seen: dict[str, tuple[str, str]], is_shared: bool) -> int:
    """By how many bytes `count` processes grow together when they open the faces."""
    pipes = [SPAWN.Pipe() for _ in range(count)]
    processes = [SPAWN.Process(target=worker, args=(spec, folder, seen, is_shared, there)) for _, there in pipes]
    for process in processes:
        process.start()
    pids = [here.recv() for here, _ in pipes]
    before = sum(map(proportional, pids))
    for here, _ in pipes:
        here.send("open the faces")
    for here, _ in pipes:
        here.recv()
    after = sum(map(proportional, pids))
    for here, _ in pipes:
        here.send("end")
    for process in processes:
        process.join()
    return after - before


def proportional(pid: int) -> int:
    return int(psutil.Process(pid).memory_full_info().pss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="demo")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sh-", dir="/tmp") as name:
        folder = Path(name)
        spec = DataSpec(source=arguments.data)
        found = {"faces": load_training(spec, folder), "other": load_training(OTHER, folder)}
        seen = {which: (data.fingerprint, data.split) for which, data in found.items()}
        parts = (found["faces"].train, found["faces"].validation)
        arrays = [array for faces in parts for array in (faces.images, faces.labels, faces.emotions)]
        copy = sum(array.nbytes for array in arrays)
        print(f"{sum(map(len, parts))} faces, one copy {copy / 1e6:.1f} MB, n = {arguments.repeats}", flush=True)
        opened(spec, folder, seen["faces"], is_shared=True)
        opened(OTHER, folder, seen["other"], is_shared=True)
        for count in arguments.processes:
            texts = []
            for is_shared in (True, False):
                grown = [growth(count, spec, folder, seen, is_shared) for _ in range(arguments.repeats)]
                texts.append(f"{statistics.median(grown) / 1e6:6.1f} MB, {statistics.median(grown) / copy:.2f} copies")
            print(f"{count} processes grow by {texts[0]} with one copy for all; {texts[1]} with one each", flush=True)


if __name__ == "__main__":
    main()
