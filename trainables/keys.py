"""Keys of shared work: everything that a value depends on, under one name."""

import json
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Trait: TypeAlias = str | int | float | bool | None

# The modules that decide what a frozen network makes of a face.
NETWORK_CODE = ("backbones.py", "precision.py", "small_maps.py")


@dataclass(frozen=True)
class Key:
    """What a value depends on: all of it, since equal keys mean equal values.

    Attributes:
        kind: What is kept, a word.
        traits: Names and values, sorted by name.
    """

    kind: str
    traits: tuple[tuple[str, Trait], ...]

    @classmethod
    def of(cls, kind: str, **traits: Trait) -> "Key":
        """The key of what `traits` determine."""
        return cls(kind, tuple(sorted(traits.items())))

    def also(self, kind: str, **traits: Trait) -> "Key":
        """The key of something made of what this is the key of, which `traits` determine besides."""
        return Key.of(kind, source=self.name, **traits)

    @property
    def name(self) -> str:
        """The kind and a hash of everything: the same in every process."""
        content = json.dumps([self.kind, self.traits], allow_nan=False).encode()
        return f"{self.kind}-{blake2b(content, digest_size=16).hexdigest()}"


_digests: list[tuple[NDArray[Any], str]] = []


def digest(array: NDArray[Any]) -> str:
    """A hash of type, shape and content; of the last few arrays that cannot be written to it is remembered."""
    for known, found in _digests:
        if known is array:
            return found
    content = blake2b(f"{array.dtype.str} {array.shape} ".encode(), digest_size=16)
    content.update(np.ascontiguousarray(array).data)
    found = content.hexdigest()
    if not array.flags.writeable:
        _digests.append((array, found))
        del _digests[:-4]
    return found


@cache
def code_digest(*modules: str) -> str:
    """A hash of the sources of modules of this package, such as `descriptors.py`: part of the key of what they make."""
    folder = Path(__file__).parent
    return blake2b(b"".join((folder / name).read_bytes() for name in modules), digest_size=12).hexdigest()
