"""The five packages are ours: the public index has others of the same names."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", ["cluster", "results", "search", "spaces", "trainables"])
def test_a_package_is_the_one_in_this_tree(name):
    assert Path(importlib.import_module(name).__file__ or "").is_relative_to(ROOT)


def test_the_lock_names_no_index_and_hashes_everything():
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert not [line for line in lines if "://" in line]
    pinned = [i for i, line in enumerate(lines) if "==" in line and not line.startswith((" ", "#"))]
    assert len(pinned) > 50
    assert all("--hash=sha256:" in lines[i + 1] for i in pinned)


def test_every_dependency_has_its_reason():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    told = (ROOT / "docs" / "dependencies.md").read_text()
    declared = [
        *project["dependencies"],
        *(entry for extra in project["optional-dependencies"].values() for entry in extra),
    ]
    for entry in declared:
        name = entry.partition(">")[0].partition("[")[0].strip()
        assert f"`{name}`" in told, f"{name} is declared but not explained"
