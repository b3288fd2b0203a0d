"""Where a run's numbers come from: versions, commit, data, hardware and seeds."""

import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from search.plan import Plan
from trainables.data.protocol import TrainingData

COMMIT = "FERTUNE_COMMIT"
_PACKAGES = (
    "fertune",
    "numpy",
    "opencv-python-headless",
    "optuna",
    "ray",
    "scikit-learn",
    "scikit-learn-intelex",
    "torch",
    "torchvision",
)


def provenance(
    plan: Plan, data: TrainingData, resources: dict[str, float], earlier: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Everything needed to say how a run came about, as plain values; `sessions` has one entry for each driver.

    Args:
        plan: The plan.
        data: The data, the same in every session.
        resources: What Ray offers in this session.
        earlier: What this function gave in the session before, if the run is resumed.
    """
    session = {
        "began": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": sys.argv,
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
        "commit": source_commit(),
        "hardware": hardware(resources),
    }
    return {
        **(earlier or {}),
        "data": {
            "source": plan.data.source,
            "fingerprint": data.fingerprint,
            "split": data.split,
            "training_images": len(data.train),
            "validation_images": len(data.validation),
        },
        "seeds": {"search": plan.seed, "split": plan.data.protocol.seed},
        "sessions": [*(earlier["sessions"] if earlier else []), session],
    }


def hardware(resources: dict[str, float]) -> dict[str, Any]:
    """This machine, as plain values; `resources` is what Ray offers in this session."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "resources": resources,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def source_commit() -> str | None:
    """The git commit of this source tree, with `-dirty` where files differ from it; None outside a checkout.

    A job has no checkout; whoever submitted it says what it was made of.
    """
    if COMMIT in os.environ:
        return os.environ[COMMIT]
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
