"""Append-only files of JSON lines that survive a kill at any byte.

A line counts once its newline is on disk. What a killed writer leaves after the last whole line is a torn tail:
readers ignore it, the next writer cuts it off. A broken line anywhere else is not an accident of writing but damage,
and is reported.
"""

import os
from pathlib import Path
from typing import Any, Generic, NamedTuple, Self, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from results.schema import Event
from spaces.errors import InputError

Line = TypeVar("Line", bound=BaseModel)

EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class Lines(NamedTuple, Generic[Line]):
    """What a file of JSON lines holds.

    Attributes:
        values: One value a whole line, in order.
        end: Byte at which the last whole line ends; a torn tail lies from here on.
    """

    values: list[Line]
    end: int


def read_lines(path: Path, adapter: TypeAdapter[Line]) -> Lines[Line]:
    """Read the whole lines of `path`; a file that does not exist yet has none.

    Raises:
        InputError: If a line is not JSON, unless it is the last, or is JSON that `adapter` does not take.
    """
    raw = path.read_bytes() if path.exists() else b""
    values: list[Line] = []
    end = 0
    for number, line in enumerate(raw.split(b"\n")[:-1], start=1):
        after = end + len(line) + 1
        try:
            values.append(adapter.validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "json_invalid" and after == len(raw):
                break
            where = ".".join(str(part) for part in first["loc"]) or "line"
            raise InputError(f"{path}, line {number}: {where}: {first['msg']}; received {line[:80]!r}") from error
        end = after
    return Lines(values, end)


def read_events(path: Path) -> list[Event]:
    """The events of a run, in the order in which they were written.

    Raises:
        InputError: If a line other than a torn last one is broken.
    """
    return read_lines(path, EVENT).values


class LineWriter(Generic[Line]):
    """The writing side of a file of JSON lines; a file has one writer at a time.

    Opening cuts off a torn tail, so that the next line is not glued to it.

    Args:
        path: The file; made if it does not exist.
        adapter: What a line may be.

    Raises:
        InputError: If the file holds a broken line, see `read_lines`.
    """

    def __init__(self, path: Path, adapter: TypeAdapter[Line]) -> None:
        end = read_lines(path, adapter).end
        self._file = path.open("ab")
        self._file.truncate(end)

    def append(self, value: Line) -> None:
        """Write `value` as one line; it is on disk when this returns."""
        self._file.write(value.model_dump_json().encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; every line is on disk already."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Journal(LineWriter[Event]):
    """The writer of a run's `measurements.jsonl`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, EVENT)
