"""The program itself, as a job takes it to the cluster: the packages and nothing else, no data, runs or environment."""

import shutil
from pathlib import Path

PACKAGES = ("cluster", "results", "search", "spaces", "trainables")


def copy_code(folder: Path) -> int:
    """Copy the packages into `folder`; the bytes of what was copied."""
    root = Path(__file__).resolve().parent.parent
    for package in PACKAGES:
        shutil.copytree(root / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
