"""Models as ONNX files: faces in, probabilities out, everything between them inside.

Networks go through torch's exporter and trees through skl2onnx; features (`onnx_features.py`) and support vector
machines are written out operator by operator. All is float32, in whatever precision the model runs here.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx
import spox
import spox.opset.ai.onnx.v20 as op
from spox import Var

from results.onnx_features import floats, standardized, vectors, whole
from spaces.errors import InputError
from trainables.base import Model
from trainables.data.faceset import CLASSES, SIDE
from trainables.features import Features
from trainables.forest import ForestModel
from trainables.svm import Machines, SvmModel

if TYPE_CHECKING:  # torch takes seconds to import, and most of svm and forest does without
    from torch import nn

    from trainables.resnet import ResnetModel

OPSET, TREES_OPSET = 20, 3
FACES, PROBABILITIES = "faces", "probabilities"
# Logits beyond this are cut, as `platt.couple` does.
STEEPEST = 30.0


def to_onnx(models: Sequence[Model], weights: Sequence[float]) -> onnx.ModelProto:
    """The weighted mean of `models` as one ONNX model.

    Its input `faces` is uint8, (n, 48, 48), its output `probabilities` float32, (n, 3), columns in the order of
    `CLASSES`; n is free, at least 1.

    Args:
        models: One or more, of any families.
        weights: Theirs, summing to one.

    Raises:
        InputError: If a network cannot be written.
    """
    faces = spox.argument(spox.Tensor(np.uint8, ("n", SIDE, SIDE)))
    parts = [_probabilities(model, faces) for model in models]
    weighted = [op.mul(part, floats(weight)) for part, weight in zip(parts, weights, strict=True)]
    mean = parts[0] if len(parts) == 1 else op.sum(weighted)
    built = spox.build({FACES: faces}, {PROBABILITIES: op.reshape(mean, whole([-1, len(CLASSES)]))})
    built.producer_name = "fertune"
    onnx.helper.set_model_props(built, {"classes": ",".join(CLASSES)})
    return built


def _probabilities(model: Model, faces: Var) -> Var:
    if isinstance(model, SvmModel):
        return _over_flips(model.machines.config.features.flip, faces, lambda images: _svm(model, images))
    if isinstance(model, ForestModel):
        return _over_flips(model.config.features.flip, faces, lambda images: _forest(model, images))
    from trainables.resnet import ResnetModel

    assert isinstance(model, ResnetModel), f"no family has a model of class {type(model).__name__}"
    return _over_flips(model.form.flip, faces, lambda images: _resnet(model, images))


def _over_flips(flip: bool, faces: Var, probabilities: Callable[[Var], Var]) -> Var:
    """The probabilities of faces, or their mean over the faces and their mirror images, which go through together."""
    if not flip:
        return probabilities(faces)
    mirrored = op.gather(faces, whole(np.arange(SIDE)[::-1]), axis=2)
    both = op.reshape(probabilities(op.concat([faces, mirrored], axis=0)), whole([2, -1, len(CLASSES)]))
    return op.reduce_mean(both, whole([0]), keepdims=0)


def _svm(model: SvmModel, images: Var) -> Var:
    machines = model.machines
    decisions = op.matmul(_kernel(machines, _seen(machines.features, images)), floats(machines.coefficients))
    decisions = op.add(decisions, floats(machines.intercepts))
    logits = op.add(op.mul(decisions, floats(model.curves[:, 0])), floats(model.curves[:, 1]))
    along = op.exp(op.clip(logits, floats(-STEEPEST), floats(STEEPEST)))
    against = op.reciprocal(along)
    # One column for each class: what `platt.couple` adds up, by the place of the two pairs that the class is in.
    sums = op.add(
        op.matmul(against, floats([[1, 0, 0], [1, 0, 0], [0, 1, 0]])),
        op.matmul(along, floats([[0, 1, 0], [0, 0, 1], [0, 0, 1]])),
    )
    scores = op.reciprocal(op.add(sums, floats(1)))
    return op.div(scores, op.reduce_sum(scores, whole([1])))


def _kernel(machines: Machines, seen: Var) -> Var:
    """What `svm.kernel` gives, (n, m), of vectors, (n, d), and the support vectors."""
    config, supports = machines.config, machines.vectors
    products = op.matmul(seen, floats(supports.T))
    if config.kernel == "linear":
        return products
    if config.kernel == "rbf":
        lengths = op.add(op.reduce_sum(op.mul(seen, seen), whole([1])), floats(np.square(supports).sum(axis=1)))
        distances = op.max([op.sub(lengths, op.mul(products, floats(2))), floats(0)])
        return op.exp(op.mul(distances, floats(-config.gamma)))
    values = op.add(op.mul(products, floats(config.gamma)), floats(config.coef0))
    if config.kernel == "sigmoid":
        return op.tanh(values)
    power = values
    for _ in range(config.degree - 1):
        power = op.mul(power, values)
    return power


def _forest(model: ForestModel, images: Var) -> Var:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    trees = convert_sklearn(
        model.forest,
        initial_types=[("vectors", FloatTensorType([None, model.features.width]))],
        options={"zipmap": False},
        target_opset={"": OPSET, "ai.onnx.ml": TREES_OPSET},
    )
    *_, shares = spox.inline(trees)(vectors=_seen(model.features, images)).values()
    return shares


def _resnet(model: "ResnetModel", images: Var) -> Var:
    from trainables.backbones import empty_net

    net = empty_net(model.form.arch, model.form.stem)
    net.load_state_dict(model.net.state_dict())
    return op.softmax(_network(net, images, model.form.image_size), axis=1)


def _seen(features: Features, images: Var) -> Var:
    """What `Features.transform` gives, float32, (n, d), of faces, uint8, (n, 48, 48)."""
    if features.embedder is None:
        return vectors(features, images)
    return standardized(features, _network(features.embedder.net(), images, features.config.image_size))


def _network(net: "nn.Module", images: Var, size: int) -> Var:
    """What `net`, on the CPU, gives of faces that `backbones.prepare` prepared.

    Resizing is two matrix products, for what it does to a row is linear: so it is the same in every runtime.

    Raises:
        InputError: If torch has no ONNX operators for something in the network.
    """
    import torch
    from torch.nn import functional

    from trainables.backbones import CHANNEL_MEAN, CHANNEL_STD

    example = torch.zeros(2, 3, size, size)
    try:
        program = torch.onnx.export(
            net.eval(),
            (example,),
            input_names=["images"],
            output_names=["outputs"],
            dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
            opset_version=OPSET,
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"model.onnx: torch cannot write this network at {size} x {size} pixels as ONNX ({reason}); without the "
            "file the model can be exported: --no-onnx"
        ) from error
    assert program is not None, "it is None only where a file was asked for"
    unit = torch.eye(SIDE).reshape(1, 1, SIDE, SIDE)
    resize = functional.interpolate(unit, (size, SIDE), mode="bilinear", antialias=True, align_corners=False)[0, 0]
    gray = op.matmul(op.matmul(floats(resize.numpy()), op.cast(images, to=np.float32)), floats(resize.numpy().T))
    mean, std = (np.asarray(values, np.float32).reshape(1, 3, 1, 1) for values in (CHANNEL_MEAN, CHANNEL_STD))
    prepared = op.sub(op.mul(op.unsqueeze(gray, whole([1])), floats(1 / (255 * std))), floats(mean / std))
    (outputs,) = spox.inline(program.model_proto)(images=prepared).values()
    return outputs
