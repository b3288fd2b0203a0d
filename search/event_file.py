"""Files of TensorBoard events.

TensorBoard's own writer checks its records with CRC-32C computed in Python, 4 to 20 ms for a picture, which a search
would wait for; here a library in C does it.
"""

import itertools
import os
import socket
import struct
import time
from pathlib import Path

import google_crc32c
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

_COUNT = itertools.count()


class EventFile:
    """A new file of events in `folder`, which is made; what is added can be seen at once.

    The format is that of TFRecord: length, its checksum, the event, its checksum, little-endian.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Names begin like this for TensorBoard to find them, and it reads several in a folder in the order of names.
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.{next(_COUNT)}"
        self._file = (folder / name).open("wb")
        self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))

    def add(self, summary: Summary, step: int, now: float) -> None:
        """Add a summary at `step`, told at `now`, in seconds since 1970."""
        self._append(Event(wall_time=now, step=step, summary=summary))

    def close(self) -> None:
        """Nothing more can be added."""
        self._file.close()

    def _append(self, event: Event) -> None:
        content = event.SerializeToString()
        length = struct.pack("<Q", len(content))
        self._file.write(b"".join((length, _checksum(length), content, _checksum(content))))
        self._file.flush()


def _checksum(content: bytes) -> bytes:
    """Its CRC-32C, turned and shifted as TFRecord wants it, so that a checksum of checksums is no problem."""
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
