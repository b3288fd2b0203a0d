"""Ways in which an entry of the shared work may have been damaged since it was written."""

import os
from collections.abc import Callable
from pathlib import Path


def _largest(entry: Path) -> Path:
    return max(entry.glob("*.npy"), key=lambda path: path.stat().st_size)


def _another_byte(entry: Path) -> None:
    path = _largest(entry)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


DAMAGES: dict[str, Callable[[Path], None]] = {
    "cut short": lambda entry: os.truncate(_largest(entry), _largest(entry).stat().st_size // 2),
    "another byte": _another_byte,
    "a file gone": lambda entry: _largest(entry).unlink(),
    "no record": lambda entry: (entry / "entry.json").unlink(),
    "half a record": lambda entry: (entry / "entry.json").write_text('{"files": {'),
    "another record": lambda entry: (entry / "entry.json").write_text("[1]"),
}
