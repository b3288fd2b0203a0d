"""How many CPU threads this process computes with."""

import os
import sys

import cv2
from threadpoolctl import ThreadpoolController


def usable_cpus() -> int:
    """The CPUs this process may run on: fewer than the machine has where it is confined to some of them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def limit_threads(count: int) -> None:
    """Let every numerical library loaded so far use `count` CPU threads, until the next call says otherwise.

    These are BLAS and OpenMP (numpy, scipy, scikit-learn), OpenCV, and, where they are loaded, torch and oneDAL (the
    engine of scikit-learn-intelex). A library loaded later has its own default: call this after the imports of the
    work that is to be limited, and in the thread that does it, for OpenMP keeps its limit by thread.

    Raises:
        ValueError: If `count` is below 1.
    """
    if count < 1:
        raise ValueError(f"a process computes with at least 1 thread, received {count}")
    ThreadpoolController().limit(limits=count)
    cv2.setNumThreads(count)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(count)
    if daal4py := sys.modules.get("daal4py"):
        daal4py.daalinit(count)
