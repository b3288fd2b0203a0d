"""`model.onnx` of an artifact: written, and then held to the model that it was made of."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from results.artifact import Blend
from results.manifest import OnnxFile
from results.onnx_models import FACES, OPSET, to_onnx
from spaces.family import Family
from trainables.base import Model
from trainables.data.demo import draw_faces
from trainables.data.faceset import Images
from trainables.families import load_model
from trainables.features import Features
from trainables.forest import ForestModel
from trainables.svm import SvmModel

if TYPE_CHECKING:  # it starts threads of its own when it is imported
    from onnxruntime import InferenceSession

COMPARED = 200
LARGEST_MEAN_DIFFERENCE = 0.01
"""Of probabilities, in the mean over faces; more means that the file computes something else. The tests ask for far
less of each config: here a tree's vote, moved by a feature's last digit, must not stop an export."""


def write_onnx(models: Sequence[tuple[Family, Path]], weights: Sequence[float], path: Path) -> OnnxFile:
    """Write the weighted mean of `models`, by family and folder, as the ONNX file `path`, and compare the two.

    Raises:
        InputError: If a network cannot be written as ONNX.
        RuntimeError: If ONNX Runtime gives other probabilities than the models.
    """
    loaded = [in_float32(family, folder) for family, folder in models]
    path.write_bytes(to_onnx(loaded, weights).SerializeToString())
    faces = draw_faces(COMPARED).images
    expected = Blend(loaded, weights).predict_proba(faces)
    found = run_onnx(session(path), faces)
    differences = np.abs(found - expected).max(axis=1)
    compared = OnnxFile(
        opset=OPSET,
        faces=len(faces),
        same_labels=int((found.argmax(axis=1) == expected.argmax(axis=1)).sum()),
        largest_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
    )
    if not compared.mean_difference <= LARGEST_MEAN_DIFFERENCE:
        raise RuntimeError(f"{path}: ONNX Runtime does not compute what the model does: {compared!r}")
    return compared


def session(path: Path, threads: int = 0) -> "InferenceSession":
    """An ONNX Runtime on the CPU with the file `path`; `threads` of 0 means as many as it likes."""
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = threads
    return InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_onnx(runtime: "InferenceSession", images: Images, batch: int = 128) -> NDArray[np.float32]:
    """The probabilities, float32, (n, 3), that `runtime` gives for faces, uint8, (n, 48, 48), n at least 1."""
    parts = [runtime.run(None, {FACES: images[start : start + batch]})[0] for start in range(0, len(images), batch)]
    return np.concatenate(parts)


def in_float32(family: Family, folder: Path) -> Model:
    """The model of `family` in `folder` on the CPU and in float32, as ONNX computes it."""
    if family is Family.RESNET:
        import torch

        from trainables.precision import Compute
        from trainables.resnet import ResnetModel

        return ResnetModel.load(folder, Compute(torch.device("cpu"), bf16=False))
    model = load_model(family, folder)
    if isinstance(model, SvmModel):
        return replace(model, machines=replace(model.machines, features=_exact(model.machines.features)))
    assert isinstance(model, ForestModel)
    return replace(model, features=_exact(model.features))


def _exact(features: Features) -> Features:
    if features.embedder is None:
        return features
    import torch

    from trainables.precision import Compute

    compute = Compute(torch.device("cpu"), bf16=False)
    return replace(features, embedder=replace(features.embedder, compute=compute))
