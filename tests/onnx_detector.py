"""Small ONNX files, written byte by byte (no library for that is among the dependencies), and one that acts as YuNet.

`white_patch_detector` has YuNet's inputs and outputs, so OpenCV's `FaceDetectorYN` runs it for real, but it takes white
patches for faces: what the true network finds in pictures is not tested.
"""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

STRIDES = (8, 16, 32)
PATCH = 143
"""Side of the boxes it gives, pixels: exp(1.5) times the stride of 32."""


def white_patch_detector(path: Path, least: float = 200.0) -> Path:
    """A network that gives a box for every cell of 32 x 32 pixels that is brighter than `least` on average.

    The middle of the box lies 1.5 cells right of and below the corner of its cell.
    """
    nodes, tensors, outputs = [], [], []
    for stride in STRIDES:
        for head, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            name = f"{head}_{stride}"
            finds = channels == 1 and stride == max(STRIDES)
            weight = np.full((channels, 3, stride, stride), 1 / (3 * stride**2) if finds else 0)
            bias = np.full(channels, -least if finds else {"bbox": 1.5, "kps": 0.0}.get(head, -100.0))
            tensors += [_tensor(f"{name}_w", weight), _tensor(f"{name}_b", bias)]
            attributes = [_ints("kernel_shape", (stride, stride)), _ints("strides", (stride, stride))]
            last = "Sigmoid" if channels == 1 else "Identity"
            nodes.append(_node("Conv", ["input", f"{name}_w", f"{name}_b"], f"{name}_c", attributes))
            nodes.append(_node(last, [f"{name}_c"], name))
            outputs.append(name)
    return _write(path, nodes, tensors, outputs)


def another_network(path: Path) -> Path:
    """A good ONNX file that is no YuNet."""
    return _write(path, [_node("Sigmoid", ["input"], "output")], [], ["output"])


def _write(path: Path, nodes: list[bytes], tensors: list[bytes], outputs: list[str]) -> Path:
    shape = b"".join(_bytes(1, _varint(1, size)) for size in (1, 3, 640, 640))
    kind = _bytes(2, _bytes(1, _varint(1, 1) + _bytes(2, shape)))  # OpenCV asks for the outputs' too, and heeds it not
    graph = b"".join(_bytes(1, node) for node in nodes) + _bytes(2, b"g") + b"".join(_bytes(5, t) for t in tensors)
    graph += _bytes(11, _bytes(1, b"input") + kind)
    graph += b"".join(_bytes(12, _bytes(1, name.encode()) + kind) for name in outputs)
    path.write_bytes(_varint(1, 7) + _bytes(8, _bytes(1, b"") + _varint(2, 11)) + _bytes(7, graph))
    return path


def _node(kind: str, inputs: Sequence[str], output: str, attributes: Sequence[bytes] = ()) -> bytes:
    names = b"".join(_bytes(1, name.encode()) for name in inputs) + _bytes(2, output.encode())
    return names + _bytes(3, output.encode()) + _bytes(4, kind.encode()) + b"".join(_bytes(5, a) for a in attributes)


def _ints(name: str, values: Sequence[int]) -> bytes:
    return _bytes(1, name.encode()) + b"".join(_varint(8, value) for value in values) + _varint(20, 7)


def _tensor(name: str, values: np.ndarray) -> bytes:
    dimensions = b"".join(_varint(1, size) for size in values.shape)
    packed = struct.pack(f"<{values.size}f", *values.ravel())
    return dimensions + _varint(2, 1) + _bytes(8, name.encode()) + _bytes(9, packed)


def _varint(field: int, value: int) -> bytes:
    return _number(field << 3) + _number(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _number(field << 3 | 2) + _number(len(content)) + content


def _number(value: int) -> bytes:
    """Protobuf's variable-length form of a whole number."""
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
