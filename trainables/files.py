"""Reading what svm and forest write: named arrays and small forms. Nothing is unpickled."""

from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from spaces.errors import InputError

F = TypeVar("F", bound=BaseModel)
Shape: TypeAlias = tuple[str | int, ...]


def read_form(kind: type[F], path: Path) -> F:
    """The form of class `kind` in the JSON file `path`.

    Raises:
        InputError: If the file is missing or holds anything else.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise InputError(f"{path}: not a {kind.__name__} ({error.errors()[0]['msg']})") from error


def read_arrays(path: Path, shapes: dict[str, Shape]) -> dict[str, NDArray[np.float32]]:
    """The named float32 arrays in a safetensors file.

    Args:
        path: The file.
        shapes: The shape of each array it must hold; a letter stands for any size, the same wherever it stands.

    Raises:
        InputError: If the file is missing, is garbled, or holds other arrays than these.
    """
    try:
        arrays = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if arrays.keys() != shapes.keys():
        raise InputError(f"{path}: must hold the arrays {_names(shapes)}, holds {_names(arrays) or 'none'}")
    sizes: dict[str | int, int] = {}
    for name, shape in shapes.items():
        found = arrays[name]
        fits = found.ndim == len(shape) and all(
            sizes.setdefault(size, size if isinstance(size, int) else actual) == actual
            for size, actual in zip(shape, found.shape, strict=True)
        )
        if not fits or found.dtype != np.float32:
            raise InputError(
                f"{path}: array {name} must be float32 of shape {shape} (letters: {sizes}), "
                f"found {found.dtype} of shape {found.shape}"
            )
    return arrays


def _names(arrays: dict[str, NDArray[np.float32]] | dict[str, Shape]) -> str:
    return ", ".join(sorted(arrays))
